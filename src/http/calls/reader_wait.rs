//! The timer that ends the wait of a body's reader at the hang limit.

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

/// The timer of a reader that waits for the next frame, if it ever did.
///
/// It runs on when a frame comes. If it then fires while the reader waits for a later frame, it is
/// set to the rest of that wait. Most bodies end before it fires once, and so set it once.
#[derive(Default)]
pub(super) enum HangTimer {
    /// The reader has not waited yet.
    #[default]
    Unset,
    Set(Timer),
    /// There can be no timer here.
    Impossible,
}

/// Boxed: a timer that is pinned in the body would make `CallBody` `!Unpin`, and readers that ask
/// for frames one by one need `Unpin`. The first wait creates it, so most bodies never have one.
type Timer = Pin<Box<Sleep>>;

impl HangTimer {
    /// Polls for the end of the wait that the ticket has noted. Returns whether the reader has
    /// waited for the hang limit.
    pub(super) fn poll_expired(&mut self, ticket: &Ticket, cx: &mut Context<'_>) -> bool {
        let Some(limit) = ticket.hang_limit() else {
            return false;
        };
        loop {
            let timer = match self {
                Self::Unset => {
                    *self = timer(limit).map_or(Self::Impossible, Self::Set);
                    continue;
                }
                Self::Impossible => return false,
                Self::Set(timer) => timer,
            };
            // A timer panics when it is polled after its runtime has ended. The reader must not see
            // that.
            match catch_unwind(AssertUnwindSafe(|| timer.as_mut().poll(cx).is_ready())) {
                Ok(false) => return false,
                Ok(true) => {}
                Err(_panic) => {
                    *self = Self::Impossible;
                    return false;
                }
            }
            let left = limit.saturating_sub(ticket.wait());
            if left.is_zero() {
                return true;
            }
            // The timer was of an earlier wait.
            timer.as_mut().set(sleep(left));
        }
    }
}

/// Returns a timer that starts now, or `None` where there can be no timer.
fn timer(limit: Duration) -> Option<Timer> {
    // Outside a runtime `sleep` is known to panic. The check spares the panic hook's message.
    Handle::try_current().ok()?;
    // Tokio does not tell whether a runtime has time. The only way to find out is to try.
    catch_unwind(|| Box::pin(sleep(limit))).ok()
}
