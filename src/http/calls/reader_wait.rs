//! The timer that measures how long the reader of a body waits for the next frame.

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

use crate::call::ticket::Ticket;

/// The reader's wait for the next frame.
pub(super) enum Wait {
    /// The reader does not wait. The timer of its last wait is kept for the next one.
    Idle(Option<Timer>),
    /// The reader has waited since this timer started.
    Running(Timer),
    /// The reader waits, and there is no timer.
    Untimed,
}

/// A boxed timer. A timer that is pinned in the body would make `CallBody` `!Unpin`, and readers
/// that ask for frames one by one need `Unpin`. The first wait creates it, so most bodies never
/// have one.
type Timer = Pin<Box<Sleep>>;

impl Wait {
    /// Notes that the reader waits. Returns whether it has waited for too long.
    pub(super) fn poll_expired(&mut self, ticket: &Ticket, cx: &mut Context<'_>) -> bool {
        if let Self::Idle(used) = self {
            let timer = ticket
                .hang_limit()
                .and_then(|limit| timer(limit, used.take()));
            *self = timer.map_or(Self::Untimed, Self::Running);
        }
        let Self::Running(timer) = self else {
            return false;
        };
        // A timer panics when it is polled after its runtime has ended. The reader must not see
        // that.
        let polled = catch_unwind(AssertUnwindSafe(|| timer.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.is_ready(),
            Err(_panic) => {
                *self = Self::Untimed;
                false
            }
        }
    }

    /// Notes that the reader does not wait any more.
    pub(super) fn stop(&mut self) {
        *self = match std::mem::replace(self, Self::Untimed) {
            Self::Running(timer) => Self::Idle(Some(timer)),
            other => other,
        };
    }
}

/// Returns a timer that starts now, or `None` where there can be no timer.
fn timer(limit: Duration, used: Option<Timer>) -> Option<Timer> {
    // Outside a runtime `sleep` is known to panic. The check spares the panic hook's message.
    Handle::try_current().ok()?;
    // Tokio does not tell whether a runtime has time. The only way to find out is to try.
    let fresh = catch_unwind(|| sleep(limit)).ok()?;
    Some(match used {
        Some(mut timer) => {
            timer.set(fresh);
            timer
        }
        None => Box::pin(fresh),
    })
}
