//! A request that passes as exempt is dispatched by a real router to a route that is declared
//! exempt.

use std::cell::Cell;

use axum::{Router, body::Body, routing::get};
use http::{Method, Request};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tower::{Layer, ServiceExt};
use tower_maintenance::{Class, Exemption, Hold, MaintenanceLayer, http::RouteClasses};

use crate::dispatch::{EXEMPT, Outcome, check};

/// The parts that paths are made of, and that are inserted into them.
const PARTS: &[&str] = &[
    "/health",
    "/live",
    "/ready",
    "/billing",
    "/invoices",
    "/prices",
    "/7",
    "/lines",
    "/pay",
    "/files",
    "/public",
    "/api",
    "/v2",
    "/v3",
    "/webhooks",
    "/apart",
    "/at",
    "/status",
    "/",
    "//",
    "/.",
    "/..",
    "..",
    ".",
    ";",
    "/;",
    ";a=1",
    "\\",
    "/..\\",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "%5c",
    "%3b",
    "%25",
    "%00",
    "%3f",
    "%23",
    "%20",
    "%0a",
    "%252e",
    "%252f",
    "%%32%65",
    "%c0%ae",
    "%c0%af",
    "%e0%80%af",
    "%f0%80%80%ae",
    "%e2%88%95",
    "%ef%bc%8f",
    "%ff",
    "%",
    "%2",
    "%zz",
    "?",
    "?/",
    "#",
    "*",
    "{id}",
    "{*path}",
    "LIVE",
    "a",
    "\u{ff0f}",
    "\u{2215}",
    ":",
    "@",
    "+",
    "~",
    "&",
    "=",
];

/// Parameters that some servers read as dot segments.
const DOTS: &[&str] = &[
    ".",
    "..",
    "../a",
    "a/..",
    "%2e",
    ".%2E",
    "%252e",
    "%%32%65",
    "%2%65",
    "%c0%ae",
    "%e0%80%ae",
    "%f0%80%80%ae",
];

/// Parameters that some servers read as routes of their own.
const OVERLAP: &[&str] = &[
    "export",
    "%65xport",
    "all",
    "a%6cl",
    "%61%6c%6c",
    "secret",
    "secre%74",
    "keys",
    "k%65ys",
    "export.",
    "export.json",
    "all%20",
    "keys...",
    "secre%EF%BD%94",
    "ex%c2%adport",
    "%e2%80%8ball",
    "KEYS.txt",
];

const METHODS: &[&str] = &[
    "GET", "POST", "HEAD", "OPTIONS", "CONNECT", "DELETE", "get", "X",
];

const ORIGINS: &[&str] = &[
    "",
    "",
    "",
    "http://localhost",
    "https://health",
    "HTTP://a:1",
    "x://health/live",
    "http://u@h",
    "//localhost",
    "localhost:80",
    "*",
];

/// `METHOD target`: an exempt path, sometimes below a nest, with odd parameters and with parts
/// inserted anywhere; or parts in any order.
fn lines() -> impl Strategy<Value = String> {
    let part = || prop_oneof![9 => select(PARTS).prop_map(str::to_owned), 1 => ".{1,3}"];
    let parts = move |most| prop::collection::vec(part(), 0..most).prop_map(|parts| parts.concat());
    let value = move || prop_oneof![3 => Just("7".to_owned()), 1 => parts(4), 1 => select(DOTS).prop_map(str::to_owned), 1 => select(OVERLAP).prop_map(str::to_owned)];
    let values = prop::collection::vec(value(), 3);
    let filled = (select(&EXEMPT[..]), values).prop_map(|(pattern, values)| {
        let mut values = values.into_iter();
        let segments = pattern
            .split('/')
            .map(|segment| match segment.chars().next() {
                Some('{') => values.next().unwrap_or_default(),
                _ => segment.to_owned(),
            });
        segments.collect::<Vec<_>>().join("/")
    });
    let twists = prop::collection::vec((any::<prop::sample::Index>(), part()), 0..3);
    let nests = select(&["", "", "", "/apart", "/api", "/billing"][..]);
    let twisted = (nests, filled, twists).prop_map(|(nest, mut path, twists)| {
        for (at, part) in twists {
            let places: Vec<usize> = path.char_indices().map(|(place, _)| place).collect();
            let place = places.get(at.index(places.len() + 1));
            path.insert_str(place.copied().unwrap_or(path.len()), &part);
        }
        [nest, &path].concat()
    });
    let path = prop_oneof![3 => twisted, 1 => parts(8)];
    (select(METHODS), select(ORIGINS), path)
        .prop_map(|(method, origin, path)| format!("{method} {origin}{path}"))
}

