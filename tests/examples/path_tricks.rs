//! No trick gets a refused route past the gate as an exempt one: the built `billing` program, and
//! bytes written by hand, over HTTP/1.0, HTTP/1.1 and HTTP/2.
//!
//! `GET /billing/prices` and `POST /billing/subscriptions` call the partner. Behind the gate the
//! program counts the requests for them, whatever their method. In maintenance there must be none,
//! whatever the status says. The same bytes are sent in `Serving` too. There some must get through,
//! so that a trick that no server understands is known.

use std::{collections::BTreeSet, net::SocketAddr};

use http::StatusCode;
use serde_json::{Value, json};
use test_support::soon;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower_maintenance::testing::assert_refusal;

use crate::{
    http2::{self, Field},
    program::{self, Program},
};

// ---- the tricks ---------------------------------------------------------------------------------

/// Request targets. Each is sent with GET and POST over HTTP/1.0 and HTTP/1.1, and as `:path` over
/// HTTP/2.
#[rustfmt::skip] // one per line
const TARGETS: &[(&str, &[u8])] = &[
    // The control: every server understands these.
    ("prices", b"/billing/prices"),
    ("subscriptions", b"/billing/subscriptions"),
    ("a query with an exempt path", b"/billing/prices?/health/live"),
    ("a query with dot segments", b"/billing/prices?/../../health/live"),
    ("an empty query", b"/billing/prices?"),
    ("two question marks", b"/billing/prices??/health/live"),
    ("a query with a fragment", b"/billing/prices?a#/health/live"),
    ("a query on a charge", b"/billing/subscriptions?path=/health/live"),
    // Only over HTTP/1: a target with scheme and host.
    ("absolute form", b"http://localhost/billing/prices"),
    ("absolute form, another host", b"http://evil.example/billing/prices"),
    ("absolute form, another scheme", b"https://localhost/billing/prices"),
    ("absolute form, scheme in capitals", b"HTTP://localhost/billing/prices"),
    ("absolute form, unknown scheme", b"health://live/billing/prices"),
    ("absolute form, exempt path as host", b"http://health/live/billing/prices"),
    ("absolute form, user before the host", b"http://health:live@localhost/billing/prices"),
    ("absolute form, exempt path as user", b"http://health/live@localhost/billing/prices"),
    ("absolute form, port", b"http://localhost:1/billing/prices"),
    ("absolute form, IPv6", b"http://[::1]/billing/subscriptions"),
    ("absolute form, no path", b"http://localhost"),
    ("absolute form, no path but a query", b"http://localhost?/billing/prices"),
    ("absolute form, dot segments", b"http://localhost/health/live/../../billing/prices"),
    ("absolute form in the path", b"/http://localhost/billing/prices"),
    ("absolute form, no host", b"http:///billing/prices"),
    ("network-path reference", b"//localhost/billing/prices"),
    // Dot segments.
    ("up from the exempt path", b"/health/live/../../billing/prices"),
    ("nested exempt prefix", b"/health/live/../billing/prices"),
    ("up from an exempt sibling", b"/billing/invoices/../prices"),
    ("up from an exempt parameter", b"/billing/invoices/7/../../prices"),
    ("up to a charge", b"/billing/invoices/7/../../subscriptions"),
    ("up from the operator's routes", b"/maintenance/../billing/prices"),
    ("up from the webhook", b"/webhooks/partner/../../billing/subscriptions"),
    ("up from the root", b"/../billing/prices"),
    ("one dot", b"/./billing/./prices"),
    ("one dot at the end", b"/billing/prices/."),
    ("two dots at the end", b"/billing/prices/x/.."),
    ("three dots", b"/billing/invoices/.../prices"),
    ("dots as the parameter", b"/billing/invoices/.."),
    ("down and up", b"/billing/prices/../../health/live"),
    // Encoded separators.
    ("encoded dots", b"/billing/invoices/%2e%2e/prices"),
    ("encoded dots in capitals", b"/billing/invoices/%2E%2E/prices"),
    ("one dot encoded", b"/billing/invoices/.%2e/prices"),
    ("encoded slash", b"/billing%2fprices"),
    ("encoded slash in capitals", b"/billing%2Fprices"),
    ("encoded slash after dots", b"/billing/invoices/..%2fprices"),
    ("everything encoded", b"/billing/invoices/%2e%2e%2f%70%72%69%63%65%73"),
    ("encoded backslash", b"/billing/invoices/..%5cprices"),
    ("encoded semicolon", b"/billing/invoices/..%3b/prices"),
    ("encoded NUL", b"/billing/invoices/7%00/../../prices"),
    ("encoded NUL at the end", b"/billing/prices%00"),
    ("encoded NUL before an exempt end", b"/billing/prices%00/health/live"),
    ("encoded question mark", b"/billing/prices%3f/health/live"),
    ("encoded hash", b"/billing/prices%23/health/live"),
    ("encoded line break", b"/health/live%0d%0aX-Original-URL:%20/billing/prices"),
    ("encoded letters", b"/%62illing/prices"),
    ("encoded percent", b"/billing/invoices/%252e%252e/prices"),
    ("encoded twice", b"/billing/invoices/..%252fprices"),
    ("encoded three times", b"/billing/invoices/..%25252fprices"),
    ("encoded digit by digit", b"/billing/invoices/%%32e%%32e/prices"),
    ("half an escape", b"/billing/prices%"),
    ("not an escape", b"/billing/prices%zz"),
    ("IIS escapes", b"/billing/invoices/%u002e%u002e%u2215prices"),
    // Odd UTF-8.
    ("overlong dot", b"/billing/invoices/%c0%ae%c0%ae/prices"),
    ("overlong slash", b"/billing/invoices/..%c0%afprices"),
    ("overlong slash, three bytes", b"/billing/invoices/..%e0%80%afprices"),
    ("overlong slash, raw", b"/billing/invoices/..\xc0\xafprices"),
    ("fullwidth slash", b"/billing/invoices/..%ef%bc%8fprices"),
    ("fullwidth slash, raw", b"/billing\xef\xbc\x8fprices"),
    ("fullwidth dots", b"/billing/invoices/%ef%bc%8e%ef%bc%8e/prices"),
    ("one dot leader", b"/billing/invoices/\xe2\x80\xa4\xe2\x80\xa4/prices"),
    ("division slash", b"/billing%e2%88%95prices"),
    ("Cyrillic p", b"/billing/%d1%80rices"),
    ("Cyrillic p, raw", b"/billing/\xd1\x80rices"),
    ("zero width space", b"/billing/prices%e2%80%8b"),
    ("byte order mark", b"%ef%bb%bf/billing/prices"),
    ("half a character", b"/billing/prices\xff"),
    // Slashes, case, parameters.
    ("two slashes at the beginning", b"//billing/prices"),
    ("three slashes", b"///billing/prices"),
    ("two slashes within", b"/billing//prices"),
    ("two slashes after an exempt path", b"/health/live//../../billing/prices"),
    ("slash at the end", b"/billing/prices/"),
    ("exempt path with a slash at the end", b"/health/live/"),
    ("capitals", b"/BILLING/PRICES"),
    ("one capital", b"/billing/Prices"),
    ("exempt path in capitals", b"/HEALTH/LIVE"),
    ("backslash", b"/billing\\prices"),
    ("backslashes up", b"/billing/invoices/..\\prices"),
    ("backslash at the beginning", b"\\billing\\prices"),
    ("path parameter", b"/billing/prices;/health/live"),
    ("session id", b"/billing/prices;jsessionid=7"),
    ("path parameter up", b"/health/live;/../../billing/prices"),
    ("dots with a path parameter", b"/billing/invoices/..;/prices"),
    ("matrix parameters", b"/billing;a=1/prices;b=2"),
    ("comma", b"/health/live,/billing/prices"),
    ("pipe", b"/health/live|/billing/prices"),
    ("the pattern itself", b"/billing/invoices/{id}"),
    ("the pattern of the phase", b"/partner/{phase}/../../billing/prices"),
    ("one below an exempt path", b"/health/live/billing/prices"),
    ("one below an exempt parameter", b"/billing/invoices/7/prices"),
    ("empty parameter", b"/billing/invoices/"),
    ("prefix of an exempt path", b"/health"),
    ("more than an exempt path", b"/health/livebilling/prices"),
    ("exempt path with a query", b"/health/live?/../../billing/prices"),
    ("exempt path with a fragment", b"/health/live#/../../billing/prices"),
    ("fragment only", b"#/billing/prices"),
    ("fragment before a query", b"/health/live#?/billing/prices"),
    ("refused path with a fragment", b"/billing/prices#/health/live"),
    ("query only", b"?/billing/prices"),
    // Other forms of a target.
    ("asterisk", b"*"),
    ("asterisk and path", b"*/billing/prices"),
    ("authority form", b"localhost:80"),
    ("authority and path", b"localhost:80/billing/prices"),
    ("no slash", b"billing/prices"),
    ("exempt path without a slash", b"health/live/../../billing/prices"),
    ("empty", b""),
    ("control character", b"/billing/\x01prices"),
    ("NUL", b"/billing/prices\0/health/live"),
    ("DEL", b"/billing/prices\x7f"),
    ("tab", b"/health/live\t/billing/prices"),
    ("blank", b"/health/live /billing/prices"),
    ("blank before the path", b" /billing/prices"),
    ("quotes", b"\"/billing/prices\""),
];

