//! The property behind exemptions: a request that passes in maintenance is dispatched by the router
//! to a route that is declared exempt.
//!
//! The router has nested, merged and fallback routes, and each handler says which route ran. Before
//! it stands the gate, as `routes()` and as `paths()`. `exempt_dispatch.rs` and the fuzz target of
//! that name use it.

use std::{cell::OnceCell, convert::Infallible};

use axum::{
    Extension, Router,
    body::Body,
    routing::{MethodRouter, get},
};
use http::{Method, Request, Response, Uri};
use tower::{Layer, Service, ServiceExt};
use tower_maintenance::{Exemption, Hold, MaintenanceLayer, http::Paths};

/// The routes that are declared exempt. No other route of the router overlaps with one of these
/// patterns. `paths()` knows only the exemptions, and cannot see that the router prefers another
/// route. Its documentation says so, and `exempt_dispatch.rs` shows it.
pub(crate) const EXEMPT: [&str; 7] = [
    "/health/live",
    "/billing/invoices/{id}",
    "/billing/invoices/{id}/lines/{line}",
    "/files/public/{*path}",
    "/api/v2/webhooks",
    "/apart/{id}",
    "/at/{tenant}/status/{probe}/live",
];

/// Every route of the router.
const ROUTES: [&str; 18] = [
    "/health/live",
    "/health/ready",
    "/billing/prices",
    "/billing/subscriptions",
    "/billing/invoices",
    "/billing/invoices/{id}",
    "/billing/invoices/{id}/lines/{line}",
    "/billing/invoices/{id}/pay",
    "/api/v2/webhooks",
    "/api/v3/webhooks",
    "/apart/",
    "/apart/{id}",
    "/at/{tenant}/status/{probe}",
    "/at/{tenant}/status/{probe}/live",
    "/files/public/{*path}",
    "/files/{*path}",
    "/",
    "/apart",
];

/// Routes that overlap with exempt ones and are not exempt. `paths()` must be told of them.
const OVERLAPPING: [&str; 4] = [
    "/billing/invoices/export",
    "/billing/invoices/{id}/lines/all",
    "/files/public/secret",
    "/apart/keys",
];

/// The result of a request in maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The method or the target does not parse, and no server would hand it on.
    NoRequest,
    /// Both views refused it.
    Refused,
    /// This route ran. `paths` is false where `paths()` took the path for ambiguous and refused.
    Passed { route: &'static str, paths: bool },
}

/// Sends `METHOD target` through both views, and returns the result.
///
/// # Panics
///
/// If a request passes that is not exempt, by the router or by some reading of its path; or if
/// `routes()` refuses an exempt one.
pub(crate) fn check(line: &[u8]) -> Outcome {
    thread_local!(static FIXTURE: OnceCell<Fixture> = const { OnceCell::new() });
    let blank = line.iter().position(|byte| *byte == b' ');
    let Some((method, target)) = blank.map(|at| (&line[..at], &line[at + 1..])) else {
        return Outcome::NoRequest;
    };
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else {
        return Outcome::NoRequest;
    };
    FIXTURE.with(|fixture| fixture.get_or_init(Fixture::new).check(&method, &uri))
}

fn all() -> impl Iterator<Item = &'static str> {
    ROUTES.into_iter().chain(OVERLAPPING)
}

