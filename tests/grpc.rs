//! gRPC in memory, on paused time: what an answer says, and when the call ends. With tonic: `crates/grpc`.
#![cfg(feature = "grpc")]
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Exemption, Hold, MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Policy, Refused, Rule,
    grpc::{Code, GrpcCalls, GrpcRoutes, Measured},
};

const CHARGE: &str = "/billing.v1.Billing/Charge";
const PRICES: &str = "/billing.v1.Billing/GetPrices";

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

// ---- a partner who answers as it is told ------------------------------------------------------------

/// What comes next in a body.
#[derive(Clone, Debug)]
enum Step {
    Data,
    /// Some bytes of a message.
    Bytes(&'static [u8]),
    /// Data of a body that says that it was the last.
    LastData,
    Trailers(HeaderMap),
    BreaksOff,
    Hangs,
    /// So long after the last.
    After(Duration),
    Panics,
}

/// A body that does its steps one by one, and then ends. Made by default it is empty.
#[derive(Default)]
struct Steps {
    left: VecDeque<Step>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Steps {
    type Data = &'static [u8];
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                std::task::ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            return Poll::Ready(match self.left.pop_front() {
                None => None,
                Some(Step::Data) => Some(Ok(Frame::data(b"\0\0\0\0\0"))),
                Some(Step::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
                Some(Step::LastData) => {
                    self.left.clear();
                    Some(Ok(Frame::data(b"\0\0\0\0\0")))
                }
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::BreaksOff) => Some(Err(io::Error::other("reset"))),
                Some(Step::Hangs) => {
                    self.left.push_front(Step::Hangs);
                    return Poll::Pending;
                }
                Some(Step::After(span)) => {
                    self.sleep = Some(Box::pin(tokio::time::sleep(span)));
                    continue;
                }
                Some(Step::Panics) => panic!("the partner's body panics"),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.sleep.is_none()
    }
}

/// An answer, to be given again and again.
#[derive(Debug, Clone, Default)]
struct Answer {
    http: u16,
    headers: HeaderMap,
    steps: Vec<Step>,
}

fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
    let field = |&(name, value): &(&'static str, &str)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        (HeaderName::from_static(name), value)
    };
    all.iter().map(field).collect()
}

fn status(code: &str) -> HeaderMap {
    fields(&[("grpc-status", code)])
}

/// As a rule: a head that says nothing, a message, and the status in the trailers.
fn in_trailers(code: &str) -> Answer {
    with_body(vec![Step::Data, Step::Trailers(status(code))])
}

fn with_body(steps: Vec<Step>) -> Answer {
    Answer {
        http: 200,
        headers: HeaderMap::new(),
        steps,
    }
}

/// The status in the head, and no body.
fn trailers_only(headers: HeaderMap) -> Answer {
    Answer {
        http: 200,
        headers,
        steps: Vec::new(),
    }
}

fn by_proxy(http: u16, headers: HeaderMap) -> Answer {
    Answer {
        http,
        headers,
        steps: vec![Step::Data],
    }
}

#[derive(Clone, Default)]
struct Partner {
    answer: Arc<Mutex<Answer>>,
    calls: Arc<Mutex<usize>>,
}

impl Partner {
    fn channel(
        &self,
    ) -> impl Service<Request<()>, Response = Response<Steps>, Error = io::Error, Future: Send>
    + Clone
    + use<> {
        let this = self.clone();
        service_fn(move |_: Request<()>| {
            *this.calls.lock().unwrap() += 1;
            let Answer {
                http,
                headers,
                steps,
            } = this.answer.lock().unwrap().clone();
            async move {
                if http == 0 {
                    return Err(io::Error::other("connection refused"));
                }
                let mut response = Response::new(Steps {
                    left: steps.into(),
                    sleep: None,
                });
                *response.status_mut() = http.try_into().unwrap();
                *response.headers_mut() = headers;
                Ok(response)
            }
        })
    }

    fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }
}

// ---- a caller ---------------------------------------------------------------------------------------

struct Stack {
    layer: MaintenanceLayer,
    handle: MaintenanceHandle,
    partner: Partner,
    speaks: GrpcCalls,
}

/// Trips at the third failure in a row; a wait longer than any test.
fn policy() -> Policy {
    Policy::default()
        .with_consecutive_failures(3)
        .with_wait(secs(600))
        .with_wait_growing(1.0, secs(3600))
        .with_jitter(0.0)
}

impl Stack {
    fn new(answer: Answer) -> Self {
        Self::speaking(GrpcCalls::new().reads([PRICES]).unwrap(), answer)
    }

