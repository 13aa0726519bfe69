//! The target URI of a request (RFC 9110, 7.1), however the request spells it.
//!
//! HTTP/1.1 names the host in `Host`, HTTP/2 in the URI, and an HTTP/1.1 request with an absolute
//! URI in both. All of them ask for one resource.

use http::{
    HeaderMap, HeaderName,
    header::HOST,
    request,
    uri::{Scheme, Uri},
};

pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A target URI without the spellings that do not matter.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// `None` for http and https: over HTTP/1.1 a server is not told which of the two it is.
    scheme: Option<Box<str>>,
    /// The host in lower case, without a default port; with the userinfo as it is. Empty if the
    /// request names no host.
    authority: Box<[u8]>,
    path_and_query: Box<str>,
}

impl Target {
    pub(super) fn of(parts: &request::Parts) -> Self {
        let ports = DefaultPorts::of(parts);
        let authority = match parts.uri.authority() {
            // It is the target, and a server ignores `Host` then (RFC 9112, 3.2.2).
            Some(authority) => ports.leave_out(authority.as_str().as_bytes()),
            None => match parts.headers.get(HOST) {
                Some(host) => ports.leave_out(host.as_bytes()),
                None => Box::default(),
            },
        };
        let scheme = parts.uri.scheme();
        let scheme = scheme.filter(|scheme| **scheme != Scheme::HTTP && **scheme != Scheme::HTTPS);
        Self {
            scheme: scheme.map(|scheme| scheme.as_str().into()),
            authority,
            path_and_query: path_and_query(&parts.uri),
        }
    }

    /// Whether a `Host` of the request names another host than the target, as a crafted request
    /// may. An answer may show it.
    pub(super) fn contradicts_host(&self, parts: &request::Parts) -> bool {
        let ports = DefaultPorts::of(parts);
        let host = match self.authority.iter().rposition(|byte| *byte == b'@') {
            Some(at) => &self.authority[at + 1..],
            None => &*self.authority,
        };
        let mut hosts = parts.headers.get_all(HOST).iter();
        hosts.any(|said| *ports.leave_out(said.as_bytes()) != *host)
    }

    pub(super) fn bytes(&self) -> usize {
        let scheme = self.scheme.as_ref().map_or(0, |scheme| scheme.len());
        scheme + self.authority.len() + self.path_and_query.len()
    }
}

/// Returns path and query as the request has them. Two spellings of one path (`%7e` and `~`) are
/// told apart, as routers do.
pub(super) fn path_and_query(uri: &Uri) -> Box<str> {
    match uri.path_and_query() {
        Some(text) => text.as_str().into(),
        None => uri.path().into(),
    }
}

/// The ports that a host may leave out: that of the request's scheme, and both while the scheme is
/// unknown.
#[derive(Clone, Copy)]
pub(super) struct DefaultPorts {
    http: bool,
    https: bool,
}

impl DefaultPorts {
    pub(super) fn of(parts: &request::Parts) -> Self {
        let forwarded = forwarded_proto(&parts.headers);
        let is = |scheme: &Scheme| {
            parts.uri.scheme() == Some(scheme)
                || forwarded.is_some_and(|said| said.eq_ignore_ascii_case(scheme.as_str()))
        };
        let (http, https) = (is(&Scheme::HTTP), is(&Scheme::HTTPS));
        let is_unknown = !http && !https;
        Self {
            http: http || is_unknown,
            https: https || is_unknown,
        }
    }

    /// Returns an authority in lower case without a default port. The userinfo stays as it is,
    /// and so does a trailing dot of the host: to servers it may be another host.
    pub(super) fn leave_out(self, authority: &[u8]) -> Box<[u8]> {
        let at = authority.iter().rposition(|byte| *byte == b'@');
        let (userinfo, host) = authority.split_at(at.map_or(0, |at| at + 1));
        let colon = host.iter().rposition(|byte| *byte == b':');
        let host = match colon {
            Some(colon) if self.has(&host[..colon], &host[colon + 1..]) => &host[..colon],
            _ => host,
        };
        [userinfo, &host.to_ascii_lowercase()].concat().into()
    }

