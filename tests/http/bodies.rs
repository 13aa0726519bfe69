//! Bodies count: what becomes of a call while its answer streams, and how its content is judged.
//!
//! In memory on paused time, and over real sockets where the transport matters.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Ready, pending, ready},
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use test_support::{ScriptedBody, Step, at_once, http_client, millis, secs, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{JoinHandle, yield_now},
    time::{advance, sleep},
};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_maintenance::{
    CallCounts, Endpoint, Error, EventKind, Exemption, Hold, MaintenanceHandle, MaintenanceLayer,
    Outcome, Placement, Policy, Protocol, Refused, Ticket, Verdict,
    http::{AnswerPrefix, CallBody, HttpCalls, JsonAnswer},
    testing::{
        PartnerServer, Phase, Script, assert_in_maintenance, assert_probing, assert_serving,
        assert_tripped,
    },
};

/// Trips at the first failure, and then waits so long that no test sees the end.
fn policy() -> Policy {
    Policy::default()
        .with_consecutive_failures(1)
        .with_hang_limit(secs(5))
        .with_wait(secs(36_000))
        .with_wait_growing(1.0, secs(36_000))
        .with_jitter(0.0)
}

fn layer() -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder("zuora").policy(policy());
    layer.build().unwrap()
}

fn counts(layer: &MaintenanceLayer) -> CallCounts {
    layer.handle().status().calls
}

// ---- a body that comes as the test says ---------------------------------------------------------

type Part = Result<Frame<Bytes>, io::Error>;

/// The writer of a body. When it is dropped, the body ends.
struct Writer(mpsc::UnboundedSender<Part>);

impl Writer {
    fn send(&self, text: &str) {
        let frame = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
        self.0.send(Ok(frame)).unwrap();
    }

    fn break_off(&self) {
        self.0.send(Err(io::Error::other("reset"))).unwrap();
    }
}

#[derive(Debug)]
struct Streamed(mpsc::UnboundedReceiver<Part>);

impl Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        self.0.poll_recv(cx)
    }
}

fn streamed() -> (Writer, Streamed) {
    let (writer, body) = mpsc::unbounded_channel();
    (Writer(writer), Streamed(body))
}

/// The answer of a call through this view. The partner answers with `response`.
async fn answer<B: Body<Error: 'static>>(
    layer: &MaintenanceLayer,
    calls: HttpCalls,
    response: Response<B>,
) -> Response<CallBody<B>> {
    let service = layer
        .with_protocol(calls)
        .layer(Once(Rc::new(Cell::new(Some(response)))));
    service.oneshot(Request::new(())).await.unwrap()
}

/// A service for one call: its clones share the answer.
struct Once<B>(Rc<Cell<Option<Response<B>>>>);

impl<B> Clone for Once<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> tower::Service<Request<()>> for Once<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(self.0.take().expect("called once")))
    }
}

/// A body that is being streamed to the test.
async fn streaming(layer: &MaintenanceLayer) -> (Writer, CallBody<Streamed>) {
    streaming_by(layer, HttpCalls::new()).await
}

/// A body that is being streamed to the test through this view.
async fn streaming_by(layer: &MaintenanceLayer, calls: HttpCalls) -> (Writer, CallBody<Streamed>) {
    let (writer, body) = streamed();
    let answer = answer(layer, calls, Response::new(body)).await;
    (writer, answer.into_body())
}

/// The text of the next frame.
async fn next(body: &mut CallBody<Streamed>) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Reads to the end, in a task.
fn reading(body: CallBody<Streamed>) -> JoinHandle<Result<String, io::Error>> {
    tokio::spawn(async move {
        let bytes = body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    })
}

/// Lets time pass, and lets the tasks run that it wakes.
async fn pass(span: Duration) {
    for _ in 0..4 {
        yield_now().await;
    }
    advance(span).await;
    for _ in 0..4 {
        yield_now().await;
    }
}

