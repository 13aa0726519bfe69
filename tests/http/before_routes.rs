//! Before one's own routes: patterns, nesting, methods, conditions, upgrades, preflights, and the
//! check of all that against the routes.

use std::{convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request as AxumRequest,
    middleware::{Next, from_fn},
    response::Response as AxumResponse,
    routing::{any, get, options},
};
use http::{Method, Request, Response, request::Builder};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    BuildError, Class, Exemption, Hold, MaintenanceLayer, Placement, Policy,
    http::{CacheBustLayer, RouteClasses, RouteGaps, RouteList},
    testing::assert_runbook_is_current,
};

use crate::support::hold;

const OWED: &str = "customers may always see what they owe";

fn build(exempt: impl IntoIterator<Item = Exemption>) -> Result<MaintenanceLayer, BuildError> {
    let layer = MaintenanceLayer::builder("zuora");
    let exempt = exempt.into_iter();
    exempt
        .fold(layer, tower_maintenance::Builder::exempt)
        .build()
}

fn exempting(exempt: impl IntoIterator<Item = Exemption>) -> MaintenanceLayer {
    build(exempt).unwrap()
}

fn routes(patterns: &[&str]) -> Vec<Exemption> {
    let exempt = |pattern: &&str| Exemption::route(pattern, OWED);
    patterns.iter().map(exempt).collect()
}

async fn status<S>(app: &S, request: Builder) -> u16
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let request = request.body(Body::empty()).unwrap();
    app.clone()
        .oneshot(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

fn hold_writes(layer: &MaintenanceLayer) {
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    layer.handle().engage(hold).unwrap();
}

/// A service that answers whatever comes.
async fn anything<B>(_: Request<B>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::empty()))
}

/// A handler that answers nothing.
async fn empty() {}

// ---- patterns that can never match --------------------------------------------------------------

const NEVER: &[&str] = &[
    "/oauth/:provider/callback",
    "/webhooks/*",
    "/webhooks/*rest",
    "/webhooks/{*rest}/x",
    "/billing/.*",
    "/billing/[0-9]+",
    "/invoices/<id>",
    "/invoices/{id:int}",
    "/health?x",
    "/health#live",
    "/health ",
    "/heal\th",
    "/caf\u{e9}",
    "health",
    "https://ours.example/health",
];

#[test]
fn a_pattern_that_can_never_match_is_an_error_wherever_one_is_given() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let exempt = |pattern: &str| [Exemption::route(pattern, OWED)];
    let never: [&dyn Fn(&'static str) -> Option<String>; 6] = [
        &|pattern| Some(build(exempt(pattern)).err()?.to_string()),
        &|pattern| {
            Some(
                build([Exemption::http_call(pattern, OWED)])
                    .err()?
                    .to_string(),
            )
        },
        &|pattern| {
            let replaced = handle.replace_exemptions(exempt(pattern), "on-call", "drill");
            Some(replaced.err()?.to_string())
        },
        &|pattern| {
            let classes = RouteClasses::new().write(pattern);
            Some(
                layer
                    .routes()
                    .with_route_classes(classes)
                    .err()?
                    .to_string(),
            )
        },
        &|pattern| {
            Some(
                layer
                    .paths()
                    .with_known_routes([pattern])
                    .err()?
                    .to_string(),
            )
        },
        &|pattern| {
            let bust = CacheBustLayer::builder(&handle).except([pattern]);
            Some(bust.build().err()?.to_string())
        },
    ];
    for pattern in NEVER {
        for (number, build) in never.iter().enumerate() {
            let error = build(pattern).unwrap_or_else(|| panic!("{number}: {pattern}"));
            names_the_right_forms(&error);
        }
    }
}

#[cfg(feature = "last-good")]
#[test]
fn so_it_is_in_the_paths_of_last_good_answers() {
    for pattern in NEVER {
        let last_good = tower_maintenance::http::LastGoodLayer::builder().path(pattern);
        names_the_right_forms(&last_good.build().unwrap_err().to_string());
    }
}

fn names_the_right_forms(error: &str) {
    let named = error.contains("`{id}`") && error.contains("`{*rest}`");
    assert!(named, "{error}");
}

