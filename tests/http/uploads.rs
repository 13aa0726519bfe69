//! Uploads that pass through: a customer that is slow to send is not a partner that is slow to
//! answer, in the view that watches the bodies of requests.

use std::{
    future::pending,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use test_support::{HOUR, ScriptedBody, Step, at_once, millis, secs, serve, soon};
use tokio::{sync::mpsc, task::yield_now, time};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    MaintenanceHandle, MaintenanceLayer, Mode, Policy, Rate, Window,
    http::{HttpCalls, UploadBody},
    testing::{assert_probing, assert_serving, assert_tripped},
};

/// A layer whose window holds a whole test.
fn build(policy: Policy) -> MaintenanceLayer {
    let policy = policy.with_window(Window::time(HOUR));
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    layer.build().unwrap()
}

/// A policy that trips at half of the calls being longer than 5 s.
fn slow_calls() -> Policy {
    Policy::default().with_slow_calls(secs(5), Rate::percent(50.0).unwrap())
}

/// A customer that sends one byte a second, and so needs this many seconds.
fn slowly(seconds: usize) -> ScriptedBody {
    let steps = [Step::After(secs(1)), Step::data(b".")];
    ScriptedBody::of(steps.into_iter().cycle().take(2 * seconds))
}

fn post<B>(body: B) -> Request<B> {
    Request::post("/v1/usage").body(body).unwrap()
}

/// A partner that reads the upload, and then answers at once.
async fn reads_and_answers<B>(request: Request<B>) -> Result<Response<ScriptedBody>, B::Error>
where
    B: Body,
{
    request.into_body().collect().await?;
    Ok(Response::new(ScriptedBody::whole("ok")))
}

/// A partner that reads the upload, and then is silent.
async fn reads_and_hangs<B>(request: Request<B>) -> Result<Response<ScriptedBody>, B::Error>
where
    B: Body,
{
    request.into_body().collect().await?;
    pending().await
}

/// Calls, and reads the answer to its end, unless it takes longer than `patience`.
async fn upload<S, B>(service: S, body: ScriptedBody, patience: Duration)
where
    S: Service<Request<ScriptedBody>, Response = Response<B>>,
    B: Body,
{
    let _ = time::timeout(patience, async {
        let answer = service.oneshot(post(body)).await.ok()?;
        answer.into_body().collect().await.ok()
    })
    .await;
}

fn given_up(handle: &MaintenanceHandle) -> (u64, u64) {
    let status = handle.status();
    (status.calls.abandoned, status.window.given_up)
}

// ---- customers that give up ---------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_slow_upload_that_its_customer_gives_up_says_nothing_of_the_partner() {
    let layer = build(Policy::default());
    let view = layer.http_calls().watching_uploads();
    for _ in 0..5 {
        let partner = view.layer(service_fn(reads_and_answers));
        upload(partner, slowly(100), secs(8)).await;
    }
    assert_serving(&layer.handle());
    assert_eq!(given_up(&layer.handle()), (5, 0));

    // Without the view, it is the partner that was silent for 8 s.
    let layer = build(Policy::default());
    for _ in 0..5 {
        let partner = layer.http_calls().layer(service_fn(reads_and_answers));
        upload(partner, slowly(100), secs(8)).await;
    }
    assert_tripped(&layer.handle());
}

