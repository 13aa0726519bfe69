//! An axum router with the layer before its routes and without, and a request through it without a
//! server.

use std::{convert::Infallible, pin::pin};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, Uri};
use tower::{Layer, Service, ServiceExt, layer::util::Identity};
use tower_maintenance::{Exemption, MaintenanceLayer};

use crate::{
    partner::AtOnce,
    served::{self, ANSWER, PATH},
    subject::{Answer, Caller, Subject, finished},
};

/// A clone of the router answers one request, as in a server.
#[derive(Debug, Clone)]
struct Routed<S> {
    router: S,
    path: Uri,
}

impl<S> Caller for Routed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
{
    #[inline]
    fn call(&mut self, _: u64) -> Answer {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.path.clone();
        let Ok(response) = finished::<AtOnce, _>(pin!(self.router.clone().oneshot(request)));
        assert!(response.status().is_success(), "{}", response.status());
        Answer::Passed
    }
}

/// Whether the router is called by itself or in a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Through {
    Oneshot,
    Server,
}

impl Through {
    fn router(self, dress: impl FnOnce(Router) -> Router) -> Box<dyn Subject> {
        // A router with its state makes its routes once. A server does that by itself.
        let router: Router = dress(router()).with_state(());
        match self {
            Self::Oneshot => Box::new(Routed {
                router,
                path: Uri::from_static(PATH),
            }),
            Self::Server => served::router(router),
        }
    }

    pub(crate) fn alone(self) -> Box<dyn Subject> {
        self.router(|router| router)
    }

    /// With a layer that does nothing: axum boxes the future of each layered route for any layer.
    pub(crate) fn identity(self) -> Box<dyn Subject> {
        self.router(|router| router.layer(Identity::new()))
    }

    /// With the layer before the routes, serving, and an exemption that does not match the request.
    pub(crate) fn layer(self) -> Box<dyn Subject> {
        self.router(|router| router.layer(exempting().routes()))
    }

    /// The same without any exemption.
    pub(crate) fn plain_layer(self) -> Box<dyn Subject> {
        let layer = MaintenanceLayer::new("partner");
        self.router(|router| router.layer(layer.routes()))
    }

    /// With the layer around the router, for which axum boxes no future.
    pub(crate) fn around(self) -> Box<dyn Subject> {
        let service = exempting().paths().layer(router().with_state(()));
        match self {
            Self::Oneshot => Box::new(Routed {
                router: service,
                path: Uri::from_static(PATH),
            }),
            Self::Server => served::around(service),
        }
    }
}

fn router() -> Router {
    let prices = async || {
        served::answered();
        ANSWER
    };
    Router::new()
        .route(PATH, get(prices))
        .route("/billing/invoices/{id}", get(async || "invoice"))
}

fn exempting() -> MaintenanceLayer {
    let invoices = Exemption::route("/billing/invoices/{id}", "a bench");
    let built = MaintenanceLayer::builder("partner")
        .exempt(invoices)
        .build();
    built.expect("route and reason are given")
}
