//! Waiting, as a property: a call fails by silence exactly if its caller waited `hang_limit` for
//! the partner. The time in which the body of its request was late does not count, in the view that
//! watches it.
//!
//! Random sequences of polls, pauses, frames and drops run over several calls at once, in memory
//! and on paused time. A naive model keeps a few numbers per call and says how each call ends. The
//! counts of the layer must agree with it after every step.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::poll_fn,
    io, mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use proptest::{prelude::*, sample::select, test_runner::Config};
use test_support::{at_once, millis, secs};
use tokio::time::timeout;
use tower::{BoxError, Layer, Service, ServiceExt, util::BoxCloneService};
use tower_maintenance::{MaintenanceLayer, Policy, Rate, Window};

const HANG_LIMIT: Duration = secs(5);
/// Above the hang limit, so that a call may be hung without being slow, and the reverse.
const SLOW_LIMIT: Duration = secs(8);
const CALLS: usize = 3;

// ---- what is done -------------------------------------------------------------------------------

/// A step of one call, or of the clock.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The partner says something on this call.
    Says(usize, Word),
    /// The caller polls once, the future or the body.
    Polls(usize),
    /// The caller polls, and polls again each time that it is woken, as a task does.
    Asks(usize),
    /// The caller does not poll any more.
    StopsAsking(usize),
    /// The caller drops the future or the body.
    Drops(usize),
    /// The transport polls the body of the request, and finds this.
    Uploads(usize, Upload),
    /// Time passes, in milliseconds.
    Passes(u64),
}

/// What a poll of the body of a request finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    Nothing,
    Frame,
    End,
    /// It is not polled, but dropped.
    Gone,
}

/// What the partner says. On a call without a head yet it is the head, or an error in its place.
#[derive(Debug, Clone, Copy)]
enum Word {
    /// A head that is a success if its body comes to its end; then a frame.
    More,
    /// A head that is a failure; then a frame.
    Fails,
    /// A head that is neutral; then the end of the body.
    Ends,
    /// An error.
    BreaksOff,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let word = select(vec![Word::More, Word::Fails, Word::Ends, Word::BreaksOff]);
    let word = prop_oneof![3 => Just(Word::More), 1 => word];
    let exact = select(vec![0, 1, 2_500, 4_999, 5_000, 5_001, 8_000, 8_001, 30_000]);
    let span = prop_oneof![2 => exact, 1 => 0..6_000_u64];
    let upload = prop_oneof![
        4 => Just(Upload::Nothing),
        3 => Just(Upload::Frame),
        1 => Just(Upload::End),
        1 => Just(Upload::Gone),
    ];
    let call = 0..CALLS;
    let step = prop_oneof![
        4 => (call.clone(), word).prop_map(|(call, word)| Step::Says(call, word)),
        4 => call.clone().prop_map(Step::Polls),
        3 => call.clone().prop_map(Step::Asks),
        2 => call.clone().prop_map(Step::StopsAsking),
        1 => call.clone().prop_map(Step::Drops),
        3 => (call, upload).prop_map(|(call, found)| Step::Uploads(call, found)),
        6 => span.prop_map(Step::Passes),
    ];
    proptest::collection::vec(step, 1..60)
}

// ---- the naive model ----------------------------------------------------------------------------

/// What the layer must have counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counted {
    succeeded: u64,
    failed: u64,
    neutral: u64,
    abandoned: u64,
    in_flight: u64,
    slow: u64,
    total: u64,
    /// Calls that were dropped while their callers waited.
    given_up: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Success,
    Failure,
    Neutral,
    GivenUp,
}

/// One call, in milliseconds.
#[derive(Debug)]
struct Call {
    stage: Stage,
    said: VecDeque<Word>,
    asks: bool,
    /// How long the caller waits by now, if it waits.
    wait: Option<u64>,
    /// The sum of the waits that are over.
    waited: u64,
    /// Whether the last poll of the body of the request found nothing.
    late: bool,
    uploads: bool,
}

impl Call {
    fn new() -> Self {
        Self {
            stage: Stage::Head,
            said: VecDeque::new(),
            asks: false,
            wait: None,
            waited: 0,
            late: false,
            uploads: true,
        }
    }

    fn hangs(&self) -> bool {
        self.wait.is_some_and(|wait| wait >= ms(HANG_LIMIT))
    }

