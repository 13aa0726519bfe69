//! Random interleavings of calls, drops, panics, commands and time, through the public API.
//!
//! The rules that must hold in any order: R1 and R2 (which calls reach the partner), R3 and R4 (a
//! refusal is immediate, a parked caller is woken when the gate shuts, and a refused call keeps no
//! readiness), R5 to R7 (every admitted call ends once, with the outcome it had), R12 and R13
//! (slots), R11 and R16 to R18 (time, and one signal). How the modes follow each other is checked
//! by the machine's own model, in `src/machine/tests/`.
//!
//! `PROPTEST_CASES=20000 cargo test --release --test rules interleavings::` looks deeper.

use std::{
    cell::{Cell, RefCell},
    fmt::Debug,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestCaseError},
};
use test_support::{now, secs};
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_maintenance::{
    CacheBust, CacheBusts, Calls, Endpoint, Error, Event, EventKind, Events, Exemption, Hold,
    Judge, Maintenance, MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Placement, Policy,
    Protocol, Rate, Refused, Status, Ticket, Verdict, Window,
};

type Checked = Result<(), TestCaseError>;

// ---- the partner --------------------------------------------------------------------------------

/// What a customer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// May probe.
    Read,
    /// May not.
    Charge,
    /// Exempt around calls.
    Exempt,
    /// Exempt around calls, and counted.
    Counted,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "price.read",
            Self::Charge => "card.charge",
            Self::Exempt => "invoice.read",
            Self::Counted => "invoice.list",
        }
    }

    fn may_probe(self) -> bool {
        self == Self::Read
    }

    fn is_exempt(self) -> bool {
        matches!(self, Self::Exempt | Self::Counted)
    }
}

/// How the partner answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ok,
    Down,
    /// Neutral.
    OurFault,
    /// Asks to be left alone: neutral with 429, else a failure.
    Busy(u16, u64),
    /// The judge panics at it.
    Unjudgeable,
    Panic,
}

impl Answer {
    fn verdict(self) -> Verdict {
        match self {
            Self::Ok => Outcome::Success.into(),
            Self::OurFault => Outcome::Neutral.into(),
            Self::Busy(code, span) => {
                let outcome = if code == 429 {
                    Outcome::Neutral
                } else {
                    Outcome::Failure
                };
                let verdict = Verdict::from(outcome).with_code(code);
                verdict.with_retry_after(secs(span))
            }
            Self::Down => Outcome::Failure.into(),
            Self::Unjudgeable | Self::Panic => resume_unwind(Box::new(Planned::Judge)),
        }
    }

    /// The counter that a measured call with this answer ends in.
    fn ends_as(self) -> fn(&mut Ended) -> &mut u64 {
        match self {
            Self::Ok => |ended| &mut ended.succeeded,
            Self::Down | Self::Panic | Self::Busy(500..=599, _) => |ended| &mut ended.failed,
            Self::OurFault | Self::Unjudgeable | Self::Busy(..) => |ended| &mut ended.neutral,
        }
    }
}

/// A panic of the script; any other is a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planned {
    Partner,
    Judge,
}

/// The partner's side of one call.
#[derive(Debug, Default)]
struct Line {
    reached: Cell<bool>,
    answer: Cell<Option<Answer>>,
    waker: RefCell<Option<Waker>>,
}

impl Line {
    fn say(&self, answer: Answer) {
        self.answer.set(Some(answer));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[derive(Debug, Clone)]
struct Request {
    kind: Kind,
    view: View,
    line: Rc<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    Said(Answer),
    Unready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ready {
    Yes,
    NotYet,
    Fails,
    Panics,
}

/// What all instances of the partner share.
struct Site {
    handle: MaintenanceHandle,
    ready: Cell<Ready>,
    waiting: RefCell<Vec<Waker>>,
    panics_in_call: Cell<bool>,
    /// Instances that said they are ready and were not called yet.
    permits: Cell<usize>,
    wrong: RefCell<Vec<String>>,
}

impl Site {
    fn become_ready(&self, ready: Ready) {
        self.ready.set(ready);
        if ready != Ready::NotYet {
            for waker in self.waiting.take() {
                waker.wake();
            }
        }
    }

    /// Notes a call that must not have reached the partner (R1, R2, R13).
    fn visit(&self, request: &Request) {
        if request.kind.is_exempt() && request.view.is_around_calls() {
            return;
        }
        let status = self.handle.status();
        let trials = status.probing.is_some_and(|p| p.ramp_share.is_none());
        if status.mode == Mode::Maintenance {
            self.blame(format!("{request:?} in maintenance"));
        } else if trials && !request.kind.may_probe() {
            self.blame(format!("{request:?} as a probe"));
        }
    }

    fn blame(&self, what: String) {
        self.wrong.borrow_mut().push(what);
    }
}

struct Partner {
    site: Rc<Site>,
    permit: bool,
}

impl Partner {
    fn take_permit(&mut self) -> bool {
        let had = std::mem::take(&mut self.permit);
        self.site
            .permits
            .set(self.site.permits.get() - usize::from(had));
        had
    }
}

impl Clone for Partner {
    fn clone(&self) -> Self {
        Self {
            site: self.site.clone(),
            permit: false,
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.take_permit();
    }
}

impl Service<Request> for Partner {
    type Response = Answer;
    type Error = Failed;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        match self.site.ready.get() {
            // An instance that was ready stays ready until it is called.
            _ if self.permit => Poll::Ready(Ok(())),
            Ready::Yes => {
                self.site.permits.set(self.site.permits.get() + 1);
                self.permit = true;
                Poll::Ready(Ok(()))
            }
            Ready::NotYet => {
                self.site.waiting.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            }
            Ready::Fails => Poll::Ready(Err(Failed::Unready)),
            Ready::Panics => resume_unwind(Box::new(Planned::Partner)),
        }
    }

    fn call(&mut self, request: Request) -> Answering {
        if !self.take_permit() {
            self.site
                .blame(format!("{request:?} on an instance that was not ready"));
        }
        self.site.visit(&request);
        request.line.reached.set(true);
        if self.site.panics_in_call.get() {
            resume_unwind(Box::new(Planned::Partner));
        }
        Answering(request.line)
    }
}

#[derive(Debug)]
struct Answering(Rc<Line>);

impl Future for Answering {
    type Output = Result<Answer, Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.answer.take() {
            None => {
                self.0.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            Some(Answer::Panic) => resume_unwind(Box::new(Planned::Partner)),
            Some(answer @ (Answer::Ok | Answer::Unjudgeable)) => Poll::Ready(Ok(answer)),
            Some(answer) => Poll::Ready(Err(Failed::Said(answer))),
        }
    }
}

// ---- the views ----------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Around calls, judged by [`Billing`].
    Judged,
    /// Around calls; a success is a body that goes on streaming.
    Streaming,
    /// Before routes.
    Routes,
    /// Before routes, and around the calls behind them.
    Stacked,
}

impl View {
    fn is_around_calls(self) -> bool {
        matches!(self, Self::Judged | Self::Streaming)
    }

    fn measures(self) -> bool {
        self != Self::Routes
    }
}

#[derive(Debug, Clone, Copy)]
struct Billing;

fn said(result: Result<&Answer, &Failed>) -> Verdict {
    match result {
        Ok(answer) | Err(Failed::Said(answer)) => answer.verdict(),
        Err(Failed::Unready) => Outcome::Failure.into(),
    }
}

impl Judge<Request, Answer, Failed> for Billing {
    fn name<'r>(&self, request: &'r Request) -> Option<&'r str> {
        Some(request.kind.name())
    }

