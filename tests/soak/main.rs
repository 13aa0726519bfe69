//! Many threads, several layers, a partner that comes and goes, and operators that change their
//! minds, in real time.
//!
//! In the other tests the test decides which thread runs when; here it does not. At the end must
//! hold: every admitted call has ended, once, with the outcome it had; every call that reached the
//! partner was admitted; every refusal was counted; generations only grew; the layer serves again
//! as soon as it may; and no memory is kept that grows.
//!
//! Two seconds of it, and two of `looks`, are part of every run. A longer look is
//! `SOAK_SECONDS=600 cargo test --release --test soak`. It is a target of its own, because it
//! measures the memory of its process.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

use std::{
    env,
    fmt::Debug,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use test_support::{CAP, at_once, poll_once, resident, soon};
use tower::{Layer, Service, ServiceExt};
use tower_maintenance::{
    CacheBusts, CommandError, Error, Events, Exemption, Hold, MaintenanceHandle, MaintenanceLayer,
    Mode, Policy, Window,
};

mod looks;

/// Held by the test that runs: the others would take its cores, and add to the memory that it
/// measures.
static ALONE: Mutex<()> = Mutex::new(());

const LAYERS: usize = 3;
const THREADS: u64 = 8;

// ---- the partner --------------------------------------------------------------------------------

/// What the partner of one layer saw, and what its callers did.
#[derive(Debug, Default)]
struct Seen {
    broken: AtomicBool,
    reached: AtomicU64,
    answered_ok: AtomicU64,
    answered_err: AtomicU64,
    panicked: AtomicU64,
    refused: AtomicU64,
    exempt: AtomicU64,
    /// Calls that their callers dropped.
    given_up: AtomicU64,
    /// Calls that were admitted, but refused or dropped before the partner was ready for them.
    waited_in_vain: AtomicU64,
    /// Calls that reached the partner after a wait. Each was admitted once, or once more when the
    /// mode had changed meanwhile.
    waited: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[derive(Debug, Clone, Copy)]
struct Call {
    exempt: bool,
    /// How many polls are pending before there is an answer.
    pending: u32,
    panics: bool,
}

#[derive(Clone)]
struct Partner(Arc<Seen>);

struct Answer {
    seen: Arc<Seen>,
    call: Call,
}

impl Future for Answer {
    type Output = Result<(), Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.call.pending > 0 {
            self.call.pending -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.call.panics {
            if !self.call.exempt {
                add(&self.seen.panicked);
            }
            std::panic::resume_unwind(Box::new("the partner's client panics"));
        }
        let broken = self.seen.broken.load(Relaxed);
        let counter = match (self.call.exempt, broken) {
            // An exempt call passes unmeasured.
            (true, _) => return Poll::Ready(Ok(())),
            (false, true) => &self.seen.answered_err,
            (false, false) => &self.seen.answered_ok,
        };
        add(counter);
        Poll::Ready(if broken { Err(Failed) } else { Ok(()) })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the partner is broken")]
struct Failed;

impl Service<Call> for Partner {
    type Response = ();
    type Error = Failed;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Answer {
        if !call.exempt {
            add(&self.0.reached);
        }
        Answer {
            seen: self.0.clone(),
            call,
        }
    }
}

// ---- chance -------------------------------------------------------------------------------------

/// A generator of random numbers, one per thread. The seeds are the same in every run; the
/// interleaving is not.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's 64-bit linear congruential generator. Its high bits are good enough here.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

// ---- one layer under load -----------------------------------------------------------------------

/// A layer, its partner, and the counts of its callers.
struct Subject {
    layer: MaintenanceLayer,
    seen: Arc<Seen>,
}

fn policy(window: Window) -> Policy {
    let wait = Duration::from_millis(5);
    Policy::default()
        .with_window(window)
        .with_wait(wait)
        .with_wait_growing(1.5, wait * 3)
        .with_lease(Duration::from_millis(20))
        .with_hang_limit(Duration::from_millis(10))
        .with_probes(2)
}

impl Subject {
    fn new(number: usize) -> Self {
        let window = match number {
            0 => Window::calls(50),
            _ => Window::time(Duration::from_millis(200)),
        };
        let builder =
            MaintenanceLayer::builder(["zuora", "stripe", "adyen"][number]).policy(policy(window));
        #[cfg(feature = "coarse-clock")]
        let builder = match number {
            2 => builder.clock(tower_maintenance::CoarseClock::new()),
            _ => builder,
        };
        let subject = Self {
            layer: builder.build().unwrap(),
            seen: Arc::default(),
        };
        // A layer knows the names of calls from its first named view on.
        let _ = subject.service();
        let exempt = Exemption::call("invoice.read", "customers may always see what they owe");
        subject
            .handle()
            .replace_exemptions([exempt], "soak", "its calls have names")
            .unwrap();
        subject
    }

    fn handle(&self) -> MaintenanceHandle {
        self.layer.handle()
    }

    fn service(&self) -> impl Client + use<> {
        let layer = self.layer.named(Call::name);
        layer.layer(Partner(self.seen.clone()))
    }

    /// Calls until the layer serves again, as customers would.
    fn recovers(&self) {
        self.seen.broken.store(false, Relaxed);
        for undo in [
            MaintenanceHandle::end_bypass,
            MaintenanceHandle::arm,
            MaintenanceHandle::release,
        ] {
            let undone = undo(&self.handle(), "soak", "it is over");
            assert!(
                matches!(undone, Ok(_) | Err(CommandError::NotHeld)),
                "{undone:?}"
            );
        }
        let mut service = self.service();
        let within = thread::scope(|scope| {
            let (over, is_over) = mpsc::channel::<()>();
            let watch = scope.spawn(move || {
                is_over
                    .recv_timeout(CAP)
                    .is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout)
            });
            while self.handle().mode() != Mode::Serving && !watch.is_finished() {
                finish(&self.seen, begin(&mut service, Call::healthy()));
            }
            drop(over);
            !watch.join().unwrap()
        });
        assert!(within, "it does not come back: {}", self.handle().status());
    }

    fn assert_adds_up(&self) {
        let (seen, status) = (&self.seen, self.handle().status());
        let calls = status.calls;
        let context = format!("{status}\n{calls:#?}\n{seen:#?}");
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let ended = calls.succeeded + calls.failed + calls.neutral + calls.abandoned;
        assert_eq!(
            calls.admitted, ended,
            "every call has ended, once: {context}"
        );
        assert_eq!(calls.succeeded, count(&seen.answered_ok), "{context}");
        assert_eq!(calls.exempt, count(&seen.exempt), "{context}");
        assert_eq!(calls.refused, count(&seen.refused), "{context}");
        let begun = count(&seen.reached) + count(&seen.waited_in_vain);
        let again = begun + count(&seen.waited);
        assert!(
            (begun..=again).contains(&calls.admitted),
            "whatever reached the partner was admitted: {context}"
        );
        let at_least = count(&seen.answered_err) + count(&seen.panicked);
        let at_most = at_least + count(&seen.given_up);
        assert!((at_least..=at_most).contains(&calls.failed), "{context}");
    }
}

impl Call {
    fn healthy() -> Self {
        Self {
            exempt: false,
            pending: 0,
            panics: false,
        }
    }

    fn any(chance: &mut Chance) -> Self {
        Self {
            exempt: chance.one_in(16),
            pending: u32::try_from(chance.below(3)).unwrap(),
            panics: chance.one_in(200),
        }
    }

    fn name(&self) -> &str {
        if self.exempt {
            "invoice.read"
        } else {
            "card.charge"
        }
    }
}

/// A service and its future, whatever their types are.
trait Client:
    Service<Call, Response = (), Error = Error<Failed>, Future: Send + Debug + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Client for S where
    S: Service<Call, Response = (), Error = Error<Failed>, Future: Send + Debug + 'static>
        + Clone
        + Send
        + 'static
{
}

trait InFlight: Future<Output = Result<(), Error<Failed>>> + Send + Debug {
    /// The state of the future: what the layer decided so far.
    fn stands(&self) -> Stands {
        match format!("{self:?}").as_str() {
            "ResponseFuture(\"Running\")" => Stands::Running,
            "ResponseFuture(\"Waiting\")" => Stands::Waiting,
            "ResponseFuture(\"Refused\")" => Stands::Refused,
            other => panic!("{other}"),
        }
    }
}

impl<F> InFlight for F where F: Future<Output = Result<(), Error<Failed>>> + Send + Debug {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Running,
    Waiting,
    Refused,
}

struct Begun {
    call: Call,
    future: Pin<Box<dyn InFlight>>,
    stands: Stands,
}

fn begin(service: &mut impl Client, call: Call) -> Begun {
    assert!(matches!(at_once(service.ready()), Some(Ok(_))));
    // Between `poll_ready` and `call` the gate may shut or open.
    thread::yield_now();
    let future = Box::pin(service.call(call));
    let stands = future.stands();
    Begun {
        call,
        future,
        stands,
    }
}

fn finish(seen: &Seen, begun: Begun) {
    let Begun {
        call,
        mut future,
        stands,
    } = begun;
    let ended = loop {
        match catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut()))) {
            Ok(None) => {}
            Ok(Some(result)) => break Some(result),
            Err(_panic) => break None,
        }
    };
    let refused = matches!(ended, Some(Err(Error::Refused(_))));
    assert!(!(refused && call.exempt), "what is exempt passes");
    assert!(
        !(refused && stands == Stands::Running),
        "what has begun is not refused"
    );
    assert!(
        refused || stands != Stands::Refused,
        "what is refused is not called"
    );
    if refused {
        add(&seen.refused);
    }
    if refused && stands == Stands::Waiting {
        add(&seen.waited_in_vain);
    }
    if !refused && stands == Stands::Waiting {
        add(&seen.waited);
    }
    if call.exempt {
        add(&seen.exempt);
    }
}