    /// The body of the request had something, or is gone: the wait begins anew.
    fn waits_anew(&mut self) {
        if let Some(wait) = &mut self.wait {
            self.waited += *wait;
            *wait = 0;
        }
    }

    /// After this time the body is known to hang, if its reader asks.
    fn hangs_after(&self) -> Option<u64> {
        let wait = self.wait.filter(|_| self.asks && !self.late)?;
        (self.stage == Stage::Body).then(|| ms(HANG_LIMIT) - wait)
    }

    fn passes(&mut self, span: u64) {
        if let Some(wait) = &mut self.wait
            && !self.late
        {
            *wait += span;
        }
    }
}

#[derive(Debug)]
struct Model {
    /// Whether the view watches the bodies of requests.
    watches: bool,
    calls: Vec<Call>,
    counted: Counted,
}

impl Model {
    fn new(watches: bool) -> Self {
        let mut counted = Counted::default();
        counted.in_flight += CALLS as u64;
        Self {
            watches,
            calls: (0..CALLS).map(|_| Call::new()).collect(),
            counted,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Says(call, word) => self.calls[call].said.push_back(word),
            Step::Polls(call) => {
                self.polls(call);
            }
            Step::Asks(call) => {
                self.calls[call].asks = true;
                self.asks(call);
            }
            Step::StopsAsking(call) => self.calls[call].asks = false,
            Step::Drops(call) => self.drops(call),
            Step::Uploads(call, found) if self.watches => self.uploads(call, found),
            Step::Uploads(..) => {}
            Step::Passes(span) => self.passes(span),
        }
    }

    /// Returns whether the poll found something.
    fn polls(&mut self, at: usize) -> bool {
        let call = &mut self.calls[at];
        if call.stage == Stage::Ended {
            return false;
        }
        let Some(word) = call.said.pop_front() else {
            call.wait.get_or_insert(0);
            // A body fails at that moment, if its reader is there to see it.
            if call.stage == Stage::Body && call.hangs() {
                self.ends(at, Ending::Failure);
            }
            return false;
        };
        call.waited += call.wait.take().unwrap_or(0);
        match (call.stage, word) {
            (Stage::Head, Word::More) => call.stage = Stage::Body,
            (Stage::Head, Word::Ends) => self.ends(at, Ending::Neutral),
            (_, Word::BreaksOff) | (Stage::Head, Word::Fails) => self.ends(at, Ending::Failure),
            (_, Word::Ends) => self.ends(at, Ending::Success),
            (_, Word::More | Word::Fails) => {}
        }
        true
    }

    fn asks(&mut self, at: usize) {
        while self.polls(at) {}
    }

    fn drops(&mut self, at: usize) {
        let call = &self.calls[at];
        if call.stage == Stage::Ended {
            return;
        }
        let waits = call.wait.is_some_and(|wait| !call.late || wait > 0);
        self.counted.given_up += u64::from(waits);
        let ending = if call.hangs() {
            Ending::Failure
        } else {
            Ending::GivenUp
        };
        self.ends(at, ending);
    }

    fn uploads(&mut self, at: usize, found: Upload) {
        let call = &mut self.calls[at];
        if !call.uploads {
            return;
        }
        let was_late = call.late;
        call.late = found == Upload::Nothing;
        call.uploads = matches!(found, Upload::Nothing | Upload::Frame);
        if matches!(found, Upload::Frame | Upload::End) || was_late && !call.late {
            call.waits_anew();
        }
    }

    fn passes(&mut self, span: u64) {
        for at in 0..CALLS {
            if self.calls[at].asks {
                self.asks(at);
            }
            let call = &mut self.calls[at];
            match call.hangs_after() {
                Some(rest) if rest <= span => {
                    call.passes(rest);
                    self.ends(at, Ending::Failure);
                }
                _ => call.passes(span),
            }
        }
    }