#[test]
fn what_passes_as_exempt_is_dispatched_to_a_route_declared_exempt() {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok()).unwrap_or(5_000);
    // A failure that a run finds becomes a test with a name.
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let seen = [const { Cell::new(0_u32) }; 3];
    let outcome = runner.run(&lines(), |line| {
        let kind = match check(line.as_bytes()) {
            Outcome::NoRequest => return Ok(()),
            Outcome::Refused => 0,
            Outcome::Passed { paths: true, .. } => 1,
            Outcome::Passed { paths: false, .. } => 2,
        };
        seen[kind].update(|count| count + 1);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // The generator reaches all three outcomes.
    let seen = seen.map(Cell::into_inner);
    assert!(
        seen.iter().all(|count| *count >= cases / 200),
        "refused, passed both, passed `routes()` only: {seen:?} of {cases}"
    );
}

#[test]
fn every_exempt_pattern_passes_both_views() {
    for pattern in EXEMPT {
        let path = pattern.replace(['{', '}', '*'], "");
        for origin in ["", "http://elsewhere:1"] {
            let both = Outcome::Passed {
                route: pattern,
                paths: true,
            };
            assert_eq!(
                check(format!("GET {origin}{path}?x=/../y").as_bytes()),
                both
            );
            assert_eq!(check(format!("HEAD {origin}{path}").as_bytes()), both);
        }
    }
    for line in [
        "GET /billing/prices",
        "GET /",
        "GET *",
        "CONNECT localhost:80",
        "GET /api/v2",
        "GET /apart",
    ] {
        assert_eq!(check(line.as_bytes()), Outcome::Refused, "{line}");
    }
    for line in ["GET", "GET \u{0}", "G T /health/live", "GET /health/live /"] {
        assert_eq!(check(line.as_bytes()), Outcome::NoRequest, "{line}");
    }
}

/// The limit that `MaintenanceLayer::paths` documents, and its cure. The fuzz target found the
/// second pair.
#[tokio::test]
async fn where_routes_overlap_paths_exempts_both_unless_it_knows_them_and_routes_only_the_one_declared()
 {
    for (exempt, preferred, path, plainly_exempt) in [
        (
            "/invoices/{id}",
            "/invoices/export",
            "/invoices/export",
            "/invoices/7",
        ),
        (
            "/{tenant}/status/{probe}/live",
            "/files/{*path}",
            "/files/status/db/live",
            "/7/status/db/live",
        ),
    ] {
        let layer = MaintenanceLayer::builder("zuora")
            .exempt(Exemption::route(exempt, "declared so"))
            .build()
            .unwrap();
        layer
            .handle()
            .engage(Hold::new("on-call", "drill"))
            .unwrap();
        let app = Router::new()
            .route(exempt, get(async || "exempt"))
            .route(preferred, get(async || "preferred"));
        let request = |path| Request::get(path).body(Body::empty()).unwrap();
        let by_path = layer.paths().layer(app.clone()).oneshot(request(path));
        assert_eq!(by_path.await.unwrap().status(), 200, "{path}");
        let known = layer
            .paths()
            .with_known_routes([exempt, preferred])
            .unwrap();
        for (path, status) in [
            (path, 503),
            (plainly_exempt, 200),
            // A router that decodes before it chooses, or ignores case, would choose the preferred
            // route.
            ("/invoices/%65xport", 503),
            ("/invoices/Export", 503),
            ("/FILES/status/db/live", 503),
            ("/", 503),
            ("/invoices//7", 503),
        ] {
            let by_known = known.layer(app.clone()).oneshot(request(path));
            assert_eq!(by_known.await.unwrap().status(), status, "{path}");
        }
        let by_router = app.layer(layer.routes()).oneshot(request(path));
        assert_eq!(by_router.await.unwrap().status(), 503, "{path}");
    }
}

#[tokio::test]
async fn a_known_route_has_its_class_and_what_is_no_pattern_is_an_error() {
    let layer = MaintenanceLayer::new("zuora");
    let classes = RouteClasses::new()
        .read("/search/{what}")
        .write("/oauth/callback")
        .method(Method::POST, "/rest/{*path}", Class::Read)
        .never("/rest/settlement");
    let known = layer.paths().with_known_routes([
        "/search/{what}",
        "/search/all",
        "/oauth/{provider}",
        "/oauth/callback",
        "/rest/{*path}",
    ]);
    let view = known.unwrap().with_route_classes(classes).unwrap();
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    layer.handle().engage(hold).unwrap();
    let app = Router::<()>::new().fallback(async || "passed");
    for (request, status) in [
        (Request::post("/search/prices"), 200),
        (Request::post("/search/all"), 503),
        (Request::get("/search/all"), 200),
        (Request::get("/oauth/callback"), 503),
        // This router has no such route, but a lenient one may choose a route for it.
        (Request::get("/OAuth/callback"), 503),
        (Request::get("/oauth/Google"), 200),
        (Request::get("/oauth/Callback"), 503),
        (Request::get("/oauth/%63allback"), 503),
        // It has a class, and is no route of its own.
        (Request::get("/rest/settlement"), 503),
        (Request::get("/rest/prices"), 200),
        (Request::get("/prices"), 200),
        (Request::post("/prices"), 503),
    ] {
        let request = request.body(Body::empty()).unwrap();
        let told = format!("{} {}", request.method(), request.uri());
        let answer = view.layer(app.clone()).oneshot(request).await;
        assert_eq!(answer.unwrap().status(), status, "{told}");
    }
    let error = layer.paths().with_known_routes(["/a", "b"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the pattern `b` is not valid: a path pattern begins with `/`; \
         write a parameter as `{id}` and the rest of a path as `{*rest}`"
    );
    let error = layer
        .paths()
        .with_known_routes(["/{a}", "/{b}"])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the pattern `/{b}` is not valid: "),
        "{error}"
    );
}
