//! The view before an axum router: exemption by the router's own decision, refusals as responses.

use axum::{
    extract::{MatchedPath, OriginalUri},
    response::{IntoResponse, Response as AxumResponse},
};
use http::Request;

use super::{
    original_path::original_path,
    route_gate::{Find, Found, RouteGate},
};
use crate::{
    facts::{
        endpoint::Unrouted,
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
    const BY_PATH: bool = false;

    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r> {
        match request.extensions().get::<MatchedPath>() {
            Some(matched) => Found::Route(matched.as_str()),
            None => Found::Unrouted(Unrouted {
                path: original_path(request),
                by_router: request.extensions().get::<OriginalUri>().is_some(),
            }),
        }
    }
}

impl<P> MaintenanceLayer<P> {
    /// Returns a view before the routes of an `axum::Router`.
    ///
    /// The endpoint of a request is the router's own decision, its [`MatchedPath`]. No spelling of
    /// a path can therefore make the gate see another endpoint than the router does. Inside `nest`
    /// the endpoint is the whole pattern. A request that a fallback serves is never exempt by its
    /// route, and neither is one for a service under `nest_service` if the view stands outside that
    /// service. [`check_routes`](MaintenanceLayer::check_routes) finds exemptions and classes that
    /// no route has, and routes that have neither.
    ///
    /// Inside the router means by [`Router::layer`](axum::Router::layer). Around a whole router, as
    /// in `layer.routes().layer(router)`, and around a service that is given to `nest_service`, the
    /// router has not decided yet: no exemption by route applies there, and one warning says so.
    /// [`paths`](MaintenanceLayer::paths) is for these places.
    ///
    /// A CORS preflight passes in every mode; see
    /// [`with_gated_preflights`](MaintenanceLayer::with_gated_preflights).
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

/// Never implemented: a router takes no errors.
#[diagnostic::on_unimplemented(
    message = "a layer around calls cannot stand before the routes of an axum router: its refusals are errors, and a router takes no errors",
    label = "refusals would be errors here",
    note = "before routes refusals are responses: `.layer(layer.routes())`"
)]
trait RouterTakesErrors {}

/// Never applies. [`Router::layer`](axum::Router::layer) asks for `Into<Infallible>`, and by this
/// the compiler's message names the cure. The bound is on `E`, because the compiler shows the text
/// of a bound only if it is on another type than the one that was asked for.
#[doc(hidden)]
impl<E: RouterTakesErrors> From<Error<E>> for std::convert::Infallible {
    fn from(_: Error<E>) -> Self {
        unreachable!("`RouterTakesErrors` is never implemented")
    }
}