    fn ends(&mut self, at: usize, ending: Ending) {
        let call = &mut self.calls[at];
        call.stage = Stage::Ended;
        let slow = call.waited + call.wait.take().unwrap_or(0) > ms(SLOW_LIMIT);
        let counted = &mut self.counted;
        counted.in_flight -= 1;
        let (count, in_total) = match ending {
            Ending::Success => (&mut counted.succeeded, true),
            Ending::Failure => (&mut counted.failed, true),
            Ending::Neutral => (&mut counted.neutral, false),
            Ending::GivenUp => (&mut counted.abandoned, slow),
        };
        *count += 1;
        counted.total += u64::from(in_total);
        counted.slow += u64::from(in_total && slow);
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}

// ---- the partner --------------------------------------------------------------------------------

/// The line of one call.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<OnLine>>);

#[derive(Default)]
struct OnLine {
    /// What the partner has said, and the caller has not read.
    said: VecDeque<Word>,
    waker: Option<Waker>,
    /// The body of the request, as the view has given it to the client.
    upload: Option<Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>>,
}

impl Line {
    fn says(&self, word: Word) {
        let mut line = self.0.lock().unwrap();
        line.said.push_back(word);
        if let Some(waker) = line.waker.take() {
            waker.wake();
        }
    }

    /// The transport polls the body of the request, if it is still there.
    fn uploads(&self, found: Upload) {
        let mut line = self.0.lock().unwrap();
        let Some(mut upload) = line.upload.take() else {
            return;
        };
        if found == Upload::Gone {
            return;
        }
        FOUND.set(found);
        let polled = upload
            .as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled.is_pending(), found == Upload::Nothing);
        if found != Upload::End {
            line.upload = Some(upload);
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Word> {
        let mut line = self.0.lock().unwrap();
        if let Some(word) = line.said.pop_front() {
            return Poll::Ready(word);
        }
        line.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Body for Line {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(Ok(match ready!(self.poll(cx)) {
            Word::More | Word::Fails => Frame::data(Bytes::from_static(b".")),
            Word::Ends => {
                // The end of a good answer over HTTP and over gRPC.
                let status = (
                    "grpc-status".parse().unwrap(),
                    HeaderValue::from_static("0"),
                );
                Frame::trailers(HeaderMap::from_iter([status]))
            }
            Word::BreaksOff => return Poll::Ready(Some(Err(io::Error::other("reset")))),
        })))
    }
}

thread_local! {
    /// What the next poll of the body of a request finds.
    static FOUND: Cell<Upload> = const { Cell::new(Upload::Nothing) };
}

/// The body of a request.
struct Uploaded;

impl Body for Uploaded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match FOUND.get() {
            Upload::Nothing => Poll::Pending,
            Upload::Frame => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"."))))),
            Upload::End | Upload::Gone => Poll::Ready(None),
        }
    }
}

#[derive(Debug, Clone)]
struct Partner;

impl<B> Service<Request<B>> for Partner
where
    B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let line: Line = request.extensions_mut().remove().unwrap();
        line.0.lock().unwrap().upload = Some(Box::pin(request.into_body()));
        Box::pin(async move {
            let status = match poll_fn(|cx| line.poll(cx)).await {
                Word::More => 200,
                Word::Fails => 502,
                Word::Ends => 302,
                Word::BreaksOff => return Err("connection refused".into()),
            };
            let answer = Response::builder().status(status);
            Ok(answer.body(Answer(Some(line))).unwrap())
        })
    }
}

/// The body of an answer. An empty one is for answers that a gate before it makes.
#[derive(Default)]
struct Answer(Option<Line>);

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Some(line) => Pin::new(line).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}

// ---- the callers --------------------------------------------------------------------------------

type Boxed = UnsyncBoxBody<Bytes, io::Error>;
type Client = BoxCloneService<Request<Uploaded>, Response<Boxed>, BoxError>;
type Running = <Client as Service<Request<Uploaded>>>::Future;

/// What a caller holds.
enum Held {
    Future(Running),
    Body(Boxed),
    Nothing,
}

struct Caller {
    line: Line,
    held: Held,
    asks: bool,
}

impl Caller {
    fn new(client: &mut Client) -> Self {
        let line = Line::default();
        // The future of a client that is ready calls it at once.
        assert!(matches!(at_once(client.ready()), Some(Ok(_))));
        let future = client.call({
            let mut request = Request::new(Uploaded);
            request.extensions_mut().insert(line.clone());
            request
        });
        Self {
            line,
            held: Held::Future(future),
            asks: false,
        }
    }

    /// Polls once. Returns whether there was something, and more may follow.
    fn polls(&mut self, cx: &mut Context<'_>) -> bool {
        let (held, more) = match mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => (Held::Nothing, false),
            Held::Future(mut future) => match future.as_mut().poll(cx) {
                Poll::Pending => (Held::Future(future), false),
                Poll::Ready(Ok(answer)) => (Held::Body(answer.into_body()), true),
                Poll::Ready(Err(_)) => (Held::Nothing, false),
            },
            Held::Body(mut body) => match Pin::new(&mut body).poll_frame(cx) {
                Poll::Pending => (Held::Body(body), false),
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => (Held::Body(body), true),
                Poll::Ready(_) => (Held::Nothing, false),
            },
        };
        self.held = held;
        more
    }
}

