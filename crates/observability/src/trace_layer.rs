//! tower-http's `TraceLayer`: a refusal is not a failure.

use axum::Router;
use tower_maintenance::http::trace_layer;

/// Gives each request a span that records whether the request was refused.
pub fn traced(app: Router) -> Router {
    app.layer(trace_layer())
}
