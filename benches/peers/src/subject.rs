//! A subject is what calls go through. A call goes from readiness to its answer in the same way for
//! every subject.

use std::{
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::Service;

use crate::partner::{Failed, GOOD, Partner};

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

/// Polls a call until it is answered, at most `polls` times.
#[inline]
pub(crate) fn polled<F: Future>(
    mut future: Pin<&mut F>,
    cx: &mut Context<'_>,
    polls: u32,
) -> Poll<F::Output> {
    for _ in 0..polls {
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            return polled;
        }
    }
    Poll::Pending
}

/// Polls a call until its partner answers, as an executor would that is woken at once.
#[inline]
pub(crate) fn finished<P: Partner, F: Future>(future: Pin<&mut F>) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    match polled(future, &mut cx, P::ANSWERS_AT_POLL) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!(
            "a call is pending after poll {}, which its partner answers",
            P::ANSWERS_AT_POLL
        ),
    }
}

/// Polls a service until it is ready, which is at once if its partner is ready.
#[inline]
pub(crate) fn ready<R, S: Service<R>>(service: &mut S) -> Result<(), S::Error> {
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready,
        Poll::Pending => panic!("a service is not ready although its partner is"),
    }
}

/// A service that calls go through.
pub(crate) trait Caller: Clone + Send + 'static {
    /// One call, with [`GOOD`] or [`BAD`](crate::partner::BAD).
    fn call(&mut self, request: u64) -> Answer;

    /// Makes the partner ready or not. Only a subject that goes by readiness rather than by
    /// failures needs it.
    fn partner_is_ready(&mut self, ready: bool) {
        let _ = ready;
    }

    /// [`Subject::run`].
    fn run(&mut self, calls: u64) -> u64 {
        run(self, calls)
    }

    /// [`Subject::run`] while other threads use the same layer.
    fn run_beside_others(&mut self, calls: u64) -> u64 {
        run(self, calls)
    }
}

/// Not inlined, so that the call stays a call: the bare service would vanish.
#[inline(never)]
fn one_call<C: Caller>(caller: &mut C, request: u64) -> Answer {
    caller.call(request)
}

/// Makes good calls and returns how many passed.
#[inline(never)]
pub(crate) fn run<C: Caller>(caller: &mut C, calls: u64) -> u64 {
    let mut passed = 0;
    for _ in 0..calls {
        let answer = one_call(caller, black_box(GOOD));
        passed += u64::from(black_box(answer) == Answer::Passed);
    }
    passed
}

/// A [`Caller`] behind a pointer. The pointer is followed once per batch, not once per call.
pub(crate) trait Subject: Send {
    fn answer(&mut self, request: u64) -> Answer;
    fn partner_is_ready(&mut self, ready: bool);
    /// Makes this number of good calls and returns how many passed.
    fn run(&mut self, calls: u64) -> u64;
    /// The same while other threads use the same layer.
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
        Caller::run(self, calls)
    }

    fn run_beside_others(&mut self, calls: u64) -> u64 {
        Caller::run_beside_others(self, calls)
    }

    fn another(&self) -> Box<dyn Subject> {
        Box::new(self.clone())
    }
}

/// Any tower service, around a partner `P`.
#[derive(Debug, Clone)]
pub(crate) struct Tower<S, P> {
    pub(crate) service: S,
    partner: PhantomData<P>,
}

impl<S, P: Partner> Tower<S, P> {
    pub(crate) fn new(service: S) -> Self {
        let partner = PhantomData;
        Self { service, partner }
    }
}

impl<S, P> Caller for Tower<S, P>
where
    S: Service<u64, Error: MaybeRefusal> + Clone + Send + 'static,
    P: Partner,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        match ready(&mut self.service) {
            Ok(()) => finished::<P, _>(pin!(self.service.call(request))).into(),
            Err(error) => Err::<(), _>(error).into(),
        }
    }
}

/// Builds a breaker that refuses for `wait` before it lets a probe through.
pub(crate) type Build = fn(wait: Duration) -> Box<dyn Subject>;

/// A subject that refuses calls when the partner is down.
#[derive(Clone, Copy)]
pub(crate) struct Breaker {
    pub(crate) name: &'static str,
    pub(crate) build: Build,
    pub(crate) cost: Cost,
}

impl Breaker {
    pub(crate) const fn flat(name: &'static str, build: Build) -> Self {
        let cost = Cost::Flat;
        Self { name, build, cost }
    }
}

/// How the cost of a call depends on the calls before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// Not at all.
    Flat,
    /// It grows with every call in the window, so only few calls can be measured before the
    /// subject is another one.
    Grows,
}
