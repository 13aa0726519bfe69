//! The path that a client sent.

use axum::extract::OriginalUri;
use http::Request;

/// Returns the path that the client sent: inside `nest` the request's own path lacks the prefix.
pub(super) fn original_path<A>(request: &Request<A>) -> &str {
    let original = request.extensions().get::<OriginalUri>();
    let uri = original.map_or_else(|| request.uri(), |OriginalUri(uri)| uri);
    uri.path()
}
