//! A request through an axum router, without a server: the layer before its routes, and nothing.

use std::pin::pin;

use axum::{Router, body::Body, routing::get};
use http::{Request, Uri};
use tower::{ServiceExt, layer::util::Identity};
use tower_maintenance::{Exemption, MaintenanceLayer};

use crate::subject::{Answer, Caller, Subject, finished};

/// As a server does with each request: a clone of the router answers one of them.
#[derive(Debug, Clone)]
struct Routed {
    router: Router,
    path: Uri,
}

impl Caller for Routed {
    #[inline]
    fn call(&mut self, _: u64) -> Answer {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.path.clone();
        let Ok(response) = finished(pin!(self.router.clone().oneshot(request)));
        assert!(response.status().is_success(), "{}", response.status());
        Answer::Passed
    }
}

fn routed(dress: impl FnOnce(Router) -> Router) -> Box<dyn Subject> {
    let router = Router::new()
        .route("/billing/prices", get(async || "12 EUR"))
        .route("/billing/invoices/{id}", get(async || "invoice"));
    Box::new(Routed {
        router: dress(router),
        path: Uri::from_static("/billing/prices"),
    })
}

pub(crate) fn alone() -> Box<dyn Subject> {
    routed(|router| router)
}

/// With a layer that does nothing: axum boxes the future of each layered route, whatever the layer is.
pub(crate) fn with_identity() -> Box<dyn Subject> {
    routed(|router| router.layer(Identity::new()))
}

/// With the layer before the routes, serving, and an exemption that the request has not.
pub(crate) fn with_layer() -> Box<dyn Subject> {
    let invoices = Exemption::route("/billing/invoices/{id}", "a bench");
    let built = MaintenanceLayer::builder("partner")
        .exempt(invoices)
        .build();
    let layer = built.expect("route and reason are given");
    routed(|router| router.layer(layer.routes()))
}

/// The same without any exemption.
pub(crate) fn with_plain_layer() -> Box<dyn Subject> {
    let layer = MaintenanceLayer::new("partner");
    routed(|router| router.layer(layer.routes()))
}