// ---- until the end ------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn headers_alone_are_provisional() {
    let layer = layer();
    let (writer, mut body) = streaming(&layer).await;
    assert_eq!(
        (counts(&layer).in_flight(), counts(&layer).succeeded),
        (1, 0)
    );
    writer.send("12 ");
    assert_eq!(next(&mut body).await.unwrap(), "12 ");
    assert_eq!(
        (counts(&layer).in_flight(), counts(&layer).succeeded),
        (1, 0)
    );
    writer.send("EUR");
    drop(writer);
    assert_eq!(reading(body).await.unwrap().unwrap(), "EUR");
    assert_eq!(
        (counts(&layer).in_flight(), counts(&layer).succeeded),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_failure() {
    let layer = layer();
    let (writer, body) = streaming(&layer).await;
    writer.send("12 ");
    writer.break_off();
    assert!(reading(body).await.unwrap().is_err());
    assert_eq!(assert_tripped(&layer.handle()).failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_stops_early_is_neutral() {
    let layer = layer();
    let (_writer, body) = streaming(&layer).await;
    drop(body);
    let (writer, mut body) = streaming(&layer).await;
    writer.send("12 ");
    next(&mut body).await.unwrap();
    // It waits for more, but not yet for too long.
    let waited = tokio::time::timeout(secs(5) - millis(1), body.frame()).await;
    assert!(waited.is_err());
    drop(body);
    assert_serving(&layer.handle());
    assert_eq!(
        (counts(&layer).abandoned, counts(&layer).in_flight()),
        (2, 0)
    );
    assert_eq!(layer.handle().status().window.total, 0);
}

// ---- hangs --------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_hang_is_a_failure_without_anybody_dropping_it() {
    let layer = layer();
    let (writer, body) = streaming(&layer).await;
    writer.send("12 ");
    let reader = reading(body);
    pass(secs(5) - millis(1)).await;
    assert_serving(&layer.handle());
    pass(millis(1)).await;

    let evidence = assert_tripped(&layer.handle());
    assert_eq!((evidence.failed, evidence.last_code), (1, Some(200)));
    assert_eq!(counts(&layer).in_flight(), 0);
    assert!(!reader.is_finished(), "the reader still has it");
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    assert_eq!((counts(&layer).failed, counts(&layer).abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn late_frames_still_reach_the_reader() {
    let layer = layer();
    let (writer, body) = streaming(&layer).await;
    writer.send("12 ");
    let reader = reading(body);
    pass(secs(60)).await;
    assert_in_maintenance(&layer.handle());
    writer.send("E");
    pass(secs(60)).await;
    writer.send("UR");
    drop(writer);
    assert_eq!(reader.await.unwrap().unwrap(), "12 EUR");
    assert_eq!((counts(&layer).failed, counts(&layer).succeeded), (1, 0));

    // A body that breaks off after its hang counted is no second failure.
    layer.handle().clear("on-call", "drill").unwrap();
    let (writer, body) = streaming(&layer).await;
    let reader = reading(body);
    pass(secs(5)).await;
    writer.break_off();
    assert!(reader.await.unwrap().is_err());
    assert_eq!(counts(&layer).failed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_a_hang() {
    let layer = layer();
    let (writer, mut body) = streaming(&layer).await;
    for text in ["12", " ", "EUR"] {
        writer.send(text);
    }
    // The reader asks for the next frame an hour after the last.
    for text in ["12", " ", "EUR"] {
        sleep(secs(3600)).await;
        assert_eq!(next(&mut body).await.unwrap(), text);
    }
    // No frame is there, and the reader has not asked for one: the wait begins when it asks.
    sleep(secs(3600)).await;
    let late = async {
        sleep(secs(4)).await;
        writer.send("!");
        drop(writer);
    };
    let (told, ()) = tokio::join!(next(&mut body), late);
    assert_eq!(told.unwrap(), "!");
    assert_eq!(next(&mut body).await, None);
    assert_eq!((counts(&layer).succeeded, counts(&layer).failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_wait_is_measured_anew() {
    let layer = layer();
    let (writer, body) = streaming(&layer).await;
    let reader = reading(body);
    for _ in 0..20 {
        pass(millis(4900)).await;
        writer.send(".");
    }
    assert_serving(&layer.handle());
    drop(writer);
    assert_eq!(reader.await.unwrap().unwrap().len(), 20);
    assert_eq!(counts(&layer).succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn r20_a_wait_is_measured_by_the_hang_limit_in_force_when_it_began() {
    let layer = layer();
    let (writer, body) = streaming(&layer).await;
    let _reader = reading(body);
    pass(secs(3)).await;
    let replace = |limit| {
        let policy = policy().with_hang_limit(limit);
        let handle = layer.handle();
        handle.replace_policy(&policy, "on-call", "drill").unwrap();
    };
    replace(secs(60));
    // The next wait is under the new limit.
    writer.send("12 ");
    pass(secs(59)).await;
    assert_serving(&layer.handle());
    replace(secs(1));
    pass(millis(500)).await;
    assert_serving(&layer.handle());
    pass(millis(500)).await;
    assert_in_maintenance(&layer.handle());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_amid_its_answer_proves_that_the_partner_is_not_back() {
    let layer = layer();
    layer.handle().trip("on-call", "drill").unwrap();
    layer.handle().probe_now("on-call", "let us see").unwrap();
    let (writer, body) = streaming(&layer).await;
    writer.send("12 ");
    let _reader = reading(body);
    pass(secs(4)).await;
    assert_probing(&layer.handle());
    pass(secs(1)).await;
    assert_in_maintenance(&layer.handle());
}

#[tokio::test(start_paused = true)]
async fn judged_at_headers_silence_is_no_hang() {
    let layer = layer();
    let events = HttpCalls::new().judged_at_headers();
    let (writer, body) = streaming_by(&layer, events).await;
    let reader = reading(body);
    pass(secs(3600)).await;
    writer.send("data: paid\n\n");
    drop(writer);
    assert_eq!(reader.await.unwrap().unwrap(), "data: paid\n\n");
    assert_eq!((counts(&layer).succeeded, counts(&layer).failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_body_of_an_exempt_call_counts_nothing() {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy())
        .exempt(Exemption::http_call(
            "/",
            "customers may always see what they owe",
        ))
        .build()
        .unwrap();
    let judged = HttpCalls::new().judged_by_body(|_| panic!("an exempt call has no judge"));
    let (writer, body) = streaming_by(&layer, judged).await;
    let reader = reading(body);
    pass(secs(3600)).await;
    writer.send("12 EUR");
    drop(writer);
    assert_eq!(reader.await.unwrap().unwrap(), "12 EUR");
    assert_eq!((counts(&layer).admitted, counts(&layer).exempt), (0, 1));
    assert_serving(&layer.handle());
}

/// A streaming body, outside any runtime.
fn streaming_nowhere(layer: &MaintenanceLayer) -> (Writer, CallBody<Streamed>) {
    at_once(streaming(layer)).expect("nothing in it waits")
}

#[test]
fn without_a_timer_a_body_streams_all_the_same() {
    let runtime = |time: bool| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        if time {
            builder.enable_time();
        }
        builder.build().unwrap()
    };
    let reads_on = |writer: Writer, mut body: CallBody<Streamed>| {
        writer.send("12 EUR");
        assert!(at_once(body.frame()).is_some());
        assert!(at_once(body.frame()).is_none());
        drop(writer);
        assert!(matches!(at_once(body.frame()), Some(None)));
    };
    let layer = layer();

    // Outside any runtime.
    let (writer, mut body) = streaming_nowhere(&layer);
    assert!(at_once(body.frame()).is_none());
    reads_on(writer, body);

    // In a runtime without timers: tokio's panic is caught.
    let timeless = runtime(false);
    let (writer, mut body) = streaming_nowhere(&layer);
    timeless.block_on(async {
        assert!(at_once(body.frame()).is_none());
        reads_on(writer, body);
    });

    // After the end of the runtime in which the wait began.
    let ends = runtime(true);
    let (writer, mut body) = streaming_nowhere(&layer);
    ends.block_on(async { assert!(at_once(body.frame()).is_none()) });
    drop(ends);
    assert!(at_once(body.frame()).is_none());
    runtime(true).block_on(async { reads_on(writer, body) });

    assert_eq!((counts(&layer).succeeded, counts(&layer).failed), (3, 0));
}

#[test]
fn a_measured_body_is_unpin_where_its_body_is() {
    fn unpin<T: Unpin>() {}
    unpin::<CallBody<Full<Bytes>>>();
    unpin::<CallBody<hyper::body::Incoming>>();
}

/// A protocol of the user's own, which notes the hang limit of its ticket.
#[derive(Clone)]
struct Noting(Rc<Cell<Option<Duration>>>);

impl Protocol<&'static str, (), Infallible> for Noting {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = ();
    type Error = Error<Infallible>;

    fn endpoint<'r>(&self, request: &'r &'static str) -> Endpoint<'r> {
        Endpoint::named(request, true)
    }

    fn finish(&self, ticket: Ticket, _: Result<(), Infallible>) -> Result<(), Self::Error> {
        self.0.set(ticket.hang_limit());
        ticket.settle(Outcome::Success);
        Ok(())
    }

    fn refuse(&self, _: &'static str, refused: Refused) -> Result<(), Self::Error> {
        Err(Error::Refused(refused))
    }

    fn unready(&self, error: Infallible) -> Self::Error {
        match error {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_tells_the_hang_limit_in_force() {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy())
        .exempt(Exemption::call(
            "invoice",
            "customers may always see what they owe",
        ))
        .build()
        .unwrap()
        .named(|name: &&'static str| *name);
    let noted = Rc::new(Cell::new(None));
    let service = layer
        .with_protocol(Noting(noted.clone()))
        .layer(service_fn(|_| ready(Ok::<_, Infallible>(()))));
    let told = async |name| {
        service.clone().oneshot(name).await.unwrap();
        noted.take()
    };
    assert_eq!(told("charge").await, Some(secs(5)));
    assert_eq!(told("invoice").await, None, "not measured");
    let replace = |limit| {
        let policy = policy().with_hang_limit(limit);
        let handle = layer.handle();
        handle.replace_policy(&policy, "on-call", "drill").unwrap();
    };
    replace(millis(7));
    assert_eq!(told("charge").await, Some(millis(7)));
    replace(Duration::MAX);
    assert!(told("charge").await.unwrap() > secs(100 * 365 * 86_400));
}

// ---- what it says -------------------------------------------------------------------------------

fn zuora() -> JsonAnswer {
    let judge =
        JsonAnswer::new().when_code("/reasons/0/code", |code| code % 100 == 20, Outcome::Success);
    judge.unwrap().failure_when("/success", false).unwrap()
}

/// Reads an answer with this body to its end. Returns the layer's counts.
async fn said(calls: HttpCalls, status: u16, body: &str) -> CallCounts {
    let layer = layer();
    let (writer, stream) = streamed();
    let mut response = Response::new(stream);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let read = answer(&layer, calls, response).await.into_body();
    // One byte per frame, as the worst of networks.
    for byte in body.chars() {
        writer.send(&byte.to_string());
    }
    drop(writer);
    assert_eq!(reading(read).await.unwrap().unwrap(), body);
    counts(&layer)
}

#[tokio::test(start_paused = true)]
async fn a_200_that_says_that_it_failed_is_a_failure() {
    let calls = || HttpCalls::new().judged_by_json(zuora());
    for (status, body, succeeded, failed) in [
        (200, r#"{"success": true, "basic": 19}"#, 1, 0),
        (
            200,
            r#"{"success": false, "reasons": [{"code": 53100061}]}"#,
            0,
            1,
        ),
        (
            200,
            r#"{"success": false, "reasons": [{"code": 53100020}]}"#,
            1,
            0,
        ),
        (200, r#"{"success": false"#, 0, 1),
        (200, "<html>", 0, 1),
        (422, r#"{"success": false}"#, 0, 1),
        (401, r#"{"success": false}"#, 0, 0),
    ] {
        let counts = said(calls(), status, body).await;
        let told = (counts.succeeded, counts.failed);
        assert_eq!(told, (succeeded, failed), "{status} {body}");
    }
    let counts = said(HttpCalls::new(), 200, r#"{"success": false}"#).await;
    assert_eq!(
        (counts.succeeded, counts.failed),
        (1, 0),
        "if asked for only"
    );
}

#[tokio::test(start_paused = true)]
async fn a_judge_of_bodies_is_asked_once_about_what_looks_good() {
    let asked = Arc::new(AtomicUsize::new(0));
    let calls = |limit| {
        let asked = asked.clone();
        let judge = move |answer: &AnswerPrefix<'_>| {
            asked.fetch_add(1, Relaxed);
            assert!(answer.bytes().len() <= limit);
            None
        };
        HttpCalls::new()
            .judged_by_body(judge)
            .with_body_prefix(limit)
    };
    for limit in [1, 6, 7, 100] {
        for (status, times) in [(200, 1), (302, 0), (404, 1), (502, 0), (429, 0), (403, 0)] {
            said(calls(limit), status, "12 EUR").await;
            assert_eq!(asked.swap(0, Relaxed), times, "{status} {limit}");
        }
    }
    // The judge is asked too where there is no body at all.
    let empty = Response::new(Empty::<Bytes>::new());
    let layer = layer();
    let _ = answer(&layer, calls(1), empty).await;
    assert_eq!((asked.swap(0, Relaxed), counts(&layer).succeeded), (1, 1));
    let mut bad = Response::new(Empty::<Bytes>::new());
    *bad.status_mut() = StatusCode::BAD_GATEWAY;
    let _ = answer(&layer, calls(1), bad).await;
    assert_eq!((asked.load(Relaxed), counts(&layer).failed), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_judge_sees_status_headers_and_the_beginning() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    for (limit, wanted) in [
        (4, ("12 E", false)),
        (100, ("12 EUR", true)),
        (0, ("1", false)),
        (usize::MAX, ("12 EUR", true)),
    ] {
        let layer = layer();
        let noting = seen.clone();
        let calls = HttpCalls::new()
            .with_body_prefix(limit)
            .judged_by_body(move |answer| {
                assert_eq!(answer.status(), 203);
                assert_eq!(answer.headers()["x-shard"], "7");
                let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
                noting.lock().unwrap().push((text, answer.is_whole()));
                None
            });
        let (writer, body) = streamed();
        let mut response = Response::builder().status(203).body(body).unwrap();
        response
            .headers_mut()
            .insert("x-shard", HeaderValue::from_static("7"));
        let body = answer(&layer, calls, response).await.into_body();
        writer.send("12 ");
        writer.send("EUR");
        drop(writer);
        reading(body).await.unwrap().unwrap();
        let (text, whole) = seen.lock().unwrap().pop().unwrap();
        assert_eq!((&*text, whole), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_are_the_end_of_a_body_for_readers_who_do_not_ask_once_more() {
    let layer = layer();
    let (writer, mut body) = streaming(&layer).await;
    writer.send("12 EUR");
    next(&mut body).await.unwrap();
    assert_eq!(
        (counts(&layer).succeeded, counts(&layer).in_flight()),
        (0, 1)
    );
    writer
        .0
        .send(Ok(Frame::trailers(HeaderMap::new())))
        .unwrap();
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(
        (counts(&layer).succeeded, counts(&layer).in_flight()),
        (1, 0)
    );
    drop(body);
    assert_eq!(counts(&layer).abandoned, 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_at_once_and_a_success_waits_for_the_end() {
    for (said, at_once) in [
        (Outcome::Failure, (0, 1, 0)),
        (Outcome::Neutral, (0, 0, 1)),
        (Outcome::Success, (0, 0, 0)),
    ] {
        let layer = layer();
        let calls = HttpCalls::new()
            .judged_by_body(move |_| Some(said.into()))
            .with_body_prefix(4);
        let (writer, mut body) = streaming_by(&layer, calls).await;
        writer.send("123");
        next(&mut body).await.unwrap();
        let now = || {
            let counts = counts(&layer);
            (counts.succeeded, counts.failed, counts.neutral)
        };
        assert_eq!(now(), (0, 0, 0), "the prefix is not full");
        writer.send("456");
        next(&mut body).await.unwrap();
        assert_eq!(now(), at_once, "{said:?}");
        // The rest still streams. A broken connection counts only if no outcome is settled yet.
        writer.break_off();
        assert!(reading(body).await.unwrap().is_err());
        let (succeeded, failed, neutral) = at_once;
        let broken = u64::from(said == Outcome::Success);
        assert_eq!(now(), (succeeded, failed + broken, neutral), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_verdict_on_a_body_keeps_status_and_retry_after() {
    for (verdict, code) in [
        (Verdict::from(Outcome::Failure), 200),
        (Verdict::from(Outcome::Failure).with_code(61), 61),
    ] {
        let layer = MaintenanceLayer::builder("zuora").policy(policy().with_wait(secs(10)));
        let layer = layer.build().unwrap();
        let calls = HttpCalls::new().judged_by_body(move |_| Some(verdict));
        let mut response = Response::new(Full::new(Bytes::from("{}")));
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from(1800));
        let answer = answer(&layer, calls, response).await;
        answer.into_body().collect().await.unwrap();
        assert_eq!(assert_tripped(&layer.handle()).last_code, Some(code));
        assert_eq!(layer.handle().status().retry_after, Some(secs(1800)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_can_judge_as_the_calls_are_judged() {
    let calls = HttpCalls::new().judged_by_json(zuora());
    let headers = HeaderMap::new();
    let judge = |status, body: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        let verdict = calls.judge(&AnswerPrefix::whole(status, &headers, body.as_bytes()));
        (verdict.outcome, verdict.code)
    };
    assert_eq!(
        judge(200, r#"{"success": false}"#),
        (Outcome::Failure, Some(200))
    );
    assert_eq!(judge(200, "{}"), (Outcome::Success, Some(200)));
    assert_eq!(
        judge(503, r#"{"success": true}"#),
        (Outcome::Failure, Some(503))
    );
}

#[tokio::test(start_paused = true)]
async fn a_judge_of_bodies_that_panics_is_neutral_and_the_rest_still_streams() {
    let layer = layer();
    let calls = HttpCalls::new()
        .judged_by_body(|_| panic!("a judge of the user's"))
        .with_body_prefix(2);
    let (writer, mut body) = streaming_by(&layer, calls).await;
    // The call is long, which does not matter here.
    sleep(secs(60)).await;
    writer.send("12 ");
    let read = std::panic::catch_unwind(AssertUnwindSafe(|| at_once(body.frame())));
    assert!(read.is_err(), "it propagates");
    assert_eq!((counts(&layer).neutral, counts(&layer).in_flight()), (1, 0));
    writer.send("EUR");
    drop(writer);
    assert_eq!(reading(body).await.unwrap().unwrap(), "EUR");
    assert_serving(&layer.handle());
}

// ---- what the reader gets -----------------------------------------------------------------------

proptest! {
    #[test]
    fn the_reader_gets_every_byte_unchanged(
        frames in proptest::collection::vec(
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..50)),
            0..20,
        ),
        trailers in any::<bool>(),
        limit in 0_usize..200,
        outcome in proptest::sample::select(vec![
            None,
            Some(Outcome::Success),
            Some(Outcome::Neutral),
            Some(Outcome::Failure),
        ]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let layer = layer();
            let trailers = trailers.then(|| {
                HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("7"))])
            });
            let sent: Vec<_> = frames.iter().map(|(_, data)| Bytes::from(data.clone())).collect();
            let mut steps = Vec::new();
            for ((pause, _), data) in frames.iter().zip(&sent) {
                steps.extend(pause.then_some(Step::Yields));
                steps.push(Step::Data(data.clone()));
            }
            steps.extend(trailers.clone().map(Step::Trailers));
            let body = ScriptedBody::of(steps).that_says_its_length();
            let shown = Arc::new(Mutex::new(None));
            let noting = shown.clone();
            let calls = HttpCalls::new()
                .judged_by_body(move |answer| {
                    let shown = (answer.bytes().to_vec(), answer.is_whole());
                    assert!(noting.lock().unwrap().replace(shown).is_none(), "asked twice");
                    outcome.map(Verdict::from)
                })
                .with_body_prefix(limit);
            let mut body = answer(&layer, calls, Response::new(body)).await.into_body();
            let mut read = Vec::new();
            let mut read_trailers = None;
            while !body.is_end_stream() {
                let frame = body.frame().await.unwrap().unwrap();
                match frame.into_data() {
                    Ok(data) => read.push(data),
                    Err(frame) => read_trailers = frame.into_trailers().ok(),
                }
            }
            // Frame by frame, and the same buffers.
            assert_eq!(read, sent);
            let same = read.iter().zip(&sent).all(|(a, b)| a.as_ptr() == b.as_ptr());
            assert!(same, "not copies");
            assert_eq!(read_trailers, trailers);

            let all = sent.concat();
            let limit = limit.max(1);
            let (bytes, whole) = shown.lock().unwrap().take().expect("asked once");
            assert_eq!(bytes, all[..all.len().min(limit)]);
            assert!(!whole || bytes == all, "whole is whole");
            assert!(whole || all.len() >= limit, "no less than asked for");
            let counts = counts(&layer);
            let ends = (counts.succeeded, counts.failed, counts.neutral);
            let wanted = match outcome {
                None | Some(Outcome::Success) => (1, 0, 0),
                Some(Outcome::Failure) => (0, 1, 0),
                Some(Outcome::Neutral) => (0, 0, 1),
            };
            assert_eq!(ends, wanted);
        });
    }
}

/// 64 KiB of a body. The pieces that are alive are counted.
struct Piece {
    at: usize,
    alive: Arc<AtomicUsize>,
}

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

impl Buf for Piece {
    fn remaining(&self) -> usize {
        PIECE.len() - self.at
    }
    fn chunk(&self) -> &[u8] {
        &PIECE[self.at..]
    }
    fn advance(&mut self, n: usize) {
        self.at += n;
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

/// A body of that many pieces.
struct Pieces {
    left: usize,
    alive: Arc<AtomicUsize>,
}

impl Body for Pieces {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        self.alive.fetch_add(1, Relaxed);
        let alive = self.alive.clone();
        Poll::Ready(Some(Ok(Frame::data(Piece { at: 0, alive }))))
    }
}

#[tokio::test(start_paused = true)]
async fn of_64_mib_nothing_is_held_back() {
    let layer = layer();
    let alive = Arc::new(AtomicUsize::new(0));
    let body = Pieces {
        left: 1024,
        alive: alive.clone(),
    };
    let calls = HttpCalls::new().judged_by_body(|answer| {
        assert_eq!(
            (answer.bytes().len(), answer.is_whole()),
            (64 * 1024, false)
        );
        Some(Outcome::Success.into())
    });
    let mut body = answer(&layer, calls, Response::new(body)).await.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        // Only the piece in the reader's hand.
        assert_eq!(alive.load(Relaxed), 1);
        read += frame
            .unwrap()
            .into_data()
            .unwrap_or_else(|_| panic!("no trailers"))
            .remaining();
    }
    assert_eq!(read, 64 << 20);
    assert_eq!((alive.load(Relaxed), counts(&layer).succeeded), (0, 1));
}

// ---- in stacks of boxed errors ------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn boxed_a_timeout_inside_is_a_failure_and_another_layers_refusal_is_neutral() {
    let outer = layer();
    let inner = MaintenanceLayer::new("tax");
    let get = || Request::get("/v1/prices").body(()).unwrap();
    let healthy = service_fn(|_: Request<()>| {
        ready(Ok::<_, BoxError>(Response::new(Full::new(Bytes::from(
            "{}",
        )))))
    });
    let stack = ServiceBuilder::new()
        .layer(outer.http_calls().boxed())
        .timeout(secs(1))
        .layer(inner.http_calls().boxed())
        .service(healthy);
    let answer = stack.clone().oneshot(get()).await.unwrap();
    assert_eq!(counts(&outer).succeeded, 0, "headers are provisional");
    answer.into_body().collect().await.unwrap();
    assert_eq!(counts(&outer).succeeded, 1);

    inner
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let error = stack.clone().oneshot(get()).await.unwrap_err();
    assert_eq!(Refused::find(&*error).unwrap().partner(), "tax");
    assert_eq!(
        (counts(&outer).refused_within, counts(&outer).failed),
        (1, 0)
    );

    let hanging = ServiceBuilder::new()
        .layer(outer.http_calls().boxed())
        .timeout(secs(1))
        .service(service_fn(|_: Request<()>| {
            pending::<Result<Response<Empty<Bytes>>, BoxError>>()
        }));
    let error = hanging.clone().oneshot(get()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_tripped(&outer.handle());
    let error = hanging.oneshot(get()).await.unwrap_err();
    assert_eq!(Refused::find(&*error).unwrap().partner(), "zuora");
}

#[tokio::test(start_paused = true)]
async fn boxed_the_options_are_the_same() {
    let layer = layer();
    let calls = HttpCalls::new()
        .judged_by_json(zuora())
        .may_probe(|_, uri| uri.path() == "/v1/ping");
    let stack = layer
        .with_protocol(calls.boxed())
        .layer(service_fn(|_: Request<()>| {
            let body = Full::new(Bytes::from(r#"{"success": false}"#));
            ready(Ok::<_, BoxError>(Response::new(body)))
        }));
    layer.handle().trip("on-call", "drill").unwrap();
    layer.handle().probe_now("on-call", "let us see").unwrap();
    let post = |path: &str| Request::post(path).body(()).unwrap();
    assert!(stack.clone().oneshot(post("/v1/prices")).await.is_err());
    let answer = stack.oneshot(post("/v1/ping")).await.unwrap();
    answer.into_body().collect().await.unwrap();
    assert_in_maintenance(&layer.handle());
}

// ---- over real sockets --------------------------------------------------------------------------

async fn get(
    layer: &MaintenanceLayer,
    calls: HttpCalls,
    uri: Uri,
) -> Response<CallBody<hyper::body::Incoming>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri;
    soon(
        layer
            .with_protocol(calls)
            .layer(http_client())
            .oneshot(request),
    )
    .await
    .unwrap()
}

/// A server that reads one request, and then runs `write`.
async fn serving<F>(write: impl FnOnce(TcpStream) -> F + Send + 'static) -> Uri
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        write(stream).await;
    });
    uri.parse().unwrap()
}

async fn until_tripped(handle: &MaintenanceHandle) {
    let mut events = handle.events();
    soon(async {
        while handle.mode() == tower_maintenance::Mode::Serving {
            let event = events.recv().await.unwrap();
            if matches!(event.kind, EventKind::Tripped { .. }) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_amid_its_answer_is_noticed_and_may_still_finish() {
    let limit = millis(200);
    let layer = MaintenanceLayer::builder("zuora").policy(policy().with_hang_limit(limit));
    let layer = layer.build().unwrap();
    let (finish, finished) = oneshot::channel();
    let uri = serving(async |mut stream| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n12 ";
        stream.write_all(head).await.unwrap();
        finished.await.unwrap();
        stream.write_all(b"EUR").await.unwrap();
        pending::<()>().await;
    })
    .await;

    let answer = get(&layer, HttpCalls::new(), uri).await;
    assert_eq!(answer.status(), 200);
    let began = layer.handle().status().at;
    let reader = tokio::spawn(answer.into_body().collect());
    until_tripped(&layer.handle()).await;
    let waited = layer.handle().status().at.duration_since(began).unwrap();
    assert!(waited >= limit, "not before");
    assert!(!reader.is_finished());
    assert_eq!(assert_tripped(&layer.handle()).last_code, Some(200));

    finish.send(()).unwrap();
    let body = soon(reader).await.unwrap().unwrap().to_bytes();
    assert_eq!(body, "12 EUR");
    assert_eq!((counts(&layer).failed, counts(&layer).succeeded), (1, 0));
}

#[tokio::test]
async fn a_server_that_breaks_off_or_fails_with_200_trips() {
    for phase in [Phase::ResetMidBody, Phase::failing_with_200(1.0)] {
        let server = PartnerServer::start(Script::always(phase).unwrap(), 0)
            .await
            .unwrap();
        let layer = layer();
        let uri: Uri = format!("{}/v1/prices", server.url()).parse().unwrap();
        let calls = HttpCalls::new().judged_by_json(zuora());
        let answer = get(&layer, calls, uri).await;
        assert_eq!(answer.status(), 200, "it began well");
        assert_serving(&layer.handle());
        let read = soon(answer.into_body().collect()).await;
        assert_eq!(read.is_err(), phase == Phase::ResetMidBody);
        assert_eq!(assert_tripped(&layer.handle()).failed, 1, "{phase}");
        soon(server.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_of_64_mib_streams_through() {
    const CHUNK: usize = 1 << 20;
    let uri = serving(async |mut stream| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let chunk = [b"100000\r\n".to_vec(), vec![b'7'; CHUNK], b"\r\n".to_vec()].concat();
        for _ in 0..64 {
            stream.write_all(&chunk).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        pending::<()>().await;
    })
    .await;
    let layer = layer();
    let shown = Arc::new(AtomicUsize::new(0));
    let noting = shown.clone();
    let calls = HttpCalls::new().judged_by_body(move |answer| {
        noting.store(answer.bytes().len(), Relaxed);
        None
    });
    let mut body = get(&layer, calls, uri).await.into_body();
    let mut read = 0;
    while let Some(frame) = soon(body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == b'7'));
        // The most that hyper passes on at once: it has a buffer of its own.
        assert!(data.len() <= CHUNK);
        read += data.len();
        if read < 64 * CHUNK {
            assert_eq!(counts(&layer).in_flight(), 1);
        }
    }
    assert_eq!((read, shown.load(Relaxed)), (64 * CHUNK, 64 * 1024));
    assert_eq!(
        (counts(&layer).succeeded, counts(&layer).in_flight()),
        (1, 0)
    );
}
