//! The peers, each wrapped in the fastest way its documentation shows.
//!
//! All of them are given the rules of our default policy as far as they know them: 50 % of at least 10
//! calls, or 5 failures in a row; 60 s where there is a window in time, 100 calls where it is in calls; 3
//! successes to recover. What a peer's interface forces upon it is said where it is wrapped.

use std::{
    future::{Future, poll_fn},
    hint::black_box,
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

use crate::subject::{
    Answer, Breaker, Caller, Cost, Failed, GOOD, MaybeRefusal, Partner, Subject, Tower, finished,
};

const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_CALLS: usize = 100;
const RATE: f64 = 0.5;
const MIN_CALLS: u32 = 10;
const IN_A_ROW: u32 = 5;
const SUCCESSES: u32 = 3;

const fn flat(name: &'static str, build: crate::subject::Build) -> Breaker {
    let cost = Cost::Flat;
    Breaker { name, build, cost }
}

/// Sheds what the partner is not ready for. No breaker: it counts nothing and remembers nothing.
pub(crate) const LOAD_SHED: Breaker = flat("tower::load_shed", load_shed);

pub(crate) const PEERS: [Breaker; 7] = [
    flat(
        "tower-resilience-circuitbreaker (count)",
        tower_resilience_count,
    ),
    Breaker {
        name: "tower-resilience-circuitbreaker (time)",
        build: tower_resilience_time,
        // Every call is kept, and all of them are gone through at each.
        cost: Cost::Grows,
    },
    flat("seatbelt (tower)", seatbelt_tower),
    flat("seatbelt (native)", seatbelt_native),
    flat("failsafe", failsafe),
    flat("recloser", recloser),
    flat("circuitbreaker-rs", circuitbreaker_rs),
];

/// The same peers, with a cheaper and coarser clock where there is a choice.
pub(crate) const COARSE_PEERS: [Breaker; 7] = [
    PEERS[0],
    PEERS[1],
    flat("seatbelt (tower)", seatbelt_tower_coarse),
    flat("seatbelt (native)", seatbelt_native_coarse),
    PEERS[4],
    PEERS[5],
    PEERS[6],
];

// ---- tower::load_shed ---------------------------------------------------------------------------

fn load_shed(_: Duration) -> Box<dyn Subject> {
    let ready = Arc::new(AtomicBool::new(true));
    let service = LoadShed::new(Gated(ready.clone()));
    Box::new(Shedding {
        service: Tower(service),
        ready,
    })
}

/// The partner with a readiness that can be switched: one atomic load more.
#[derive(Debug, Clone)]
struct Gated(Arc<AtomicBool>);

impl Service<u64> for Gated {
    type Response = u64;
    type Error = Failed;
    type Future = <Partner as Service<u64>>::Future;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        if self.0.load(Ordering::Relaxed) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        Partner.call(request)
    }
}

#[derive(Debug, Clone)]
struct Shedding {
    service: Tower<LoadShed<Gated>>,
    ready: Arc<AtomicBool>,
}

impl Caller for Shedding {
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

// It boxes its futures, and clones its name for an event at each step, heard or not. It goes by a rate
// or by failures in a row, not by both; the rate is the one with a window.

fn tower_resilience(wait: Duration) -> CircuitBreakerConfigBuilder<DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .failure_rate_threshold(RATE)
        .minimum_number_of_calls(MIN_CALLS as usize)
        .permitted_calls_in_half_open(SUCCESSES as usize)
        .wait_duration_in_open(wait)
}

/// "Count": no call ever leaves its window before the circuit opens.
fn tower_resilience_count(wait: Duration) -> Box<dyn Subject> {
    let layer = tower_resilience(wait)
        .sliding_window_size(WINDOW_CALLS)
        .build()
        .expect("the numbers are in range");
    OnRuntime::boxed(layer.layer(Partner))
}

fn tower_resilience_time(wait: Duration) -> Box<dyn Subject> {
    let layer = tower_resilience(wait)
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(WINDOW)
        .build()
        .expect("the numbers are in range");
    OnRuntime::boxed(layer.layer(Partner))
}

/// Held open by its handle: in manual mode no wait is pending, so that a refusal compares no times.
pub(crate) fn tower_resilience_held() -> Box<dyn Subject> {
    let (layer, handle) = tower_resilience(Duration::from_secs(1))
        .manual_mode()
        .build_with_handle()
        .expect("the numbers are in range");
    finished(pin!(handle.force_open()));
    OnRuntime::boxed(layer.layer(Partner))
}

impl MaybeRefusal for CircuitBreakerError<Failed> {
    fn is_refusal(&self) -> bool {
        self.is_circuit_open()
    }
}

/// A tower service that needs a runtime where threads meet: its lock wakes whoever waits for it, and
/// it sleeps on tokio's timer when a try of the lock fails. A thread that waits for the lock parks, which is
/// dear; with other tasks at hand a runtime would not. By itself it is called as all others are.
#[derive(Debug)]
struct OnRuntime<S> {
    service: Tower<S>,
    runtime: Option<Runtime>,
}

impl<S> OnRuntime<S>
where
    Self: Caller,
{
    fn boxed(service: S) -> Box<dyn Subject> {
        Box::new(Self {
            service: Tower(service),
            runtime: None,
        })
    }
}