    fn may_probe(&self, request: &Request) -> bool {
        request.kind.may_probe()
    }

    fn verdict(&self, result: Result<&Answer, &Failed>) -> Verdict {
        said(result)
    }
}

/// Around calls; the ticket of a success moves into the response.
#[derive(Debug, Clone, Copy)]
struct Streams;

impl Protocol<Request, Answer, Failed> for Streams {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Ticket;
    type Error = Error<Failed>;

    fn endpoint<'r>(&self, request: &'r Request) -> Endpoint<'r> {
        Endpoint::named(request.kind.name(), request.kind.may_probe())
    }

    fn finish(
        &self,
        mut ticket: Ticket,
        result: Result<Answer, Failed>,
    ) -> Result<Ticket, Error<Failed>> {
        match result {
            Ok(Answer::Ok) => {
                ticket.progress();
                Ok(ticket)
            }
            result => {
                if ticket.is_measured() {
                    ticket.settle(said(result.as_ref()));
                }
                Err(match result {
                    Ok(answer) => Error::Inner(Failed::Said(answer)),
                    Err(failed) => Error::Inner(failed),
                })
            }
        }
    }

    fn refuse(&self, _: Request, refused: Refused) -> Result<Ticket, Error<Failed>> {
        Err(Error::Refused(refused))
    }

    fn unready(&self, error: Failed) -> Error<Failed> {
        Error::Inner(error)
    }
}

/// Before routes: a refusal is a response.
#[derive(Debug, Clone, Copy)]
struct Routes;

#[derive(Debug)]
enum Reply<T> {
    Refused,
    Route(T),
}

impl<T, E> Protocol<Request, T, E> for Routes {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Reply<T>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request) -> Endpoint<'r> {
        Endpoint::named(request.kind.name(), request.kind.may_probe())
    }

    fn finish(&self, ticket: Ticket, result: Result<T, E>) -> Result<Reply<T>, E> {
        assert!(!ticket.is_measured(), "nothing is measured before routes");
        result.map(Reply::Route)
    }

    fn refuse(&self, _: Request, _: Refused) -> Result<Reply<T>, E> {
        Ok(Reply::Refused)
    }

    fn unready(&self, error: E) -> E {
        error
    }
}

/// How a future ends.
#[derive(Debug)]
enum End {
    Refused,
    Unready,
    Answered,
    Body(Ticket),
}

impl End {
    fn of(error: Error<Failed>) -> Self {
        match error {
            Error::Refused(_) => Self::Refused,
            Error::Inner(Failed::Unready) => Self::Unready,
            Error::Inner(_) => Self::Answered,
        }
    }
}

/// A call's future, whatever its type.
trait Running: Debug {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End>;
}

struct Call<F, T> {
    future: Pin<Box<F>>,
    end: fn(T) -> End,
}

impl<F: Debug, T> Debug for Call<F, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.future.fmt(f)
    }
}

impl<F: Future<Output = T> + Debug, T> Running for Call<F, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.future.as_mut().poll(cx).map(self.end)
    }
}

type Around = Maintenance<Partner, Calls<Billing>>;

#[derive(Clone)]
enum Stack {
    Judged(Around),
    Streaming(Maintenance<Partner, Streams>),
    Routes(Maintenance<Partner, Routes>),
    Stacked(Maintenance<Around, Routes>),
}

impl Stack {
    fn view(&self) -> View {
        match self {
            Self::Judged(_) => View::Judged,
            Self::Streaming(_) => View::Streaming,
            Self::Routes(_) => View::Routes,
            Self::Stacked(_) => View::Stacked,
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        match self {
            Self::Judged(service) => service.poll_ready(cx).map_err(drop),
            Self::Streaming(service) => service.poll_ready(cx).map_err(drop),
            Self::Routes(service) => service.poll_ready(cx).map_err(drop),
            Self::Stacked(service) => service.poll_ready(cx).map_err(drop),
        }
    }

    fn call(&mut self, request: Request) -> Box<dyn Running> {
        match self {
            Self::Judged(service) => Box::new(Call {
                future: Box::pin(service.call(request)),
                end: |result: Result<Answer, _>| result.map_or_else(End::of, |_| End::Answered),
            }),
            Self::Streaming(service) => Box::new(Call {
                future: Box::pin(service.call(request)),
                end: |result: Result<Ticket, _>| result.map_or_else(End::of, End::Body),
            }),
            Self::Routes(service) => Box::new(Call {
                future: Box::pin(service.call(request)),
                end: |result| match result {
                    Ok(Reply::Refused) => End::Refused,
                    Err(Failed::Unready) => End::Unready,
                    Ok(Reply::Route(_)) | Err(Failed::Said(_)) => End::Answered,
                },
            }),
            Self::Stacked(service) => Box::new(Call {
                future: Box::pin(service.call(request)),
                end: |result| match result {
                    Ok(Reply::Refused) => End::Refused,
                    Ok(Reply::Route(_)) => End::Answered,
                    Err(error) => End::of(error),
                },
            }),
        }
    }
}

// ---- waiters ------------------------------------------------------------------------------------

/// A waker that knows whether it was woken since it was last asked.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bell {
    fn rang(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Polls, and forgets earlier wake-ups before that.
    fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.clone());
        poll(&mut Context::from_waker(&waker))
    }
}