/// The route that a handler belongs to.
#[derive(Clone, Copy)]
struct Ran(&'static str);

const FALLBACK: &str = "a fallback";

fn says(route: &'static str) -> MethodRouter {
    let handler = move || async move { Extension(Ran(route)) };
    get(handler).post(handler).fallback(handler)
}

/// The router. `gate` is applied where `routes()` may stand.
fn router(gate: impl Fn(Router) -> Router, gate_routes: impl Fn(Router) -> Router) -> Router {
    let lost = async || Extension(Ran(FALLBACK));
    let billing = Router::new()
        .route("/prices", says("/billing/prices"))
        .route("/subscriptions", says("/billing/subscriptions"))
        .route("/invoices", says("/billing/invoices"))
        .route("/invoices/{id}", says("/billing/invoices/{id}"))
        .route(
            "/invoices/{id}/lines/{line}",
            says("/billing/invoices/{id}/lines/{line}"),
        )
        .route("/invoices/{id}/pay", says("/billing/invoices/{id}/pay"));
    let versions = Router::new()
        .nest(
            "/v2",
            Router::new().route("/webhooks", says("/api/v2/webhooks")),
        )
        .nest(
            "/v3",
            Router::new().route("/webhooks", says("/api/v3/webhooks")),
        )
        .fallback(lost);
    let apart = Router::new()
        .route("/{id}", says("/apart/{id}"))
        .route("/", says("/apart"))
        .fallback(lost);
    let health = Router::new()
        .route("/health/live", says("/health/live"))
        .route("/health/ready", says("/health/ready"))
        .route(
            "/at/{tenant}/status/{probe}",
            says("/at/{tenant}/status/{probe}"),
        )
        .route(
            "/at/{tenant}/status/{probe}/live",
            says("/at/{tenant}/status/{probe}/live"),
        );
    let files = Router::new()
        .route("/files/public/{*path}", says("/files/public/{*path}"))
        .route("/files/{*path}", says("/files/{*path}"))
        .route("/", says("/"));
    let outer = Router::new()
        .nest("/api", versions)
        .merge(files)
        .fallback(lost);
    gate(outer)
        .merge(gate_routes(health))
        .nest("/billing", gate(billing))
        .nest_service("/apart", gate(apart))
}

struct Fixture {
    runtime: tokio::runtime::Runtime,
    layer: MaintenanceLayer,
    /// `paths()` that was told of the routes of `bare`, and of those of `overlapping`.
    told: MaintenanceLayer<Paths>,
    told_all: MaintenanceLayer<Paths>,
    routes: Router,
    bare: Router,
    /// The router that also has the routes that overlap.
    overlapping: Router,
}

impl Fixture {
    fn new() -> Self {
        let mut layer = MaintenanceLayer::builder("zuora");
        for pattern in EXEMPT {
            layer = layer.exempt(Exemption::route(pattern, "declared so"));
        }
        let layer = layer.build().expect("the exemptions are valid");
        let hold = Hold::new("on-call", "drill");
        layer.handle().engage(hold).expect("the layer is new");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let gate = |router: Router| router.layer(layer.routes());
        let gate_routes = |router: Router| router.route_layer(layer.routes());
        Self {
            runtime: runtime.expect("a runtime without drivers"),
            routes: router(gate, gate_routes),
            bare: router(|router| router, |router| router),
            overlapping: all()
                .fold(Router::new(), |router, route| {
                    router.route(route, says(route))
                })
                .fallback(async || Extension(Ran(FALLBACK))),
            told: layer
                .paths()
                .with_known_routes(ROUTES)
                .expect("they are valid"),
            told_all: layer
                .paths()
                .with_known_routes(all())
                .expect("they are valid"),
            layer,
        }
    }

    fn check(&self, method: &Method, uri: &Uri) -> Outcome {
        let chosen = self.ask(self.bare.clone(), method, uri);
        let chosen = chosen.expect("no gate, hence an answer by some handler");
        let exempt = EXEMPT.contains(&chosen);

        let passed = self.ask(self.routes.clone(), method, uri);
        let expected = exempt.then_some(chosen);
        assert_eq!(passed, expected, "routes(): {method} {uri}");

        let behind_paths = self.layer.paths().layer(self.bare.clone());
        let by_path = self.ask(behind_paths, method, uri);
        if by_path.is_some() {
            self.is_exempt_however_it_is_read(&self.bare, method, uri);
        }

        // Told of routes that overlap, `paths()` tells them apart. Where none overlap, being told
        // changes nothing, except for other spellings of a path.
        let by_told = self.ask(self.told_all.layer(self.overlapping.clone()), method, uri);
        if by_told.is_some() {
            self.is_exempt_however_it_is_read(&self.overlapping, method, uri);
            let path = more_leniently(uri.path());
            let path = plain(path.as_bytes())
                .parse()
                .expect("a path of plain characters");
            self.is_exempt_however_it_is_read(&self.overlapping, method, &path);
        }
        let by_told = self.ask(self.told.layer(self.bare.clone()), method, uri);
        let is_usual =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'/';
        if uri.path().bytes().all(is_usual) || by_told.is_some() {
            assert_eq!(
                by_told, by_path,
                "paths().with_known_routes(): {method} {uri}"
            );
        }
        match passed {
            Some(route) => Outcome::Passed {
                route,
                paths: by_path.is_some(),
            },
            None => Outcome::Refused,
        }
    }

    fn is_exempt_however_it_is_read(&self, bare: &Router, method: &Method, uri: &Uri) {
        let read = [uri.path().to_owned()]
            .into_iter()
            .chain(readings(uri.path()));
        for reading in read {
            let read = Uri::try_from(&reading).expect("a path of plain characters");
            let chosen = self.ask(bare.clone(), method, &read);
            assert!(
                chosen.is_some_and(|chosen| EXEMPT.contains(&chosen)),
                "paths(): {method} {uri}, read as {reading}, is {chosen:?}"
            );
        }
    }

    /// The route that ran, or `None` if the gate refused.
    fn ask<S>(&self, service: S, method: &Method, uri: &Uri) -> Option<&'static str>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        let Ok(answer) = self.runtime.block_on(service.oneshot(request));
        let ran = answer.extensions().get::<Ran>().map(|ran| ran.0);
        assert_eq!(ran.is_none(), answer.status() == 503, "{method} {uri}");
        ran
    }
}