impl<S: Clone> Clone for OnRuntime<S> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            runtime: None,
        }
    }
}

impl<S> Caller for OnRuntime<S>
where
    S: Service<u64, Error: MaybeRefusal> + Clone + Send + 'static,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        self.service.call(request)
    }

    fn run_beside_others(&mut self, calls: u64) -> u64 {
        let service = &mut self.service.0;
        let runtime = self.runtime.get_or_insert_with(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime without I/O needs nothing of the system")
        });
        // Without tokio's budget, which would send the task away from time to time.
        runtime.block_on(tokio::task::unconstrained(async {
            let mut passed = 0;
            for _ in 0..calls {
                let answer: Answer = match poll_fn(|cx| service.poll_ready(cx)).await {
                    Ok(()) => service.call(black_box(GOOD)).await.into(),
                    Err(error) => Err::<(), _>(error).into(),
                };
                passed += u64::from(black_box(answer) == Answer::Passed);
            }
            passed
        }))
    }
}

// ---- seatbelt -----------------------------------------------------------------------------------

// It has no rule for failures in a row, and recovers by one probe at the least.

type SeatbeltContext = ResilienceContext<u64, Result<u64, Failed>>;

/// A macro, not a function: the layer's type states are private.
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

/// A clock without a driver: it drives timers, and a breaker has none.
fn clock() -> Clock {
    InactiveClock::default().activate(Waker::noop().clone()).0
}

/// Its future is boxed.
fn seatbelt_tower(wait: Duration) -> Box<dyn Subject> {
    Box::new(Tower(seatbelt_layer!(wait, clock()).layer(Partner)))
}

fn seatbelt_tower_coarse(wait: Duration) -> Box<dyn Subject> {
    let clock = clock().with_fast_instant(true);
    Box::new(Tower(seatbelt_layer!(wait, clock).layer(Partner)))
}

fn seatbelt_native(wait: Duration) -> Box<dyn Subject> {
    Box::new(Native(seatbelt_layer!(wait, clock()).layer(Partner)))
}

fn seatbelt_native_coarse(wait: Duration) -> Box<dyn Subject> {
    let clock = clock().with_fast_instant(true);
    Box::new(Native(seatbelt_layer!(wait, clock).layer(Partner)))
}

#[derive(Debug, Clone)]
struct Native<S>(S);

impl layered::Service<u64> for Partner {
    type Out = Result<u64, Failed>;

    #[inline]
    fn execute(&self, request: u64) -> impl Future<Output = Self::Out> + Send {
        std::future::ready(Self::answer(request))
    }
}

impl<S> Caller for Native<S>
where
    S: layered::Service<u64, Out = Result<u64, Failed>> + Clone + 'static,
{
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        finished(pin!(self.0.execute(request))).into()
    }
}

// ---- failsafe -----------------------------------------------------------------------------------

/// It has both our rules. Its rate is of a moving average, and not judged before a whole window has
/// passed; one success recovers; while half-open it lets everything through.
fn failsafe(wait: Duration) -> Box<dyn Subject> {
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
    Box::new(Failsafe(breaker))
}

struct Failsafe<P>(StateMachine<P, ()>);

impl<P> Clone for Failsafe<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: FailurePolicy + Send + Sync + 'static> Caller for Failsafe<P> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        // It takes a future: the partner's is made before it is asked, also when it refuses.
        finished(pin!(self.0.call(Partner.call(request)))).into()
    }
}

impl MaybeRefusal for failsafe::Error<Failed> {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Rejected)
    }
}

// ---- recloser -----------------------------------------------------------------------------------

/// Its window is of calls only, and must be full before it is judged; while half-open it lets everything
/// through. So it needs no clock while closed.
fn recloser(wait: Duration) -> Box<dyn Subject> {
    let breaker = Recloser::custom()
        .error_rate(RATE as f32)
        .closed_len(WINDOW_CALLS)
        .half_open_len(SUCCESSES as usize)
        .open_wait(wait)
        .build();
    Box::new(AsyncRecloser::from(breaker))
}

impl Caller for AsyncRecloser {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        // As failsafe: the partner's future is made before it is asked.
        finished(pin!(Self::call(self, Partner.call(request)))).into()
    }
}

impl MaybeRefusal for recloser::Error<Failed> {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Rejected)
    }
}

// ---- circuitbreaker-rs --------------------------------------------------------------------------

/// Its default policy, which has both our rules, counts since the circuit last closed: there is no
/// window. Its policy with a window in time never learns of a call, and cannot trip.
fn circuitbreaker_rs(wait: Duration) -> Box<dyn Subject> {
    let breaker = CircuitBreaker::<DefaultPolicy, Failed>::builder()
        .failure_threshold(RATE)
        .min_throughput(MIN_CALLS.into())
        .consecutive_failures(IN_A_ROW.into())
        .consecutive_successes(SUCCESSES.into())
        .probe_interval(SUCCESSES)
        .cooldown(wait)
        .build();
    Box::new(breaker)
}

impl Caller for CircuitBreaker<DefaultPolicy, Failed> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        finished(pin!(self.call_async(|| Partner.call(request)))).into()
    }
}

impl MaybeRefusal for BreakerError<Failed> {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Open)
    }
}
