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
    http::{CacheBustLayer, RouteClasses, RouteList},
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

// ---- patterns that can never match --------------------------------------------------------------

#[test]
fn a_pattern_that_can_never_match_is_an_error_wherever_one_is_given() {
    for pattern in [
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
    ] {
        let layer = MaintenanceLayer::new("zuora");
        let bust = CacheBustLayer::builder(&layer.handle());
        let errors = [
            build([Exemption::route(pattern, OWED)])
                .unwrap_err()
                .to_string(),
            build([Exemption::http_call(pattern, OWED)])
                .unwrap_err()
                .to_string(),
            layer
                .handle()
                .replace_exemptions([Exemption::route(pattern, OWED)], "on-call", "drill")
                .unwrap_err()
                .to_string(),
            layer
                .routes()
                .with_route_classes(RouteClasses::new().write(pattern))
                .unwrap_err()
                .to_string(),
            layer
                .paths()
                .with_known_routes([pattern])
                .unwrap_err()
                .to_string(),
            bust.except([pattern]).build().unwrap_err().to_string(),
        ];
        for error in errors {
            assert!(
                error.contains("`{id}`") && error.contains("`{*rest}`"),
                "{error}"
            );
        }
        #[cfg(feature = "last-good")]
        {
            let last_good = tower_maintenance::http::LastGoodLayer::builder().path(pattern);
            let error = last_good.build().unwrap_err().to_string();
            assert!(
                error.contains("`{id}`") && error.contains("`{*rest}`"),
                "{error}"
            );
        }
    }
    // A name around calls is no path.
    let named = MaintenanceLayer::builder("zuora").named(|name: &String| name.as_str());
    for name in [
        "invoice.read",
        "GET /v1/invoices/:id",
        "prices *",
        "/health ",
    ] {
        let layer = named_with(named.clone(), name);
        assert_eq!(layer.handle().exemptions().len(), 1, "{name}");
    }
}