#[test]
fn a_name_around_calls_is_no_path() {
    let names = [
        "invoice.read",
        "GET /v1/invoices/:id",
        "prices *",
        "/health ",
    ];
    let builder = MaintenanceLayer::builder("zuora");
    let layer = names.into_iter().fold(builder, |layer, name| {
        layer.exempt(Exemption::call(name, OWED))
    });
    assert_eq!(layer.build().unwrap().handle().exemptions().len(), 4);
}

#[test]
fn one_shape_is_listed_once() {
    let twice = routes(&["/invoices/{id}", "/invoices/{number}"]);
    let error = build(twice).unwrap_err().to_string();
    assert!(error.contains("`/invoices/{number}`"), "{error}");
    let classes = RouteClasses::new().read("/a/{id}").write("/a/{name}");
    let error = MaintenanceLayer::new("zuora")
        .routes()
        .with_route_classes(classes);
    assert_eq!(
        error.unwrap_err().to_string(),
        "`/a/{name}` has two classes, read and write: give it one"
    );
}

#[test]
fn where_the_path_alone_decides_a_pattern_of_ambiguous_paths_is_an_error() {
    let layer = MaintenanceLayer::new("zuora");
    for pattern in ["//prices", "/a;b", "/a%2Fb"] {
        let classes = || RouteClasses::new().never(pattern);
        // axum has such a route.
        layer.routes().with_route_classes(classes()).unwrap();
        let error = layer.paths().with_route_classes(classes()).unwrap_err();
        assert!(error.to_string().contains("in different ways"), "{error}");
        let error = build([Exemption::http_call(pattern, OWED)]).unwrap_err();
        assert!(error.to_string().contains("in different ways"), "{error}");
    }
}

// ---- the path as the client sent it -------------------------------------------------------------

#[tokio::test]
async fn under_any_nesting_the_path_is_that_which_the_client_sent() {
    let layer = exempting(routes(&["/health", "/shop/billing/invoices/{id}"]));
    let classes = RouteClasses::new()
        .never("/health")
        .read("/shop/billing/prices");
    let paths = layer.paths().with_route_classes(classes).unwrap();
    let known = [
        "/health",
        "/shop/billing/invoices/{id}",
        "/shop/billing/prices",
    ];
    let views = [paths.clone(), paths.with_known_routes(known).unwrap()];
    let apps: Vec<Router> = views
        .iter()
        .flat_map(|view| {
            let layered = view.clone();
            let around = view.clone();
            let gates: [Box<dyn Fn(Router) -> Router>; 2] = [
                Box::new(move |router| router.layer(layered.clone())),
                Box::new(move |router| {
                    Router::new().route_service("/{*any}", around.layer(router))
                }),
            ];
            gates.into_iter().flat_map(|gate| nested_twice(&*gate))
        })
        .collect();
    assert_eq!(apps.len(), 16);
    hold(&layer.handle());
    for (number, app) in apps.iter().enumerate() {
        for (path, expected) in [
            ("/shop/billing/health", 503),
            ("/shop/billing/invoices/7", 200),
            ("/shop/billing/prices", 503),
        ] {
            let answer = status(app, Request::get(path)).await;
            assert_eq!(answer, expected, "{number} {path}");
        }
    }
    // The class too is that of the whole path.
    hold_writes(&layer);
    for (number, app) in apps.iter().enumerate() {
        for (request, expected) in [
            (Request::get("/shop/billing/health"), 200),
            (Request::post("/shop/billing/prices"), 405),
            (Request::post("/shop/billing/health"), 503),
        ] {
            assert_eq!(status(app, request).await, expected, "{number}");
        }
    }
}

/// Billing behind a gate, below two nests: each is a router's own or a service.
fn nested_twice(gate: &dyn Fn(Router) -> Router) -> [Router; 4] {
    let billing = || {
        let billing = Router::new()
            .route("/health", get(async || "the nested one"))
            .route("/invoices/{id}", get(async || "invoice"))
            .route("/prices", get(async || "12 EUR"));
        gate(billing)
    };
    let inner = || Router::new().nest("/billing", billing());
    let service = || Router::new().nest_service("/billing", billing());
    [
        Router::new().nest("/shop", inner()),
        Router::new().nest("/shop", service()),
        Router::new().nest_service("/shop", inner()),
        Router::new().nest_service("/shop", service()),
    ]
}

