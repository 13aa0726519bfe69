//! The partner behind every breaker. A breaker is generic over it, so that it is compiled once per
//! partner, as in a program of its own.

use std::{
    error::Error,
    fmt,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::Pin,
    task::{Context, Poll},
};

use tower::Service;

/// A request that the partner answers.
pub(crate) const GOOD: u64 = 7;
/// A request that the partner fails.
pub(crate) const BAD: u64 = u64::MAX;

/// Why a call through a subject has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The partner failed.
    Down,
    /// The breaker refused the call. Only seatbelt, which refuses with the partner's error type,
    /// returns it.
    Refused,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Refused => "refused",
        })
    }
}

impl Error for Failed {}

#[inline]
fn answer(request: u64) -> Result<u64, Failed> {
    match black_box(request) {
        BAD => Err(Failed::Down),
        request => Ok(request),
    }
}

/// A partner: a tower service, and a `layered` one for the peer that is built on that crate.
pub(crate) trait Partner:
    Service<u64, Response = u64, Error = Failed, Future: Send + 'static>
    + layered::Service<u64, Out = Result<u64, Failed>>
    + Copy
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// The partner itself: it has no state.
    const NEW: Self;
    /// The number of the poll at which a call is answered, counted from one.
    const ANSWERS_AT_POLL: u32;
}

/// The partner in the shape that costs least: always ready, answered at the first poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtOnce;

/// The partner as a network shows it: always ready, answered at the second poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecondPoll;

impl Partner for AtOnce {
    const NEW: Self = Self;
    const ANSWERS_AT_POLL: u32 = 1;
}

impl Partner for SecondPoll {
    const NEW: Self = Self;
    const ANSWERS_AT_POLL: u32 = 2;
}

/// An answer that is pending at the first poll, which wakes the caller, and ready at the second.
#[derive(Debug)]
pub(crate) struct Later {
    answer: Result<u64, Failed>,
    polled: bool,
}

impl Future for Later {
    type Output = Result<u64, Failed>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        pending_once(&mut self.polled, cx).map(|()| self.answer)
    }
}

/// Is pending and wakes the caller unless `polled` says that it has done so before.
#[inline]
pub(crate) fn pending_once(polled: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    if *polled {
        return Poll::Ready(());
    }
    *polled = true;
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The two service traits of a partner, from its future and how that is made.
macro_rules! services {
    ($partner:ty, $future:ty, $reply:expr) => {
        impl Service<u64> for $partner {
            type Response = u64;
            type Error = Failed;
            type Future = $future;

            #[inline]
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
                Poll::Ready(Ok(()))
            }

            #[inline]
            fn call(&mut self, request: u64) -> Self::Future {
                $reply(answer(request))
            }
        }

        impl layered::Service<u64> for $partner {
            type Out = Result<u64, Failed>;

            #[inline]
            fn execute(&self, request: u64) -> impl Future<Output = Self::Out> + Send {
                $reply(answer(request))
            }
        }
    };
}

services!(AtOnce, Ready<Result<u64, Failed>>, ready);
services!(SecondPoll, Later, |answer| Later {
    answer,
    polled: false
});

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_second_poll_is_asked_for_by_one_wake_and_answers() {
        for (request, answer) in [(GOOD, Ok(GOOD)), (BAD, Err(Failed::Down))] {
            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(wakes.clone());
            let mut cx = Context::from_waker(&waker);
            let mut reply = pin!(SecondPoll.call(request));
            assert_eq!(reply.as_mut().poll(&mut cx), Poll::Pending);
            assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
            assert_eq!(reply.as_mut().poll(&mut cx), Poll::Ready(answer));
            assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        }
    }
}
