//! Changes to the headers of a response.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, ETAG, EXPIRES, Entry, SET_COOKIE},
};

use super::etag::Salt;
use crate::http::shared_caches::KEPT_NOWHERE;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Salts the response's entity-tag. A malformed tag stays as it is: when a client sends it back, it
/// belongs to no generation.
pub(super) fn salt(headers: &mut HeaderMap, generation: u64) {
    if let Entry::Occupied(mut tags) = headers.entry(ETAG) {
        let salt = Salt::new(generation);
        for tag in tags.iter_mut() {
            if let Some(salted) = salt.salted(tag) {
                *tag = salted;
            }
        }
    }
}

/// Adds a value to the existing values of a header, as one line.
pub(super) fn add(headers: &mut HeaderMap, name: &HeaderName, tags: &HeaderValue, separator: &str) {
    let both = match joined(headers, name, separator) {
        Some(mut said) => {
            said.extend_from_slice(separator.as_bytes());
            said.extend_from_slice(tags.as_bytes());
            HeaderValue::from_bytes(&said).unwrap_or_else(|_| tags.clone())
        }
        None => tags.clone(),
    };
    headers.insert(name, both);
}

/// Joins the lines of a header; `None` if all are empty.
fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> Option<Vec<u8>> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join(separator.as_bytes()))
}

/// Whether the response sets a cookie with this name.
pub(super) fn sets(headers: &HeaderMap, cookie: &str) -> bool {
    headers.get_all(SET_COOKIE).iter().any(|line| {
        let pair = line.as_bytes().trim_ascii_start();
        let after = pair.strip_prefix(cookie.as_bytes());
        after.is_some_and(|after| after.trim_ascii_start().starts_with(b"="))
    })
}

/// Keeps the response out of every cache: it is for one client at one time.
///
/// The inner service's directives do not stay. Beside `public` or a lifetime some caches ignore
/// `no-store`, and beside `must-understand` all may (RFC 9111, 5.2.2.3). `no-transform` is about
/// something else.
pub(super) fn keep_nowhere(headers: &mut HeaderMap) {
    let said = joined(headers, &CACHE_CONTROL, ", ").unwrap_or_default();
    let mut directives = said.split(|&byte| byte == b',');
    let no_transform = directives.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-transform"));
    headers.insert(CACHE_CONTROL, KEPT_NOWHERE);
    if no_transform {
        let no_transform = HeaderValue::from_static("no-transform");
        add(headers, &CACHE_CONTROL, &no_transform, ", ");
    }
    headers.remove(EXPIRES);
    headers.insert(CDN_CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