// ---- shapes -------------------------------------------------------------------------------------

#[tokio::test]
async fn patterns_are_compared_by_their_shape() {
    let layer = exempting(routes(&[
        "/invoices/{id}",
        "/files/{*path}",
        "/sku-{a}/{b}",
    ]));
    let classes = RouteClasses::new().never("/prices/{currency}");
    let view = layer.routes().with_route_classes(classes).unwrap();
    let app = || {
        Router::new()
            .route("/invoices/{invoice_id}", get(empty))
            .route("/invoices/{id}/lines/{line}", get(empty))
            .route("/files/{*rest}", get(empty))
            .route("/sku-{number}/{size}", get(empty))
            .route("/prices/{code}", get(empty))
    };
    let known = layer.paths().with_known_routes([
        "/invoices/{invoice_id}",
        "/invoices/{invoice_id}/lines/{line}",
        "/files/{*rest}",
        "/sku-{number}/{size}",
        "/prices/{code}",
    ]);
    let by_router = app().layer(view);
    let apps = [by_router.clone(), app().layer(known.unwrap())];
    hold(&layer.handle());
    for (path, expected) in [
        ("/invoices/7", 200),
        ("/invoices/7/lines/1", 503),
        ("/files/a/b", 200),
        ("/sku-7/L", 200),
        ("/prices/eur", 503),
    ] {
        for app in &apps {
            assert_eq!(status(app, Request::get(path)).await, expected, "{path}");
        }
    }
    layer.handle().release("on-call", "over").unwrap();
    layer.handle().trip("on-call", "drill").unwrap();
    layer.handle().probe_now("on-call", "drill").unwrap();
    assert_eq!(
        status(&by_router, Request::get("/prices/eur")).await,
        503,
        "never, by its shape"
    );
}

// ---- upgrades -----------------------------------------------------------------------------------

#[tokio::test]
async fn an_upgrade_is_a_write_unless_its_route_says_otherwise() {
    let layer = MaintenanceLayer::new("zuora");
    let classes =
        RouteClasses::new()
            .read("/live/prices")
            .method(Method::GET, "/live/rates", Class::Read);
    let view = layer.routes().with_route_classes(classes.clone()).unwrap();
    let paths = layer.paths().with_route_classes(classes).unwrap();
    let app = || {
        Router::new()
            .route("/live/{topic}", any(empty))
            .route("/live/prices", any(empty))
            .route("/live/rates", any(empty))
    };
    hold_writes(&layer);
    let upgrade = |request: Builder, to: &str| {
        request
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", to)
    };
    let over_1 = |path: &str| upgrade(Request::get(path), "WebSocket");
    let over_2 = |path: &str| Request::connect(format!("https://ours.example{path}"));
    for gated in [app().layer(view), app().layer(paths)] {
        for request in [
            over_1("/live/orders"),
            over_2("/live/orders"),
            upgrade(Request::get("/live/orders"), "h2c, websocket"),
            upgrade(Request::head("/live/orders"), "websocket"),
        ] {
            assert_eq!(status(&gated, request).await, 503);
        }
        for request in [
            Request::get("/live/orders"),
            upgrade(Request::get("/live/orders"), "h2c"),
            over_1("/live/prices"),
            over_2("/live/prices"),
            over_1("/live/rates"),
            over_2("/live/rates"),
        ] {
            assert_eq!(status(&gated, request).await, 200);
        }
    }
}

#[tokio::test]
async fn around_calls_an_upgrade_is_a_write_too() {
    let layer = MaintenanceLayer::new("zuora");
    hold_writes(&layer);
    let calls = layer.http_calls().layer(service_fn(anything));
    let call = |request: Builder| calls.clone().oneshot(request.body(Body::empty()).unwrap());
    let prices = || Request::get("/v1/prices").header("connection", "upgrade");
    assert!(call(prices()).await.is_ok());
    assert!(call(prices().header("upgrade", "h2c")).await.is_ok());
    assert!(call(prices().header("upgrade", "websocket")).await.is_err());
}

// ---- methods ------------------------------------------------------------------------------------