/// A subscriber that reads status and gate at the very moment it is woken.
struct Witness {
    handle: MaintenanceHandle,
    layer: MaintenanceLayer<Routes>,
    seen: Mutex<Vec<(u64, Mode, bool)>>,
}

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        let status = self.handle.status();
        let mut gate = self.layer.layer(Nothing);
        let line = Rc::default();
        let (kind, view) = (Kind::Charge, View::Routes);
        let call = gate.call(Request { kind, view, line });
        let refused = format!("{call:?}").contains("Refused");
        let seen = (status.generation, status.mode, refused);
        self.seen.lock().expect("not poisoned").push(seen);
    }
}

#[derive(Clone)]
struct Nothing;

impl Service<Request> for Nothing {
    type Response = ();
    type Error = Failed;
    type Future = std::future::Ready<Result<(), Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

type Recv = Pin<Box<dyn Future<Output = (CacheBusts, Option<CacheBust>)>>>;

fn recv(mut busts: CacheBusts) -> Recv {
    Box::pin(async move {
        let bust = busts.recv().await;
        (busts, bust)
    })
}

/// The checks of a ping, which answer as the script says.
#[derive(Default)]
struct Checks {
    running: RefCell<Option<(Rc<Line>, u64, Instant)>>,
}

struct Check {
    checks: Rc<Checks>,
    answering: Answering,
}

impl Future for Check {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        Pin::new(&mut self.answering)
            .poll(cx)
            .map(|result| said(result.as_ref()))
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.checks.running.take();
    }
}

// ---- the script ---------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Clone(Index),
    DropService(Index),
    PollReady(Index),
    Call(Index, Kind),
    PollCall(Index),
    PollWoken,
    Answer(Index, Answer),
    DropCall(Index),
    ProgressBody(Index),
    SettleBody(Index, Outcome),
    DropBody(Index),
    SetReady(Ready),
    PanicInCall(bool),
    /// Seconds that pass, and whether the layer is looked at afterwards.
    Advance(u64, bool),
    Engage(Option<u64>),
    Release,
    ReleaseVerified,
    Trip,
    ProbeNow,
    Clear,
    Reset,
    DryRun,
    Arm,
    Bypass,
    EndBypass,
    Retune(u32),
    StartPing,
    StopPing,
    AnswerPing(Answer),
    WaitUntilServing,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        5 => Just(Kind::Read),
        2 => Just(Kind::Charge),
        1 => Just(Kind::Exempt),
        1 => Just(Kind::Counted),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        6 => Just(Answer::Ok),
        4 => Just(Answer::Down),
        1 => Just(Answer::OurFault),
        1 => (prop::sample::select(&[429_u16, 503, 500]), 0_u64..=8)
            .prop_map(|(code, span)| Answer::Busy(code, span)),
        1 => Just(Answer::Unjudgeable),
        1 => Just(Answer::Panic),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let ready = prop_oneof![
        6 => Just(Ready::Yes),
        3 => Just(Ready::NotYet),
        1 => Just(Ready::Fails),
        1 => Just(Ready::Panics),
    ];
    let outcome = prop::sample::select(&[Outcome::Success, Outcome::Failure, Outcome::Neutral]);
    prop_oneof![
        2 => index().prop_map(Step::Clone),
        1 => index().prop_map(Step::DropService),
        6 => index().prop_map(Step::PollReady),
        20 => (index(), kind()).prop_map(|(index, kind)| Step::Call(index, kind)),
        8 => index().prop_map(Step::PollCall),
        8 => Just(Step::PollWoken),
        16 => (index(), answer()).prop_map(|(index, answer)| Step::Answer(index, answer)),
        4 => index().prop_map(Step::DropCall),
        1 => index().prop_map(Step::ProgressBody),
        4 => (index(), outcome).prop_map(|(index, outcome)| Step::SettleBody(index, outcome)),
        2 => index().prop_map(Step::DropBody),
        4 => ready.prop_map(Step::SetReady),
        1 => prop::bool::weighted(0.3).prop_map(Step::PanicInCall),
        14 => (prop_oneof![3 => 1_u64..=3, 1 => 4_u64..=30], any::<bool>())
            .prop_map(|(seconds, look)| Step::Advance(seconds, look)),
        2 => prop::option::of(1_u64..=6).prop_map(Step::Engage),
        1 => Just(Step::Release),
        1 => Just(Step::ReleaseVerified),
        2 => Just(Step::Trip),
        1 => Just(Step::ProbeNow),
        1 => Just(Step::Clear),
        1 => Just(Step::Reset),
        1 => Just(Step::DryRun),
        2 => Just(Step::Arm),
        1 => Just(Step::Bypass),
        2 => Just(Step::EndBypass),
        1 => (1_u32..=5).prop_map(Step::Retune),
        1 => Just(Step::StartPing),
        1 => Just(Step::StopPing),
        2 => answer().prop_map(Step::AnswerPing),
        1 => Just(Step::WaitUntilServing),
    ]
}

#[derive(Debug, Clone)]
struct Setup {
    probes: u32,
    needed: u32,
    ramp: Option<u64>,
    by_time: bool,
    given_up: bool,
    listens: Listens,
}

