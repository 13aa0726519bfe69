//! `Clear-Site-Data`: which directives are sent, to which clients, over which connections, how
//! often.
//!
//! The header empties more than the pages of this service, and takes longer the more the browser
//! has stored. So it is not sent in any case of doubt.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::HOST,
    request::Parts,
    uri::{Authority, Scheme},
};

use super::error::CacheBustError;
use crate::base::{clock::Clock, moment::Moment};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const ALLOWED: &str =
    "`cache`, or `cache` and `storage` where a service worker answers from its own store";

/// Checks the directives, and builds the header's value.
pub(super) fn directives(asked: &[String]) -> Result<HeaderValue, CacheBustError> {
    let bad = |value: &str, allowed: &str| CacheBustError::new("clear_site_data", value, allowed);
    for one in asked {
        let one = one.trim_matches('"');
        match one {
            "cache" | "storage" => {}
            "cookies" => {
                let allowed = format!(
                    "{ALLOWED}: `cookies` logs people out of every host of the domain, and erases \
                     the cookies of the same response; name your own cookies by `expire_cookie`"
                );
                return Err(bad(one, &allowed));
            }
            "*" => {
                return Err(bad(one, &format!("{ALLOWED}: `*` includes cookies")));
            }
            _ => return Err(bad(one, ALLOWED)),
        }
    }
    let has = |what: &str| asked.iter().any(|one| one.trim_matches('"') == what);
    match (has("cache"), has("storage")) {
        (true, false) => Ok(HeaderValue::from_static("\"cache\"")),
        (true, true) => Ok(HeaderValue::from_static("\"cache\", \"storage\"")),
        (false, true) => Err(bad("storage", ALLOWED)),
        (false, false) => Err(bad("", ALLOWED)),
    }
}

/// Whether the response to a request may have the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clearing {
    Now,
    /// Not in this response, but perhaps in a later one to the same client.
    Later,
    /// This client would ignore the header.
    Never,
}

type SecureIf = dyn Fn(&Parts) -> bool + Send + Sync;

/// How a request is recognised whose connection the browser considers secure.
#[derive(Clone, Default)]
pub(super) struct Secure {
    pub(super) trusts_forwarded_proto: bool,
    pub(super) secure_if: Vec<Arc<SecureIf>>,
}

impl Secure {
    fn is(&self, request: &Parts) -> bool {
        let forwarded = || {
            let mut lines = request.headers.get_all(X_FORWARDED_PROTO).iter().peekable();
            // Every hop must have used https.
            let is_https = |line: &HeaderValue| {
                let mut hops = line.as_bytes().split(|&byte| byte == b',');
                hops.all(|hop| hop.trim_ascii().eq_ignore_ascii_case(b"https"))
            };
            lines.peek().is_some() && lines.all(is_https)
        };
        request.uri.scheme() == Some(&Scheme::HTTPS)
            || is_loopback(request)
            || self.trusts_forwarded_proto && forwarded()
            || self.secure_if.iter().any(|secure_if| secure_if(request))
    }

    pub(super) fn clearing(&self, request: &Parts) -> Clearing {
        if !self.is(request) {
            return Clearing::Never;
        }
        match only(&request.headers, &SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
            Some(b"same-origin" | b"none") => Clearing::Now,
            Some(_) => Clearing::Later,
            // The client is not a browser, or older than `Clear-Site-Data`.
            None => Clearing::Never,
        }
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure")
            .field("trusts_forwarded_proto", &self.trusts_forwarded_proto)
            .field("secure_if", &self.secure_if.len())
            .finish()
    }
}

/// Whether the host is one that browsers consider secure without TLS (measured in Chromium).
fn is_loopback(request: &Parts) -> bool {
    let by_header = || {
        let host = only(&request.headers, &HOST)?.to_str().ok()?;
        host.parse::<Authority>().ok()
    };
    let authority = request.uri.authority().cloned().or_else(by_header);
    authority.is_some_and(|authority| {
        let host = authority.host();
        host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]")
    })
}

/// Returns the value of a header that has exactly one line.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// A limit on clients per second.
#[derive(Debug)]
pub(super) struct Limit {
    most: NonZeroU32,
    clock: Clock,
    /// The start of the current second, and the number of clients since then.
    second: Mutex<(Moment, u32)>,
}

