//! The headers of an answer that are stored.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONNECTION, ETAG, EXPIRES, PRAGMA, SET_COOKIE, TRANSFER_ENCODING},
};

use crate::http::{cache_bust::rules::GENERATION_HEADER, shared_caches::is_for_shared_caches};

/// Returns the headers that may be served with the stored answer.
pub(super) fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    let of_this_connection: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if !is_left_out(name) && !of_this_connection.contains(name) {
            kept.append(name.clone(), own(value));
        }
    }
    kept
}

/// Headers that are not served, but determine the freshness and the version of the stored answer.
pub(super) const ASIDE: [HeaderName; 4] = [CACHE_CONTROL, ETAG, EXPIRES, PRAGMA];

/// Returns copies of the headers with these names.
pub(super) fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut only = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            only.append(name, own(value));
        }
    }
    only
}

/// Whether the header describes the body. A 304 has no body, and cannot change it (RFC 9111, 3.2).
pub(super) fn is_of_the_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-")
}

/// Whether the header belongs to one connection, to one client, or to the caching of the original
/// answer.
fn is_left_out(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == SET_COOKIE
        || *name == CACHE_CONTROL
        // They would let a CDN keep the answer beyond the recovery.
        || is_for_shared_caches(name)
        || text.starts_with("proxy-")
        // The answer may be served after a recovery, when this generation is out of date.
        || text == GENERATION_HEADER
        || matches!(
            text,
            "age"
                | "authentication-info"
                | "clear-site-data"
                | "content-length"
                | "etag"
                | "expires"
                | "keep-alive"
                | "last-modified"
                | "pragma"
                | "retry-after"
                | "set-cookie2"
                | "te"
                | "trailer"
                | "upgrade"
                | "warning"
                | "www-authenticate"
        )
}

/// Copies a value, so that it does not keep the connection's buffer alive.
pub(super) fn own(value: &HeaderValue) -> HeaderValue {
    let copied = HeaderValue::from_bytes(value.as_bytes());
    let mut own = copied.unwrap_or_else(|_| unreachable!("it is a header's value already"));
    own.set_sensitive(value.is_sensitive());
    own
}
