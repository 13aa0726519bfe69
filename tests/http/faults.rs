//! Whose fault an error is, around an HTTP client.

use std::{future::ready, io};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper_util::{client::legacy, rt::TokioExecutor};
use test_support::{ScriptedBody, Step, collected, millis, serve, soon};
use tower::{
    BoxError, Layer, ServiceExt, load_shed::error::Overloaded, service_fn, util::BoxCloneService,
};
use tower_maintenance::{
    KeyedLayer, MaintenanceLayer, Mode, Origin, Outcome, Verdict, http::HttpCalls,
};

use crate::warnings::Warnings;

type Client<B> = legacy::Client<legacy::connect::HttpConnector, B>;

fn client<B>() -> Client<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://partner/v1/prices")
        .body(Empty::new())
        .unwrap()
}

/// The numbers of failed, neutral and own calls.
fn told<P>(layer: &MaintenanceLayer<P>) -> (u64, u64, u64) {
    let calls = layer.handle().status().calls;
    assert_eq!(calls.in_flight(), 0);
    (calls.failed, calls.neutral, calls.ours)
}

const FAILURE: (u64, u64, u64) = (1, 0, 0);
const OURS: (u64, u64, u64) = (0, 0, 1);

/// A client that fails with what `error` makes.
fn failing<E: Send + 'static>(
    error: impl Fn() -> E + Clone + Send + 'static,
) -> BoxCloneService<Request<Empty<Bytes>>, Response<ScriptedBody>, E> {
    BoxCloneService::new(service_fn(move |_| ready(Err(error()))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_who_break_off_their_uploads_do_not_trip_the_partner() {
    let partner = Router::new().route(
        "/v1/charges",
        post(async |body: Bytes| body.len().to_string()),
    );
    let addr = serve(partner).await;
    let layer = MaintenanceLayer::new("zuora");
    let calls = layer.http_calls().nested().layer(client());
    let boxed = layer.http_calls().boxed().layer(client());
    let upload = |last| {
        let steps = [Step::data(b"half"), Step::After(millis(20)), last];
        let request = Request::post(format!("http://{addr}/v1/charges"));
        request.body(ScriptedBody::of(steps)).unwrap()
    };
    for _ in 0..10 {
        soon(calls.clone().oneshot(upload(Step::BreaksOff)))
            .await
            .unwrap_err();
        soon(boxed.clone().oneshot(upload(Step::BreaksOff)))
            .await
            .unwrap_err();
    }
    assert_eq!(told(&layer), (0, 0, 20));
    assert_eq!(
        layer.handle().status().to_string(),
        "zuora is serving: no call in 60 s gave evidence, 20 ended by our own errors"
    );

    // Upload after upload, the partner is fine.
    let answer = soon(calls.clone().oneshot(upload(Step::data(b"half"))))
        .await
        .unwrap();
    assert_eq!(collected(answer).await.body(), "8");
    assert_eq!(layer.handle().status().calls.succeeded, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_never_sent_does_not_trip_the_partner() {
    let layer = MaintenanceLayer::new("zuora");
    let calls = layer.http_calls().nested().layer(client());
    for _ in 0..10 {
        let relative = Request::get("/v1/prices").body(Empty::new()).unwrap();
        soon(calls.clone().oneshot(relative)).await.unwrap_err();
        let mut later = get();
        *later.version_mut() = http::Version::HTTP_3;
        soon(calls.clone().oneshot(later)).await.unwrap_err();
    }
    assert_eq!(told(&layer), (0, 0, 20));
    assert_eq!(layer.handle().mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn the_types_tell_in_every_view_of_http() {
    async fn each<E: std::error::Error + Send + Sync + 'static>(
        error: fn() -> E,
    ) -> [(u64, u64, u64); 2] {
        let nested = MaintenanceLayer::new("zuora");
        let _ = nested
            .http_calls()
            .nested()
            .layer(failing(error))
            .oneshot(get())
            .await;
        [told(&nested), boxed(error).await]
    }
    async fn boxed<E: Into<BoxError> + Send + 'static>(error: fn() -> E) -> (u64, u64, u64) {
        let layer = MaintenanceLayer::new("zuora");
        let calls = layer.http_calls().boxed().layer(failing(error));
        let _ = calls.oneshot(get()).await;
        told(&layer)
    }
    assert_eq!(boxed(|| BoxError::from(Overloaded::new())).await, OURS);
    assert_eq!(each(|| io::Error::from_raw_os_error(24)).await, [OURS; 2]);
    assert_eq!(
        each(|| Request::get("\n").body(()).unwrap_err()).await,
        [OURS; 2]
    );
    let uri = || BoxError::from("\n".parse::<http::Uri>().unwrap_err());
    assert_eq!(boxed(uri).await, OURS);
    let header = || BoxError::from(http::HeaderValue::from_str("\n").unwrap_err());
    assert_eq!(boxed(header).await, OURS);
    assert_eq!(
        each(|| io::Error::from(io::ErrorKind::ConnectionReset)).await,
        [FAILURE; 2]
    );
    assert_eq!(boxed(|| BoxError::from("no")).await, FAILURE);
}

#[tokio::test(start_paused = true)]
async fn closures_are_asked_before_the_type_and_in_their_order() {
    let layer = MaintenanceLayer::new("zuora");
    let calls = HttpCalls::new()
        .judged_errors(|error: &io::Error| match error.raw_os_error() {
            Some(24) => Some(Verdict::from(Outcome::Failure).with_code(7)),
            Some(_) => None,
            None => Some(Outcome::Neutral.into()),
        })
        .judged_errors(|error: &io::Error| match error.raw_os_error() {
            Some(104) => Some(Origin::Ourselves),
            Some(23) => None,
            _ => panic!("the first closure has answered"),
        });
    for (number, expected) in [
        (Some(24), (1, 0, 0)),
        (Some(104), (1, 0, 1)),
        // By its type.
        (Some(23), (1, 0, 2)),
        (None, (1, 1, 2)),
    ] {
        let error = move || match number {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other("no number"),
        };
        assert_eq!(
            calls.judge_error(&error()).outcome == Outcome::Failure,
            number == Some(24)
        );
        let view = layer.with_protocol(calls.clone()).nested();
        let _ = view.layer(failing(error)).oneshot(get()).await;
        assert_eq!(told(&layer), expected, "{number:?}");
    }
    let boxed = HttpCalls::new()
        .judged_errors(|_: &BoxError| Some(Origin::Ourselves))
        .boxed();
    let view = layer.with_protocol(boxed);
    let _ = view
        .layer(failing(|| io::Error::other("reset")))
        .oneshot(get())
        .await;
    assert_eq!(told(&layer), (1, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn closures_judge_in_the_layers_of_keys() {
    let make = |_: &u8| {
        let calls = HttpCalls::new().judged_errors(|_: &io::Error| Some(Origin::Ourselves));
        MaintenanceLayer::new("zuora").with_protocol(calls).nested()
    };
    let built = KeyedLayer::builder(|_: &Request<Empty<Bytes>>| 7_u8, make);
    let layer = built.build().unwrap();
    for _ in 0..20 {
        let calls = layer.layer(failing(|| io::Error::other("reset")));
        let _ = calls.oneshot(get()).await;
    }
    assert_eq!(layer.keys().handle(&7).unwrap().status().calls.ours, 20);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_closure_is_neutral() {
    let calls =
        HttpCalls::new().judged_errors(|_: &io::Error| -> Option<Origin> { panic!("closure") });
    let layer = MaintenanceLayer::new("zuora");
    let view = layer.with_protocol(calls).nested();
    let call = view
        .layer(failing(|| io::Error::other("reset")))
        .oneshot(get());
    let panicked = tokio::spawn(async move { call.await.map(drop).map_err(drop) });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(told(&layer), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn closures_that_take_no_error_of_the_client_are_told_once() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let layer = MaintenanceLayer::new("zuora");
    let fail = async |calls: &HttpCalls| {
        let view = layer.with_protocol(calls.clone()).nested();
        let _ = view
            .layer(failing(|| io::Error::other("reset")))
            .oneshot(get())
            .await;
    };
    let wrong = HttpCalls::new().judged_errors(|_: &BoxError| Some(Origin::Ourselves));
    let right = wrong.clone().judged_errors(|_: &io::Error| None::<Origin>);
    fail(&right).await;
    fail(&wrong).await;
    fail(&wrong).await;
    let about = warnings.about("judged_errors");
    assert_eq!(about.len(), 1, "{about:?}");
    assert!(about[0].contains("Box<"), "{about:?}");
}