/// The path as more lenient servers read it: decoded up to twice, cut off at an encoded `?`, `#` or
/// NUL, without path parameters, with backslashes as slashes, and without dot segments and empty
/// segments.
fn readings(path: &str) -> Vec<String> {
    let mut readings = Vec::new();
    let mut decoded = path.as_bytes().to_vec();
    for _ in 0..3 {
        let end = decoded.iter().position(|byte| b"?#\0".contains(byte));
        let mut read = decoded[..end.unwrap_or(decoded.len())].to_vec();
        readings.push(plain(&read));
        for byte in &mut read {
            if *byte == b'\\' {
                *byte = b'/';
            }
        }
        readings.push(plain(&read));
        let mut segments: Vec<&[u8]> = Vec::new();
        for segment in read.split(|byte| *byte == b'/') {
            match segment.split(|byte| *byte == b';').next() {
                Some(b"" | b".") | None => {}
                Some(b"..") => drop(segments.pop()),
                Some(segment) => segments.push(segment),
            }
        }
        readings.push(plain(&[b"/", &*segments.join(&b'/')].concat()));
        decoded = decode(&decoded);
    }
    readings
}

/// The path as the most lenient readers take it: in each segment, full-width letters are ASCII,
/// characters that cannot be seen are not there, and an extension and dots and blanks at the end
/// are cut off.
fn more_leniently(path: &str) -> String {
    let decoded = String::from_utf8_lossy(&decode(path.as_bytes())).into_owned();
    let ascii = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}' => None,
        c => Some(c),
    };
    let segments = decoded.split('/').map(|segment| {
        let segment: String = segment.chars().filter_map(ascii).collect();
        let stem = segment
            .split('.')
            .next()
            .unwrap_or_default()
            .trim()
            .to_lowercase();
        // No reader cuts off all of it.
        if stem.is_empty() { segment } else { stem }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// A path without the bytes that may not stand in one. A letter stands for each: no route contains
/// any of them.
fn plain(path: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b';' => {
            char::from(*byte)
        }
        _ => 'x',
    };
    path.iter().map(letter).collect()
}

/// The percent-decoded path. An invalid escape stays, and overlong UTF-8 becomes the character that
/// it encodes.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.map(|two| u8::from_str_radix(two, 16)) {
            Some(Ok(byte)) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let mut out = Vec::new();
    let mut rest = &bytes[..];
    loop {
        rest = match rest {
            [] => return out,
            [a @ 0xc0..=0xc1, b @ 0x80..=0xbf, after @ ..]
            | [0xe0, a @ 0x80..=0x81, b @ 0x80..=0xbf, after @ ..]
            | [0xf0, 0x80, a @ 0x80..=0x81, b @ 0x80..=0xbf, after @ ..] => {
                out.push((a & 1) << 6 | (b & 0x3f));
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}
