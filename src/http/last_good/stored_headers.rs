//! Which headers of an answer are stored.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONNECTION, ETAG, EXPIRES, PRAGMA, SET_COOKIE, TRANSFER_ENCODING},
};

use crate::http::cache_bust::GENERATION_HEADER;

/// The headers that a later reader may be given.
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

/// What the headers that are not served meant for how long an answer is kept, and which body it has.
pub(super) const ASIDE: [HeaderName; 4] = [CACHE_CONTROL, ETAG, EXPIRES, PRAGMA];

pub(super) fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut only = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            only.append(name, own(value));
        }
    }
    only
}

/// What a 304 cannot change: it has no body (RFC 9111, 3.2).
pub(super) fn is_of_the_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-")
}

/// What belongs to one connection, to one reader, or to a life in caches that a stored answer no longer has.
fn is_left_out(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == SET_COOKIE
        // `CDN-Cache-Control` and its kin (RFC 9213) would let a CDN keep it.
        || text.ends_with("cache-control")
        || text.starts_with("proxy-")
        // Of a time before the recovery that this answer may outlive.
        || text == GENERATION_HEADER
        || matches!(
            text,
            "age"
                | "authentication-info"
                | "cache-tag"
                | "clear-site-data"
                | "content-length"
                | "etag"
                | "expires"
                | "keep-alive"
                | "last-modified"
                | "pragma"
                | "retry-after"
                | "set-cookie2"
                | "surrogate-control"
                | "surrogate-key"
                | "te"
                | "trailer"
                | "upgrade"
                | "warning"
                | "www-authenticate"
        )
}

pub(super) fn own(value: &HeaderValue) -> HeaderValue {
    let copied = HeaderValue::from_bytes(value.as_bytes());
    let mut own = copied.unwrap_or_else(|_| unreachable!("it is a header's value already"));
    own.set_sensitive(value.is_sensitive());
    own
}