/// What moves time besides the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listens {
    Nobody,
    /// A subscriber that is polled when it is woken.
    Subscriber,
    /// A subscriber, and one that looks at the gate as it is woken.
    Witness,
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        1_u32..=3,
        1_u32..=4,
        prop::option::weighted(0.3, 1_u64..=6),
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(&[Listens::Nobody, Listens::Subscriber, Listens::Witness]),
    )
        .prop_map(|(probes, needed, ramp, by_time, given_up, listens)| Setup {
            probes,
            needed,
            ramp,
            by_time,
            given_up,
            listens,
        })
}

const HANG_LIMIT: Duration = secs(5);
const LEASE: Duration = secs(7);

impl Setup {
    fn policy(&self, min_calls: u32) -> Policy {
        let window = if self.by_time {
            Window::time(secs(12)).in_buckets(5)
        } else {
            Window::calls(6)
        };
        let mut policy = Policy::new(window, Rate::HALF)
            .with_min_calls(min_calls)
            .with_consecutive_failures(3)
            .with_hang_limit(HANG_LIMIT)
            .with_wait(secs(4))
            .with_wait_growing(2.0, secs(10))
            .with_jitter(0.0)
            .with_probes(self.probes)
            .with_successes_needed(self.needed)
            .with_lease(LEASE);
        if let Some(ramp) = self.ramp {
            policy = policy.with_ramp(secs(ramp)).with_ramp_start(Rate::HALF);
        }
        if self.given_up {
            policy = policy.with_given_up(min_calls, Duration::ZERO);
        }
        policy
    }
}

// ---- the world ----------------------------------------------------------------------------------

/// How many measured calls ended with each outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ended {
    succeeded: u64,
    failed: u64,
    neutral: u64,
    abandoned: u64,
}

impl Ended {
    fn sum(self) -> u64 {
        self.succeeded + self.failed + self.neutral + self.abandoned
    }

    /// A drop, judged by how long the partner was silent (R6).
    fn drop_after(&mut self, quiet: Duration) {
        if quiet >= HANG_LIMIT {
            self.failed += 1;
        } else {
            self.abandoned += 1;
        }
    }
}

struct Slot {
    stack: Stack,
    bell: Arc<Bell>,
    /// It was polled ready, and not called since.
    ready: bool,
    /// It was polled ready while the gate was open, so that the inner service is ready too.
    holds: bool,
    /// It waits for readiness.
    parked: bool,
}

struct Live {
    call: Box<dyn Running>,
    kind: Kind,
    view: View,
    line: Rc<Line>,
    bell: Arc<Bell>,
    polled: bool,
    admission: Option<Admission>,
}

/// What the world knows of a call that is measured.
#[derive(Debug, Clone, Copy)]
struct Admission {
    era: u64,
    /// Since when the caller waits for the partner.
    waits: Option<Instant>,
    /// When the call was let in.
    at: Instant,
}

struct Body {
    ticket: Ticket,
    admission: Option<Admission>,
}

struct Ping {
    future: Pin<Box<dyn Future<Output = ()>>>,
    bell: Arc<Bell>,
}

struct World {
    setup: Setup,
    handle: MaintenanceHandle,
    site: Rc<Site>,
    slots: Vec<Slot>,
    calls: Vec<Live>,
    bodies: Vec<Body>,
    checks: Rc<Checks>,
    ping: Option<Ping>,
    ended: Ended,
    admitted: u64,
    events: Events,
    told: Vec<Event>,
    listener: Option<(Recv, Arc<Bell>)>,
    busts: Vec<CacheBust>,
    witness: Option<(Recv, Arc<Witness>)>,
    serving: Option<(Serving, Arc<Bell>)>,
    first: u64,
    generation: u64,
    era: u64,
    /// Time went on, and the layer was not looked at since.
    unseen: bool,
}

/// A `wait_until_serving` under way.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// Runs code that may panic where the script wants it.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, Planned> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| match payload.downcast::<Planned>() {
        Ok(planned) => *planned,
        Err(payload) => resume_unwind(payload),
    })
}

fn pick<T>(all: &[T], index: Index) -> Option<usize> {
    (!all.is_empty()).then(|| index.index(all.len()))
}