#[tokio::test]
async fn an_exemption_can_name_methods() {
    let owed = Exemption::route("/invoices/{id}", OWED).for_methods([Method::GET]);
    let hooks = Exemption::route("/webhooks", "a refused event may be lost");
    let pay = Exemption::route("/pay/{id}", "from our own balance");
    let layer = exempting([
        owed,
        hooks,
        pay.for_methods([Method::POST]).for_methods([Method::PUT]),
    ]);
    let app = || {
        Router::new()
            .route("/invoices/{invoice}", any(empty))
            .route("/webhooks", any(empty))
            .route("/pay/{id}", any(empty))
    };
    let known = ["/invoices/{i}", "/webhooks", "/pay/{id}"];
    let gates = [
        app().layer(layer.routes()),
        app().layer(layer.paths()),
        app().layer(layer.paths().with_known_routes(known).unwrap()),
    ];
    hold(&layer.handle());
    for app in gates {
        for (method, path, expected) in [
            (Method::GET, "/invoices/7", 200),
            (Method::HEAD, "/invoices/7", 200),
            (Method::DELETE, "/invoices/7", 503),
            (Method::POST, "/invoices/7", 503),
            (Method::OPTIONS, "/invoices/7", 503),
            (Method::POST, "/webhooks", 200),
            (Method::DELETE, "/webhooks", 200),
            (Method::POST, "/pay/7", 200),
            (Method::PUT, "/pay/7", 200),
            (Method::GET, "/pay/7", 503),
            (Method::HEAD, "/pay/7", 503),
        ] {
            let request = Request::builder().method(&method).uri(path);
            assert_eq!(status(&app, request).await, expected, "{method} {path}");
        }
    }
    let runbook = layer.handle().exemptions().to_markdown();
    for row in [
        "| before routes | `/invoices/{id}` | GET, HEAD | no |",
        "| before routes | `/webhooks` | all | no |",
        "| before routes | `/pay/{id}` | POST, PUT | no |",
    ] {
        assert!(runbook.contains(row), "{runbook}");
    }
}

#[tokio::test]
async fn one_endpoint_has_an_exemption_for_each_group_of_methods() {
    let invoice = |why| Exemption::route("/invoices/{id}", why);
    let layer = exempting([
        invoice(OWED).for_methods([Method::GET]),
        invoice("from our own balance").for_methods([Method::POST]),
        Exemption::http_call("/v1/prices", OWED).for_methods([Method::GET]),
    ]);
    let app = Router::new()
        .route("/invoices/{id}", any(empty))
        .layer(layer.routes());
    hold(&layer.handle());
    for (method, expected) in [(Method::GET, 200), (Method::POST, 200), (Method::PUT, 503)] {
        let request = Request::builder().method(method).uri("/invoices/7");
        assert_eq!(status(&app, request).await, expected);
    }
    let partner = service_fn(anything);
    let calls = layer.http_calls().layer(partner);
    let call = |request: Builder| calls.clone().oneshot(request.body(()).unwrap());
    assert!(call(Request::head("/v1/prices")).await.is_ok());
    assert!(call(Request::post("/v1/prices")).await.is_err());

    let fault = |exempt: Vec<Exemption>| build(exempt).unwrap_err().to_string();
    let twice = vec![
        invoice(OWED).for_methods([Method::GET]),
        invoice(OWED).for_methods([Method::POST, Method::HEAD]),
    ];
    assert_eq!(
        fault(twice),
        "exemptions: `HEAD /invoices/{id}` is exempt twice before routes: list it once"
    );
    let covered = vec![invoice(OWED), invoice(OWED).for_methods([Method::POST])];
    assert_eq!(
        fault(covered),
        "exemptions: `POST /invoices/{id}` is exempt twice before routes: list it once"
    );
    assert_eq!(
        fault(vec![invoice(OWED).for_methods([])]),
        "exemptions: the exemption of `/invoices/{id}` is for no method: name one, or leave \
         `for_methods` out for all of them"
    );
    let builder = MaintenanceLayer::builder("zuora");
    let call = Exemption::call("invoice.read", OWED).for_methods([Method::GET]);
    assert!(
        builder.exempt(call).build().is_err(),
        "such a call has no method"
    );
}

