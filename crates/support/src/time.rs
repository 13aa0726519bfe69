//! Spans of time, and futures that end soon, at once, or not at all.

use std::{
    panic::Location,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};

/// How long a test waits for anything: far longer than it takes on a busy machine, so that only a
/// failure reaches it.
pub const CAP: Duration = secs(60);

/// One hour.
pub const HOUR: Duration = secs(3600);

/// Returns a span of `n` seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Returns a span of `n` milliseconds.
#[must_use]
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Reads tokio's clock, which a test may have paused.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own reading of the clock that they control"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// How many tasks of the current runtime have not ended.
#[must_use]
pub fn alive_tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits for the future, and panics with the caller's place if it takes longer than [`CAP`].
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let asked = Location::caller();
    async move {
        let ended = timeout(CAP, future).await;
        ended.unwrap_or_else(|_| panic!("not within {CAP:?}: what is awaited at {asked}"))
    }
}

/// Waits until the condition holds, and panics with the caller's place if that takes longer than
/// [`CAP`].
///
/// It polls once a millisecond: for conditions that wake no task.
#[track_caller]
pub fn until(holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !holds() {
            sleep(millis(1)).await;
        }
    })
}

/// Polls the future once: its output, or `None` while it is pending.
#[must_use]
pub fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// What the future ends with if it is ready at its first poll.
#[must_use]
pub fn at_once<F: Future>(future: F) -> Option<F::Output> {
    poll_once(pin!(future))
}
