//! A view before routes that is told no route: its exemptions do nothing, and one warning says so.

use std::convert::Infallible;

use axum::{Router, body::Body, routing::get};
use http::{Request, Response};
use tower::{Layer, Service, ServiceExt};
use tower_maintenance::{Exemption, Hold, MaintenanceLayer};
use tracing::Level;

use crate::support::Log;

fn layer() -> MaintenanceLayer {
    let exempt = Exemption::route("/invoices/{id}", "customers may always see what they owe");
    MaintenanceLayer::builder("zuora")
        .exempt(exempt)
        .build()
        .unwrap()
}

fn router() -> Router {
    Router::new()
        .route("/invoices/{id}", get(async || "invoice"))
        .route("/prices", get(async || "12 EUR"))
        .fallback(async || "lost")
}

async fn status<S>(app: &S, path: &str) -> u16
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let request = Request::get(path).body(Body::empty()).unwrap();
    app.clone()
        .oneshot(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

fn warnings(log: &Log) -> usize {
    log.lines(Level::WARN, &["MatchedPath", "`paths()`", "zuora"])
        .len()
}

#[tokio::test]
async fn exemptions_that_do_nothing_are_one_warning_a_layer() {
    let log = Log::new();
    let _listening = log.listen();
    let layers = [layer(), layer()];
    // Around a whole router; and around a service that is nested.
    let around = layers[0].routes().layer(router());
    assert_eq!(status(&around, "/prices").await, 200);
    assert_eq!(
        warnings(&log),
        1,
        "in Serving already, at the first request"
    );
    layers[0]
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    assert_eq!(status(&around, "/invoices/7").await, 503);
    assert_eq!(warnings(&log), 1);

    let nested = Router::new().nest_service("/invoices", layers[1].routes().layer(router()));
    assert_eq!(status(&nested, "/invoices/7").await, 200);
    assert_eq!(status(&nested, "/invoices/7").await, 200);
    assert_eq!(warnings(&log), 2);
}

#[tokio::test]
async fn where_the_router_tells_the_route_nothing_is_said() {
    let log = Log::new();
    let _listening = log.listen();
    let gated = layer();
    let app = router().layer(gated.routes());
    // A fallback has no route either, and that is right.
    for path in ["/invoices/7", "/prices", "/nowhere", "/invoices/7/lines"] {
        status(&app, path).await;
    }
    status(&gated.paths().layer(router()), "/nowhere").await;
    let known = gated.paths().with_known_routes(["/prices"]).unwrap();
    status(&known.layer(router()), "/invoices/7").await;
    // Without an exemption there is nothing to miss.
    let bare = MaintenanceLayer::new("zuora");
    status(&bare.routes().layer(router()), "/prices").await;
    assert_eq!(warnings(&log), 0);

    // The path is exempt, and only the fallback serves it: the exemption does nothing.
    let typo = Router::new()
        .fallback(async || "lost")
        .layer(gated.routes());
    status(&typo, "/invoices/7").await;
    assert_eq!(warnings(&log), 1);
}