struct Rig {
    layer: MaintenanceLayer,
    callers: Vec<Caller>,
}

impl Rig {
    fn new(view: fn(&MaintenanceLayer) -> Client) -> Self {
        let policy = Policy::default()
            .with_window(Window::time(secs(36_000)))
            .with_slow_calls(SLOW_LIMIT, Rate::percent(100.0).unwrap())
            .with_hang_limit(HANG_LIMIT);
        // In dry run no rule ends the era, so that all calls count in one.
        let layer = MaintenanceLayer::builder("zuora").policy(policy).dry_run();
        let layer = layer.build().unwrap();
        let mut client = view(&layer);
        let callers = (0..CALLS).map(|_| Caller::new(&mut client)).collect();
        Self { layer, callers }
    }

    async fn take(&mut self, step: Step) {
        let now = &mut Context::from_waker(Waker::noop());
        match step {
            Step::Says(call, word) => self.callers[call].line.says(word),
            Step::Polls(call) => {
                self.callers[call].polls(now);
            }
            Step::Asks(call) => {
                let caller = &mut self.callers[call];
                caller.asks = true;
                while caller.polls(now) {}
            }
            Step::StopsAsking(call) => self.callers[call].asks = false,
            Step::Drops(call) => self.callers[call].held = Held::Nothing,
            Step::Uploads(call, found) => self.callers[call].line.uploads(found),
            Step::Passes(span) => self.passes(millis(span)).await,
        }
    }

    /// Lets time pass. Each caller that asks is polled whenever it is woken.
    async fn passes(&mut self, span: Duration) {
        let callers = poll_fn(|cx| {
            for caller in self.callers.iter_mut().filter(|caller| caller.asks) {
                while caller.polls(cx) {}
            }
            Poll::<()>::Pending
        });
        timeout(span, callers).await.unwrap_err();
    }

    fn counted(&self) -> Counted {
        let status = self.layer.handle().status();
        Counted {
            succeeded: status.calls.succeeded,
            failed: status.calls.failed,
            neutral: status.calls.neutral,
            abandoned: status.calls.abandoned,
            in_flight: status.calls.in_flight(),
            slow: status.window.slow,
            total: status.window.total,
            given_up: status.window.given_up,
        }
    }
}

/// Runs the steps, and then drops every call.
fn check(
    view: fn(&MaintenanceLayer) -> Client,
    watches: bool,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut rig, mut model) = (Rig::new(view), Model::new(watches));
        let drops = (0..CALLS).map(Step::Drops);
        for (at, step) in steps.iter().copied().chain(drops).enumerate() {
            model.take(step);
            rig.take(step).await;
            prop_assert_eq!(rig.counted(), model.counted, "step {}: {:?}", at, step);
        }
        prop_assert_eq!(model.counted.in_flight, 0);
        Ok(())
    })
}

fn http(layer: &MaintenanceLayer) -> Client {
    boxed(layer.http_calls().boxed().layer(Partner))
}

#[cfg(feature = "grpc")]
fn grpc(layer: &MaintenanceLayer) -> Client {
    boxed(layer.grpc_calls().boxed().layer(Partner))
}

fn watching(layer: &MaintenanceLayer) -> Client {
    let view = layer.http_calls().boxed().watching_uploads();
    boxed(view.layer(Partner))
}

/// Boxes a client and its bodies.
fn boxed<S, B>(client: S) -> Client
where
    S: Service<Request<Uploaded>, Response = Response<B>, Error = BoxError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    let client =
        client.map_response(|answer: Response<B>| answer.map(|body| UnsyncBoxBody::new(body)));
    BoxCloneService::new(client)
}

fn cases() -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    Config {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(128),
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_call_fails_by_silence_exactly_if_its_caller_waited_for_the_hang_limit(steps in steps()) {
        check(http, false, &steps)?;
    }

    #[test]
    fn no_caller_waits_while_the_body_of_its_request_is_late(steps in steps()) {
        check(watching, true, &steps)?;
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn so_does_a_call_over_grpc(steps in steps()) {
        check(grpc, false, &steps)?;
    }
}
