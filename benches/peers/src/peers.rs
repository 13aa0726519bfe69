//! The peers, each wrapped in the fastest way that its documentation shows.
//!
//! Each is given the rules of our default policy as far as it has them: 50 % of at least 10 calls,
//! or 5 failures in a row; 60 s where the window is of time, 100 calls where it is of calls;
//! 3 successes to recover. What a peer's interface forces upon it is said where it is wrapped.

use std::{
    future::poll_fn,
    hint::black_box,
    marker::PhantomData,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use circuitbreaker_rs::{BreakerError, CircuitBreaker, DefaultPolicy};
use failsafe::{FailurePolicy, StateMachine, futures::CircuitBreaker as _};
use recloser::{AsyncRecloser, Recloser};
use seatbelt::{
    RecoveryInfo, ResilienceContext,
    breaker::{Breaker as Seatbelt, HalfOpenMode},
};
use tick::{Clock, runtime::InactiveClock};
use tokio::runtime::Runtime;
use tower::{Layer, Service, load_shed::LoadShed};
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerError, CircuitBreakerLayer, DefaultClassifier,
    SlidingWindowType,
};

use crate::{
    partner::{Failed, GOOD, Partner},
    subject::{Answer, Breaker, Caller, Cost, MaybeRefusal, Subject, Tower, finished, polled},
};

const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_CALLS: usize = 100;
const RATE: f64 = 0.5;
const MIN_CALLS: u32 = 10;
const IN_A_ROW: u32 = 5;
const SUCCESSES: u32 = 3;

/// Sheds calls while the partner is not ready. It is no breaker: it counts and remembers nothing.
pub(crate) const fn load_shed<P: Partner>() -> Breaker {
    Breaker::flat("tower::load_shed", shedding::<P>)
}

pub(crate) const fn peers<P: Partner>() -> [Breaker; 7] {
    [
        Breaker::flat(
            "tower-resilience-circuitbreaker (count)",
            tower_resilience_count::<P>,
        ),
        Breaker {
            name: "tower-resilience-circuitbreaker (time)",
            build: tower_resilience_time::<P>,
            // It keeps every call of the window, and scans all of them at each call.
            cost: Cost::Grows,
        },
        Breaker::flat("seatbelt (tower)", seatbelt_tower::<P>),
        Breaker::flat("seatbelt (native)", seatbelt_native::<P>),
        Breaker::flat("failsafe", failsafe::<P>),
        Breaker::flat("recloser", recloser::<P>),
        Breaker::flat("circuitbreaker-rs", circuitbreaker_rs::<P>),
    ]
}

/// The same peers. The two that let the user choose a cheaper and coarser clock have that one.
pub(crate) const fn coarse_peers<P: Partner>() -> [Breaker; 7] {
    let [count, time, _, _, failsafe, recloser, circuitbreaker_rs] = peers::<P>();
    [
        count,
        time,
        Breaker::flat("seatbelt (tower)", seatbelt_tower_coarse::<P>),
        Breaker::flat("seatbelt (native)", seatbelt_native_coarse::<P>),
        failsafe,
        recloser,
        circuitbreaker_rs,
    ]
}

// ---- tower::load_shed ---------------------------------------------------------------------------

fn shedding<P: Partner>(_: Duration) -> Box<dyn Subject> {
    let ready = Arc::new(AtomicBool::new(true));
    let service = LoadShed::new(Gated {
        partner: P::NEW,
        ready: ready.clone(),
    });
    Box::new(Shedding {
        service: Tower::<_, P>::new(service),
        ready,
    })
}

/// The partner with a readiness that can be switched. It costs one atomic load.
#[derive(Debug, Clone)]
struct Gated<P> {
    partner: P,
    ready: Arc<AtomicBool>,
}

impl<P: Partner> Service<u64> for Gated<P> {
    type Response = u64;
    type Error = Failed;
    type Future = <P as Service<u64>>::Future;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.ready.load(Ordering::Relaxed) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        self.partner.call(request)
    }
}

#[derive(Debug, Clone)]
struct Shedding<P> {
    service: Tower<LoadShed<Gated<P>>, P>,
    ready: Arc<AtomicBool>,
}

impl<P: Partner> Caller for Shedding<P> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        self.service.call(request)
    }

    fn partner_is_ready(&mut self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

impl MaybeRefusal for tower::BoxError {
    fn is_refusal(&self) -> bool {
        self.is::<tower::load_shed::error::Overloaded>()
    }
}

// ---- tower-resilience-circuitbreaker ------------------------------------------------------------

// It boxes its futures, and clones its name for an event at each step, also without listeners. It
// has a rule for a rate or one for failures in a row, not both. Only the rate has a window.

fn tower_resilience(wait: Duration) -> CircuitBreakerConfigBuilder<DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .failure_rate_threshold(RATE)
        .minimum_number_of_calls(MIN_CALLS as usize)
        .permitted_calls_in_half_open(SUCCESSES as usize)
        .wait_duration_in_open(wait)
}