impl World {
    fn new(setup: Setup) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .policy(setup.policy(3))
            .exempt(Exemption::call(
                Kind::Exempt.name(),
                "customers may see what they owe",
            ))
            .exempt(Exemption::call(Kind::Counted.name(), "they may, and it counts").counted())
            .seed(1)
            .build()
            .expect("all of it makes sense")
            .judged(Billing);
        let handle = layer.handle();
        let site = Rc::new(Site {
            handle: handle.clone(),
            ready: Cell::new(Ready::Yes),
            waiting: RefCell::default(),
            panics_in_call: Cell::new(false),
            permits: Cell::new(0),
            wrong: RefCell::default(),
        });
        let partner = || Partner {
            site: site.clone(),
            permit: false,
        };
        let routes = layer.with_protocol(Routes);
        let slots = [
            Stack::Judged(layer.layer(partner())),
            Stack::Streaming(layer.with_protocol(Streams).layer(partner())),
            Stack::Routes(routes.layer(partner())),
            Stack::Stacked(routes.layer(layer.layer(partner()))),
        ];
        // The subscriber has to be polled once before anything wakes it.
        let listener = (setup.listens != Listens::Nobody)
            .then(|| (recv(handle.cache_bust()), Arc::new(Bell(true.into()))));
        let witness = (setup.listens == Listens::Witness).then(|| {
            let witness = Arc::new(Witness {
                handle: handle.clone(),
                layer: routes,
                seen: Mutex::default(),
            });
            (recv(handle.cache_bust()), witness)
        });
        let status = handle.status();
        let mut world = Self {
            events: handle.events(),
            told: Vec::new(),
            listener,
            busts: Vec::new(),
            witness,
            serving: None,
            first: status.generation,
            generation: status.generation,
            era: status.era,
            unseen: false,
            setup,
            handle,
            site,
            slots: slots.into_iter().map(Slot::new).collect(),
            calls: Vec::new(),
            bodies: Vec::new(),
            checks: Rc::default(),
            ping: None,
            ended: Ended::default(),
            admitted: 0,
        };
        world.listen();
        world
    }

    async fn take(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Clone(index) => {
                if let Some(index) = pick(&self.slots, index)
                    && self.slots.len() < 12
                {
                    let stack = self.slots[index].stack.clone();
                    self.slots.push(Slot::new(stack));
                }
            }
            Step::DropService(index) => {
                // One of each view stays.
                if let Some(index) = pick(&self.slots, index)
                    && index >= 4
                {
                    self.slots.swap_remove(index);
                }
            }
            Step::PollReady(index) => {
                let index = index.index(self.slots.len());
                self.poll_ready(index)?;
            }
            Step::Call(index, kind) => {
                let index = index.index(self.slots.len());
                self.call(index, kind)?;
            }
            Step::PollCall(index) => {
                if let Some(index) = pick(&self.calls, index) {
                    self.poll_call(index)?;
                }
            }
            Step::PollWoken => {
                for index in (0..self.calls.len()).rev() {
                    if self.calls[index].bell.rang() || !self.calls[index].polled {
                        self.poll_call(index)?;
                    }
                }
            }
            Step::Answer(index, answer) => {
                if let Some(index) = pick(&self.calls, index) {
                    self.calls[index].line.say(answer);
                    prop_assert!(
                        !self.calls[index].line.reached.get()
                            || !self.calls[index].polled
                            || self.calls[index].bell.rang(),
                        "the partner answered and the caller was not woken"
                    );
                    self.poll_call(index)?;
                }
            }
            Step::DropCall(index) => {
                if let Some(index) = pick(&self.calls, index) {
                    let call = self.calls.swap_remove(index);
                    self.gave_up(call.admission);
                }
            }
            Step::ProgressBody(index) => {
                if let Some(index) = pick(&self.bodies, index) {
                    let body = &mut self.bodies[index];
                    body.ticket.progress();
                    if let Some(admission) = &mut body.admission {
                        admission.waits = None;
                    }
                }
            }
            Step::SettleBody(index, outcome) => {
                if let Some(index) = pick(&self.bodies, index) {
                    let body = self.bodies.swap_remove(index);
                    if body.admission.is_some() {
                        match outcome {
                            Outcome::Success => self.ended.succeeded += 1,
                            Outcome::Failure => self.ended.failed += 1,
                            Outcome::Neutral => self.ended.neutral += 1,
                        }
                    }
                    body.ticket.settle(outcome);
                }
            }
            Step::DropBody(index) => {
                if let Some(index) = pick(&self.bodies, index) {
                    let body = self.bodies.swap_remove(index);
                    self.gave_up(body.admission);
                }
            }
            Step::SetReady(ready) => self.site.become_ready(ready),
            Step::PanicInCall(panics) => self.site.panics_in_call.set(panics),
            Step::Advance(seconds, look) => {
                tokio::time::advance(secs(seconds)).await;
                self.listen();
                self.poll_ping()?;
                self.listen();
                self.unseen = true;
                if !look {
                    return Ok(());
                }
                if self.listener.is_some() {
                    // Status is read now; but a pending `recv` has moved time already (R11).
                    let known = self.busts.last().map_or(self.first, |bust| bust.generation);
                    prop_assert_eq!(self.handle.status().generation, known, "time was not moved");
                }
                return self.look();
            }
            Step::StartPing => {
                if self.ping.is_none() {
                    self.start_ping();
                }
            }
            Step::StopPing => self.stop_ping(),
            Step::AnswerPing(answer) => {
                let running = self.checks.running.borrow().clone();
                if let Some((line, ..)) = running {
                    line.say(answer);
                }
            }
            Step::WaitUntilServing => {
                let handle = self.handle.clone();
                let serving = Box::pin(async move { handle.wait_until_serving().await });
                self.serving = Some((serving, Arc::new(Bell(true.into()))));
            }
            ref command => self.command(command)?,
        }
        self.listen();
        self.poll_ping()?;
        self.look()
    }

    fn command(&self, command: &Step) -> Checked {
        let (handle, who, why) = (&self.handle, "on-call", "ticket 4711");
        // A command that does not fit the mode changes nothing, and is no error of the script.
        let _ = match *command {
            Step::Engage(expiry) => {
                let hold = Hold::new(who, why);
                handle.engage(match expiry {
                    Some(seconds) => hold.for_at_most(secs(seconds)),
                    None => hold,
                })
            }
            Step::Release => handle.release(who, why),
            Step::ReleaseVerified => handle.release_verified(who, why),
            Step::Trip => handle.trip(who, why),
            Step::ProbeNow => handle.probe_now(who, why),
            Step::Clear => handle.clear(who, why),
            Step::Reset => handle.reset(who, why),
            Step::DryRun => handle.dry_run(who, why),
            Step::Arm => handle.arm(who, why),
            Step::Bypass => handle.bypass(who, why),
            Step::EndBypass => handle.end_bypass(who, why),
            Step::Retune(min_calls) => {
                handle.replace_policy(&self.setup.policy(min_calls), who, why)
            }
            _ => return Err(TestCaseError::fail(format!("{command:?} is no command"))),
        };
        Ok(())
    }

    // ---- calls ----------------------------------------------------------------------------------

    fn poll_ready(&mut self, index: usize) -> Checked {
        let slot = &mut self.slots[index];
        let bell = slot.bell.clone();
        let others = self.site.permits.get() - usize::from(slot.holds);
        let polled = guarded(|| bell.poll(|cx| slot.stack.poll_ready(cx)));
        let view = slot.stack.view();
        slot.ready = matches!(polled, Ok(Poll::Ready(Ok(()))));
        slot.holds = slot.ready && self.site.permits.get() > others;
        slot.parked = matches!(polled, Ok(Poll::Pending));
        if let Ok(Poll::Ready(Err(()))) = polled
            && view.measures()
        {
            // A failed call (R7).
            self.ended.failed += 1;
            self.admitted += 1;
        }
        if slot.parked {
            // No caller waits at a shut gate (R4).
            prop_assert_eq!(self.handle.mode(), Mode::Serving);
        }
        Ok(())
    }

    fn call(&mut self, index: usize, kind: Kind) -> Checked {
        if !self.slots[index].ready {
            self.poll_ready(index)?;
        }
        let slot = &mut self.slots[index];
        if !slot.ready {
            return Ok(());
        }
        (slot.ready, slot.holds) = (false, false);
        let (view, line) = (slot.stack.view(), Rc::new(Line::default()));
        let request = Request {
            kind,
            view,
            line: line.clone(),
        };
        let call = guarded(|| slot.stack.call(request));
        let admitted = self.newly_admitted()?;
        let Ok(call) = call else {
            // The call panicked before it returned a future.
            self.ended.failed += u64::from(admitted);
            return Ok(());
        };
        let status = self.handle.status();
        let exempt = kind.is_exempt() && view.is_around_calls();
        let refused = is_at(&*call, "Refused");
        prop_assert!(!(exempt && refused), "an exempt call is refused");
        prop_assert!(
            exempt || refused || status.mode != Mode::Maintenance,
            "{kind:?} passes the gate in maintenance"
        );
        if refused {
            // The lock is free here: a call that asks learns what fell due (R11).
            let all_taken = status.probing.is_some_and(|probing| probing.free == 0);
            let denied = match status.mode {
                Mode::Serving => false,
                Mode::Maintenance => true,
                Mode::Probing => !kind.may_probe() || status.pings > 0 || all_taken,
            };
            prop_assert!(denied, "{kind:?} refused for nothing: {status}");
        }
        let counts = !kind.is_exempt() || (kind == Kind::Counted && status.mode == Mode::Serving);
        prop_assert!(counts || !admitted, "an exempt call is counted");
        // An exempt call does not look at the time: it is counted as in the mode that was last
        // seen.
        if view.is_around_calls() && counts && !(exempt && self.unseen) {
            prop_assert_eq!(admitted, !refused, "admitted or refused");
        }
        if exempt && self.site.ready.get() == Ready::Yes && is_at(&*call, "Running") {
            prop_assert!(
                line.reached.get(),
                "an exempt call does not reach the partner"
            );
        }
        self.calls.push(Live {
            call,
            kind,
            view,
            line,
            bell: Arc::default(),
            polled: false,
            admission: admitted.then_some(Admission {
                era: status.era,
                waits: None,
                at: now(),
            }),
        });
        Ok(())
    }

    /// Returns whether one more call was admitted since the last time.
    fn newly_admitted(&mut self) -> Result<bool, TestCaseError> {
        let admitted = self.handle.status().calls.admitted;
        let more = admitted - std::mem::replace(&mut self.admitted, admitted);
        prop_assert!(more <= 1, "{more} admissions at once");
        Ok(more == 1)
    }

    fn poll_call(&mut self, index: usize) -> Checked {
        let Live {
            call,
            kind,
            view,
            line,
            bell,
            polled,
            mut admission,
        } = self.calls.swap_remove(index);
        let mut call = call;
        let refused = is_at(&*call, "Refused");
        let waited = is_at(&*call, "Waiting");
        // Behind the gate before routes, the gate around the calls may refuse.
        let refused_within = view == View::Stacked
            && !waited
            && admission.is_none()
            && !line.reached.get()
            && !kind.is_exempt();
        let answer = line.answer.get();
        let end = guarded(|| bell.poll(|cx| call.poll(cx)));
        if self.newly_admitted()? {
            // The call asked again in a new era: its first admission is given up.
            self.gave_up(admission);
            admission = Some(Admission {
                era: self.handle.status().era,
                waits: None,
                at: now(),
            });
        }
        if refused || (refused_within && !polled) {
            prop_assert!(
                matches!(end, Ok(Poll::Ready(End::Refused))),
                "a refusal is ready at its first poll: {end:?}"
            );
        }
        let measured = u64::from(admission.is_some());
        match end {
            Ok(Poll::Pending) => {
                if let Some(admission) = &mut admission {
                    admission.waits.get_or_insert_with(now);
                }
                let live = Live {
                    call,
                    kind,
                    view,
                    line,
                    bell,
                    polled: true,
                    admission,
                };
                self.calls.push(live);
            }
            Ok(Poll::Ready(End::Refused)) => {
                prop_assert!(!(kind.is_exempt() && view.is_around_calls()));
                prop_assert!(!line.reached.get(), "a refused call reached the partner");
                prop_assert!(refused || waited || view == View::Stacked);
                self.gave_up(admission);
            }
            Ok(Poll::Ready(End::Unready)) => self.ended.failed += measured,
            Ok(Poll::Ready(End::Answered)) => {
                let answer = answer.expect("it answered");
                *answer.ends_as()(&mut self.ended) += measured;
            }
            Ok(Poll::Ready(End::Body(ticket))) => {
                prop_assert_eq!(ticket.is_measured(), admission.is_some());
                if let Some(admission) = &mut admission {
                    admission.waits = None;
                }
                self.bodies.push(Body { ticket, admission });
            }
            // A panic ends the call at once (R5).
            Err(Planned::Partner) => self.ended.failed += measured,
            Err(Planned::Judge) => self.ended.neutral += measured,
        }
        Ok(())
    }

    /// A call, or its body, is dropped before its end.
    fn gave_up(&mut self, admission: Option<Admission>) {
        if let Some(admission) = admission {
            let wait = admission.waits.map(|since| now() - since);
            self.ended.drop_after(wait.unwrap_or_default());
        }
    }

    // ---- the ping -------------------------------------------------------------------------------

    fn start_ping(&mut self) {
        let (checks, handle) = (self.checks.clone(), self.handle.clone());
        let future = self.handle.ping(move || {
            let line = Rc::new(Line::default());
            let era = handle.status().era;
            let running = Some((line.clone(), era, now()));
            *checks.running.borrow_mut() = running;
            Check {
                checks: checks.clone(),
                answering: Answering(line),
            }
        });
        let bell = Arc::new(Bell(true.into()));
        self.ping = Some(Ping {
            future: Box::pin(future),
            bell,
        });
    }

    fn stop_ping(&mut self) {
        let running = self.checks.running.borrow().clone();
        self.ping = None;
        if let Some((_, era, since)) = running {
            let waits = Some(since);
            self.gave_up(Some(Admission {
                era,
                waits,
                at: since,
            }));
        }
    }

    /// Polls the ping as long as it is woken.
    fn poll_ping(&mut self) -> Checked {
        for _ in 0..10 {
            let Some(ping) = &mut self.ping else {
                return Ok(());
            };
            if !ping.bell.rang() {
                return Ok(());
            }
            let before = self.checks.running.borrow().clone();
            let answer = before.as_ref().and_then(|(line, ..)| line.answer.get());
            let polled = guarded(|| ping.bell.clone().poll(|cx| ping.future.as_mut().poll(cx)));
            let began = self.newly_admitted()?;
            let after = self.checks.running.borrow().clone();
            let same = match (&before, &after) {
                (Some((before, ..)), Some((after, ..))) => Rc::ptr_eq(before, after),
                _ => false,
            };
            prop_assert_eq!(began, after.is_some() && !same, "a check is a probe");
            if before.is_some() && !same {
                match answer {
                    // The check itself panics: the judge of a ping is part of it.
                    Some(Answer::Unjudgeable) => self.ended.failed += 1,
                    Some(answer) => *answer.ends_as()(&mut self.ended) += 1,
                    // Its lease ended.
                    None => self.ended.failed += 1,
                }
            }
            match polled {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(())) => {
                    return Err(TestCaseError::fail("a ping ends while the layer lives"));
                }
                // A check that panics is the end of the ping.
                Err(_) => self.ping = None,
            }
        }
        Ok(())
    }

    // ---- listeners ------------------------------------------------------------------------------

    /// Polls the listeners that were woken, and no others.
    fn listen(&mut self) {
        while let Some((recv_next, bell)) = &mut self.listener
            && bell.rang()
        {
            let bell = bell.clone();
            if let Poll::Ready((busts, bust)) = bell.poll(|cx| recv_next.as_mut().poll(cx)) {
                self.busts.push(bust.expect("the layer lives"));
                *recv_next = recv(busts);
                bell.0.store(true, Ordering::SeqCst);
            }
        }
        if let Some((recv_next, witness)) = &mut self.witness {
            let waker = Waker::from(witness.clone());
            let mut cx = Context::from_waker(&waker);
            while let Poll::Ready((busts, _)) = recv_next.as_mut().poll(&mut cx) {
                *recv_next = recv(busts);
            }
        }
        if let Some((serving, bell)) = &mut self.serving
            && bell.rang()
            && bell.clone().poll(|cx| serving.as_mut().poll(cx)).is_ready()
        {
            self.serving = None;
        }
    }

    // ---- what must hold -------------------------------------------------------------------------

    fn look(&mut self) -> Checked {
        let before = self.era;
        let status = self.handle.status();
        // The look may have moved time, and woken the listeners.
        self.woken_in_time(&status)?;
        self.listen();
        self.poll_ping()?;
        let status = self.handle.status();
        let wrong = self.site.wrong.borrow();
        prop_assert!(wrong.is_empty(), "reached the partner: {wrong:?}");
        drop(wrong);
        prop_assert!(status.era >= before, "an era came back");
        self.era = status.era;
        self.unseen = false;
        self.counts_add_up(&status)?;
        self.slots_add_up(&status)?;
        self.signals_add_up(&status)?;
        // No refused call keeps a permit (R4).
        let may = self.slots.iter().filter(|slot| slot.holds).count();
        let held = self.site.permits.get();
        prop_assert!(held <= may, "{held} permits are held, {may} may be");
        Ok(())
    }

    fn counts_add_up(&self, status: &Status) -> Checked {
        let calls = status.calls;
        let shown = Ended {
            succeeded: calls.succeeded,
            failed: calls.failed,
            neutral: calls.neutral,
            abandoned: calls.abandoned,
        };
        prop_assert_eq!(shown, self.ended);
        let in_flight = self.in_flight().count() as u64;
        prop_assert_eq!(calls.in_flight(), in_flight);
        prop_assert_eq!(calls.admitted, shown.sum() + in_flight);
        Ok(())
    }

    /// The eras of the calls that were admitted and have not ended, by the world's own books.
    /// The era in which each call under way was let in, and when.
    fn in_flight(&self) -> impl Iterator<Item = (u64, Instant)> {
        let running = self.checks.running.borrow();
        let ping = running.as_ref().map(|(_, era, at)| (*era, *at));
        let calls = self.calls.iter().filter_map(|call| call.admission);
        let bodies = self.bodies.iter().filter_map(|body| body.admission);
        calls
            .chain(bodies)
            .map(|admission| (admission.era, admission.at))
            .chain(ping)
    }

    fn slots_add_up(&self, status: &Status) -> Checked {
        let Some(probing) = status.probing else {
            prop_assert_ne!(status.mode, Mode::Probing);
            return Ok(());
        };
        if probing.ramp_share.is_some() {
            prop_assert!(self.setup.ramp.is_some());
            return Ok(());
        }
        let Setup { probes, needed, .. } = self.setup;
        prop_assert!(probing.in_flight <= probes);
        prop_assert!(probing.in_flight + probing.successes <= needed);
        // At the end of its lease a probe whose caller waits ends the era, and any other gives its
        // slot back.
        let holds = |(era, at): &(u64, Instant)| *era == status.era && now() < *at + LEASE;
        let held = self.in_flight().filter(holds).count();
        prop_assert_eq!(probing.in_flight as usize, held, "slots and their holders");
        let left = needed - probing.in_flight - probing.successes;
        let taken = probing.in_flight + probing.resting;
        prop_assert_eq!(probing.free, left.min(probes - taken));
        Ok(())
    }

    fn signals_add_up(&mut self, status: &Status) -> Checked {
        while let Some(event) = self.events.try_recv() {
            self.told.push(event);
        }
        let recovered: Vec<_> = self
            .told
            .iter()
            .filter_map(|event| match event.kind {
                EventKind::Recovered {
                    episode,
                    generation,
                    ..
                } => Some((episode, generation)),
                _ => None,
            })
            .collect();
        let began = self
            .told
            .iter()
            .filter(|event| matches!(event.kind, EventKind::EpisodeBegan { .. }))
            .count();
        let open = usize::from(status.episode.is_some());
        prop_assert_eq!(began, recovered.len() + open, "one signal an episode");
        prop_assert_eq!(open == 1, status.mode != Mode::Serving);
        prop_assert_eq!(self.handle.episodes().len(), recovered.len().min(64));
        for pair in recovered.windows(2) {
            prop_assert!(pair[0].1 < pair[1].1, "the generation grows");
            prop_assert_eq!(pair[0].0 + 1, pair[1].0);
        }
        // A listener that keeps up gets each signal; of several within one step it may get only the
        // last.
        let newest = recovered.last().map(|(_, generation)| *generation);
        let got = if self.listener.is_some() {
            self.busts.last().cloned()
        } else {
            // A listener that comes late gets the newest signal.
            self.handle.cache_bust().try_recv()
        };
        let got = got.map(|bust| bust.generation);
        prop_assert_eq!(got, newest, "the newest signal was not delivered");
        for pair in self.busts.windows(2) {
            prop_assert!(
                pair[0].generation < pair[1].generation,
                "a signal came twice"
            );
        }
        prop_assert!(
            status.generation >= self.generation,
            "the generation went back"
        );
        if let Some(newest) = newest {
            prop_assert_eq!(status.generation, newest);
        }
        // The flag clears first: a listener that the signal wakes finds the gate serving (R16).
        if let Some((_, witness)) = &self.witness {
            let mut known = self.generation;
            for (generation, mode, refused) in witness.seen.lock().expect("sound").drain(..) {
                if generation > known {
                    prop_assert_eq!((mode, refused), (Mode::Serving, false), "woken too early");
                    known = generation;
                }
            }
        }
        self.generation = status.generation;
        Ok(())
    }

    /// Every parked caller and listener that a change concerns is woken.
    fn woken_in_time(&self, status: &Status) -> Checked {
        for slot in self.slots.iter().filter(|slot| slot.parked) {
            prop_assert!(
                status.mode == Mode::Serving || slot.bell.rang(),
                "parked while the gate shuts"
            );
        }
        for call in self.calls.iter().filter(|call| call.polled) {
            let stays = call.kind.is_exempt() && call.view.is_around_calls();
            if let Some(admission) = call.admission
                && !stays
                && is_at(&*call.call, "Waiting")
            {
                prop_assert!(
                    admission.era == status.era || call.bell.rang(),
                    "waits on in an era that is over"
                );
            }
        }
        if let Some((_, bell)) = &self.serving {
            prop_assert!(
                status.mode != Mode::Serving || bell.rang(),
                "wait_until_serving sleeps on"
            );
        }
        Ok(())
    }

    /// All calls, bodies and services are dropped: nothing is left behind (R5).
    fn leave(mut self) -> Checked {
        self.stop_ping();
        for call in std::mem::take(&mut self.calls) {
            self.gave_up(call.admission);
        }
        for body in std::mem::take(&mut self.bodies) {
            self.gave_up(body.admission);
        }
        self.slots.clear();
        self.listen();
        self.look()?;
        let status = self.handle.status();
        prop_assert_eq!(status.calls.in_flight(), 0);
        prop_assert_eq!(status.pings, 0);
        prop_assert_eq!(self.site.permits.get(), 0);
        if let Some(probing) = status.probing
            && probing.ramp_share.is_none()
        {
            let free = self.setup.probes.min(self.setup.needed - probing.successes);
            prop_assert_eq!((probing.in_flight, probing.free), (0, free));
        }
        Ok(())
    }
}