    fn speaking(speaks: GrpcCalls, answer: Answer) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy())
            .exempt(Exemption::grpc_call(
                "/billing.v1.Billing/GetInvoice",
                "customers may always see what they owe",
            ))
            .build()
            .unwrap();
        let stack = Self {
            handle: layer.handle(),
            layer,
            partner: Partner::default(),
            speaks,
        };
        stack.answers(answer);
        stack
    }

    fn answers(&self, answer: Answer) {
        *self.partner.answer.lock().unwrap() = answer;
    }

    async fn head(&self, method: &str) -> Result<Response<Measured<Steps>>, io::Error> {
        let channel = self
            .layer
            .speaking(self.speaks.clone())
            .layer(self.partner.channel());
        let request = Request::post(format!("http://partner{method}"));
        channel.oneshot(request.body(()).unwrap()).await
    }

    /// A call whose body is read to its end, as far as it goes.
    async fn call(&self, method: &str) {
        if let Ok(answer) = self.head(method).await {
            let _ = answer.into_body().collect().await;
        }
    }

    /// Whether a call was refused, and did not reach the partner.
    async fn is_refused(&self, method: &str) -> bool {
        let before = self.partner.calls();
        let answer = self.head(method).await.unwrap();
        let refused = answer.extensions().get::<Refused>().is_some();
        assert_eq!(refused, self.partner.calls() == before);
        assert!(!refused || answer.body().is_end_stream());
        refused
    }

    fn counts(&self) -> (u64, u64, u64, u64) {
        let calls = self.handle.status().calls;
        assert_eq!(calls.in_flight(), 0);
        (
            calls.succeeded,
            calls.failed,
            calls.neutral,
            calls.abandoned,
        )
    }

    /// The outcome of one call, read to its end.
    async fn outcome(&self, answer: Answer) -> Outcome {
        self.answers(answer);
        let before = self.counts();
        self.call(CHARGE).await;
        let after = self.counts();
        match (
            after.0 - before.0,
            after.1 - before.1,
            after.2 - before.2,
            after.3 - before.3,
        ) {
            (1, 0, 0, 0) => Outcome::Success,
            (0, 1, 0, 0) => Outcome::Failure,
            (0, 0, 1, 0) => Outcome::Neutral,
            other => panic!("one call, one outcome, not given up: {other:?}"),
        }
    }
}

/// One outcome, on a layer of its own.
async fn outcome(answer: Answer) -> Outcome {
    Stack::new(Answer::default()).outcome(answer).await
}

