//! What the tests of the core share: a scripted partner, both placements, and listeners.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

pub(crate) use test_support::{at_once, millis, poll_once, secs};
use tokio::{sync::oneshot, time::advance};
use tower::{Layer, Service, ServiceExt};
use tower_maintenance::{
    Builder, Calls, Endpoint, Error, Event, EventKind, Events, Hold, Judge, Maintenance,
    MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Placement, Policy, Protocol, Refused,
    Ticket, Verdict,
};
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

pub(crate) const NANO: Duration = Duration::from_nanos(1);

pub(crate) fn drill() -> Hold {
    Hold::new("on-call", "drill")
}

/// The wall clock's reading `elapsed` after a layer of [`builder`] was built.
pub(crate) fn wall(elapsed: Duration) -> SystemTime {
    UNIX_EPOCH + secs(1_700_000_000) + elapsed
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Tests in which the partner panics go on afterwards.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- the partner --------------------------------------------------------------------------------

/// A call to the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) operation: &'static str,
    pub(crate) may_probe: bool,
    pub(crate) cents: u32,
}

/// A call that may be repeated at will.
pub(crate) fn read() -> Request {
    Request {
        operation: "price.read",
        may_probe: true,
        cents: 7,
    }
}

/// A call that must not be used as a probe.
pub(crate) fn charge() -> Request {
    Request {
        operation: "card.charge",
        may_probe: false,
        cents: 4200,
    }
}

/// The call that the tests exempt.
pub(crate) fn invoice() -> Request {
    Request {
        operation: "invoice.read",
        may_probe: true,
        cents: 11,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the partner is down")]
    Down,
    #[error("our own fault")]
    OurFault,
    #[error("the call was never sent")]
    NeverSent,
    #[error("the partner answered {0} and asked to be left alone for {1:?}")]
    Busy(u16, Duration),
    #[error("the partner was not ready")]
    Unready,
    #[error("this cannot be judged")]
    Unjudgeable,
}

/// How the partner answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Ok,
    /// Fails with [`Failed::Down`]: a failure.
    Down,
    /// Fails with [`Failed::OurFault`]: neutral.
    OurFault,
    /// Fails with [`Failed::NeverSent`]: an error of ours.
    NeverSent,
    /// Asks to be left alone: neutral with 401 and 429, a failure with any other code.
    Busy(u16, Duration),
    /// Fails with what makes the judge panic.
    Unjudgeable,
    Hang,
    PanicInCall,
    PanicInFuture,
}

/// How the partner answers `poll_ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    NotYet,
    Fails,
    Panics,
}

/// A partner that does as it is told, and panics if tower's contract is broken: an instance must be
/// polled ready before each call, and a clone starts un-ready.
pub(crate) struct Partner {
    shared: Arc<Shared>,
    instance: u32,
    polled_ready: bool,
}

struct Shared {
    state: Mutex<State>,
    instances: AtomicU32,
}

struct State {
    says: Say,
    script: VecDeque<Next>,
    ready: Ready,
    waiting: Vec<Waker>,
    polled: u32,
    reached: Vec<(Request, u32)>,
}

enum Next {
    Say(Say),
    WhenTold(oneshot::Receiver<Say>),
}

/// Answers one call, when the test says so.
#[derive(Debug)]
pub(crate) struct Answer(oneshot::Sender<Say>);

impl Answer {
    pub(crate) fn say(self, say: Say) {
        // The caller may have given the call up.
        let _ = self.0.send(say);
    }
}