/// Drops the future, polled before or not.
fn give_up(seen: &Seen, begun: Begun, polled: bool) {
    let Begun {
        call,
        mut future,
        mut stands,
    } = begun;
    if polled {
        // A call that would panic, or is answered at once, cannot be given up.
        if call.pending == 0 || stands == Stands::Refused {
            return finish(
                seen,
                Begun {
                    call,
                    future,
                    stands,
                },
            );
        }
        match poll_once(future.as_mut()) {
            None => {
                if stands == Stands::Waiting {
                    add(&seen.waited);
                }
                stands = future.stands();
            }
            Some(Err(Error::Refused(_))) => {
                assert_eq!(stands, Stands::Waiting);
                add(&seen.refused);
                add(&seen.waited_in_vain);
                return;
            }
            Some(answer) => panic!("its partner is not that quick: {answer:?}"),
        }
    }
    drop(future);
    match stands {
        _ if call.exempt => return add(&seen.exempt),
        Stands::Refused => return add(&seen.refused),
        Stands::Waiting => add(&seen.waited_in_vain),
        Stands::Running => {}
    }
    add(&seen.given_up);
}

// ---- threads ------------------------------------------------------------------------------------

/// Calls through all layers in turn, as a worker thread of a runtime does.
fn customers(
    subjects: &[Subject],
    elsewhere: &mpsc::SyncSender<(usize, Begun)>,
    chance: &mut Chance,
    over: &AtomicBool,
) {
    let mut services: Vec<_> = subjects.iter().map(Subject::service).collect();
    for _ in 0..chance.below(20_000) {
        if over.load(Acquire) {
            return;
        }
        let at = usize::try_from(chance.below(LAYERS as u64)).unwrap();
        if chance.one_in(8) {
            services[at] = services[at].clone();
        }
        let (seen, begun) = (
            &subjects[at].seen,
            begin(&mut services[at], Call::any(chance)),
        );
        match chance.below(16) {
            0 => give_up(seen, begun, false),
            1 => give_up(seen, begun, true),
            // The call ends on another thread than it began on.
            2 => match elsewhere.try_send((at, begun)) {
                Ok(()) => {}
                Err(
                    mpsc::TrySendError::Full((_, begun))
                    | mpsc::TrySendError::Disconnected((_, begun)),
                ) => {
                    finish(seen, begun);
                }
            },
            _ => finish(seen, begun),
        }
    }
}

