//! axum: exempt by the router's own decision, refusals as responses.

use axum::{
    extract::{MatchedPath, OriginalUri},
    response::{IntoResponse, Response as AxumResponse},
};
use http::Request;

use crate::{
    exemptions::Exemption,
    facts::{
        endpoint::Placement,
        refused::{Error, Refused},
    },
    http::{
        BeforeRoutes, refusal,
        routes::{Find, Found},
    },
    layer::MaintenanceLayer,
};

/// Before the routes of an `axum::Router`: gates only, exempt by [`MatchedPath`], refused with a 503.
/// See [`MaintenanceLayer::routes`].
pub type Routes = BeforeRoutes<ByMatchedPath>;

/// Finds an endpoint by the router's own decision.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ByMatchedPath {}

impl Find for ByMatchedPath {
    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r> {
        match request.extensions().get::<MatchedPath>() {
            Some(matched) => Found::Route(matched.as_str()),
            None => Found::Unknown(self.path(request)),
        }
    }

    /// Inside `nest` the request's own path lacks what was stripped.
    fn path<'r, A>(&self, request: &'r Request<A>) -> &'r str {
        let original = request.extensions().get::<OriginalUri>();
        original
            .map_or_else(|| request.uri(), |OriginalUri(uri)| uri)
            .path()
    }
}

impl<P> MaintenanceLayer<P> {
    /// A view before the routes of an `axum::Router`, which takes it as it is.
    ///
    /// Which endpoint a request is for is the router's own decision, its [`MatchedPath`]: nobody
    /// sneaks past as an exempt endpoint by spelling a path in a way that only the router
    /// understands. Inside `nest` it is the whole pattern. What falls to a fallback is never exempt.
    ///
    /// [`refusing`](MaintenanceLayer::refusing) says how refusals look,
    /// [`classed`](MaintenanceLayer::classed) which routes read and which write.
    ///
    /// Put it on the routes with [`Router::layer`](axum::Router::layer), *after* the layer that authenticates:
    /// axum runs the layer that was added last first, and a client should get a 503, not a 401.
    ///
    /// ```
    /// use axum::{Router, body::Body, routing::get};
    /// use http::Request;
    /// use tower::ServiceExt;
    /// use tower_maintenance::{Exemption, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::route("/billing/invoices/{id}", "customers may always see what they owe"))
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     .route("/billing/prices", get(async || "12 EUR"))
    ///     .route("/billing/invoices/{id}", get(async || "invoice"))
    ///     .layer(layer.routes());
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let get = |path: &str| app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
    /// assert_eq!(get("/billing/prices").await?.status(), 503);
    /// assert_eq!(get("/billing/invoices/INV%2F2024").await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn routes(&self) -> MaintenanceLayer<Routes> {
        self.view(BeforeRoutes::new(ByMatchedPath::default()))
    }
}

impl MaintenanceLayer<Routes> {
    /// The routes of `router` that nobody gave a class, nor made exempt: they follow their method. For a test
    /// that keeps it so that somebody has thought about every route. One that was given a class for some of its methods
    /// counts as thought about. What `nest_service` stands for is told as `/legacy/{*rest}`.
    ///
    /// ```
    /// use axum::{Router, routing::{get, post}};
    /// use tower_maintenance::{Exemption, MaintenanceLayer, http::RouteClasses};
    ///
    /// let router: Router = Router::new()
    ///     .route("/billing/prices", get(async || "12 EUR"))
    ///     .route("/billing/invoices/{id}", get(async || "invoice"))
    ///     .nest("/oauth", Router::new().route("/callback", get(async || "linked")))
    ///     .route("/billing/search", post(async || "found"));
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::route("/billing/invoices/{id}", "customers may always see what they owe"))
    ///     .build()?;
    /// let classes = RouteClasses::new().read("/billing/prices").read("/billing/search");
    /// let view = layer.routes().classed(classes)?;
    /// assert_eq!(view.unclassified(&router), ["/oauth/callback"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the router does not show its routes: axum tells them in its `Debug` alone, which another version may
    /// write in another way.
    #[must_use]
    pub fn unclassified<S>(&self, router: &axum::Router<S>) -> Vec<String> {
        let exempt = self.handle().exemptions();
        let is_exempt = |route: &str| {
            let here = |exemption: &&Exemption| exemption.placement() == Placement::BeforeRoutes;
            exempt
                .iter()
                .filter(here)
                .any(|exemption| exemption.name() == route)
        };
        let mut routes = routes_of(router);
        routes.retain(|route| !is_exempt(route) && !self.protocol().lists(route));
        routes.dedup();
        routes
    }
}

/// The patterns of a router's routes, in order.
fn routes_of<S>(router: &axum::Router<S>) -> Vec<String> {
    let shown = format!("{router:?}");
    // The first are the router's own; a second list is that of its fallback.
    let paths = shown.split_once("Node { paths: {").map(|(_, paths)| paths);
    let paths = paths.expect("axum's `Debug` shows a router's paths");
    let mut routes = Vec::new();
    let mut rest = paths;
    // `RouteId(1): "/prices", RouteId(2): "/search"}`
    while let Some(entry) = rest.trim_start_matches(", ").strip_prefix("RouteId(") {
        let (_, from) = entry.split_once(": \"").expect("a route has a path");
        let (route, after) = from.split_once('"').expect("a path ends");
        rest = after;
        // What axum adds by itself for `nest_service`; the fallback's is none.
        match route.split_once("{*__private__axum_nest") {
            Some((prefix, _)) => routes.push(format!("{prefix}{{*rest}}")),
            None if route.contains("{*__private") => {}
            None => routes.push(route.to_owned()),
        }
    }
    assert!(
        rest.starts_with('}'),
        "axum's `Debug` shows paths in another way: {rest:.80}"
    );
    routes.sort_unstable();
    routes
}

/// The same 503 as before routes, as a problem document: for a call to the partner that was refused inside a
/// handler. [`Refusals::respond`](crate::http::Refusals::respond) makes a page too.
impl IntoResponse for Refused {
    fn into_response(self) -> AxumResponse {
        refusal(&self)
    }
}

/// A refusal as its 503, the inner error as it likes.
impl<E: IntoResponse> IntoResponse for Error<E> {
    fn into_response(self) -> AxumResponse {
        match self {
            Self::Refused(refused) => refused.into_response(),
            Self::Inner(error) => error.into_response(),
        }
    }
}