impl Partner {
    pub(crate) fn new() -> Self {
        let state = State {
            says: Say::Ok,
            script: VecDeque::new(),
            ready: Ready::Yes,
            waiting: Vec::new(),
            polled: 0,
            reached: Vec::new(),
        };
        let shared = Shared {
            state: Mutex::new(state),
            instances: AtomicU32::new(1),
        };
        Self {
            shared: Arc::new(shared),
            instance: 0,
            polled_ready: false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Sets how calls are answered from now on, unless the script says otherwise.
    pub(crate) fn says(&self, say: Say) {
        self.state().says = say;
    }

    /// Sets how the next calls are answered.
    pub(crate) fn next_says(&self, says: impl IntoIterator<Item = Say>) {
        self.state().script.extend(says.into_iter().map(Next::Say));
    }

    /// Lets the next call be answered when the test says so.
    pub(crate) fn next_waits(&self) -> Answer {
        let (answer, told) = oneshot::channel();
        self.state().script.push_back(Next::WhenTold(told));
        Answer(answer)
    }

    pub(crate) fn becomes(&self, ready: Ready) {
        let waiting = {
            let mut state = self.state();
            state.ready = ready;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The calls that reached the partner.
    pub(crate) fn reached(&self) -> Vec<Request> {
        let state = self.state();
        state.reached.iter().map(|(request, _)| *request).collect()
    }

    /// The instances that took the calls.
    pub(crate) fn called_instances(&self) -> Vec<u32> {
        let state = self.state();
        state
            .reached
            .iter()
            .map(|(_, instance)| *instance)
            .collect()
    }

    /// How often the partner was polled for readiness.
    pub(crate) fn polled(&self) -> u32 {
        self.state().polled
    }

    pub(crate) fn instance(&self) -> u32 {
        self.instance
    }
}

impl Clone for Partner {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            instance: self.shared.instances.fetch_add(1, Ordering::Relaxed),
            polled_ready: false,
        }
    }
}

impl fmt::Debug for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partner")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<u32, Failed>> + Send>>;

impl Service<Request> for Partner {
    type Response = u32;
    type Error = Failed;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let ready = {
            let mut state = self.state();
            state.polled += 1;
            if state.ready == Ready::NotYet {
                state.waiting.push(cx.waker().clone());
            }
            state.ready
        };
        match ready {
            Ready::Yes => {
                self.polled_ready = true;
                Poll::Ready(Ok(()))
            }
            Ready::NotYet => Poll::Pending,
            Ready::Fails => Poll::Ready(Err(Failed::Unready)),
            Ready::Panics => panic!("the partner panics in poll_ready"),
        }
    }

    fn call(&mut self, request: Request) -> Answering {
        assert!(
            std::mem::take(&mut self.polled_ready),
            "instance {} was called without being polled ready",
            self.instance
        );
        let next = {
            let mut state = self.state();
            state.reached.push((request, self.instance));
            let says = state.says;
            state.script.pop_front().unwrap_or(Next::Say(says))
        };
        assert!(
            !matches!(next, Next::Say(Say::PanicInCall)),
            "the partner panics in call"
        );
        Box::pin(async move {
            let say = match next {
                Next::Say(say) => say,
                Next::WhenTold(told) => told.await.expect("the test answers"),
            };
            match say {
                Say::Ok => Ok(request.cents),
                Say::Down => Err(Failed::Down),
                Say::OurFault => Err(Failed::OurFault),
                Say::NeverSent => Err(Failed::NeverSent),
                Say::Busy(code, span) => Err(Failed::Busy(code, span)),
                Say::Unjudgeable => Err(Failed::Unjudgeable),
                Say::Hang => std::future::pending().await,
                Say::PanicInCall | Say::PanicInFuture => panic!("the partner panics"),
            }
        })
    }
}

// ---- around the calls ---------------------------------------------------------------------------

/// Judges the calls to the partner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Billing;

impl Judge<Request, u32, Failed> for Billing {
    fn name<'r>(&self, request: &'r Request) -> Option<&'r str> {
        Some(request.operation)
    }

    fn may_probe(&self, request: &Request) -> bool {
        request.may_probe
    }

    fn verdict(&self, result: Result<&u32, &Failed>) -> Verdict {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(Failed::Down | Failed::Unready) => Outcome::Failure.into(),
            Err(Failed::OurFault) => Outcome::Neutral.into(),
            Err(Failed::NeverSent) => Verdict::ours(),
            Err(Failed::Busy(code, span)) => {
                let outcome = if matches!(*code, 401 | 429) {
                    Outcome::Neutral
                } else {
                    Outcome::Failure
                };
                Verdict::from(outcome)
                    .with_code(*code)
                    .with_retry_after(*span)
            }
            Err(Failed::Unjudgeable) => panic!("the judge panics"),
        }
    }
}