/// No call leaves its count window before the circuit opens.
fn tower_resilience_count<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let layer = tower_resilience(wait)
        .sliding_window_size(WINDOW_CALLS)
        .build()
        .expect("the numbers are in range");
    OnRuntime::<_, P>::boxed(layer.layer(P::NEW))
}

fn tower_resilience_time<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let layer = tower_resilience(wait)
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(WINDOW)
        .build()
        .expect("the numbers are in range");
    OnRuntime::<_, P>::boxed(layer.layer(P::NEW))
}

/// Held open by its handle. In manual mode no wait is pending, so a refusal compares no times.
pub(crate) fn tower_resilience_held<P: Partner>() -> Box<dyn Subject> {
    let (layer, handle) = tower_resilience(Duration::from_secs(1))
        .manual_mode()
        .build_with_handle()
        .expect("the numbers are in range");
    finished::<P, _>(pin!(handle.force_open()));
    OnRuntime::<_, P>::boxed(layer.layer(P::NEW))
}

impl MaybeRefusal for CircuitBreakerError<Failed> {
    fn is_refusal(&self) -> bool {
        self.is_circuit_open()
    }
}

/// A tower service that needs a runtime where threads meet: its lock wakes the tasks that wait for
/// it, and it sleeps on tokio's timer when a try of the lock fails. The thread that waits for the
/// lock parks, which is expensive; a runtime with other tasks would run those instead. On one
/// thread it is called as all others are.
#[derive(Debug)]
struct OnRuntime<S, P> {
    tower: Tower<S, P>,
    runtime: Option<Runtime>,
}

impl<S, P: Partner> OnRuntime<S, P>
where
    Self: Caller,
{
    fn boxed(service: S) -> Box<dyn Subject> {
        Box::new(Self {
            tower: Tower::new(service),
            runtime: None,
        })
    }
}

impl<S: Clone, P: Clone> Clone for OnRuntime<S, P> {
    fn clone(&self) -> Self {
        Self {
            tower: self.tower.clone(),
            runtime: None,
        }
    }
}

impl<S, P> Caller for OnRuntime<S, P>
where
    S: Service<u64, Error: MaybeRefusal> + Clone + Send + 'static,
    P: Partner,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        self.tower.call(request)
    }

    fn run_beside_others(&mut self, calls: u64) -> u64 {
        let service = &mut self.tower.service;
        let runtime = self.runtime.get_or_insert_with(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime without I/O needs nothing of the system")
        });
        // Without tokio's cooperative budget, which would suspend the task at intervals.
        runtime.block_on(tokio::task::unconstrained(async {
            let mut passed = 0;
            for _ in 0..calls {
                let answer: Answer = match poll_fn(|cx| service.poll_ready(cx)).await {
                    Ok(()) => {
                        let mut future = pin!(service.call(black_box(GOOD)));
                        // Polled again at once where the partner is pending, as all other peers
                        // are. The runtime sees the waits for the lock.
                        let answered =
                            |cx: &mut Context<'_>| polled(future.as_mut(), cx, P::ANSWERS_AT_POLL);
                        poll_fn(answered).await.into()
                    }
                    Err(error) => Err::<(), _>(error).into(),
                };
                passed += u64::from(black_box(answer) == Answer::Passed);
            }
            passed
        }))
    }
}

// ---- seatbelt -----------------------------------------------------------------------------------

// It has no rule for failures in a row, and needs one probe to recover.

type SeatbeltContext = ResilienceContext<u64, Result<u64, Failed>>;

/// A macro, not a function, because the layer's type states are private.
macro_rules! seatbelt_layer {
    ($wait:expr, $clock:expr) => {
        Seatbelt::layer("partner", &SeatbeltContext::new(&$clock))
            .recovery_with(|result: &Result<u64, Failed>, _| match result {
                Ok(_) => RecoveryInfo::never(),
                Err(_) => RecoveryInfo::retry(),
            })
            .rejected_input_error(|_, _| Failed::Refused)
            .failure_threshold(RATE as f32)
            .min_throughput(MIN_CALLS)
            .sampling_duration(WINDOW)
            .break_duration($wait)
            .half_open_mode(HalfOpenMode::quick())
    };
}

/// A clock without a driver. The driver is for timers, and a breaker has none.
fn clock() -> Clock {
    InactiveClock::default().activate(Waker::noop().clone()).0
}

/// Its future is boxed.
fn seatbelt_tower<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    Box::new(Tower::<_, P>::new(
        seatbelt_layer!(wait, clock()).layer(P::NEW),
    ))
}