/// Whole HTTP/1 requests. A plain one follows each, and ends the connection.
#[rustfmt::skip] // one per line
const REQUESTS: &[(&str, &[u8])] = &[
    // Headers that other servers take for the path or for the method.
    ("X-Original-URL on an exempt path", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Original-URL: /billing/prices\r\n\r\n"),
    ("X-Original-URL with an exempt path", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nX-Original-URL: /health/live\r\n\r\n"),
    ("X-Rewrite-URL on an exempt path", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Rewrite-URL: /billing/prices\r\n\r\n"),
    ("X-Rewrite-URL with an exempt path", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nX-Rewrite-URL: /health/live\r\n\r\n"),
    ("X-Forwarded-Prefix", b"GET /prices HTTP/1.1\r\nHost: x\r\nX-Forwarded-Prefix: /billing\r\n\r\n"),
    ("X-Forwarded-Prefix with an exempt path", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nX-Forwarded-Prefix: /health/live\r\n\r\n"),
    ("X-Forwarded-For loopback", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=localhost\r\n\r\n"),
    ("Referer of an operator", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nReferer: http://x/maintenance\r\n\r\n"),
    ("X-HTTP-Method-Override", b"GET /billing/subscriptions HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: POST\r\n\r\n"),
    ("X-Method-Override on prices", b"POST /billing/prices HTTP/1.1\r\nHost: x\r\nX-Method-Override: GET\r\nContent-Length: 0\r\n\r\n"),
    ("pseudo header as a header", b"GET /health/live HTTP/1.1\r\nHost: x\r\n:path: /billing/prices\r\n\r\n"),
    // The host.
    ("host that looks like an exempt path", b"GET /billing/prices HTTP/1.1\r\nHost: x/health/live\r\n\r\n"),
    ("two hosts", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nHost: health/live\r\n\r\n"),
    ("no host", b"GET /billing/prices HTTP/1.1\r\n\r\n"),
    ("empty host", b"GET /billing/prices HTTP/1.1\r\nHost:\r\n\r\n"),
    ("absolute form against the host", b"GET http://health/billing/prices HTTP/1.1\r\nHost: live\r\n\r\n"),
    // Methods.
    ("HEAD", b"HEAD /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("OPTIONS", b"OPTIONS /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("OPTIONS on everything", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("TRACE", b"TRACE /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("lower case", b"get /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("mixed case", b"Get /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("unknown method", b"PRICES /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("lower case charge", b"post /billing/subscriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"),
    ("CONNECT with a host", b"CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("CONNECT with a path", b"CONNECT /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("CONNECT with an exempt path", b"CONNECT /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("CONNECT with scheme and path", b"CONNECT http://localhost/billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    // The request line and the headers.
    ("version 0.9", b"GET /billing/prices\r\n\r\n"),
    ("version 1.2", b"GET /billing/prices HTTP/1.2\r\nHost: x\r\n\r\n"),
    ("version 2.0", b"GET /billing/prices HTTP/2.0\r\nHost: x\r\n\r\n"),
    ("two versions", b"GET /health/live HTTP/1.1 /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("two targets", b"GET /health/live /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("two blanks", b"GET  /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("tab for a blank", b"GET\t/billing/prices\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    ("line feeds only", b"GET /billing/prices HTTP/1.1\nHost: x\n\n"),
    ("carriage returns only", b"GET /health/live HTTP/1.1\rGET /billing/prices HTTP/1.1\r\r\n\r\n"),
    ("empty lines first", b"\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("line folding", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: b\r\n GET /billing/prices HTTP/1.1\r\n\r\n"),
    ("folded first line", b"GET /health/live\r\n /../../billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("NUL in a header", b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: \0\r\nX-B: GET /billing/prices\r\n\r\n"),
    // More than one request.
    ("pipelined behind an exempt one", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("pipelined behind three", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /maintenance HTTP/1.1\r\nHost: x\r\n\r\nGET /billing/invoices/7 HTTP/1.1\r\nHost: x\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("charge pipelined behind a webhook", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}POST /billing/subscriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"),
    ("HTTP/1.0 kept alive", b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /billing/prices HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
    ("as the body of an exempt one", b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 41\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("body without a length", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("CL.TE", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nContent-Length: 46\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("TE.CL", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n29\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n"),
    ("TE.TE", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("blank before the colon", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("folded coding", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("vertical tab in the coding", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("chunked over HTTP/1.0", b"POST /webhooks/partner HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("two lengths", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 41\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("length with a sign", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("negative length", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("chunk with an extension", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\"\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("path in a trailer", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Original-URL\r\n\r\n0\r\nX-Original-URL: /billing/prices\r\n\r\n"),
    ("chunk that overflows", b"POST /webhooks/partner HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    // Another protocol.
    ("upgrade to HTTP/2", b"GET /billing/prices HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
    ("upgrade on an exempt path", b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ("upgrade to WebSocket", b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("half a preface", b"PRI * HTTP/2.0\r\n\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("PROXY protocol", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /billing/prices HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("expecting to continue", b"POST /billing/subscriptions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"),
];

/// Whole header lists for HTTP/2.
#[rustfmt::skip] // one per line
const STREAMS: &[(&str, &[Field<'static>])] = &[
    ("two paths, exempt first", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live"), (b":path", b"/billing/prices")]),
    ("two paths, exempt last", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b":path", b"/health/live")]),
    ("two methods", &[(b":method", b"GET"), (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/subscriptions")]),
    ("two authorities", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":authority", b"health"), (b":path", b"/billing/prices")]),
    ("no authority", &[(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/billing/prices")]),
    ("authority against the host", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b"host", b"health")]),
    ("authority with an exempt path", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x/health/live"), (b":path", b"/billing/prices")]),
    ("authority that swallows the path", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x/health/live?"), (b":path", b"/billing/prices")]),
    ("authority with a refused path", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x/billing/prices?"), (b":path", b"/health/live")]),
    ("authority with a user", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"health/live@x"), (b":path", b"/billing/prices")]),
    ("empty authority", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b""), (b":path", b"/billing/prices")]),
    ("no scheme", &[(b":method", b"GET"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("two schemes", &[(b":method", b"GET"), (b":scheme", b"http"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("scheme with a URL", &[(b":method", b"GET"), (b":scheme", b"http://x/health/live?"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("scheme with a refused URL", &[(b":method", b"GET"), (b":scheme", b"http://x/billing/prices?"), (b":authority", b"x"), (b":path", b"/health/live")]),
    ("unknown scheme", &[(b":method", b"GET"), (b":scheme", b"health"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("empty scheme", &[(b":method", b"GET"), (b":scheme", b""), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("no path", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x/billing/prices")]),
    ("no method", &[(b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("lower case method", &[(b":method", b"get"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("method with a path", &[(b":method", b"GET /billing/prices HTTP/1.1"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live")]),
    ("HEAD", &[(b":method", b"HEAD"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("path with a line break", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live HTTP/1.1\r\n\r\nGET /billing/prices")]),
    ("path after a header", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b"accept", b"*/*"), (b":path", b"/billing/prices")]),
    ("path once more after a header", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live"), (b"accept", b"*/*"), (b":path", b"/billing/prices")]),
    ("path in capitals", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live"), (b":PATH", b"/billing/prices")]),
    ("path as a plain header", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b"path", b"/health/live")]),
    ("unknown pseudo header", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b":route", b"/health/live")]),
    ("status in a request", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b":status", b"200")]),
    ("header in capitals", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b"X-Original-URL", b"/health/live")]),
    ("header that is smuggled", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live"), (b"x-a", b"b\r\n\r\nGET /billing/prices HTTP/1.1\r\nhost: x")]),
    ("connection header", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b"connection", b"keep-alive")]),
    ("transfer coding", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live"), (b"transfer-encoding", b"chunked")]),
    ("length without a body", &[(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/subscriptions"), (b"content-length", b"2")]),
    ("x-original-url", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/health/live"), (b"x-original-url", b"/billing/prices")]),
    ("x-rewrite-url", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices"), (b"x-rewrite-url", b"/health/live")]),
    ("x-http-method-override", &[(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/subscriptions"), (b"x-http-method-override", b"POST")]),
    ("CONNECT", &[(b":method", b"CONNECT"), (b":authority", b"localhost:80")]),
    ("CONNECT with a path", &[(b":method", b"CONNECT"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("extended CONNECT", &[(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("protocol without CONNECT", &[(b":method", b"GET"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"/billing/prices")]),
    ("OPTIONS on everything", &[(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":authority", b"x"), (b":path", b"*")]),
];

/// Targets that are too long to be written down.
fn long_targets() -> [(&'static str, Vec<u8>); 4] {
    let long = |begin: &str, part: &str, count, end: &str| {
        let text = [begin, &part.repeat(count), end].concat();
        text.into_bytes()
    };
    [
        ("a long query", long("/billing/prices?", "a", 8_000, "")),
        (
            "a long way up",
            long("/health/live", "/..", 2_000, "/billing/prices"),
        ),
        (
            "longer than a URI may be",
            long("/billing/prices?", "a", 70_000, ""),
        ),
        (
            "a long exempt parameter",
            long("/billing/invoices/", "7", 10_000, "/../../prices"),
        ),
    ]
}

// ---- sending them -------------------------------------------------------------------------------

/// The status and the body of each answer, in order.
type Answers = Vec<(u16, Vec<u8>)>;

const PLAN: &[u8] = b"{}";
const LAST: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Sends the bytes and a plain request after them, and reads until the server hangs up.
async fn over_http1(addr: SocketAddr, bytes: &[u8]) -> Answers {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // The server may hang up before it has read everything, and may reset the connection.
    let _ = socket.write_all(&[bytes, LAST].concat()).await;
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said).await;

    let mut answers = Answers::new();
    let mut rest = &said[..];
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1."), "{head}");
        let status = head[9..12].parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let body = &rest[end + 4..];
        // An answer to HEAD has a length, and no body.
        let length = if body.starts_with(b"HTTP/1.") {
            0
        } else {
            length.min(body.len())
        };
        let (body, after) = body.split_at(length);
        answers.push((status, body.to_vec()));
        rest = after;
    }
    answers
}

async fn over_http2(addr: SocketAddr, fields: &[Field<'_>], body: Option<&[u8]>) -> Answers {
    let connection = http2::connection(fields, body, b"/health/live");
    let answers = http2::exchange(addr, &connection).await;
    let status = |ok| if ok { 200 } else { 0 };
    answers
        .map(|answer| (status(answer.ok), answer.body))
        .into()
}

/// Tries every trick in turn. Returns the tricks after which one of the two routes was reached.
async fn try_all(billing: &Program, judge: impl Fn(&str, &Answers)) -> BTreeSet<String> {
    let addr = billing
        .url
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let mut through = BTreeSet::new();
    let mut before = passed(billing).await;
    let mut note = async |name: String, answers: Answers| {
        judge(&name, &answers);
        let after = passed(billing).await;
        if after != before {
            through.insert(name);
        }
        before = after;
    };
    let targets = TARGETS
        .iter()
        .map(|(name, target)| (*name, target.to_vec()));
    for (name, target) in targets.chain(long_targets()) {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let tail = format!(" {version}\r\nHost: localhost\r\n");
            let get = [b"GET ", &*target, tail.as_bytes(), b"\r\n"].concat();
            note(
                format!("GET, {version}: {name}"),
                soon(over_http1(addr, &get)).await,
            )
            .await;
            let length = b"Content-Length: 2\r\n\r\n";
            let post = [b"POST ", &*target, tail.as_bytes(), length, PLAN].concat();
            note(
                format!("POST, {version}: {name}"),
                soon(over_http1(addr, &post)).await,
            )
            .await;
        }
        for (method, body) in [("GET", None), ("POST", Some(PLAN))] {
            let fields: [Field<'_>; 4] = [
                (b":method", method.as_bytes()),
                (b":scheme", b"http"),
                (b":authority", b"localhost"),
                (b":path", &target),
            ];
            let answers = soon(over_http2(addr, &fields, body)).await;
            note(format!("{method}, HTTP/2: {name}"), answers).await;
        }
    }
    for (name, request) in REQUESTS {
        note((*name).to_owned(), soon(over_http1(addr, request)).await).await;
    }
    for (name, fields) in STREAMS {
        let answers = soon(over_http2(addr, fields, None)).await;
        note(format!("HTTP/2: {name}"), answers).await;
    }
    through
}

/// How many requests have passed the gate to a route that calls the partner.
async fn passed(billing: &Program) -> u64 {
    partner(billing).await["passed"].as_u64().unwrap()
}

async fn partner(billing: &Program) -> Value {
    program::read(&billing.get("/partner").await)
}

// ---- judging the answers ------------------------------------------------------------------------

/// Asserts the answers in maintenance: errors, or the answers of exempt routes, and never those of
/// the refused routes.
fn harmless(name: &str, answers: &Answers) {
    for (status, body) in answers {
        let body = String::from_utf8_lossy(body);
        for told in [r#""basic":"#, "A-S0"] {
            assert!(
                !body.contains(told),
                "{name}: the partner's answer came through: {body}"
            );
        }
        let expected = match status {
            200 => by_exempt_route(&body),
            400 | 404 | 405 | 413 | 414 | 431 | 501 | 503 | 505 => true,
            // Over HTTP/2: another status, or no answer.
            0 => true,
            _ => false,
        };
        assert!(expected, "{name}: {status}: {body}");
    }
}

fn by_exempt_route(body: &str) -> bool {
    body == "alive"
        || body == r#"{"received":true}"#
        || body.starts_with(r#"{"currency":"EUR","id":""#)
        || body.contains(r#""mode":"maintenance""#)
}

#[tokio::test]
async fn nobody_sneaks_a_refused_route_past_the_gate() {
    let billing = Program::start().await;
    // The control: the same bytes in `Serving`.
    let served = try_all(&billing, |_, _| {}).await;
    let some = [
        "GET, HTTP/1.0: prices",
        "GET, HTTP/1.1: prices",
        "GET, HTTP/2: prices",
        "POST, HTTP/1.1: subscriptions",
        "POST, HTTP/2: subscriptions",
        "GET, HTTP/1.1: absolute form, another host",
        "GET, HTTP/1.1: a query with an exempt path",
        "GET, HTTP/2: a query with dot segments",
        "HEAD",
        "pipelined behind an exempt one",
        "charge pipelined behind a webhook",
        "chunk with an extension",
        "two hosts",
        "X-Original-URL with an exempt path",
        "HTTP/2: extended CONNECT",
        "HTTP/2: authority against the host",
    ];
    for trick in some {
        assert!(
            served.contains(trick),
            "{trick} gets through nowhere: {served:#?}"
        );
    }

    let command = json!({ "actor": "on-call", "reason": "drill" });
    let engaged = billing.post("/maintenance/engage", &command).await;
    assert_eq!(engaged.status(), StatusCode::OK);
    let before = partner(&billing).await;
    let sneaked = try_all(&billing, harmless).await;
    assert_eq!(sneaked, BTreeSet::new(), "these got through");
    assert_eq!(
        partner(&billing).await,
        before,
        "the partner was left in peace"
    );

    // Maintenance lasted all the while, for plain requests as well. After the release the plain
    // request gets through.
    assert_eq!(billing.maintenance().await["mode"], "maintenance");
    assert_refusal(&billing.get("/billing/prices").await);
    assert_refusal(&billing.post("/billing/subscriptions", &json!({})).await);
    assert_eq!(billing.get("/health/live").await.body(), "alive");
    billing.post("/maintenance/release", &command).await;
    assert_eq!(billing.get("/billing/prices").await.status(), 200);
    assert_eq!(
        passed(&billing).await,
        before["passed"].as_u64().unwrap() + 1
    );
}