fn named_with<P: Clone>(builder: tower_maintenance::Builder<P>, name: &str) -> MaintenanceLayer<P> {
    builder.exempt(Exemption::call(name, OWED)).build().unwrap()
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
    let billing = || {
        Router::new()
            .route("/health", get(async || "the nested one"))
            .route("/invoices/{id}", get(async || "invoice"))
            .route("/prices", get(async || "12 EUR"))
    };
    let classes = || {
        RouteClasses::new()
            .never("/health")
            .read("/shop/billing/prices")
    };
    let paths = || layer.paths().with_route_classes(classes()).unwrap();
    let known = || {
        paths()
            .with_known_routes([
                "/health",
                "/shop/billing/invoices/{id}",
                "/shop/billing/prices",
            ])
            .unwrap()
    };
    let gated_twice = |gate: &dyn Fn(Router) -> Router| {
        [
            // By a layer, in a service, and in a service of a service.
            Router::new().nest("/shop", Router::new().nest("/billing", gate(billing()))),
            Router::new().nest_service("/shop", Router::new().nest("/billing", gate(billing()))),
            Router::new().nest(
                "/shop",
                Router::new().nest_service("/billing", gate(billing())),
            ),
            Router::new().nest_service(
                "/shop",
                Router::new().nest_service("/billing", gate(billing())),
            ),
        ]
    };
    let gates: [&dyn Fn(Router) -> Router; 4] = [
        &|router| router.layer(paths()),
        &|router| router.layer(known()),
        &|router| Router::new().route_service("/{*any}", paths().layer(router)),
        &|router| Router::new().route_service("/{*any}", known().layer(router)),
    ];
    hold(&layer.handle());
    for gate in gates {
        for (number, app) in gated_twice(gate).into_iter().enumerate() {
            for (path, passes) in [
                ("/shop/billing/health", false),
                ("/shop/billing/invoices/7", true),
                ("/shop/billing/prices", false),
            ] {
                let expected = if passes { 200 } else { 503 };
                assert_eq!(
                    status(&app, Request::get(path)).await,
                    expected,
                    "{number} {path}"
                );
            }
        }
    }
    // The class too is that of the whole path.
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    layer.handle().engage(hold).unwrap();
    for gate in gates {
        for (number, app) in gated_twice(gate).into_iter().enumerate() {
            for (request, expected) in [
                (Request::get("/shop/billing/health"), 200),
                (Request::post("/shop/billing/prices"), 405),
                (Request::post("/shop/billing/health"), 503),
            ] {
                assert_eq!(status(&app, request).await, expected, "{number}");
            }
        }
    }
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
            .route("/invoices/{invoice_id}", get(async || ""))
            .route("/invoices/{id}/lines/{line}", get(async || ""))
            .route("/files/{*rest}", get(async || ""))
            .route("/sku-{number}/{size}", get(async || ""))
            .route("/prices/{code}", get(async || ""))
    };
    let by_router = app().layer(view);
    let known = layer.paths().with_known_routes([
        "/invoices/{invoice_id}",
        "/invoices/{invoice_id}/lines/{line}",
        "/files/{*rest}",
        "/sku-{number}/{size}",
        "/prices/{code}",
    ]);
    let by_path = known.unwrap().layer(app());
    hold(&layer.handle());
    for (path, expected) in [
        ("/invoices/7", 200),
        ("/invoices/7/lines/1", 503),
        ("/files/a/b", 200),
        ("/sku-7/L", 200),
        ("/prices/eur", 503),
    ] {
        assert_eq!(
            status(&by_router, Request::get(path)).await,
            expected,
            "{path}"
        );
        assert_eq!(
            status(&by_path, Request::get(path)).await,
            expected,
            "{path}"
        );
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
            .route("/live/{topic}", any(async || ""))
            .route("/live/prices", any(async || ""))
            .route("/live/rates", any(async || ""))
    };
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    layer.handle().engage(hold).unwrap();
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
    // Around calls it writes too.
    let partner =
        service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let calls = layer.http_calls().layer(partner);
    let call = |request: Builder| calls.clone().oneshot(request.body(Body::empty()).unwrap());
    assert!(call(Request::get("/v1/prices")).await.is_ok());
    assert!(call(over_1("/v1/prices")).await.is_err());
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
            .route("/invoices/{invoice}", any(async || ""))
            .route("/webhooks", any(async || ""))
            .route("/pay/{id}", any(async || ""))
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
        .route("/invoices/{id}", any(async || ""))
        .layer(layer.routes());
    hold(&layer.handle());
    for (method, expected) in [(Method::GET, 200), (Method::POST, 200), (Method::PUT, 503)] {
        let request = Request::builder().method(method).uri("/invoices/7");
        assert_eq!(status(&app, request).await, expected);
    }
    let partner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::empty())));
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
    let named = MaintenanceLayer::builder("zuora").named(|name: &String| name.as_str());
    let call = Exemption::call("invoice.read", OWED).for_methods([Method::GET]);
    assert!(
        named.exempt(call).build().is_err(),
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
    let layer = MaintenanceLayer::builder("zuora")
        .policy(Policy::default())
        .build()
        .unwrap();
    let handle = layer.handle();
    // As a `CorsLayer` inside the gate.
    let cors = async |request: AxumRequest, next: Next| -> AxumResponse {
        if request.method() == Method::OPTIONS {
            return AxumResponse::new(Body::from("allowed"));
        }
        next.run(request).await
    };
    let classes = RouteClasses::new().write("/prices").never("/settlement");
    let app = || {
        Router::new()
            .route("/prices", get(async || ""))
            .route("/settlement", get(async || ""))
            .layer(from_fn(cors))
    };
    let routes = layer.routes().with_route_classes(classes.clone()).unwrap();
    let paths = layer.paths().with_route_classes(classes).unwrap();
    let gates = [app().layer(routes.clone()), app().layer(paths)];
    let gated = app().layer(routes.with_gated_preflights());
    let partner =
        service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let calls = layer.http_calls().layer(partner);

    let read_only = Hold::new("on-call", "the ledger moves").read_only();
    let modes: [&dyn Fn(); 4] = [
        &|| {
            handle.engage(read_only.clone()).unwrap();
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
        let before = handle.status();
        for app in &gates {
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
        let after = handle.status();
        assert_eq!(after.calls.exempt, before.calls.exempt);
        assert_eq!(after.calls.admitted, before.calls.admitted);
    }
    // Around calls it is gated as any call.
    hold(&handle);
    let call = preflight("/v1/prices").body(Body::empty()).unwrap();
    assert!(calls.oneshot(call).await.is_err());
}

/// What the documentation of `with_gated_preflights` warns of.
#[tokio::test]
async fn a_preflight_runs_the_handler_of_any_and_a_route_for_options() {
    let layer = MaintenanceLayer::new("zuora");
    let app = Router::new()
        .route("/any", any(async || "it ran"))
        .route("/options", options(async || "it ran"))
        .route("/get", get(async || ""))
        .layer(layer.routes());
    hold(&layer.handle());
    assert_eq!(status(&app, preflight("/any")).await, 200);
    assert_eq!(status(&app, preflight("/options")).await, 200);
    assert_eq!(status(&app, preflight("/get")).await, 405);
    assert_eq!(status(&app, Request::post("/any")).await, 503);
}

// ---- the check of routes ------------------------------------------------------------------------

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
    let legacy =
        service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    let router: Router = Router::new()
        .route("/invoices/{invoice}", get(async || ""))
        .route("/health", get(async || ""))
        .route("/legal", get(async || ""))
        .route("/prices", get(async || ""))
        .nest(
            "/api/v2",
            Router::new().route("/webhooks", get(async || "")),
        )
        .nest("/oauth", Router::new().route("/callback", get(async || "")))
        .nest_service("/legacy", legacy)
        .fallback(async || "lost")
        .layer(view.clone());
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
    let stray: Vec<_> = gaps
        .without_effect
        .iter()
        .map(|entry| (&*entry.pattern, entry.is_exemption))
        .collect();
    assert_eq!(
        stray,
        [
            ("/health/", true),
            ("/api/v2", true),
            ("/Legal", true),
            ("/prises", true),
            ("/legacy/{*path}", true),
            ("/lost", true),
            ("/oauth", false),
        ]
    );
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

/// Whatever the check says of an exemption, the gate does.
#[tokio::test]
async fn the_check_agrees_with_the_gate() {
    let patterns = [
        "/invoices/{id}",
        "/invoices/export",
        "/health/{*check}",
        "/legacy/{*rest}",
        "/legacy",
        "/apart/{id}",
        "/lost",
    ];
    let legacy =
        service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty())));
    for exempt in patterns {
        let layer = exempting(routes(&[exempt]));
        let view = layer.routes();
        let apart = Router::new()
            .route("/{id}", get(async || ""))
            .layer(view.clone());
        let router: Router = Router::new()
            .route("/invoices/{invoice}", get(async || ""))
            .route("/invoices/export", get(async || ""))
            .route("/health/{*rest}", get(async || ""))
            .nest_service("/legacy", legacy)
            .fallback(async || "")
            .layer(view.clone())
            .nest_service("/apart", apart.clone());
        let list = RouteList::of(&router).unwrap();
        let list = list.nested("/apart", RouteList::of(&apart).unwrap());
        let gaps = view.check_routes(&list).unwrap_err();
        hold(&layer.handle());
        let path = exempt.replace(['{', '}', '*'], "");
        let passes = status(&router, Request::get(&path)).await == 200;
        assert_eq!(gaps.without_effect.is_empty(), passes, "{exempt}: {gaps}");

        // By the path alone, each of them has an effect where there is such a path.
        let by_path = layer.paths();
        let plain: Router = Router::new()
            .route("/invoices/{invoice}", get(async || ""))
            .route("/invoices/export", get(async || ""))
            .route("/health/{*rest}", get(async || ""))
            .nest_service("/legacy", legacy);
        let list = RouteList::of(&plain).unwrap();
        for view in [
            by_path.clone(),
            by_path
                .with_known_routes([
                    "/invoices/{i}",
                    "/invoices/export",
                    "/health/{*c}",
                    "/legacy",
                ])
                .unwrap(),
        ] {
            let gaps = view.check_routes(&list).unwrap_err();
            let passes = status(&view.layer(plain.clone()), Request::get(&path)).await;
            assert_eq!(
                gaps.without_effect.is_empty(),
                passes == 200,
                "{exempt}: {gaps}"
            );
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
async fn a_condition_exempts_at_both_placements_and_is_in_the_runbook() {
    let layer = exempting([
        staff(Placement::BeforeRoutes),
        staff(Placement::AroundCalls).for_methods([Method::GET]),
        Exemption::route("/health", "a 503 restarts healthy pods"),
    ]);
    let app = || {
        Router::new()
            .route("/prices", any(async || ""))
            .fallback(async || "")
    };
    let gates = [app().layer(layer.routes()), app().layer(layer.paths())];
    let partner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::empty())));
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
        .route("/prices", get(async || ""))
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
        .named(|name: &String| name.as_str())
        .exempt(staff(Placement::AroundCalls))
        .build()
        .unwrap();
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
    let partner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::empty())));
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
    for path in [
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
    ] {
        assert_eq!(status(&app, Request::get(path)).await, 503, "{path}");
    }
    for path in [
        "/invoices/7",
        "/invoices/7.pdf",
        "/invoices/INV%202024",
        "/invoices/caf%C3%A9",
        "/invoices/exports",
        "/files/a.txt",
        "/files/secret",
        "/files/secret/key.pem",
    ] {
        assert_eq!(status(&app, Request::get(path)).await, 200, "{path}");
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