fn seatbelt_tower_coarse<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let clock = clock().with_fast_instant(true);
    Box::new(Tower::<_, P>::new(
        seatbelt_layer!(wait, clock).layer(P::NEW),
    ))
}

fn seatbelt_native<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    Native::<_, P>::boxed(seatbelt_layer!(wait, clock()).layer(P::NEW))
}

fn seatbelt_native_coarse<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let clock = clock().with_fast_instant(true);
    Native::<_, P>::boxed(seatbelt_layer!(wait, clock).layer(P::NEW))
}

/// A service of the `layered` crate.
#[derive(Debug, Clone)]
struct Native<S, P> {
    service: S,
    partner: PhantomData<P>,
}

impl<S, P> Native<S, P>
where
    Self: Caller,
{
    fn boxed(service: S) -> Box<dyn Subject> {
        let partner = PhantomData;
        Box::new(Self { service, partner })
    }
}

impl<S, P> Caller for Native<S, P>
where
    S: layered::Service<u64, Out = Result<u64, Failed>> + Clone + 'static,
    P: Partner,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        finished::<P, _>(pin!(self.service.execute(request))).into()
    }
}

/// The variant of an error that is a refusal.
macro_rules! refuses_with {
    ($error:ty, $refusal:ident) => {
        impl MaybeRefusal for $error {
            fn is_refusal(&self) -> bool {
                matches!(self, Self::$refusal)
            }
        }
    };
}

/// A breaker that wraps a call's future, and the partner that makes it.
#[derive(Clone)]
struct Around<B, P> {
    breaker: B,
    partner: P,
}

impl<B, P: Partner> Around<B, P>
where
    Self: Caller,
{
    fn boxed(breaker: B) -> Box<dyn Subject> {
        let partner = P::NEW;
        Box::new(Self { breaker, partner })
    }
}

// ---- failsafe -----------------------------------------------------------------------------------

/// It has both our rules. Its rate is that of a moving average, and is not judged before a whole
/// window has passed. One success recovers. While half-open it lets every call through.
fn failsafe<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let wait = failsafe::backoff::constant(wait);
    let rate = failsafe::failure_policy::success_rate_over_time_window(
        1.0 - RATE,
        MIN_CALLS,
        WINDOW,
        wait.clone(),
    );
    let in_a_row = failsafe::failure_policy::consecutive_failures(IN_A_ROW, wait);
    let breaker = failsafe::Config::new()
        .failure_policy(rate.or_else(in_a_row))
        .build();
    Around::<_, P>::boxed(breaker)
}

impl<Policy, P> Caller for Around<StateMachine<Policy, ()>, P>
where
    Policy: FailurePolicy + Send + Sync + 'static,
    P: Partner,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        // The partner's future is an argument, so it is made for a refusal too.
        finished::<P, _>(pin!(self.breaker.call(self.partner.call(request)))).into()
    }
}

refuses_with!(failsafe::Error<Failed>, Rejected);

// ---- recloser -----------------------------------------------------------------------------------

/// Its window is of calls only, and must be full before it is judged, so it needs no clock while
/// closed. While half-open it lets every call through.
fn recloser<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let breaker = Recloser::custom()
        .error_rate(RATE as f32)
        .closed_len(WINDOW_CALLS)
        .half_open_len(SUCCESSES as usize)
        .open_wait(wait)
        .build();
    Around::<_, P>::boxed(AsyncRecloser::from(breaker))
}

impl<P: Partner> Caller for Around<AsyncRecloser, P> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        // As for failsafe, the partner's future is made for a refusal too.
        finished::<P, _>(pin!(self.breaker.call(self.partner.call(request)))).into()
    }
}

refuses_with!(recloser::Error<Failed>, Rejected);

// ---- circuitbreaker-rs --------------------------------------------------------------------------

/// Its default policy has both our rules. It has no window: it counts since the circuit last
/// closed. Its policy with a window of time is never told of a call, and cannot trip.
fn circuitbreaker_rs<P: Partner>(wait: Duration) -> Box<dyn Subject> {
    let breaker = CircuitBreaker::<DefaultPolicy, Failed>::builder()
        .failure_threshold(RATE)
        .min_throughput(MIN_CALLS.into())
        .consecutive_failures(IN_A_ROW.into())
        .consecutive_successes(SUCCESSES.into())
        .probe_interval(SUCCESSES)
        .cooldown(wait)
        .build();
    Around::<_, P>::boxed(breaker)
}

impl<P: Partner> Caller for Around<CircuitBreaker<DefaultPolicy, Failed>, P> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        let mut partner = self.partner;
        finished::<P, _>(pin!(self.breaker.call_async(|| partner.call(request)))).into()
    }
}

refuses_with!(BreakerError<Failed>, Open);
