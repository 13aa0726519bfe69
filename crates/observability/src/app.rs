//! The app under observation: its requests are refused before the routes and around the call to the
//! partner, and it fails by itself.

use std::{error::Error as StdError, io};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Error, Exemption, MaintenanceLayer, http::Refusals};

/// A path whose requests are refused before the routes.
pub const BEFORE_ROUTES: &str = "/billing/prices";
/// A path that reaches its handler. The handler's call to the partner is refused; while the layer
/// serves, the partner fails.
pub const AROUND_CALLS: &str = "/account";
/// The same, but the handler answers within a span of its own.
pub const IN_A_SPAN: &str = "/account/in-a-span";
/// A path that is broken by itself, whatever the partner does.
pub const BROKEN: &str = "/broken";
/// A path that is overloaded by itself: its 503 is not a refusal.
pub const OVERLOADED: &str = "/overloaded";

/// Returns the layer of the app.
///
/// # Panics
///
/// Panics if the exemptions are invalid.
#[must_use]
pub fn layer() -> MaintenanceLayer {
    let exempt = [AROUND_CALLS, IN_A_SPAN, BROKEN, OVERLOADED]
        .map(|route| Exemption::route(route, "does without the partner"));
    let builder = MaintenanceLayer::builder("zuora");
    let builder = exempt.into_iter().fold(builder, |b, e| b.exempt(e));
    builder.build().expect("the exemptions make sense")
}

/// Returns the app behind `layer.routes()`.
pub fn app(layer: &MaintenanceLayer) -> Router {
    Router::new()
        .route(BEFORE_ROUTES, get(async || "12 EUR"))
        .route(AROUND_CALLS, get(account))
        .route(IN_A_SPAN, get(account_in_a_span))
        .route(BROKEN, get(broken))
        .route(OVERLOADED, get(async || StatusCode::SERVICE_UNAVAILABLE))
        .layer(layer.routes())
        .with_state(layer.clone())
}

async fn ask_partner(layer: MaintenanceLayer) -> Result<(), Error<io::Error>> {
    let fails = service_fn(|()| async { Err(io::Error::other("the partner answered 502")) });
    layer.layer(fails).oneshot(()).await
}

async fn account(State(layer): State<MaintenanceLayer>) -> Response {
    match ask_partner(layer).await {
        Ok(()) => "account".into_response(),
        Err(error) => {
            // A catch-all for errors does this, without knowing of refusals.
            tracing::error!(error = &error as &dyn StdError, "no account");
            match error {
                Error::Refused(refused) => refused.into_response(),
                Error::Inner(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    }
}

#[tracing::instrument(skip_all)]
async fn account_in_a_span(
    State(layer): State<MaintenanceLayer>,
    request: axum::extract::Request,
) -> Response {
    match ask_partner(layer).await {
        Err(Error::Refused(refused)) => {
            Refusals::new().respond(request.method(), request.uri(), request.headers(), refused)
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn broken() -> StatusCode {
    let error = io::Error::other("our own disk is full");
    tracing::error!(error = &error as &dyn StdError, "broken");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// Sends a request and reads the answer to its end, where a request's span ends.
///
/// # Panics
///
/// Panics if the body ends early.
pub async fn status_of(app: &Router, path: &str) -> StatusCode {
    let request = http::Request::get(path).body(axum::body::Body::empty());
    let request = request.expect("a path makes a request");
    let Ok(response) = app.clone().oneshot(request).await;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
    body.expect("the body is whole");
    status
}

/// Runs `f` on a new runtime on this thread, so that this thread's subscriber and hub see it.
///
/// # Panics
///
/// Panics if no runtime can be built.
pub fn block_on<F: Future>(f: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(f)
}