/// The default policy without jitter: it trips at 5 failures in a row, waits 30 s, and needs 3
/// successes.
pub(crate) fn policy() -> Policy {
    Policy::default().with_jitter(0.0)
}

pub(crate) fn builder(policy: Policy) -> Builder {
    MaintenanceLayer::builder("zuora")
        .policy(policy)
        .wall_clock(wall(Duration::ZERO))
}

pub(crate) type Wrapped = Maintenance<Partner, Calls<Billing>>;
pub(crate) type Called = Result<u32, Error<Failed>>;

/// A layer around a partner.
pub(crate) struct Rig {
    pub(crate) layer: MaintenanceLayer<Calls<Billing>>,
    pub(crate) handle: MaintenanceHandle,
    pub(crate) partner: Partner,
    pub(crate) service: Wrapped,
}

impl Rig {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::built(builder(policy))
    }

    pub(crate) fn built(builder: Builder) -> Self {
        let layer = builder.build().unwrap().judged(Billing);
        let partner = Partner::new();
        Self {
            handle: layer.handle(),
            service: layer.layer(partner.clone()),
            layer,
            partner,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.handle.mode()
    }

    pub(crate) async fn call(&self, request: Request) -> Called {
        self.service.clone().oneshot(request).await
    }

    /// A call that has begun, and has not ended.
    pub(crate) fn begin(&self, request: Request) -> InFlight<Called> {
        InFlight::begin(self.service.clone().oneshot(request))
    }

    /// `n` calls that the partner answers so. None may be refused.
    pub(crate) async fn calls(&self, n: u32, say: Say) {
        for _ in 0..n {
            self.partner.next_says([say]);
            let called = self.call(read()).await;
            assert!(!is_refused(&called), "refused: {}", self.handle.status());
        }
    }

    /// Trips by the rule of consecutive failures.
    pub(crate) async fn trip(&self) {
        self.calls(5, Say::Down).await;
        assert_eq!(self.mode(), Mode::Maintenance);
    }

    /// Trips, and lets the wait pass. Returns the wait.
    pub(crate) async fn trip_and_wait(&self) -> Duration {
        self.trip().await;
        self.wait_out().await
    }

    /// Lets the running wait pass. Returns what was left of it.
    pub(crate) async fn wait_out(&self) -> Duration {
        let left = self.left();
        advance(left).await;
        assert_eq!(self.mode(), Mode::Probing);
        left
    }

    /// What is left of the running wait.
    pub(crate) fn left(&self) -> Duration {
        self.handle
            .status()
            .retry_after
            .expect("something has a known end")
    }

    /// Lets three probes succeed.
    pub(crate) async fn prove(&self) {
        self.calls(3, Say::Ok).await;
        assert_eq!(self.mode(), Mode::Serving);
    }

    /// How many calls the window counts at this moment.
    pub(crate) fn total(&self) -> u64 {
        self.handle.status().window.total
    }

    pub(crate) fn failed(&self) -> u64 {
        self.handle.status().window.failed
    }
}

pub(crate) fn is_refused<T, E>(called: &Result<T, Error<E>>) -> bool {
    matches!(called, Err(Error::Refused(_)))
}

/// A future that has begun.
pub(crate) struct InFlight<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> InFlight<T> {
    pub(crate) fn begin(future: impl Future<Output = T> + Send + 'static) -> Self {
        let mut begun = Self {
            future: Box::pin(future),
        };
        assert!(begun.poll().is_none(), "it ended at once");
        begun
    }

