//! The response headers by which an origin steers proxies and CDNs past `Cache-Control`.
//!
//! There is one list for all modules, because a header that is missing in one of them is an old
//! price that a CDN shows. It goes by the words in a name: vendors add names of the same form.
//!
//! | header | read by |
//! |---|---|
//! | `*-Cache-Control` (RFC 9213) | Cloudflare, Netlify, Vercel, Akamai, LiteSpeed and others |
//! | `Surrogate-Control` | Fastly, Varnish, Akamai |
//! | `Edge-Control` | Akamai; its `!no-store` overrides `no-store` |
//! | `X-Accel-Expires` | nginx and OpenResty, before `Cache-Control` and `Expires` |
//! | `X-Reverse-Proxy-TTL`, `X-Cache-TTL`, `X-VC-TTL` | common configurations of Varnish |
//! | `Surrogate-Key`, `xkey`, `ykey`, `*-Cache-Tag`, `CDN-Tag` | the same, for purges |

use http::{HeaderMap, HeaderName, HeaderValue};

/// `Cache-Control` of a response that no cache may keep. A CDN that heeds only `private` and
/// lifetimes does not know `no-store`.
pub(in crate::http) const KEPT_NOWHERE: HeaderValue = HeaderValue::from_static("private, no-store");

/// Whether the header may let a shared cache keep a response, whatever `Cache-Control` says.
pub(in crate::http) fn overrides_cache_control(name: &HeaderName) -> bool {
    let name = name.as_str();
    let ends = |end: &[&str]| end.iter().any(|end| name.ends_with(end));
    let is_of_a_cache = words(name).any(|word| word.starts_with("cach") || word == "varnish");
    (ends(&["cache-control"]) && name != "cache-control")
        || ends(&["surrogate-control", "edge-control"])
        || name == "x-accel-expires"
        || words(name).last() == Some("ttl")
        || (is_of_a_cache && ends(&["-expires", "-age", "-maxage", "-lifetime", "-duration"]))
}

/// Whether the header tells a shared cache anything: to keep the response, by which tags to purge
/// it, by what to vary it, or what an earlier cache did with it.
///
/// `Cache-Status` does not count: each cache adds its own part (RFC 9211).
pub(in crate::http) fn is_for_shared_caches(name: &HeaderName) -> bool {
    let text = name.as_str();
    let is_word_of_caches = |word: &str| {
        word.starts_with("cach")
            || matches!(
                word,
                "surrogate" | "varnish" | "purge" | "xkey" | "ykey" | "hashtwo"
            )
    };
    let prefixes = [
        "netlify-",
        "x-accel-",
        "x-litespeed-",
        "x-lsadc-",
        "x-qc-",
        "x-vc-",
    ];
    !matches!(text, "cache-control" | "cache-status")
        && (overrides_cache_control(name)
            || words(text).any(is_word_of_caches)
            || prefixes.iter().any(|prefix| text.starts_with(prefix))
            || matches!(text, "cdn-tag" | "cdn-tags" | "x-magento-tags"))
}

/// Whether a proxy replaces the body by a file or by another answer, which the header names.
#[cfg(feature = "last-good")]
pub(in crate::http) fn replaces_the_body(headers: &HeaderMap) -> bool {
    let names = [
        "x-accel-redirect",
        "x-lighttpd-send-file",
        "x-litespeed-location",
        "x-reproxy-url",
        "x-sendfile",
    ];
    names.iter().any(|name| headers.contains_key(*name))
}

/// Whether the response asks a shared cache to keep it, beside `Cache-Control`.
pub(in crate::http) fn asks_to_be_kept(headers: &HeaderMap) -> bool {
    headers.keys().any(overrides_cache_control)
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['-', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HeaderName {
        text.parse().unwrap()
    }

    #[test]
    fn every_vendors_own_cache_control_overrides_the_common_one() {
        for steers in [
            "CDN-Cache-Control",
            "Cloudflare-CDN-Cache-Control",
            "Netlify-CDN-Cache-Control",
            "Vercel-CDN-Cache-Control",
            "Akamai-Cache-Control",
            "X-LiteSpeed-Cache-Control",
            "Tomorrows-CDN-Cache-Control",
            "X-Cache-Control",
            "Surrogate-Control",
            "Edge-Control",
            "X-Accel-Expires",
            "X-Reverse-Proxy-TTL",
            "X-Cache-TTL",
            "X-VC-TTL",
            "X-TTL",
            "X-Cache-Expires",
            "X-Cache-Max-Age",
            "X-Varnish-Age",
        ] {
            assert!(overrides_cache_control(&name(steers)), "{steers}");
            assert!(is_for_shared_caches(&name(steers)), "{steers}");
        }
    }

    #[test]
    fn tags_and_the_like_are_for_caches_and_override_nothing() {
        for label in [
            "Surrogate-Key",
            "Surrogate-Key-Raw",
            "xkey",
            "ykey",
            "X-HashTwo",
            "Cache-Tag",
            "Cache-Tags",
            "Edge-Cache-Tag",
            "Netlify-Cache-Tag",
            "Netlify-Vary",
            "Vercel-Cache-Tag",
            "CDN-Tag",
            "X-Cache-Tags",
            "X-Drupal-Cache-Contexts",
            "X-Magento-Tags",
            "X-LiteSpeed-Tag",
            "X-LiteSpeed-Vary",
            "X-LiteSpeed-Purge",
            "X-Accel-Buffering",
            "X-Cache",
            "X-Cacheable",
            "CF-Cache-Status",
            "X-Vercel-Enable-Rewrite-Caching",
        ] {
            assert!(!overrides_cache_control(&name(label)), "{label}");
            assert!(is_for_shared_caches(&name(label)), "{label}");
        }
    }

    #[test]
    fn other_headers_are_not_for_shared_caches() {
        for other in [
            "Cache-Control",
            "Cache-Status",
            "Content-Type",
            "Age",
            "Link",
            "Vary",
            "X-Request-Id",
            "X-Price-Expires",
            "Access-Control-Max-Age",
            "X-Acceleration",
            "Key-Control",
            "X-Throttle",
        ] {
            assert!(!overrides_cache_control(&name(other)), "{other}");
            assert!(!is_for_shared_caches(&name(other)), "{other}");
        }
    }
}