// ---- preflights ---------------------------------------------------------------------------------

fn preflight(path: &str) -> Builder {
    Request::options(path)
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
}

#[tokio::test(start_paused = true)]
async fn a_preflight_passes_before_routes_in_every_mode_and_is_not_counted() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let classes = RouteClasses::new().write("/prices").never("/settlement");
    let routes = layer.routes().with_route_classes(classes.clone()).unwrap();
    let paths = layer.paths().with_route_classes(classes).unwrap();
    let gated = with_cors().layer(routes.with_gated_preflights());
    let open = [with_cors().layer(routes), with_cors().layer(paths)];
    let modes: [&dyn Fn(); 4] = [
        &|| {
            let read_only = Hold::new("on-call", "the ledger moves").read_only();
            handle.engage(read_only).unwrap();
        },
        &|| hold(&handle),
        &|| {
            handle.release("on-call", "over").unwrap();
            handle.trip("on-call", "drill").unwrap();
        },
        &|| {
            handle.probe_now("on-call", "drill").unwrap();
        },
    ];
    for (number, enter) in modes.iter().enumerate() {
        enter();
        let before = handle.status().calls;
        for app in &open {
            for path in ["/prices", "/settlement", "/nowhere"] {
                assert_eq!(status(app, preflight(path)).await, 200, "{number} {path}");
            }
            let plain = Request::options("/settlement").header("origin", "https://app.example");
            assert_eq!(status(app, plain).await, 503, "no preflight: {number}");
        }
        assert_eq!(
            status(&gated, preflight("/settlement")).await,
            503,
            "{number}"
        );
        let after = handle.status().calls;
        assert_eq!(
            (after.exempt, after.admitted),
            (before.exempt, before.admitted)
        );
    }
    // Around calls it is gated as any call.
    hold(&handle);
    let calls = layer.http_calls().layer(service_fn(anything));
    let call = preflight("/v1/prices").body(Body::empty()).unwrap();
    assert!(calls.oneshot(call).await.is_err());
}

/// Routes with a layer inside the gate that answers each OPTIONS, as `CorsLayer` does.
fn with_cors() -> Router {
    let cors = async |request: AxumRequest, next: Next| -> AxumResponse {
        if request.method() == Method::OPTIONS {
            return AxumResponse::new(Body::from("allowed"));
        }
        next.run(request).await
    };
    Router::new()
        .route("/prices", get(empty))
        .route("/settlement", get(empty))
        .layer(from_fn(cors))
}

/// What the documentation of `with_gated_preflights` warns of.
#[tokio::test]
async fn a_preflight_runs_the_handler_of_any_and_a_route_for_options() {
    let layer = MaintenanceLayer::new("zuora");
    let app = Router::new()
        .route("/any", any(async || "it ran"))
        .route("/options", options(async || "it ran"))
        .route("/get", get(empty))
        .layer(layer.routes());
    hold(&layer.handle());
    assert_eq!(status(&app, preflight("/any")).await, 200);
    assert_eq!(status(&app, preflight("/options")).await, 200);
    assert_eq!(status(&app, preflight("/get")).await, 405);
    assert_eq!(status(&app, Request::post("/any")).await, 503);
}

// ---- the check of routes ------------------------------------------------------------------------

fn many_routes() -> Router {
    let webhooks = Router::new().route("/webhooks", get(empty));
    let oauth = Router::new().route("/callback", get(empty));
    Router::new()
        .route("/invoices/{invoice}", get(empty))
        .route("/health", get(empty))
        .route("/legal", get(empty))
        .route("/prices", get(empty))
        .nest("/api/v2", webhooks)
        .nest("/oauth", oauth)
        .nest_service("/legacy", service_fn(anything))
        .fallback(empty)
}

