//! What is measured: one call from readiness to answer, the same way for every subject.

use std::{
    error::Error,
    fmt,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::Service;

/// A request that the partner answers.
pub(crate) const GOOD: u64 = 7;
/// A request that the partner fails.
pub(crate) const BAD: u64 = u64::MAX;

/// The partner in the shape that costs least: always ready, answers at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partner;

/// Why a call through a subject has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The partner failed.
    Down,
    /// It was refused: for the peer that refuses with the partner's own error type.
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

impl Partner {
    #[inline]
    pub(crate) fn answer(request: u64) -> Result<u64, Failed> {
        match black_box(request) {
            BAD => Err(Failed::Down),
            request => Ok(request),
        }
    }
}

impl Service<u64> for Partner {
    type Response = u64;
    type Error = Failed;
    type Future = Ready<Result<u64, Failed>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        ready(Self::answer(request))
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The partner answered.
    Passed,
    /// The partner failed.
    Failed,
    /// The call was refused, and did not reach the partner.
    Refused,
}

/// An error that may be a refusal.
pub(crate) trait MaybeRefusal {
    fn is_refusal(&self) -> bool;
}

impl MaybeRefusal for Failed {
    fn is_refusal(&self) -> bool {
        *self == Self::Refused
    }
}

impl<T, E: MaybeRefusal> From<Result<T, E>> for Answer {
    #[inline]
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(answer) => {
                black_box(answer);
                Self::Passed
            }
            Err(error) if error.is_refusal() => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

/// Polls a call once, as an executor would. With a ready partner nothing else is needed.
#[inline]
pub(crate) fn finished<F: Future>(future: Pin<&mut F>) -> F::Output {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a call to a partner that answers at once is pending"),
    }
}

/// Something calls go through.
pub(crate) trait Caller: Clone + Send + 'static {
    /// One call, with [`GOOD`] or [`BAD`].
    fn call(&mut self, request: u64) -> Answer;

    /// Makes the partner ready or not, for what goes by readiness rather than by failures.
    fn partner_is_ready(&mut self, ready: bool) {
        let _ = ready;
    }

    /// [`Subject::run`] where other threads use the same layer.
    fn run_beside_others(&mut self, calls: u64) -> u64 {
        run(self, calls)
    }
}

/// Not inlined, so that the call stays a call: the bare service would vanish.
#[inline(never)]
fn one_call<C: Caller>(caller: &mut C, request: u64) -> Answer {
    caller.call(request)
}

#[inline(never)]
fn run<C: Caller>(caller: &mut C, calls: u64) -> u64 {
    let mut passed = 0;
    for _ in 0..calls {
        let answer = one_call(caller, black_box(GOOD));
        passed += u64::from(black_box(answer) == Answer::Passed);
    }
    passed
}

/// A [`Caller`] behind a pointer: looked up once a batch, not once a call.
pub(crate) trait Subject: Send {
    fn answer(&mut self, request: u64) -> Answer;
    fn partner_is_ready(&mut self, ready: bool);
    /// So many good calls; returns how many passed.
    fn run(&mut self, calls: u64) -> u64;
    /// The same where other threads use the same layer.
    fn run_beside_others(&mut self, calls: u64) -> u64;
    /// Another service of the same layer.
    fn another(&self) -> Box<dyn Subject>;
}

impl<C: Caller> Subject for C {
    fn answer(&mut self, request: u64) -> Answer {
        one_call(self, request)
    }

    fn partner_is_ready(&mut self, ready: bool) {
        Caller::partner_is_ready(self, ready);
    }

    fn run(&mut self, calls: u64) -> u64 {
        run(self, calls)
    }

    fn run_beside_others(&mut self, calls: u64) -> u64 {
        Caller::run_beside_others(self, calls)
    }

    fn another(&self) -> Box<dyn Subject> {
        Box::new(self.clone())
    }
}

/// Any tower service.
#[derive(Debug, Clone)]
pub(crate) struct Tower<S>(pub(crate) S);

impl<S> Caller for Tower<S>
where
    S: Service<u64, Error: MaybeRefusal> + Clone + Send + 'static,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        match self.0.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => finished(pin!(self.0.call(request))).into(),
            Poll::Ready(Err(error)) => Err::<(), _>(error).into(),
            Poll::Pending => panic!("a service of a partner that is ready is not"),
        }
    }
}

/// How a breaker is made: the one thing that varies is how long it refuses before it lets a probe through.
pub(crate) type Build = fn(wait: Duration) -> Box<dyn Subject>;

/// Something that refuses calls when the partner is down.
#[derive(Clone, Copy)]
pub(crate) struct Breaker {
    pub(crate) name: &'static str,
    pub(crate) build: Build,
    pub(crate) cost: Cost,
}

/// How the cost of a call depends on the calls before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Not at all.
    Flat,
    /// It grows with every call in the window, so that few can be measured before the subject is another.
    Grows,
}
