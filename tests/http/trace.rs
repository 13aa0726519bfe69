//! tower-http's `TraceLayer` from `trace_layer`: a refusal is no failure. The real log is tested in
//! `crates/observability`.

use http::{Response, StatusCode};
use tower_http::classify::{
    ClassifiedResponse, ClassifyResponse, GrpcErrorsAsFailures, GrpcFailureClass,
    ServerErrorsFailureClass,
};
use tower_maintenance::{
    Error, Hold, MaintenanceLayer,
    http::{RefusalsAreNoFailures, refusal},
};

use tower::{Layer, ServiceExt, service_fn};

async fn refused() -> Response<String> {
    let layer = MaintenanceLayer::new("zuora");
    let hold = Hold::new("on-call", "drill");
    layer.handle().engage(hold).unwrap();
    let partner = layer.layer(service_fn(async |()| Ok::<_, ()>(())));
    match partner.oneshot(()).await {
        Err(Error::Refused(refused)) => refusal(&refused),
        other => panic!("{other:?}"),
    }
}

fn is_failure(response: &Response<String>) -> Option<StatusCode> {
    match RefusalsAreNoFailures::default().classify_response(response) {
        ClassifiedResponse::Ready(Err(ServerErrorsFailureClass::StatusCode(status))) => {
            Some(status)
        }
        ClassifiedResponse::Ready(Ok(())) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_is_no_failure_and_every_other_5xx_is_one() {
    let refused = refused().await;
    assert_eq!(refused.status(), 503);
    assert_eq!(is_failure(&refused), None);
    // What came over the wire and only looks like one is a failure.
    let (head, body) = refused.into_parts();
    let mut copy = Response::new(body);
    *copy.status_mut() = head.status;
    *copy.headers_mut() = head.headers;
    assert_eq!(is_failure(&copy), Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(is_failure(&Response::new(String::new())), None);
}

#[tokio::test]
async fn the_other_classifier_can_be_chosen() {
    let of_grpc = || RefusalsAreNoFailures::of(GrpcErrorsAsFailures::new());
    let mut failed = refused().await;
    failed
        .headers_mut()
        .insert("grpc-status", "14".parse().unwrap());
    let classified = of_grpc().classify_response(&failed);
    assert!(matches!(classified, ClassifiedResponse::Ready(Ok(()))));
    failed.extensions_mut().clear();
    let classified = of_grpc().classify_response(&failed);
    assert!(matches!(
        classified,
        ClassifiedResponse::Ready(Err(GrpcFailureClass::Code(code))) if code.get() == 14
    ));
}