#[test]
fn the_check_finds_routes_without_an_entry_and_entries_without_a_route() {
    let layer = exempting(routes(&[
        "/invoices/{id}",
        "/health/",
        "/api/v2",
        "/Legal",
        "/prises",
        "/legacy/{*path}",
        "/lost",
    ]));
    let classes = RouteClasses::new()
        .read("/prices")
        .write("/oauth")
        .write("/legacy/oauth/callback")
        .write("/legacy")
        .write("/legacy/");
    let view = layer.routes().with_route_classes(classes).unwrap();
    let router = many_routes().layer(view.clone());
    let gaps = view
        .check_routes(&RouteList::of(&router).unwrap())
        .unwrap_err();
    assert_eq!(
        gaps.unconsidered,
        [
            "/api/v2/webhooks",
            "/health",
            "/legacy/{*rest}",
            "/legal",
            "/oauth/callback"
        ]
    );
    let entries = gaps.without_effect.iter();
    let stray = entries.map(|entry| (&*entry.pattern, entry.is_exemption));
    let expected = [
        "/health/",
        "/api/v2",
        "/Legal",
        "/prises",
        "/legacy/{*path}",
        "/lost",
    ];
    let expected = expected.map(|pattern| (pattern, true)).into_iter();
    assert!(stray.eq(expected.chain([("/oauth", false)])), "{gaps}");
    says_why(&gaps);
}

