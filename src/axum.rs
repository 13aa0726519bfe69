//! axum: exempt by the router's own decision, refusals as responses.

use axum::{
    extract::MatchedPath,
    response::{IntoResponse, Response as AxumResponse},
};
use http::{Request, Response};

use crate::{
    endpoint::{Endpoint, Placement},
    error::{Error, Refused},
    http::refusal,
    layer::MaintenanceLayer,
    protocol::{Protocol, Ticket},
};

/// Before the routes of an `axum::Router`: gates only, exempt by [`MatchedPath`], refused with a 503.
/// See [`MaintenanceLayer::routes`].
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Routes {}

impl<P> MaintenanceLayer<P> {
    /// A view before the routes of an `axum::Router`, which takes it as it is.
    ///
    /// Which endpoint a request is for is the router's own decision, its [`MatchedPath`]: nobody
    /// sneaks past as an exempt endpoint by spelling a path in a way that only the router
    /// understands. Inside `nest` it is the whole pattern. What falls to a fallback is never exempt.
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
        self.view(Routes::default())
    }
}

impl<A, B: From<String>, E> Protocol<Request<A>, Response<B>, E> for Routes {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        // Only what may be repeated without harm probes (RFC 9110, 9.2.1).
        let may_probe = request.method().is_safe();
        match request.extensions().get::<MatchedPath>() {
            Some(matched) => Endpoint::named(matched.as_str(), may_probe),
            None => Endpoint::unnamed(may_probe),
        }
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        Ok(refusal(&refused))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}

/// The same 503 as before routes: for a call to the partner that was refused inside a handler.
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