#[cfg(feature = "grpc")]
#[tokio::test(start_paused = true)]
async fn nor_does_a_stream_of_requests_over_grpc() {
    let layer = build(Policy::default());
    let view = layer.grpc_calls().watching_uploads();
    for _ in 0..5 {
        let partner = view.layer(service_fn(reads_and_answers));
        upload(partner, slowly(100), secs(8)).await;
    }
    assert_serving(&layer.handle());
    assert_eq!(given_up(&layer.handle()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_is_silent_after_the_upload_still_hangs() {
    let layer = build(Policy::default());
    let view = layer.http_calls().watching_uploads();
    for _ in 0..4 {
        let partner = view.layer(service_fn(reads_and_hangs));
        upload(partner, slowly(8), secs(13)).await;
    }
    assert_eq!(layer.handle().status().calls.failed, 4);
    // One that its customer gives up a millisecond earlier is no failure.
    let partner = view.layer(service_fn(reads_and_hangs));
    upload(partner, slowly(8), secs(13) - millis(1)).await;
    assert_serving(&layer.handle());
    let partner = view.layer(service_fn(reads_and_hangs));
    upload(partner, slowly(8), secs(13)).await;
    assert_eq!(assert_tripped(&layer.handle()).failed, 5);
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_does_not_read_the_upload_hangs() {
    let layer = build(Policy::default());
    let view = layer.http_calls().watching_uploads();
    for _ in 0..5 {
        let partner = view.layer(service_fn(
            async |request: Request<UploadBody<ScriptedBody>>| {
                // It takes the first frame, and no more.
                let mut body = request.into_body();
                body.frame().await.unwrap()?;
                pending::<Result<Response<ScriptedBody>, io::Error>>().await
            },
        ));
        upload(partner, slowly(100), secs(6)).await;
    }
    assert_tripped(&layer.handle());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_dropped_is_not_late_any_more() {
    let layer = build(Policy::default());
    let view = layer.http_calls().watching_uploads();
    for _ in 0..5 {
        let partner = view.layer(service_fn(
            async |request: Request<UploadBody<ScriptedBody>>| {
                let mut body = request.into_body();
                assert!(at_once(body.frame()).is_none(), "it is late");
                drop(body);
                pending::<Result<Response<ScriptedBody>, io::Error>>().await
            },
        ));
        upload(partner, slowly(100), secs(5)).await;
    }
    assert_tripped(&layer.handle());
}

// ---- slow calls ---------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_long_upload_that_is_answered_at_once_is_not_slow() {
    let layer = build(slow_calls());
    let view = layer.http_calls().watching_uploads();
    for _ in 0..12 {
        let partner = view.layer(service_fn(reads_and_answers));
        upload(partner, slowly(8), secs(60)).await;
    }
    assert_serving(&layer.handle());
    let window = layer.handle().status().window;
    assert_eq!(
        (window.slow, layer.handle().status().calls.succeeded),
        (0, 12)
    );

    // Without the view, the partner took 8 s.
    let layer = build(slow_calls());
    for _ in 0..12 {
        let partner = layer.http_calls().layer(service_fn(reads_and_answers));
        upload(partner, slowly(8), secs(60)).await;
    }
    assert_tripped(&layer.handle());
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_reads_the_upload_slowly_is_slow() {
    let layer = build(slow_calls());
    let view = layer.http_calls().watching_uploads();
    for _ in 0..12 {
        let partner = view.layer(service_fn(
            async |request: Request<UploadBody<ScriptedBody>>| {
                let mut body = request.into_body();
                // The frames are there. It takes 4 s for each of the two.
                while let Some(frame) = body.frame().await {
                    frame?;
                    time::sleep(secs(4)).await;
                }
                Ok::<_, io::Error>(Response::new(ScriptedBody::whole("ok")))
            },
        ));
        let body = ScriptedBody::of([Step::data(b"."), Step::data(b".")]);
        upload(partner, body, secs(60)).await;
    }
    assert_tripped(&layer.handle());
}

// ---- answers that stream beside the upload ------------------------------------------------------

/// A partner that answers at once, and sends back what it reads.
async fn echoes<B: Body>(request: Request<B>) -> Result<Response<B>, io::Error> {
    Ok(Response::new(request.into_body()))
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_hang_while_the_upload_is_late() {
    let layer = build(Policy::default());
    let view = layer.http_calls().watching_uploads();
    let body = ScriptedBody::of([Step::After(secs(60)), Step::data(b".")]);
    upload(view.layer(service_fn(echoes)), body, secs(100)).await;
    let calls = layer.handle().status().calls;
    assert_eq!((calls.succeeded, calls.failed), (1, 0));

    // Without the view, it hung.
    let layer = build(Policy::default());
    let body = ScriptedBody::of([Step::After(secs(60)), Step::data(b".")]);
    upload(
        layer.http_calls().layer(service_fn(echoes)),
        body,
        secs(100),
    )
    .await;
    let calls = layer.handle().status().calls;
    assert_eq!((calls.succeeded, calls.failed), (0, 1));
}

// ---- probes -------------------------------------------------------------------------------------

/// A layer in Probing, whose probes may be uploads.
fn probing() -> MaintenanceLayer<HttpCalls> {
    let policy = Policy::default()
        .with_lease(secs(30))
        .with_hang_limit(secs(60));
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    let layer = layer.build().unwrap();
    layer.handle().trip("test", "to probe").unwrap();
    layer.handle().probe_now("test", "to probe").unwrap();
    let calls = HttpCalls::new().may_probe(|_, _| true);
    layer.with_protocol(calls)
}

/// How many probes are in flight.
fn in_flight(handle: &MaintenanceHandle) -> u32 {
    assert_probing(handle);
    handle.status().probing.unwrap().in_flight
}

#[tokio::test(start_paused = true)]
async fn r14_at_the_leases_end_a_probe_whose_upload_is_late_gives_its_slot_back() {
    let layer = probing();
    let partner = layer
        .watching_uploads()
        .layer(service_fn(reads_and_answers));
    let call = tokio::spawn(async { upload(partner, slowly(45), secs(100)).await });
    for _ in 0..29 {
        time::sleep(secs(1)).await;
    }
    assert_eq!(in_flight(&layer.handle()), 1);
    time::sleep(millis(1_500)).await;
    assert_eq!(in_flight(&layer.handle()), 0);
    call.await.unwrap();
    assert_eq!(layer.handle().status().calls.succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn r14_at_the_leases_end_a_probe_whose_partner_is_silent_after_the_upload_hung() {
    let layer = probing();
    let partner = layer.watching_uploads().layer(service_fn(reads_and_hangs));
    let call = tokio::spawn(async { upload(partner, slowly(20), secs(100)).await });
    time::sleep(millis(29_999)).await;
    assert_probing(&layer.handle());
    time::sleep(millis(1)).await;
    let status = layer.handle().status();
    assert_eq!(status.mode, Mode::Maintenance, "{status}");
    call.abort();
}

// ---- over a real client -------------------------------------------------------------------------

/// A body that the test sends.
struct Sent(mpsc::UnboundedReceiver<&'static str>);

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = self.0.poll_recv(cx);
        polled.map(|text| text.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

/// Lets the clock jump, in a runtime whose time is real.
async fn skip(span: Duration) {
    time::pause();
    time::advance(span).await;
    time::resume();
}

/// The connection of a real client polls the upload in a task of its own.
#[tokio::test]
async fn a_real_client_polls_the_upload_in_another_task() {
    let (received, mut receives) = mpsc::unbounded_channel();
    let addr = serve(
        axum::Router::new().fallback(async move |body: axum::body::Body| {
            let mut body = body;
            while let Some(Ok(_)) = body.frame().await {
                received.send(()).unwrap();
            }
            pending::<()>().await;
        }),
    )
    .await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let layer = build(Policy::default());
    let partner = layer.http_calls().watching_uploads().layer(client);

    for ends in [false, true] {
        let (sends, body) = mpsc::unbounded_channel();
        let request = Request::post(format!("http://{addr}/"))
            .body(Sent(body))
            .unwrap();
        let call = tokio::spawn(partner.clone().oneshot(request));
        for _ in 0..2 {
            sends.send("12 EUR").unwrap();
            soon(receives.recv()).await.unwrap();
            // The connection has polled for more once its task had a turn after the flush.
            for _ in 0..100 {
                yield_now().await;
            }
            skip(secs(8)).await;
        }
        if ends {
            drop(sends);
            for _ in 0..100 {
                yield_now().await;
            }
            skip(secs(8)).await;
        }
        call.abort();
        assert!(soon(call).await.unwrap_err().is_cancelled());
        let calls = layer.handle().status().calls;
        let expected = if ends { (1, 1) } else { (1, 0) };
        assert_eq!((calls.abandoned, calls.failed), expected, "ends: {ends}");
    }
}