/// Issues a random command once a millisecond.
fn operators(subjects: &[Subject], chance: &mut Chance, over: &AtomicBool) {
    let (who, why) = ("soak", "to see what happens");
    while !over.load(Acquire) {
        thread::park_timeout(Duration::from_millis(1));
        let subject = &subjects[usize::try_from(chance.below(LAYERS as u64)).unwrap()];
        if chance.one_in(16) {
            subject.seen.broken.fetch_xor(true, Relaxed);
        }
        let handle = subject.handle();
        let hold = || Hold::new(who, why).for_at_most(Duration::from_millis(5));
        let said = match chance.below(40) {
            0 => handle.engage(hold()),
            1 => handle.engage(hold().read_only()),
            2 => handle.engage(Hold::new(who, why)),
            3..6 => handle.release(who, why),
            6 => handle.release_verified(who, why),
            7 => handle.trip(who, why),
            8 => handle.probe_now(who, why),
            9 => handle.clear(who, why),
            10 => handle.reset(who, why),
            11 => handle.dry_run(who, why),
            12..15 => handle.arm(who, why),
            15 => handle.bypass(who, why),
            16..19 => handle.end_bypass(who, why),
            19 => handle.replace_policy(
                &policy(Window::time(Duration::from_millis(50 + chance.below(200)))),
                who,
                why,
            ),
            _ => continue,
        };
        // Some commands do not fit the mode, and are errors.
        let _ = said;
    }
}