// ---- outcomes ---------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn every_code_is_judged_the_same_in_headers_and_in_trailers() {
    for code in 0..=16 {
        let expected = match code {
            2 | 4 | 13 | 14 | 15 => Outcome::Failure,
            1 | 7 | 8 | 16 => Outcome::Neutral,
            _ => Outcome::Success,
        };
        let code = code.to_string();
        assert_eq!(outcome(in_trailers(&code)).await, expected, "{code}");
        let only = trailers_only(status(&code));
        assert_eq!(outcome(only).await, expected, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_none_is_a_failure() {
    for odd in ["", "17", "999", "-1", "OK", "0, 14", "00", "\u{e4}"] {
        assert_eq!(outcome(in_trailers(odd)).await, Outcome::Failure, "{odd}");
        let only = trailers_only(status(odd));
        assert_eq!(outcome(only).await, Outcome::Failure, "{odd}");
    }
    let mut twice = status("0");
    twice.append("grpc-status", HeaderValue::from_static("14"));
    let body = with_body(vec![Step::Trailers(twice)]);
    assert_eq!(outcome(body).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_status_is_a_failure() {
    let other = fields(&[("x-request-id", "7")]);
    for steps in [
        vec![],
        vec![Step::Data],
        vec![Step::Data, Step::LastData],
        vec![Step::Data, Step::Trailers(other)],
        vec![Step::BreaksOff],
        vec![Step::Data, Step::BreaksOff],
    ] {
        let answer = with_body(steps.clone());
        assert_eq!(outcome(answer).await, Outcome::Failure, "{steps:?}");
    }
    // Not even an answer.
    assert_eq!(outcome(Answer::default()).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn the_trailers_have_the_last_word_over_an_ok_in_the_head() {
    let with_ok = |steps| Answer {
        http: 200,
        headers: status("0"),
        steps,
    };
    let late = with_ok(vec![Step::Data, Step::Trailers(status("13"))]);
    assert_eq!(outcome(late).await, Outcome::Failure);
    assert_eq!(outcome(with_ok(vec![Step::Data])).await, Outcome::Success);
    let broken = with_ok(vec![Step::Data, Step::BreaksOff]);
    assert_eq!(outcome(broken).await, Outcome::Failure);
    // A head that says otherwise has said it: clients read no further.
    let failed = Answer {
        http: 200,
        headers: status("14"),
        steps: vec![Step::Hangs],
    };
    let stack = Stack::new(failed);
    drop(stack.head(CHARGE).await.unwrap());
    assert_eq!(stack.counts(), (0, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_proxys_answer_is_judged_by_its_http_status() {
    for (http, expected) in [
        (502, Outcome::Failure),
        (503, Outcome::Failure),
        (408, Outcome::Failure),
        (401, Outcome::Neutral),
        (429, Outcome::Neutral),
        (404, Outcome::Success),
        (302, Outcome::Success),
    ] {
        let answer = by_proxy(http, HeaderMap::new());
        assert_eq!(outcome(answer).await, expected, "{http}");
    }
    // A status is a status, whatever HTTP says around it.
    assert_eq!(outcome(by_proxy(503, status("5"))).await, Outcome::Success);
    let broken = Answer {
        steps: vec![Step::BreaksOff],
        ..by_proxy(404, HeaderMap::new())
    };
    assert_eq!(outcome(broken).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_its_trailers_came() {
    let stack = Stack::new(in_trailers("0"));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    let calls = || stack.handle.status().calls;
    assert_eq!((calls().in_flight(), calls().succeeded), (1, 0));
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!((calls().in_flight(), calls().succeeded), (1, 0));
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    // At the trailers, not at the end behind them, nor at the drop.
    assert_eq!((calls().in_flight(), calls().succeeded), (0, 1));
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(stack.counts(), (1, 0, 0, 0));

    // And of a body that does not know that they are the last.
    let steps = vec![Step::Trailers(status("0")), Step::Hangs];
    stack.answers(with_body(steps));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(stack.counts(), (2, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_judged_by_how_long_the_partner_was_silent() {
    let steps = vec![Step::Data, Step::After(secs(4)), Step::Data, Step::Hangs];
    let stack = Stack::new(with_body(steps));
    for (read, then, expected) in [
        // The default `hang_limit` is 5 s.
        (0, secs(4), (0, 0, 0, 1)),
        (0, secs(5), (0, 1, 0, 1)),
        // Each frame is a sign of life.
        (2, secs(4), (0, 1, 0, 2)),
        (2, secs(5), (0, 2, 0, 2)),
    ] {
        let mut body = stack.head(CHARGE).await.unwrap().into_body();
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        let more = tokio::time::timeout(then, pending::<()>()).await;
        assert!(more.is_err());
        drop(body);
        assert_eq!(stack.counts(), expected, "{read} frames, {then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_is_a_failure_while_its_reader_still_waits() {
    let stack = Stack::new(with_body(vec![Step::Data, Step::Hangs]));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let calls = || stack.handle.status().calls;
    // The default `hang_limit` is 5 s; the wait begins when the reader asks.
    tokio::time::sleep(secs(3)).await;
    let almost = Duration::from_millis(4_999);
    assert!(tokio::time::timeout(almost, body.frame()).await.is_err());
    assert_eq!((calls().failed, calls().in_flight()), (0, 1));
    let brief = Duration::from_millis(2);
    assert!(tokio::time::timeout(brief, body.frame()).await.is_err());
    assert_eq!(stack.counts(), (0, 1, 0, 0), "and nobody gave up");
    drop(body);
    assert_eq!(stack.counts(), (0, 1, 0, 0), "once");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hung_goes_on_for_its_reader() {
    let late = [
        Step::After(secs(600)),
        Step::Data,
        Step::Trailers(status("0")),
    ];
    let stack = Stack::new(with_body(late.to_vec()));
    let body = stack.head(CHARGE).await.unwrap().into_body();
    let read = body.collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(read.to_bytes().len(), 5);
    assert_eq!(stack.counts(), (0, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_and_a_slow_stream_are_no_hang() {
    let message = || [Step::After(secs(4)), Step::Data];
    let mut steps: Vec<_> = (0..20).flat_map(|_| message()).collect();
    steps.push(Step::Trailers(status("0")));
    let stack = Stack::new(with_body(steps));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        tokio::time::sleep(secs(60)).await;
    }
    assert_eq!(stack.counts(), (1, 0, 0, 0));
}

// ---- streams ----------------------------------------------------------------------------------------

const WATCH: &str = "/billing.v1.Billing/WatchPrices";

fn streaming(answer: Answer) -> Stack {
    Stack::speaking(GrpcCalls::new().streams([WATCH]).unwrap(), answer)
}

#[tokio::test(start_paused = true)]
async fn quiet_streams_do_not_trip_a_healthy_partner() {
    let quiet = || with_body(vec![Step::Data, Step::Hangs]);
    for (stack, wanted) in [
        (streaming(quiet()), (5, 0, 0, 0)),
        // The control: nobody said that it streams.
        (Stack::new(quiet()), (0, 3, 0, 0)),
    ] {
        for _ in 0..5 {
            let mut body = stack.head(WATCH).await.unwrap().into_body();
            if stack.handle.mode() != Mode::Serving {
                break;
            }
            body.frame().await.unwrap().unwrap();
            let more = tokio::time::timeout(secs(10), body.frame()).await;
            assert!(more.is_err());
        }
        assert_eq!(stack.counts(), wanted);
        let trips = wanted.1 > 0;
        assert_eq!(stack.handle.mode() == Mode::Maintenance, trips);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_a_success_at_its_first_message_and_says_nothing_more() {
    for then in [
        vec![Step::Hangs],
        vec![Step::BreaksOff],
        vec![Step::Trailers(status("14"))],
        vec![Step::After(secs(7200)), Step::Data, Step::BreaksOff],
        vec![],
    ] {
        let stack = streaming(with_body([vec![Step::Data], then.clone()].concat()));
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        let calls = || stack.handle.status().calls;
        assert_eq!((calls().succeeded, calls().in_flight()), (0, 1));
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(stack.counts(), (1, 0, 0, 0), "{then:?}");
        let _ = tokio::time::timeout(secs(86_400), body.collect()).await;
        assert_eq!(stack.counts(), (1, 0, 0, 0), "{then:?}");
    }
    // A judge of statuses is not asked for one that there is not.
    let judge = GrpcCalls::new().judged_by(|_, _| panic!("there is no status"));
    let stack = Stack::speaking(judge.streams([WATCH]).unwrap(), in_trailers("0"));
    let mut body = stack.head(WATCH).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(stack.counts(), (1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn before_its_first_message_a_stream_is_judged_as_any_other_call() {
    for (answer, wanted) in [
        (trailers_only(status("5")), (1, 0, 0, 0)),
        (trailers_only(status("8")), (0, 0, 1, 0)),
        (trailers_only(status("14")), (0, 1, 0, 0)),
        (with_body(vec![Step::Trailers(status("0"))]), (1, 0, 0, 0)),
        (with_body(vec![Step::Trailers(status("13"))]), (0, 1, 0, 0)),
        (with_body(vec![]), (0, 1, 0, 0)),
        (with_body(vec![Step::BreaksOff]), (0, 1, 0, 0)),
        (Answer::default(), (0, 1, 0, 0)),
        // A proxy's page is no message.
        (
            with_body(vec![Step::Bytes(b"<!doctype html><p>busy"), Step::Hangs]),
            (0, 1, 0, 0),
        ),
        (by_proxy(404, HeaderMap::new()), (1, 0, 0, 0)),
        (by_proxy(502, HeaderMap::new()), (0, 1, 0, 0)),
        (
            Answer {
                steps: vec![Step::Data, Step::BreaksOff],
                ..by_proxy(404, HeaderMap::new())
            },
            (0, 1, 0, 0),
        ),
        // Reading goes on for a minute.
        (with_body(vec![Step::Hangs]), (0, 1, 0, 0)),
    ] {
        let stack = streaming(answer.clone());
        let _ = tokio::time::timeout(secs(60), stack.call(WATCH)).await;
        assert_eq!(stack.counts(), wanted, "{answer:?}");
    }
    // The hang counts while the reader waits, and the drop by how long the partner was silent.
    let stack = streaming(with_body(vec![Step::Hangs]));
    let mut body = stack.head(WATCH).await.unwrap().into_body();
    assert!(tokio::time::timeout(secs(6), body.frame()).await.is_err());
    assert_eq!(stack.counts(), (0, 1, 0, 0));
    for (span, wanted) in [(secs(4), (0, 1, 0, 1)), (secs(5), (0, 2, 0, 1))] {
        let body = stack.head(WATCH).await.unwrap().into_body();
        tokio::time::sleep(span).await;
        drop(body);
        assert_eq!(stack.counts(), wanted, "{span:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_of_the_first_message_is_waited_for() {
    let head = || vec![Step::Bytes(b"\0\0\0"), Step::Bytes(b"\0\x04ab")];
    for (then, frames, wanted) in [
        (vec![Step::Bytes(b"cd")], 3, (1, 0, 0, 0)),
        // The last frame, and the next message with it.
        (vec![Step::Bytes(b"cd\0\0")], 3, (1, 0, 0, 0)),
        (vec![Step::BreaksOff], 2, (0, 1, 0, 0)),
        (vec![Step::Hangs], 2, (0, 1, 0, 0)),
    ] {
        let stack = streaming(with_body([head(), then.clone()].concat()));
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        for read in 0..frames {
            assert_eq!(stack.handle.status().calls.in_flight(), 1, "{read}");
            body.frame().await.unwrap().unwrap();
        }
        if frames == 2 {
            let _ = tokio::time::timeout(secs(6), body.frame()).await;
        }
        assert_eq!(stack.counts(), wanted, "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_silent_from_its_start_says_nothing() {
    let subscribed =
        |answer| Stack::speaking(GrpcCalls::new().subscriptions([WATCH]).unwrap(), answer);
    let silent = || with_body(vec![Step::Hangs]);
    for (stack, wanted) in [
        (subscribed(silent()), (0, 0, 5, 0)),
        // The control: one that merely streams.
        (streaming(silent()), (0, 3, 0, 0)),
    ] {
        for _ in 0..5 {
            let mut body = stack.head(WATCH).await.unwrap().into_body();
            if stack.handle.mode() != Mode::Serving {
                break;
            }
            let more = tokio::time::timeout(secs(10), body.frame()).await;
            assert!(more.is_err());
        }
        assert_eq!(stack.counts(), wanted);
    }
    // Nobody has read of it at all.
    let stack = subscribed(silent());
    let body = stack.head(WATCH).await.unwrap().into_body();
    tokio::time::sleep(secs(3600)).await;
    assert_eq!(stack.handle.status().calls.in_flight(), 1);
    drop(body);
    assert_eq!(stack.counts(), (0, 0, 1, 0));
    // What is no silence is judged as it is of any stream, and half a message is none.
    let late = |step| with_body(vec![Step::After(secs(3600)), step]);
    for (answer, wanted) in [
        (late(Step::Data), (1, 0, 0, 0)),
        (late(Step::Trailers(status("0"))), (1, 0, 0, 0)),
        (late(Step::Trailers(status("14"))), (0, 1, 0, 0)),
        (late(Step::BreaksOff), (0, 1, 0, 0)),
        (with_body(vec![]), (0, 1, 0, 0)),
        (trailers_only(status("13")), (0, 1, 0, 0)),
        (
            with_body(vec![Step::Bytes(b"\0\0"), Step::Hangs]),
            (0, 0, 1, 0),
        ),
        (by_proxy(502, HeaderMap::new()), (0, 1, 0, 0)),
    ] {
        let stack = subscribed(answer.clone());
        let _ = tokio::time::timeout(secs(7200), stack.call(WATCH)).await;
        assert_eq!(stack.counts(), wanted, "{answer:?}");
    }
    // A proxy's page is no subscription, and hangs like any other; so does another method.
    let page = Answer {
        steps: vec![Step::Hangs],
        ..by_proxy(404, HeaderMap::new())
    };
    for (answer, method) in [(page, WATCH), (silent(), CHARGE)] {
        let stack = subscribed(answer);
        let _ = tokio::time::timeout(secs(60), stack.call(method)).await;
        assert_eq!(stack.counts(), (0, 1, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_reads_passes_under_a_read_only_hold_and_does_not_probe() {
    let speaks = GrpcCalls::new().reads([WATCH, PRICES]).unwrap();
    let stack = Stack::speaking(speaks.subscriptions([WATCH]).unwrap(), in_trailers("0"));
    stack
        .handle
        .engage(Hold::new("on-call", "the ledger moves").read_only())
        .unwrap();
    assert!(!stack.is_refused(WATCH).await);
    stack.handle.release("on-call", "drill").unwrap();
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "drill").unwrap();
    assert!(stack.is_refused(WATCH).await);
    assert!(!stack.is_refused(PRICES).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_probes_gives_its_slot_back_at_its_first_message() {
    let speaks = GrpcCalls::new().reads([WATCH]).unwrap();
    let speaks = speaks.streams([WATCH]).unwrap();
    let stack = Stack::speaking(speaks, with_body(vec![Step::Data, Step::Hangs]));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        assert_eq!(stack.handle.mode(), Mode::Probing);
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        assert!(stack.is_refused(WATCH).await, "one probe at a time");
        body.frame().await.unwrap().unwrap();
        open.push(body);
    }
    assert_eq!(stack.handle.mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn a_method_streams_by_its_exact_path_and_others_do_not() {
    let stack = streaming(with_body(vec![Step::Data, Step::Trailers(status("14"))]));
    stack.call(WATCH).await;
    assert_eq!(stack.counts(), (1, 0, 0, 0));
    for other in [CHARGE, "/billing.v1.Billing/watchprices"] {
        stack.call(other).await;
    }
    assert_eq!(stack.counts(), (1, 2, 0, 0));
}

// ---- whose fault ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_panic_is_judged_by_whose_it_is() {
    // In the partner's body: its failure.
    let stack = Stack::new(with_body(vec![Step::Panics]));
    let read = AssertUnwindSafe(stack.call(CHARGE));
    assert!(futures_catch(read).await.is_err());
    assert_eq!(stack.counts(), (0, 1, 0, 0));

    // In the user's judge, at the trailers and at the head: nobody's, however long the call took.
    let judge = GrpcCalls::new().judged_by(|_, _| panic!("the judge panics"));
    let in_trailers = with_body(vec![Step::Trailers(status("0"))]);
    for answer in [in_trailers, trailers_only(status("0"))] {
        let stack = Stack::speaking(judge.clone(), answer);
        let read = AssertUnwindSafe(async {
            let body = stack.head(CHARGE).await.unwrap().into_body();
            // Its reader is slow: that is no hang.
            tokio::time::sleep(secs(60)).await;
            body.collect().await
        });
        assert!(futures_catch(read).await.is_err());
        assert_eq!(stack.counts(), (0, 0, 1, 0));
    }
}

/// `catch_unwind` for a future.
async fn futures_catch<F: Future>(future: AssertUnwindSafe<F>) -> std::thread::Result<F::Output> {
    let mut future = Box::pin(future.0);
    std::future::poll_fn(move |cx| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_a_code_means_is_the_users_to_say() {
    let calls = GrpcCalls::new().judged_by(|code, metadata| match code {
        Code::Aborted if metadata.contains_key("x-database-gone") => Outcome::Failure.into(),
        Code::Internal => Outcome::Success.into(),
        _ => GrpcCalls::by_code(code, metadata),
    });
    let stack = Stack::speaking(calls, Answer::default());
    let gone = fields(&[("grpc-status", "10"), ("x-database-gone", "1")]);
    for answer in [
        with_body(vec![Step::Trailers(gone.clone())]),
        trailers_only(gone),
    ] {
        assert_eq!(stack.outcome(answer).await, Outcome::Failure);
    }
    assert_eq!(stack.outcome(in_trailers("10")).await, Outcome::Success);
    assert_eq!(stack.outcome(in_trailers("13")).await, Outcome::Success);
    assert_eq!(stack.outcome(in_trailers("14")).await, Outcome::Failure);
}

// ---- what the partner asks for ----------------------------------------------------------------------

/// `google.rpc.Status{details: [RetryInfo{1800 s}]}`, written by hand.
fn retry_in_half_an_hour() -> String {
    use base64::Engine;
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    // RetryInfo.retry_delay = Duration{seconds: 1800}
    let info = [0x0a, 0x03, 0x08, 0x88, 0x0e];
    let mut any = vec![0x0a, u8::try_from(url.len()).unwrap()];
    any.extend(url);
    any.extend([0x12, u8::try_from(info.len()).unwrap()]);
    any.extend(info);
    let mut status = vec![0x08, 14, 0x1a, u8::try_from(any.len()).unwrap()];
    status.extend(any);
    base64::engine::general_purpose::STANDARD.encode(status)
}

#[tokio::test(start_paused = true)]
async fn a_wish_of_the_partner_is_the_least_that_the_trip_waits() {
    let details = retry_in_half_an_hour();
    for (code, name, value, waits) in [
        ("14", "grpc-status-details-bin", &*details, secs(1800)),
        ("8", "grpc-status-details-bin", &*details, secs(1800)),
        ("14", "grpc-retry-pushback-ms", "1800000", secs(1800)),
        // Shorter than the wait; never; nonsense.
        ("14", "grpc-retry-pushback-ms", "5000", secs(600)),
        ("14", "grpc-retry-pushback-ms", "-1", secs(600)),
        ("14", "grpc-status-details-bin", "%", secs(600)),
        // The partner answered, and asks for nothing.
        ("0", "grpc-retry-pushback-ms", "1800000", secs(600)),
    ] {
        let asking = fields(&[("grpc-status", code), (name, value)]);
        for answer in [
            with_body(vec![Step::Data, Step::Trailers(asking.clone())]),
            trailers_only(asking),
        ] {
            let stack = Stack::new(answer);
            stack.call(CHARGE).await;
            stack.answers(in_trailers("14"));
            while stack.handle.mode() == Mode::Serving {
                stack.call(CHARGE).await;
            }
            let status = stack.handle.status();
            assert_eq!(status.retry_after, Some(waits), "{code} {name}: {value}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_asked_to_wait_waits_that_long() {
    for code in ["14", "8"] {
        let details = retry_in_half_an_hour();
        let stack = Stack::new(trailers_only(fields(&[
            ("grpc-status", code),
            ("grpc-status-details-bin", &details),
        ])));
        stack.handle.trip("on-call", "drill").unwrap();
        stack.handle.probe_now("on-call", "let us see").unwrap();
        stack.call(PRICES).await;
        let status = stack.handle.status();
        assert_eq!(status.mode, Mode::Maintenance);
        assert_eq!(status.retry_after, Some(secs(1800)));
        let rule = status.evidence.unwrap().rule;
        assert!(matches!(rule, Rule::PartnerAsked { .. }), "{rule:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_reads_the_http_status_that_stands_for_the_code() {
    for (code, shown) in [("14", "503"), ("13", "500"), ("4", "504"), ("2", "500")] {
        let stack = Stack::new(in_trailers(code));
        for _ in 0..3 {
            stack.call(CHARGE).await;
        }
        let status = stack.handle.status().to_string();
        assert!(
            status.contains(&format!("3 calls failed in a row, last: {shown}")),
            "{status}"
        );
    }
}

// ---- the gate ---------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_tripped_layer_answers_by_itself_and_exempt_methods_pass() {
    let stack = Stack::new(in_trailers("14"));
    for _ in 0..3 {
        assert!(!stack.is_refused(CHARGE).await);
        stack.call(CHARGE).await;
    }
    assert!(stack.is_refused(CHARGE).await);
    assert!(stack.is_refused(PRICES).await);
    assert!(!stack.is_refused("/billing.v1.Billing/GetInvoice").await);
    for sneaky in [
        "/billing.v1.Billing//GetInvoice",
        "/billing.v1.Billing/x/../GetInvoice",
        "/billing.v1.Billing/GetInvoice;x",
        "/billing.v1.Billing/GetInvoice%2f",
        "/billing.v1.Billing/getinvoice",
    ] {
        assert!(stack.is_refused(sneaky).await, "{sneaky}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_said_to_read_probes() {
    let stack = Stack::new(in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.is_refused(CHARGE).await);
    assert!(stack.is_refused("/billing.v1.Billing//GetPrices").await);
    for _ in 0..3 {
        assert_eq!(stack.handle.mode(), Mode::Probing);
        stack.call(PRICES).await;
    }
    assert_eq!(stack.handle.mode(), Mode::Serving);

    // By default nothing reads.
    let stack = Stack::speaking(GrpcCalls::new(), in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.is_refused(PRICES).await);
}

#[tokio::test(start_paused = true)]
async fn what_may_probe_is_the_users_to_say() {
    let speaks = GrpcCalls::new().reads([PRICES]).unwrap();
    let speaks = speaks.may_probe(|path| path == CHARGE);
    let stack = Stack::speaking(speaks, in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(
        stack.is_refused(PRICES).await,
        "it reads, and may not probe"
    );
    assert!(!stack.is_refused(CHARGE).await);
    // The class is another matter: under a read-only hold the read passes, and the charge does not.
    stack.handle.clear("on-call", "seen").unwrap();
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    stack.handle.engage(hold).unwrap();
    assert!(!stack.is_refused(PRICES).await);
    assert!(stack.is_refused(CHARGE).await);
}

#[tokio::test(start_paused = true)]
async fn what_never_passes_passes_in_serving_alone() {
    const SETTLE: &str = "/billing.v1.Billing/SettleYear";
    let speaks = GrpcCalls::new().never([SETTLE]).unwrap();
    let speaks = speaks.may_probe(|_| true);
    let stack = Stack::speaking(speaks, in_trailers("0"));
    let routes = GrpcRoutes::new().reads([PRICES]).unwrap();
    let routes = routes.never([SETTLE]).unwrap();
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("served")));
    let ours = stack.layer.speaking(routes).layer(ours);
    let passes = async |method: &str| {
        let request = Request::post(method).body(()).unwrap();
        *ours.clone().oneshot(request).await.unwrap().body() == "served"
    };
    assert!(!stack.is_refused(SETTLE).await);
    assert!(passes(SETTLE).await);

    stack.handle.trip("on-call", "drill").unwrap();
    assert!(stack.is_refused(SETTLE).await);
    assert!(!passes(SETTLE).await);
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.is_refused(SETTLE).await, "whatever may probe");
    assert!(!passes(SETTLE).await);
    assert!(passes(PRICES).await);

    stack.handle.clear("on-call", "seen").unwrap();
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    stack.handle.engage(hold).unwrap();
    assert!(stack.is_refused(SETTLE).await);
    assert!(!passes(SETTLE).await);
    assert!(passes(PRICES).await, "reads pass under a read-only hold");
}

#[test]
fn a_method_that_both_reads_and_never_passes_is_an_error_that_names_it() {
    let calls = GrpcCalls::new().reads([PRICES]).unwrap().never([PRICES]);
    let routes = GrpcRoutes::new().never([PRICES]).unwrap().reads([PRICES]);
    for (error, classes) in [
        (calls.unwrap_err(), "read and never"),
        (routes.unwrap_err(), "never and read"),
    ] {
        assert_eq!(
            error.to_string(),
            format!("the method `{PRICES}` has two classes, {classes}: give it one")
        );
    }
    let error = GrpcCalls::new().streams(["WatchPrices"]).unwrap_err();
    assert_eq!(error.name(), "WatchPrices");
}

#[test]
fn a_longest_delay_under_a_second_is_an_error() {
    let short = Duration::from_millis(500);
    let calls = GrpcCalls::new().longest_retry_delay(short).unwrap_err();
    let routes = GrpcRoutes::new().longest_retry_delay(short).unwrap_err();
    for error in [calls, routes] {
        assert_eq!(
            error.to_string(),
            "longest_retry_delay is 500 ms: allowed is 1 s or longer"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_holds_its_slot_until_its_trailers_came() {
    let stack = Stack::new(in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    let first = stack.head(PRICES).await.unwrap();
    assert!(first.extensions().get::<Refused>().is_none());
    assert!(stack.is_refused(PRICES).await, "one probe at a time");
    first.into_body().collect().await.unwrap();
    assert!(!stack.is_refused(PRICES).await);
}

#[tokio::test(start_paused = true)]
async fn another_layers_refusal_from_within_is_no_failure_of_this_partner() {
    let inner = MaintenanceLayer::new("tax");
    inner
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let outer = MaintenanceLayer::new("zuora");
    let partner = Partner::default();
    let channel = outer
        .grpc_calls()
        .layer(inner.grpc_calls().layer(partner.channel()));
    let request = Request::post(CHARGE).body(()).unwrap();
    let answer = channel.oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "14");
    let calls = outer.handle().status().calls;
    assert_eq!((calls.failed, calls.neutral), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn before_services_reads_pass_while_the_partner_is_probed() {
    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::grpc_route(
            "/grpc.health.v1.Health/{method}",
            "orchestrators must not restart us",
        ))
        .build()
        .unwrap();
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("served")));
    let ours = layer
        .speaking(
            GrpcRoutes::new()
                .reads(["/shop.v1.Shop/ListPrices"])
                .unwrap(),
        )
        .layer(ours);
    let passes = async |method: &str| {
        let request = Request::post(method).body(()).unwrap();
        *ours.clone().oneshot(request).await.unwrap().body() == "served"
    };
    assert!(passes("/shop.v1.Shop/Buy").await);

    let handle = layer.handle();
    handle.trip("on-call", "drill").unwrap();
    assert!(passes("/grpc.health.v1.Health/Check").await);
    assert!(passes("/grpc.health.v1.Health/Watch").await);
    assert!(!passes("/grpc.health.v1.Health/../../shop.v1.Shop/Buy").await);
    assert!(!passes("/shop.v1.Shop/ListPrices").await);
    assert!(!passes("/shop.v1.Shop/Buy").await);

    handle.probe_now("on-call", "let us see").unwrap();
    for _ in 0..5 {
        assert!(passes("/shop.v1.Shop/ListPrices").await, "it takes no slot");
    }
    assert!(!passes("/shop.v1.Shop/Buy").await);
    assert_eq!(handle.status().window.total, 0, "it measures nothing");
}

#[tokio::test(start_paused = true)]
async fn a_partners_name_does_not_get_out_of_the_message() {
    let layer = MaintenanceLayer::new(" zuora\r\ngrpc-status: 0 100% Z\u{fc}rich");
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let channel = layer.grpc_calls().layer(Partner::default().channel());
    let request = Request::post(CHARGE).body(()).unwrap();
    let answer = channel.oneshot(request).await.unwrap();
    let message = answer.headers()["grpc-message"].to_str().unwrap();
    assert!(
        message.starts_with("%20zuora%0D%0Agrpc-status: 0 100%25 Z%C3%BCrich is in maintenance"),
        "{message}"
    );
    assert_eq!(answer.headers()["grpc-status"], "14");
}

// ---- gRPC-Web ---------------------------------------------------------------------------------------

const WEB: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// An answer whose trailers are a part of its body, if at all.
fn web(content_type: &str, steps: Vec<Step>) -> Answer {
    Answer {
        headers: fields(&[("content-type", content_type)]),
        ..with_body(steps)
    }
}

const WEB_OK: Step = Step::Bytes(b"\x80\0\0\0\x0fgrpc-status:0\r\n");
const WEB_DOWN: Step = Step::Bytes(b"\x80\0\0\0\x10grpc-status:14\r\n");

#[tokio::test(start_paused = true)]
async fn in_grpc_web_the_status_is_read_from_the_body() {
    for (content_type, steps, expected) in [
        (WEB, vec![Step::Data, WEB_OK], Outcome::Success),
        (WEB, vec![Step::Data, WEB_DOWN], Outcome::Failure),
        // In one frame with the message, and cut into two.
        (
            WEB,
            vec![Step::Bytes(b"\0\0\0\0\0\x80\0\0\0\x0fgrpc-status:5\r\n")],
            Outcome::Success,
        ),
        (
            WEB,
            vec![
                Step::Bytes(b"\x80\0\0\0\x0fgrpc-st"),
                Step::Bytes(b"atus:8\r\n"),
            ],
            Outcome::Neutral,
        ),
        (
            TEXT,
            vec![
                Step::Bytes(b"AAAAAAA="),
                Step::Bytes(b"gAAAAA9ncnBjLXN0YXR1czowDQo="),
            ],
            Outcome::Success,
        ),
        (
            TEXT,
            vec![Step::Bytes(b"AAAAAAA=gAAAABBncnBjLXN0YXR1czoxNA0K")],
            Outcome::Failure,
        ),
        // As a layer within has translated it: the type is still the web's.
        (
            WEB,
            vec![Step::Data, Step::Trailers(status("14"))],
            Outcome::Failure,
        ),
        (
            WEB,
            vec![Step::Data, Step::Trailers(status("0"))],
            Outcome::Success,
        ),
        // None, half of it, another one.
        (WEB, vec![Step::Data], Outcome::Failure),
        (
            WEB,
            vec![Step::Bytes(b"\x80\0\0\0\x0fgrpc-st")],
            Outcome::Failure,
        ),
        (
            WEB,
            vec![Step::Bytes(b"\x80\0\0\0\x05a:b\r\n")],
            Outcome::Failure,
        ),
        (WEB, vec![Step::Data, Step::BreaksOff], Outcome::Failure),
        // Compressed: it may say anything.
        (
            WEB,
            vec![Step::Data, Step::Bytes(b"\x81\0\0\0\x02zz")],
            Outcome::Neutral,
        ),
        // The control: in gRPC itself that is no status.
        (
            "application/grpc",
            vec![Step::Data, WEB_OK],
            Outcome::Failure,
        ),
    ] {
        let answer = web(content_type, steps);
        assert_eq!(outcome(answer.clone()).await, expected, "{answer:?}");
    }
    // What the partner asks for is heeded there too.
    let stack = Stack::new(web(
        WEB,
        vec![Step::Bytes(
            b"\x80\0\0\0\x2fgrpc-status:14\r\ngrpc-retry-pushback-ms:900000\r\n",
        )],
    ));
    for _ in 0..3 {
        stack.call(CHARGE).await;
    }
    assert_eq!(stack.handle.status().retry_after, Some(secs(900)));
}

#[tokio::test(start_paused = true)]
async fn a_web_stream_is_judged_at_its_first_message_too() {
    for (steps, wanted) in [
        (vec![Step::Data, WEB_DOWN], (1, 0, 0, 0)),
        // Trailers are no message.
        (vec![WEB_DOWN, Step::Hangs], (0, 1, 0, 0)),
        (vec![Step::Hangs], (0, 1, 0, 0)),
    ] {
        let stack = streaming(web(WEB, steps.clone()));
        let _ = tokio::time::timeout(secs(60), stack.call(WATCH)).await;
        assert_eq!(stack.counts(), wanted, "{steps:?}");
    }
}

/// As `tonic-web`'s client is over HTTP/2: the body it decodes is at its end, and the trailers are still to be given.
#[tokio::test(start_paused = true)]
async fn trailers_behind_an_end_are_waited_for() {
    /// Says that it is at its end when only trailers are left.
    #[derive(Default)]
    struct Early(Steps);

    impl Body for Early {
        type Data = &'static [u8];
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, io::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            !self.0.left.iter().any(|step| matches!(step, Step::Data))
        }
    }

    for (content_type, code, wanted) in [
        (WEB, "0", (1, 0)),
        (WEB, "14", (0, 1)),
        // The control: gRPC itself has its end where it says so, for readers who do not ask once more.
        ("application/grpc", "0", (0, 1)),
    ] {
        let layer = MaintenanceLayer::new("zuora");
        let channel = service_fn(async |_: Request<()>| {
            let steps = Steps {
                left: [Step::Data, Step::Trailers(status(code))].into(),
                sleep: None,
            };
            let mut answer = Response::new(Early(steps));
            *answer.headers_mut() = fields(&[("content-type", content_type)]);
            Ok::<_, Infallible>(answer)
        });
        let request = Request::post(format!("http://partner{CHARGE}"));
        let answer = layer
            .grpc_calls()
            .layer(channel)
            .oneshot(request.body(()).unwrap());
        let mut body = answer.await.unwrap().into_body();
        while let Some(frame) = body.frame().await {
            frame.unwrap();
        }
        let calls = layer.handle().status().calls;
        assert_eq!(
            (calls.succeeded, calls.failed),
            wanted,
            "{content_type} {code}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_of_the_type_that_was_asked_in() {
    let layer = MaintenanceLayer::new("zuora");
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let ours =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Steps::default())));
    for (asked, expected) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc"),
        ("application/grpc-web", WEB),
        ("application/grpc-web+proto", WEB),
        ("Application/gRPC-Web; x=\"y\"", WEB),
        (
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
        ),
        (
            "application/grpc-web-text+proto",
            "application/grpc-web-text+proto",
        ),
        ("text/html", "application/grpc"),
    ] {
        let request = || {
            let request = Request::post(format!("http://here{CHARGE}"));
            request.header("content-type", asked).body(()).unwrap()
        };
        let routes = layer.grpc_routes().layer(ours).oneshot(request());
        let calls = layer.grpc_calls().layer(ours).oneshot(request());
        let heads = [
            routes.await.unwrap().into_parts().0,
            calls.await.unwrap().into_parts().0,
        ];
        for head in heads {
            assert_eq!(head.status, 200);
            assert_eq!(head.headers["content-type"], expected, "{asked}");
            assert_eq!(head.headers["grpc-status"], "14");
        }
    }
}
