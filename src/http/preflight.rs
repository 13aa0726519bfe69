//! Which requests are CORS preflights.

use http::{
    HeaderMap, HeaderName, Method, Request,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use super::method_class::asks_to_upgrade;

/// Returns whether the request is a CORS preflight: an OPTIONS with an `Origin` and exactly one
/// valid `Access-Control-Request-Method`.
///
/// It is the question of a browser whether it may send the request, and no request by itself.
pub(crate) fn is_preflight<A>(request: &Request<A>) -> bool {
    // Checked first: nearly every request has another method.
    request.method() == Method::OPTIONS && {
        let headers = request.headers();
        let method = only(headers, &ACCESS_CONTROL_REQUEST_METHOD);
        method.is_some_and(|method| Method::from_bytes(method).is_ok())
            && only(headers, &ORIGIN).is_some()
            // No browser sends this.
            && !asks_to_upgrade(request)
    }
}

/// Returns the value of a header that is there once, and is not empty.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Some(value.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri("/prices");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_preflight(&request.body(()).unwrap())
    }

    #[test]
    fn a_preflight_is_an_options_that_asks_for_one_method() {
        let origin = ("origin", "https://app.example");
        let asks = |method| ("access-control-request-method", method);
        for fine in ["GET", "POST", "DELETE", "PROPFIND", "x"] {
            assert!(is("OPTIONS", &[origin, asks(fine)]), "{fine}");
            assert!(is("OPTIONS", &[("origin", "null"), asks(fine)]), "{fine}");
        }
        for (method, headers) in [
            ("GET", &[origin, asks("POST")][..]),
            ("POST", &[origin, asks("POST")]),
            ("options", &[origin, asks("POST")]),
            ("OPTIONS", &[]),
            ("OPTIONS", &[origin]),
            ("OPTIONS", &[asks("POST")]),
            ("OPTIONS", &[("origin", ""), asks("POST")]),
            ("OPTIONS", &[origin, asks("")]),
            ("OPTIONS", &[origin, asks("GET POST")]),
            ("OPTIONS", &[origin, asks("GET, POST")]),
            ("OPTIONS", &[origin, asks("POST"), asks("POST")]),
            ("OPTIONS", &[origin, origin, asks("POST")]),
            ("OPTIONS", &[origin, asks("POST"), ("upgrade", "websocket")]),
        ] {
            assert!(!is(method, headers), "{method} {headers:?}");
        }
    }
}