    pub(crate) fn poll(&mut self) -> Option<T> {
        poll_once(self.future.as_mut())
    }

    pub(crate) fn poll_with(&mut self, waker: &Waker) -> Option<T> {
        match self.future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// The output of the future, which must have ended by now.
    pub(crate) fn ended(mut self) -> T {
        self.poll().expect("it has ended")
    }
}

/// Returns whether `f` panics, by itself or in the drop of something it owns.
pub(crate) fn panics<T>(f: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

/// A waker that counts how often it is woken, and does something each time.
pub(crate) struct OnWake<F> {
    woken: AtomicUsize,
    then: F,
}

impl OnWake<fn()> {
    pub(crate) fn counts() -> Arc<Self> {
        Self::does(|| {})
    }
}

impl<F: Fn() + Send + Sync + 'static> OnWake<F> {
    pub(crate) fn does(then: F) -> Arc<Self> {
        Arc::new(Self {
            woken: AtomicUsize::new(0),
            then,
        })
    }

    pub(crate) fn woken(&self) -> usize {
        self.woken.load(Ordering::SeqCst)
    }
}

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        (self.then)();
    }
}

// ---- before the routes --------------------------------------------------------------------------

/// The page that a customer is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Page {
    Paid(u32),
    /// The partner failed.
    Sorry,
    /// Refused by the layer around the calls.
    NotNow,
    /// Refused by the gate before the routes.
    Maintenance(Refused),
}

/// A protocol of the user's own: before routes, where a refusal is a page and no call fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routes;

impl Protocol<Request, Page, Infallible> for Routes {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Page;
    type Error = Infallible;

    fn endpoint<'r>(&self, request: &'r Request) -> Endpoint<'r> {
        Endpoint::named(request.operation, request.may_probe)
    }

    fn finish(&self, ticket: Ticket, result: Result<Page, Infallible>) -> Result<Page, Infallible> {
        assert!(!ticket.is_measured(), "nothing is measured before routes");
        ticket.settle(Outcome::Failure);
        result
    }

    fn refuse(&self, _: Request, refused: Refused) -> Result<Page, Infallible> {
        Ok(Page::Maintenance(refused))
    }

    fn unready(&self, error: Infallible) -> Infallible {
        error
    }
}

impl Rig {
    /// A request to our own routes, which call the partner with it.
    pub(crate) async fn visit(&self, request: Request) -> Page {
        let around = self.service.clone();
        let routes = tower::service_fn(move |request| {
            let around = around.clone();
            async move {
                Ok::<_, Infallible>(match around.oneshot(request).await {
                    Ok(cents) => Page::Paid(cents),
                    Err(Error::Refused(_)) => Page::NotNow,
                    Err(_) => Page::Sorry,
                })
            }
        });
        let gated = self.layer.with_protocol(Routes).layer(routes);
        match gated.oneshot(request).await {
            Ok(page) => page,
            Err(never) => match never {},
        }
    }
}

// ---- streamed answers ---------------------------------------------------------------------------

/// A protocol of the user's own: around calls, where the answer goes on after its headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streaming;

/// An answer that is still streaming: it carries the ticket.
#[derive(Debug)]
pub(crate) struct Body(Ticket);

impl Body {
    pub(crate) fn frame(&mut self) {
        self.0.progress();
    }

    /// The reader asks for the next frame, and it is not there.
    pub(crate) fn asks(&mut self) {
        let polled = self.0.while_polling(|| Poll::<()>::Pending);
        assert!(polled.is_pending());
    }

    pub(crate) fn frame_that_panics(&mut self) {
        let _never = self
            .0
            .while_polling(|| -> Poll<()> { panic!("the body panics") });
    }

    pub(crate) fn end(self) {
        self.0.settle(Outcome::Success);
    }
}

impl Protocol<Request, u32, Failed> for Streaming {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Body;
    type Error = Error<Failed>;

