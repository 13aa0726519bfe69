//! How long the reader of a body has waited for the next frame.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Context,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use crate::call::protocol::Ticket;

/// What the reader's wait for the next frame is measured by.
pub(super) enum Wait {
    /// Nobody waits; the timer of the last wait, to be used again.
    Not(Option<Timer>),
    Since(Timer),
    /// Here is no timer.
    Unknown,
}

/// Boxed rather than pinned in the body, so that `Measured` is `Unpin` where its body is: readers who
/// ask for frames one by one need that. Made by the first wait, so most bodies never have one.
type Timer = Pin<Box<Sleep>>;

impl Wait {
    /// Notes that the reader waits; says whether it has waited for too long.
    pub(super) fn goes_on(&mut self, ticket: &Ticket, cx: &mut Context<'_>) -> bool {
        if let Self::Not(used) = self {
            let timer = ticket
                .hang_limit()
                .and_then(|limit| timer(limit, used.take()));
            *self = timer.map_or(Self::Unknown, Self::Since);
        }
        let Self::Since(timer) = self else {
            return false;
        };
        // Asked for its time, a timer panics if its runtime has ended meanwhile: no matter of the reader's.
        let polled = catch_unwind(AssertUnwindSafe(|| timer.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.is_ready(),
            Err(_panic) => {
                *self = Self::Unknown;
                false
            }
        }
    }

    pub(super) fn is_over(&mut self) {
        *self = match std::mem::replace(self, Self::Unknown) {
            Self::Since(timer) => Self::Not(Some(timer)),
            as_it_was => as_it_was,
        };
    }
}

/// A timer that begins now, if there can be one here.
fn timer(limit: Duration, used: Option<Timer>) -> Option<Timer> {
    // Not even asked for where it is known to panic: nobody wants the panic hook's message.
    Handle::try_current().ok()?;
    // Whether a runtime's time is enabled can only be found out by trying.
    let fresh = catch_unwind(|| sleep(limit)).ok()?;
    Some(match used {
        Some(mut timer) => {
            timer.set(fresh);
            timer
        }
        None => Box::pin(fresh),
    })
}
