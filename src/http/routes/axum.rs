//! The view before an axum router: exemption by the router's own decision, refusals as responses.

use axum::{
    extract::{MatchedPath, OriginalUri},
    response::{IntoResponse, Response as AxumResponse},
};
use http::Request;

use super::route_gate::{Find, Found, RouteGate};
use crate::{
    exemptions::Exemption,
    facts::{
        endpoint::Placement,
        refused::{Error, Refused},
    },
    http::refusal::refusal,
    layer::MaintenanceLayer,
};

/// The protocol before the routes of an `axum::Router`: exempt by [`MatchedPath`], refused with a
/// 503.
///
/// [`MaintenanceLayer::routes`] makes it.
pub type Routes = RouteGate<ByMatchedPath>;

/// Finds the endpoint of a request by the router's own decision.
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

    /// Returns the original path: inside `nest` the request's own path lacks the stripped prefix.
    fn path<'r, A>(&self, request: &'r Request<A>) -> &'r str {
        let original = request.extensions().get::<OriginalUri>();
        original
            .map_or_else(|| request.uri(), |OriginalUri(uri)| uri)
            .path()
    }
}

impl<P> MaintenanceLayer<P> {
    /// Returns a view before the routes of an `axum::Router`.
    ///
    /// The endpoint of a request is the router's own decision, its [`MatchedPath`]. No spelling of
    /// a path can therefore make the gate see another endpoint than the router does. Inside `nest`
    /// the endpoint is the whole pattern. A request that a fallback serves is never exempt.
    ///
    /// [`with_refusals`](MaintenanceLayer::with_refusals) sets how refusals look, and
    /// [`with_route_classes`](MaintenanceLayer::with_route_classes) sets which routes read and
    /// which write. Before a service that is not an axum router, use
    /// [`paths`](MaintenanceLayer::paths), which matches the path itself.
    ///
    /// Add it to the routes with [`Router::layer`](axum::Router::layer), *after* the layer that
    /// authenticates. axum runs the layer that was added last first, and a client should get a 503,
    /// not a 401.
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
    ///     .exempt(Exemption::route("/billing/invoices/{id}", "customers may see what they owe"))
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     .route("/billing/prices", get(async || "12 EUR"))
    ///     .route("/billing/invoices/{id}", get(async || "invoice"))
    ///     .layer(layer.routes());
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let get = |path: &str| {
    ///     let request = Request::get(path).body(Body::empty()).unwrap();
    ///     app.clone().oneshot(request)
    /// };
    /// assert_eq!(get("/billing/prices").await?.status(), 503);
    /// assert_eq!(get("/billing/invoices/INV%2F2024").await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn routes(&self) -> MaintenanceLayer<Routes> {
        self.view(RouteGate::new(ByMatchedPath::default()))
    }
}

impl MaintenanceLayer<Routes> {
    /// Returns the routes of `router` that have no class and are not exempt: they follow their
    /// method.
    ///
    /// A test with it ensures that each route has been considered. A class for some methods of a
    /// route is enough. A service under `nest_service` is listed as `/legacy/{*rest}`.
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
    ///     .exempt(Exemption::route("/billing/invoices/{id}", "customers may see what they owe"))
    ///     .build()?;
    /// let classes = RouteClasses::new().read("/billing/prices").read("/billing/search");
    /// let view = layer.routes().with_route_classes(classes)?;
    /// assert_eq!(view.unclassified(&router), ["/oauth/callback"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the router does not show its routes. axum shows them only in its `Debug` output, which
    /// another version of axum may change.
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

/// Returns the patterns of a router's routes, sorted.
fn routes_of<S>(router: &axum::Router<S>) -> Vec<String> {
    let shown = format!("{router:?}");
    // The first list has the router's own routes, a second one those of its fallback.
    let paths = shown.split_once("Node { paths: {").map(|(_, paths)| paths);
    let paths = paths.expect("axum's `Debug` shows a router's paths");
    let mut routes = Vec::new();
    let mut rest = paths;
    // `RouteId(1): "/prices", RouteId(2): "/search"}`
    while let Some(entry) = rest.trim_start_matches(", ").strip_prefix("RouteId(") {
        let (_, from) = entry.split_once(": \"").expect("a route has a path");
        let (route, after) = from.split_once('"').expect("a path ends");
        rest = after;
        // axum adds such a pattern for `nest_service`. The pattern of the fallback is not a route.
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

/// Makes a 503 like that before routes, as a problem document, for a call to the partner that was
/// refused inside a handler.
///
/// It looks as the layer's [`refusals`](crate::Builder::refusals) say. It says that a call was not
/// made, not that the request was not processed: a handler that knows the latter returns
/// [`Refused::nothing_processed`]. [`Refusals::respond`](crate::http::Refusals::respond) can make a
/// page too, in the customer's language.
impl IntoResponse for Refused {
    fn into_response(self) -> AxumResponse {
        refusal(&self)
    }
}

/// Makes the 503 of a refusal, and the response of any other error.
impl<E: IntoResponse> IntoResponse for Error<E> {
    fn into_response(self) -> AxumResponse {
        match self {
            Self::Refused(refused) => refused.into_response(),
            Self::Inner(error) => error.into_response(),
        }
    }
}