fn says_why(gaps: &RouteGaps) {
    let said = gaps.to_string();
    for line in [
        "the route `/health`: exempt it or give it a class",
        "the exemption of `/health/`: no route has it; there is `/health`",
        "the exemption of `/api/v2`: no route has it; `/api/v2/webhooks` begins with it",
        "the exemption of `/legacy/{*path}`: the router tells no route for it (`nest_service`, or a fallback)",
        "the class of `/oauth`: no route has it; `/oauth/callback` begins with it",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

const SOME: [&str; 7] = [
    "/invoices/{id}",
    "/invoices/export",
    "/health/{*check}",
    "/legacy/{*rest}",
    "/legacy",
    "/apart/{id}",
    "/lost",
];

fn some_routes() -> Router {
    Router::new()
        .route("/invoices/{invoice}", get(empty))
        .route("/invoices/export", get(empty))
        .route("/health/{*rest}", get(empty))
        .nest_service("/legacy", service_fn(anything))
}

/// Whatever the check says of an exemption, the gate does.
#[tokio::test]
async fn the_check_agrees_with_the_gate_inside_a_router() {
    for exempt in SOME {
        let layer = exempting(routes(&[exempt]));
        let view = layer.routes();
        let apart = Router::new().route("/{id}", get(empty)).layer(view.clone());
        let router = some_routes().fallback(empty).layer(view.clone());
        let router = router.nest_service("/apart", apart.clone());
        let list = RouteList::of(&router).unwrap();
        let list = list.nested("/apart", RouteList::of(&apart).unwrap());
        let gaps = view.check_routes(&list).unwrap_err();
        hold(&layer.handle());
        let path = exempt.replace(['{', '}', '*'], "");
        let passes = status(&router, Request::get(&path)).await == 200;
        assert_eq!(gaps.without_effect.is_empty(), passes, "{exempt}: {gaps}");
    }
}

/// By the path alone, each exemption has an effect where there is such a path.
#[tokio::test]
async fn the_check_agrees_with_the_gate_by_the_path() {
    let known = [
        "/invoices/{i}",
        "/invoices/export",
        "/health/{*c}",
        "/legacy",
    ];
    for exempt in SOME {
        let layer = exempting(routes(&[exempt]));
        let paths = layer.paths();
        let told = paths.with_known_routes(known).unwrap();
        hold(&layer.handle());
        for view in [paths, told] {
            let list = RouteList::of(&some_routes()).unwrap();
            let gaps = view.check_routes(&list).unwrap_err();
            let path = exempt.replace(['{', '}', '*'], "");
            let passes = status(&view.layer(some_routes()), Request::get(&path)).await == 200;
            assert_eq!(gaps.without_effect.is_empty(), passes, "{exempt}: {gaps}");
        }
    }
}

#[test]
fn nothing_is_missing_where_every_route_has_an_entry() {
    let staff = Exemption::requests(Placement::BeforeRoutes, "staff", OWED, |_| false);
    let calls = Exemption::http_call("/v1/no-route-of-ours", OWED);
    let list = RouteList::new(["/invoices/{id}", "/health"]).and(["/prices"]);
    let list = list.by_fallback(["/old/{page}"]);
    let layer = exempting([routes(&["/invoices/{i}", "/health"]), vec![staff, calls]].concat());
    let classes = RouteClasses::new().read("/prices").write("/old/{page}");
    let view = layer.routes().with_route_classes(classes.clone()).unwrap();
    assert_eq!(view.check_routes(&list), Ok(()));
    let view = layer.paths().with_route_classes(classes).unwrap();
    assert_eq!(view.check_routes(&list), Ok(()));
    assert_eq!(
        list.to_string(),
        "/invoices/{id}\n/health\n/prices\n/old/{page}\n"
    );
}

// ---- conditions ---------------------------------------------------------------------------------

/// Set by the layer that authenticates.
#[derive(Clone)]
struct Staff;

fn staff(placement: Placement) -> Exemption {
    let why = "staff look behind a hold before it is released";
    Exemption::requests(placement, "staff", why, |head| {
        head.extensions().get::<Staff>().is_some()
    })
}

#[tokio::test]
async fn a_condition_exempts_at_both_placements() {
    let layer = exempting([
        staff(Placement::BeforeRoutes),
        staff(Placement::AroundCalls).for_methods([Method::GET]),
        Exemption::route("/health", "a 503 restarts healthy pods"),
    ]);
    let app = || {
        Router::new()
            .route("/prices", any(empty))
            .fallback(async || "")
    };
    let gates = [app().layer(layer.routes()), app().layer(layer.paths())];
    let partner = service_fn(anything);
    let calls = layer.http_calls().layer(partner);
    let call = |request: Builder| calls.clone().oneshot(request.body(()).unwrap());
    hold(&layer.handle());
    for app in &gates {
        for path in ["/prices", "/nowhere", "/health"] {
            let post = Request::post(path).extension(Staff);
            assert_eq!(status(app, post).await, 200, "{path}");
        }
        assert_eq!(
            status(app, Request::get("/prices").header("staff", "1")).await,
            503
        );
    }
    assert!(
        call(Request::get("/v1/prices").extension(Staff))
            .await
            .is_ok()
    );
    assert!(
        call(Request::post("/v1/prices").extension(Staff))
            .await
            .is_err()
    );
    assert!(call(Request::get("/v1/prices")).await.is_err());
    assert_eq!(layer.handle().status().calls.exempt, 7);
}

#[test]
fn a_condition_is_in_the_runbook() {
    let layer = exempting([
        staff(Placement::BeforeRoutes),
        staff(Placement::AroundCalls).for_methods([Method::GET]),
        Exemption::route("/health", "a 503 restarts healthy pods"),
    ]);
    let table = layer.handle().exemptions();
    let markdown = table.to_markdown();
    for row in [
        "| before routes | requests that meet `staff` | all | no | staff look behind",
        "| around calls | requests that meet `staff` | GET, HEAD | no | staff look behind",
    ] {
        assert!(markdown.contains(row), "{markdown}");
    }
    let json: serde_json::Value = serde_json::from_str(&table.to_json()).unwrap();
    assert_eq!(json[1]["condition"], true);
    assert_eq!(json[1]["methods"], serde_json::json!(["GET", "HEAD"]));
    assert_eq!(json[2]["methods"], serde_json::Value::Null);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("conditions.md");
    std::fs::write(&file, &markdown).unwrap();
    assert_runbook_is_current(&table, &file);
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn conditions_are_replaced_while_running() {
    let layer = exempting([staff(Placement::BeforeRoutes)]);
    let app = Router::new()
        .route("/prices", get(empty))
        .layer(layer.routes());
    hold(&layer.handle());
    let prices = || Request::get("/prices").extension(Staff);
    assert_eq!(status(&app, prices()).await, 200);
    let one = staff(Placement::BeforeRoutes);
    assert_eq!(one, one.clone());
    assert_ne!(
        one,
        staff(Placement::BeforeRoutes),
        "conditions cannot be compared"
    );
    let handle = layer.handle();
    let none = Exemption::requests(Placement::BeforeRoutes, "none", OWED, |_| false);
    handle
        .replace_exemptions([none], "on-call", "drill")
        .unwrap();
    assert_eq!(status(&app, prices()).await, 503);
    let error = handle.replace_exemptions(
        [
            staff(Placement::BeforeRoutes),
            staff(Placement::BeforeRoutes),
        ],
        "on-call",
        "drill",
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("`staff` is exempt twice")
    );
    // A condition has its own names: a call that is called so is not exempt.
    let named = MaintenanceLayer::builder("zuora")
        .exempt(staff(Placement::AroundCalls))
        .build()
        .unwrap()
        .named(|name: &String| name.as_str());
    hold(&named.handle());
    let calls = named.layer(service_fn(async |_: String| Ok::<_, Infallible>(())));
    assert!(calls.oneshot("staff".to_owned()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_panics_leaks_nothing() {
    let broken = Exemption::requests(Placement::AroundCalls, "broken", OWED, |head| {
        assert!(!head.headers().contains_key("boom"), "boom");
        false
    });
    let policy = Policy::default()
        .with_jitter(0.0)
        .with_wait(Duration::from_secs(1));
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy)
        .exempt(broken)
        .build()
        .unwrap();
    let partner = service_fn(anything);
    let mut calls = layer.http_calls().layer(partner);
    layer.handle().trip("on-call", "drill").unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..5 {
        let request = Request::get("/v1/prices")
            .header("boom", "1")
            .body(())
            .unwrap();
        let calls = calls.ready().await.unwrap();
        let call = AssertUnwindSafe(|| drop(calls.call(request)));
        std::panic::catch_unwind(call).unwrap_err();
    }
    let status = layer.handle().status();
    assert_eq!((status.calls.exempt, status.calls.admitted), (0, 0));
    assert_eq!(status.probing.unwrap().in_flight, 0);
    let request = Request::get("/v1/prices").body(()).unwrap();
    assert!(
        calls.ready().await.unwrap().call(request).await.is_ok(),
        "the slot is free"
    );
}

// ---- lenient readers ----------------------------------------------------------------------------

/// Some reader takes each of these for another route than that of its pattern.
const LENIENT: &[&str] = &[
    "/invoices/export",
    "/invoices/export.",
    "/invoices/export...",
    "/invoices/export.json",
    "/invoices/export%20",
    "/invoices/%20export",
    "/invoices/export::$DATA",
    "/invoices/%EF%BD%85xport",
    "/invoices/ex%C2%ADport",
    "/invoices/exp%E2%80%8Bort",
    "/invoices/%C3%A9xport",
    "/invoices/e%CC%81xport",
    "/files/secret./keys",
    "/files/secret/keys.pem",
    "/files/s%D0%B5cret/keys",
];

/// No reader does so with these.
const STRICT: &[&str] = &[
    "/invoices/7",
    "/invoices/7.pdf",
    "/invoices/INV%202024",
    "/invoices/caf%C3%A9",
    "/invoices/exports",
    "/files/a.txt",
    "/files/secret",
    "/files/secret/key.pem",
];

#[tokio::test]
async fn a_path_that_a_lenient_reader_takes_for_another_known_route_is_not_exempt() {
    let layer = exempting(routes(&["/invoices/{id}", "/files/{*path}"]));
    let classes = RouteClasses::new().never("/rest/settlement");
    let view = layer.paths().with_route_classes(classes).unwrap();
    let known = view.with_known_routes([
        "/invoices/{id}",
        "/invoices/export",
        "/files/{*path}",
        "/files/secret/keys",
        "/rest/{*path}",
    ]);
    let app = known
        .unwrap()
        .layer(Router::<()>::new().fallback(async || ""));
    hold(&layer.handle());
    for path in LENIENT {
        assert_eq!(status(&app, Request::get(*path)).await, 503, "{path}");
    }
    for path in STRICT {
        assert_eq!(status(&app, Request::get(*path)).await, 200, "{path}");
    }
    layer.handle().release("on-call", "over").unwrap();
    layer.handle().trip("on-call", "drill").unwrap();
    layer.handle().probe_now("on-call", "drill").unwrap();
    for (path, expected) in [
        ("/rest/settlement", 503),
        ("/rest/settlement.", 503),
        ("/rest/settlement.xml", 503),
        ("/rest/s%EF%BD%85ttlement", 503),
        ("/rest/prices.xml", 200),
    ] {
        assert_eq!(status(&app, Request::get(path)).await, expected, "{path}");
    }
}