impl Slot {
    fn new(stack: Stack) -> Self {
        Self {
            stack,
            bell: Arc::default(),
            ready: false,
            holds: false,
            parked: false,
        }
    }
}

/// Which state a call's future is in.
fn is_at(call: &dyn Running, state: &str) -> bool {
    format!("{call:?}").contains(state)
}

fn cases() -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(250),
        // A failure that a run finds becomes a test with a name, below.
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_interleaving_breaks_a_rule(
        setup in setup(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut world = World::new(setup);
            for step in &steps {
                world.take(step).await?;
            }
            world.leave()
        })?;
    }
}

// ---- what such runs found -----------------------------------------------------------------------

impl World {
    /// Returns a tripped layer whose wait is over. It lets one probe through at a time, and one
    /// success ends the probing.
    async fn about_to_probe() -> Result<Self, TestCaseError> {
        let world = Self::new(Setup {
            probes: 1,
            needed: 1,
            ramp: None,
            by_time: false,
            given_up: false,
            listens: Listens::Nobody,
        });
        world.command(&Step::Trip)?;
        tokio::time::advance(secs(4)).await;
        Ok(world)
    }
}

/// A probe waited for the partner's readiness while its lease ended. The layer was not looked at
/// since: the era seemed to last, and the partner was called in what had long been maintenance
/// again.
#[tokio::test(start_paused = true)]
async fn a_probe_whose_lease_is_over_does_not_reach_the_partner() -> Checked {
    let mut world = World::about_to_probe().await?;
    world.take(&Step::SetReady(Ready::NotYet)).await?;
    world.call(0, Kind::Read)?;
    world.poll_call(0)?;
    prop_assert!(is_at(&*world.calls[0].call, "Waiting"));
    tokio::time::advance(secs(7)).await;
    world.take(&Step::SetReady(Ready::Yes)).await?;
    world.poll_call(0)?;
    prop_assert!(world.calls.is_empty(), "it is refused");
    world.look()?;
    world.leave()
}

/// A probe that was not polled in its lease gave its slot back, and takes the next one: it reaches
/// the partner in a slot that counts.
#[tokio::test(start_paused = true)]
async fn a_probe_that_lost_its_slot_before_it_was_polled_takes_another() -> Checked {
    let mut world = World::about_to_probe().await?;
    world.call(0, Kind::Read)?;
    prop_assert!(is_at(&*world.calls[0].call, "Waiting"));
    tokio::time::advance(secs(7)).await;
    world.poll_call(0)?;
    prop_assert_eq!(world.calls.len(), 1, "it is under way");
    world.look()?;
    world.leave()
}