    fn endpoint<'r>(&self, request: &'r Request) -> Endpoint<'r> {
        Endpoint::named(request.operation, request.may_probe)
    }

    fn finish(
        &self,
        mut ticket: Ticket,
        result: Result<u32, Failed>,
    ) -> Result<Body, Error<Failed>> {
        match result {
            Ok(_) => {
                ticket.progress();
                Ok(Body(ticket))
            }
            Err(failed) => {
                ticket.settle(Outcome::Failure);
                Err(Error::Inner(failed))
            }
        }
    }

    fn refuse(&self, _: Request, refused: Refused) -> Result<Body, Error<Failed>> {
        Err(Error::Refused(refused))
    }

    fn unready(&self, failed: Failed) -> Error<Failed> {
        Error::Inner(failed)
    }
}

impl Rig {
    /// A call whose answer is a stream.
    pub(crate) async fn stream(&self) -> Body {
        let service = self
            .layer
            .with_protocol(Streaming)
            .layer(self.partner.clone());
        service.oneshot(read()).await.unwrap()
    }
}

// ---- listeners ----------------------------------------------------------------------------------

/// All events that have happened and were not read yet.
pub(crate) fn drain(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv()).collect()
}

/// The modes that were entered, and how long after the start.
pub(crate) fn modes(events: &[Event]) -> Vec<(Duration, Mode)> {
    let mode = |event: &Event| match event.kind {
        EventKind::ModeChanged { to, .. } => Some((since_start(event), to)),
        _ => None,
    };
    events.iter().filter_map(mode).collect()
}

pub(crate) fn since_start(event: &Event) -> Duration {
    event.at.duration_since(wall(Duration::ZERO)).unwrap()
}

/// The waits of the trips among these events.
pub(crate) fn waits(events: &[Event]) -> Vec<Duration> {
    let wait = |event: &Event| match event.kind {
        EventKind::Tripped { wait, .. } => Some(wait),
        _ => None,
    };
    events.iter().filter_map(wait).collect()
}

/// A tracing subscriber that keeps the events of this thread, and does something at each.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    then: Arc<dyn Fn() + Send + Sync>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::that(|| {})
    }

    pub(crate) fn that(then: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            lines: Arc::default(),
            then: Arc::new(then),
        }
    }

    /// Listens in this thread as long as the guard lives.
    pub(crate) fn listen(&self) -> Listening {
        // One subscriber for the whole process, set once. With one per test, tracing rebuilds its
        // cache of interests while other threads ask it, and now and then an event is lost.
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            tracing::subscriber::set_global_default(ToThisThread).expect("no other test sets one");
        });
        LISTENING.with_borrow_mut(|logs| logs.push(self.clone()));
        Listening
    }

    /// The lines that contain all of these words.
    pub(crate) fn lines(&self, level: Level, words: &[&str]) -> Vec<String> {
        let fits = |(at, line): &&(Level, String)| {
            *at == level && words.iter().all(|word| line.contains(word))
        };
        let lines = lock(&self.lines);
        lines
            .iter()
            .filter(fits)
            .map(|(_, line)| line.clone())
            .collect()
    }
}

thread_local! {
    /// The logs that listen in this thread.
    static LISTENING: std::cell::RefCell<Vec<Log>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Ends the listening of the log that began last.
#[derive(Debug)]
pub(crate) struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.with_borrow_mut(Vec::pop);
    }
}

/// Hands events to the logs of the thread in which they happen.
struct ToThisThread;

impl Subscriber for ToThisThread {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        if !event.metadata().target().starts_with("tower_maintenance") {
            return;
        }
        // A clone, because a log may cause events in turn.
        let logs = LISTENING.with_borrow(Vec::clone);
        for log in logs {
            let mut line = Line(String::new());
            event.record(&mut line);
            lock(&log.lines).push((*event.metadata().level(), line.0));
            (log.then)();
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