    /// Whether the text after a host's last colon is a default port.
    fn has(self, host: &[u8], port: &[u8]) -> bool {
        // The colons of an IPv6 address stand in brackets.
        let is_host = !host.contains(&b':') || host.ends_with(b"]");
        let port = str::from_utf8(port).ok();
        let number = port.and_then(|port| port.parse::<u16>().ok());
        is_host
            && (port == Some("")
                || self.http && number == Some(80)
                || self.https && number == Some(443))
    }
}

fn forwarded_proto(headers: &HeaderMap) -> Option<&str> {
    headers.get(X_FORWARDED_PROTO)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn target(uri: &str, headers: &[(&str, &str)]) -> (Target, bool) {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let target = Target::of(&parts);
        let contradicts = target.contradicts_host(&parts);
        (target, contradicts)
    }

    #[test]
    fn one_resource_has_one_target_however_it_is_spelled() {
        let (one, _) = target("/prices?x=1", &[("host", "shop.test")]);
        for (uri, host) in [
            ("/prices?x=1", Some("SHOP.Test")),
            ("/prices?x=1", Some("shop.test:80")),
            ("/prices?x=1", Some("Shop.test:443")),
            ("/prices?x=1", Some("shop.test:")),
            ("http://shop.test/prices?x=1", None),
            ("http://shop.test:80/prices?x=1", Some("shop.test")),
            ("HTTP://SHOP.TEST/prices?x=1", Some("shop.test:80")),
            ("https://shop.test/prices?x=1", None),
            ("https://Shop.Test:443/prices?x=1", Some("shop.test")),
            ("https://shop.test/prices?x=1", Some("shop.test:443")),
        ] {
            let headers: Vec<_> = host.into_iter().map(|host| ("host", host)).collect();
            let (same, contradicts) = target(uri, &headers);
            assert!(same == one && !contradicts, "{uri} {host:?}");
        }
        let (six, _) = target("/", &[("host", "[2001:DB8::80]:80")]);
        assert!(six == target("http://[2001:db8::80]", &[]).0);
    }

    #[test]
    fn another_resource_has_another_target() {
        let (one, _) = target("/prices", &[("host", "shop.test")]);
        for (uri, host) in [
            ("/prices?", "shop.test"),
            ("/Prices", "shop.test"),
            ("/%70rices", "shop.test"),
            ("/prices", "shop.test:8080"),
            ("/prices", "shop.test."),
            ("/prices", "user@shop.test"),
            ("/prices", "[shop.test]"),
            ("/prices", ""),
            ("http://shop.test:443/prices", "shop.test"),
            ("https://shop.test:80/prices", "shop.test"),
            ("health://shop.test/prices", "shop.test"),
            ("http://user:a@shop.test/prices", "shop.test"),
        ] {
            assert!(target(uri, &[("host", host)]).0 != one, "{uri} {host}");
        }
        // Userinfo is a credential: its case matters.
        let of = |uri| target(uri, &[]).0;
        assert!(of("http://A@shop.test/") != of("http://a@shop.test/"));
        // Behind a proxy the scheme is known, and with it the default port.
        let https = ("x-forwarded-proto", "https");
        assert!(target("/prices", &[https, ("host", "shop.test:80")]).0 != one);
        assert!(target("/prices", &[https, ("host", "shop.test:443")]).0 == one);
        assert!(target("/prices", &[]).0 == target("/prices", &[("host", "")]).0);
    }

    #[test]
    fn a_host_that_names_another_host_than_the_target_is_found() {
        let contradicts = |uri, hosts: &[&'static str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            target(uri, &hosts).1
        };
        assert!(contradicts("http://shop.test/", &["evil.test"]));
        assert!(contradicts("http://shop.test/", &["shop.test:8080"]));
        assert!(contradicts(
            "http://shop.test/",
            &["shop.test", "evil.test"]
        ));
        assert!(contradicts("/", &["shop.test", "evil.test"]));
        assert!(!contradicts("/", &["shop.test", "SHOP.test:80"]));
        assert!(!contradicts("http://user@shop.test/", &["shop.test"]));
        assert!(!contradicts("http://shop.test/", &[]));
    }
}