/// Asserts that signals and events come in order.
fn listeners(mut heard: Vec<(CacheBusts, Events)>, over: &AtomicBool) -> u64 {
    let mut last = vec![(0, 0); heard.len()];
    let mut signals = 0;
    while !over.load(Acquire) {
        thread::park_timeout(Duration::from_millis(1));
        for ((busts, events), (generation, number)) in heard.iter_mut().zip(&mut last) {
            while let Some(bust) = busts.try_recv() {
                assert!(bust.generation > *generation, "{bust:?} after {generation}");
                *generation = bust.generation;
                signals += 1;
            }
            while let Some(event) = events.try_recv() {
                assert!(event.number > *number, "{event:?} after {number}");
                *number = event.number;
            }
        }
    }
    signals
}

fn length() -> Duration {
    match env::var("SOAK_SECONDS") {
        Ok(seconds) => Duration::from_secs(
            seconds
                .parse()
                .expect("SOAK_SECONDS is a number of seconds"),
        ),
        Err(_) => Duration::from_secs(2),
    }
}

/// Runs customers in one thread after the other until the end, so that the next threads get the
/// numbers of those that ended.
fn customers_in_turn(
    seed: u64,
    subjects: &[Subject],
    elsewhere: &mpsc::SyncSender<(usize, Begun)>,
    over: &AtomicBool,
) {
    let mut chance = Chance(seed);
    while !over.load(Acquire) {
        thread::scope(|scope| {
            scope.spawn(|| customers(subjects, elsewhere, &mut chance, over));
        });
    }
}

#[test]
fn whatever_happens_every_call_ends_once_and_the_layer_comes_back() {
    let _alone = ALONE.lock();
    let subjects: Vec<_> = (0..LAYERS).map(Subject::new).collect();
    let over = AtomicBool::new(false);
    let (elsewhere, from_elsewhere) = mpsc::sync_channel::<(usize, Begun)>(64);
    let warm = Mutex::new(None);

    let signals = thread::scope(|scope| {
        let (subjects, over, warm) = (&subjects[..], &over, &warm);
        for seed in 0..THREADS {
            let elsewhere = elsewhere.clone();
            scope.spawn(move || customers_in_turn(seed, subjects, &elsewhere, over));
        }
        drop(elsewhere);
        scope.spawn(move || {
            for (at, begun) in from_elsewhere {
                finish(&subjects[at].seen, begun);
            }
        });
        scope.spawn(move || operators(subjects, &mut Chance(4711), over));
        let heard = subjects
            .iter()
            .map(|subject| (subject.handle().cache_bust(), subject.handle().events()));
        let heard = heard.collect();
        let listening = scope.spawn(move || listeners(heard, over));
        scope.spawn(move || {
            let (_never_used, told) = mpsc::channel::<()>();
            // After half of the time everything that is kept has been allocated.
            let _ = told.recv_timeout(length() / 2);
            *warm.lock().unwrap() = resident();
            let _ = told.recv_timeout(length() / 2);
            over.store(true, Release);
        });
        listening.join().unwrap()
    });

    if let (Some(warm), Some(now)) = (*warm.lock().unwrap(), resident()) {
        let grown = now.saturating_sub(warm);
        assert!(
            grown < 16 << 20,
            "{grown} more bytes are resident than after half of the time: {warm}"
        );
    }
    let mut heard: Vec<_> = subjects
        .iter()
        .map(|subject| subject.handle().cache_bust())
        .collect();
    let (mut refused, mut succeeded) = (0, 0);
    for subject in &subjects {
        subject.recovers();
        subject.assert_adds_up();
        let calls = subject.handle().status().calls;
        refused += calls.refused;
        succeeded += calls.succeeded;
    }
    println!("{succeeded} calls succeeded, {refused} were refused, {signals} signals");
    assert!(
        refused > 0 && succeeded > 0 && signals > 0,
        "nothing has happened"
    );

    // No reference is left to the partners or to the layers.
    let kept: Vec<_> = subjects
        .iter()
        .map(|subject| subject.seen.clone())
        .collect();
    drop(subjects);
    assert!(kept.iter().all(|seen| Arc::strong_count(seen) == 1));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().unwrap().block_on(async {
        for busts in &mut heard {
            // A receiver ends with its layer, unless something keeps the layer alive.
            soon(async { while busts.recv().await.is_some() {} }).await;
        }
    });
}