impl Limit {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            clock: Clock::start(),
            second: Mutex::new((Moment::ORIGIN, 0)),
        }
    }

    /// Whether one more client is within the limit; if so it counts.
    pub(super) fn takes_one(&self) -> bool {
        let now = self.clock.now();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(second.0) >= Duration::from_secs(1) {
            *second = (now, 0);
        }
        let takes = second.1 < self.most.get();
        second.1 += u32::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn refused(asked: &[&str]) -> String {
        let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
        directives(&asked).unwrap_err().to_string()
    }

    #[test]
    fn cookies_are_never_cleared() {
        assert!(refused(&["cookies"]).contains("logs people out"));
        assert!(refused(&["cache", "\"cookies\""]).contains("expire_cookie"));
        assert!(refused(&["*"]).contains("includes cookies"));
        for other in [
            "executionContexts",
            "clientHints",
            "prefetchCache",
            "Cache",
            "",
        ] {
            assert!(refused(&["cache", other]).contains("`cache`"), "{other}");
        }
        assert!(refused(&[]).contains("`cache`"));
        assert!(refused(&["storage"]).contains("service worker"));
    }

    #[test]
    fn the_directives_are_quoted() {
        let asked = |asked: &[&str]| {
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            directives(&asked).unwrap()
        };
        assert_eq!(asked(&["cache"]), "\"cache\"");
        assert_eq!(asked(&["storage", "cache"]), "\"cache\", \"storage\"");
    }

    fn clearing(secure: &Secure, headers: &[(&str, &str)]) -> Clearing {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        secure.clearing(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_a_secure_origin_is_cleared() {
        let site = ("sec-fetch-site", "none");
        let by = Secure::default();
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
        ] {
            assert_eq!(
                clearing(&by, &[site, ("host", host)]),
                Clearing::Now,
                "{host}"
            );
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "::1",
            "localhost@evil.example",
            "",
        ] {
            assert_eq!(
                clearing(&by, &[site, ("host", host)]),
                Clearing::Never,
                "{host}"
            );
        }
        let two = [site, ("host", "localhost"), ("host", "example.com")];
        assert_eq!(clearing(&by, &two), Clearing::Never);
    }

    #[test]
    fn the_uri_says_where_a_request_over_http_2_went() {
        let clearing = |uri: &str| {
            let request = Request::get(uri).header("sec-fetch-site", "none");
            let request = request.body(()).unwrap().into_parts().0;
            Secure::default().clearing(&request)
        };
        assert_eq!(clearing("https://shop.example.com/"), Clearing::Now);
        assert_eq!(clearing("http://shop.example.com/"), Clearing::Never);
        assert_eq!(clearing("http://localhost:8080/"), Clearing::Now);
    }

    #[test]
    fn forwarded_proto_counts_only_if_it_is_trusted() {
        let ask = |secure: &Secure, proto| {
            let host = ("host", "shop.example.com");
            clearing(
                secure,
                &[
                    ("sec-fetch-site", "none"),
                    host,
                    ("x-forwarded-proto", proto),
                ],
            )
        };
        assert_eq!(ask(&Secure::default(), "https"), Clearing::Never);
        let trusting = Secure {
            trusts_forwarded_proto: true,
            ..Secure::default()
        };
        assert_eq!(ask(&trusting, "https"), Clearing::Now);
        assert_eq!(ask(&trusting, "HTTPS, https"), Clearing::Now);
        for not in ["http", "https, http", "http, https", "", "httpsx"] {
            assert_eq!(ask(&trusting, not), Clearing::Never, "{not}");
        }
        let host = ("host", "shop.example.com");
        assert_eq!(
            clearing(&trusting, &[("sec-fetch-site", "none"), host]),
            Clearing::Never
        );

        let by_port = Secure {
            secure_if: vec![Arc::new(|request| {
                request.extensions.get::<u16>() == Some(&443)
            })],
            ..Secure::default()
        };
        let mut request = Request::get("/").header("sec-fetch-site", "same-origin");
        request = request.extension(443_u16);
        let request = request.body(()).unwrap().into_parts().0;
        assert_eq!(by_port.clearing(&request), Clearing::Now);
    }

    #[test]
    fn a_request_from_another_site_waits_and_a_client_without_sec_fetch_site_gets_none() {
        let host = ("host", "localhost");
        let by = Secure::default();
        let site = |site| clearing(&by, &[host, ("sec-fetch-site", site)]);
        assert_eq!(site("same-origin"), Clearing::Now);
        assert_eq!(site("none"), Clearing::Now);
        for other in ["cross-site", "same-site", "None", "", "x"] {
            assert_eq!(site(other), Clearing::Later, "{other}");
        }
        assert_eq!(clearing(&by, &[host]), Clearing::Never);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_within_a_second() {
        let limit = Limit::new(NonZeroU32::new(2).unwrap());
        assert_eq!([(); 3].map(|()| limit.takes_one()), [true, true, false]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!limit.takes_one());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!([(); 3].map(|()| limit.takes_one()), [true, true, false]);
    }
}
