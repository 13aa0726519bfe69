//! The class of a request, as far as its head tells.

use http::{HeaderMap, HeaderValue, Method, Request, Version, header::UPGRADE};

use crate::facts::endpoint::Class;

/// Returns the class of a method: the safe ones read (RFC 9110, 9.2.1), all others write.
pub(crate) fn by_method(method: &Method) -> Class {
    if method.is_safe() {
        Class::Read
    } else {
        Class::Write
    }
}

/// Returns the class of a request by its method, but a request for another protocol writes.
///
/// What a WebSocket carries is unknown. Over HTTP/2 it is a CONNECT, which writes already.
pub(crate) fn by_head<A>(request: &Request<A>) -> Class {
    let class = by_method(request.method());
    if class == Class::Read && asks_to_upgrade(request) {
        return Class::Write;
    }
    class
}

/// Returns whether the request asks for another protocol on its connection.
///
/// `h2c` is HTTP all the same: some clients offer it with every request, and a server that does not
/// know it answers as if it were not there. `Connection` is not looked at, because servers upgrade
/// without it, and proxies consume it.
#[inline]
pub(crate) fn asks_to_upgrade<A>(request: &Request<A>) -> bool {
    let headers = request.headers();
    // HTTP/2 and later have no such header (RFC 9113, 8.2.2), and few requests of HTTP/1.1 do.
    let may_ask = request.version() < Version::HTTP_2 && !headers.is_empty();
    may_ask && headers.contains_key(&UPGRADE) && names_another_protocol(headers)
}

#[cold]
fn names_another_protocol(headers: &HeaderMap) -> bool {
    let values = headers.get_all(&UPGRADE).into_iter();
    values
        .map(HeaderValue::as_bytes)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_writes_and_an_offer_of_http_is_none() {
        for (upgrade, class) in [
            (&["websocket"][..], Class::Write),
            (&["WebSocket"], Class::Write),
            (&["h2c, websocket"], Class::Write),
            (&["websocket,h2c"], Class::Write),
            (&["h2c", "websocket"], Class::Write),
            (&["tls/1.0"], Class::Write),
            (&["\u{ff}"], Class::Write),
            (&["h2c"], Class::Read),
            (&["H2C"], Class::Read),
            (&[" h2c , "], Class::Read),
            (&[""], Class::Read),
            (&[], Class::Read),
        ] {
            let mut request = Request::get("/prices").header("connection", "Upgrade");
            for value in upgrade {
                request = request.header("upgrade", *value);
            }
            assert_eq!(by_head(&request.body(()).unwrap()), class, "{upgrade:?}");
        }
        let connect = Request::connect("ours:443").body(()).unwrap();
        assert_eq!(by_head(&connect), Class::Write);
    }
}
