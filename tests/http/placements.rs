//! HTTP over real sockets, at both placements.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response as AxumResponse},
    routing::{get, post},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioIo};
use serde_json::Value;
use test_support::{CAP, HttpClient, collected, exchange, http_client, secs, serve, soon};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Error, Exemption, Hold, Maintenance, MaintenanceHandle, MaintenanceLayer, Policy,
    http::HttpCalls,
    testing::{
        PartnerServer, Phase, Script, SimulatedPartner, assert_in_maintenance, assert_probing,
        assert_refusal, assert_refused, assert_serving, assert_tripped,
    },
};

use crate::support::hold;

type Calls = Maintenance<HttpClient, HttpCalls>;

/// Trips at the third failure in a row, and then waits so long that no test sees the end.
fn policy() -> Policy {
    Policy::default()
        .with_consecutive_failures(3)
        .with_wait(secs(600))
        .with_wait_growing(1.0, secs(3600))
        .with_jitter(0.0)
}

fn layer() -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder("zuora").policy(policy());
    layer.build().unwrap()
}

// ---- around calls -------------------------------------------------------------------------------

/// A client behind the layer, and the real server that it calls.
struct Stack {
    handle: MaintenanceHandle,
    calls: Calls,
    server: PartnerServer,
}

impl Stack {
    async fn new(layer: &MaintenanceLayer) -> Self {
        Self::with_protocol(layer, HttpCalls::new()).await
    }

    async fn with_protocol(layer: &MaintenanceLayer, calls: HttpCalls) -> Self {
        let server = PartnerServer::start(Script::healthy(), 0).await.unwrap();
        Self {
            handle: layer.handle(),
            calls: layer.with_protocol(calls).layer(http_client()),
            server,
        }
    }

    async fn partner_is(&self, phase: Phase) {
        soon(self.server.switch_to(phase)).await.unwrap();
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
    ) -> Result<
        Response<impl http_body::Body<Data = Bytes, Error = hyper::Error> + use<>>,
        Error<legacy::Error>,
    > {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.url()))
            .body(Full::default())
            .unwrap();
        soon(self.calls.clone().oneshot(request)).await
    }

    /// Makes a call and reads its body. Returns the status, or the error.
    async fn call(&self, method: Method) -> Result<StatusCode, Error<legacy::Error>> {
        let answer = self.send(method, "/v1/prices").await?;
        let status = answer.status();
        // The layer judges whether the body broke off.
        let _ = soon(Box::pin(answer.into_body()).collect()).await;
        Ok(status)
    }

    async fn get(&self) -> Result<StatusCode, Error<legacy::Error>> {
        self.call(Method::GET).await
    }
}

#[tokio::test]
async fn a_failing_partner_trips_whichever_way_it_fails() {
    let failing = |status| Phase::failing(1.0).with_status(status);
    for (phase, code) in [
        (failing(500), Some(500)),
        (failing(502), Some(502)),
        (failing(503), Some(503)),
        (failing(599), Some(599)),
        (failing(408), Some(408)),
        (Phase::ConnectionRefused, None),
        (Phase::ResetMidBody, None),
    ] {
        let stack = Stack::new(&layer()).await;
        stack.partner_is(phase).await;
        for _ in 0..3 {
            assert_serving(&stack.handle);
            let _ = stack.get().await;
        }
        let evidence = assert_tripped(&stack.handle);
        assert_eq!((evidence.failed, evidence.last_code), (3, code), "{phase}");

        let calls = stack.server.counts().calls;
        assert_refused(stack.get().await);
        assert_eq!(stack.server.counts().calls, calls, "not processed");
    }
}

/// Twelve calls that the partner answers with this status.
async fn answered_twelve_times(status: u16) -> Stack {
    let stack = Stack::new(&layer()).await;
    let phase = Phase::failing(1.0).with_status(status);
    stack.partner_is(phase).await;
    for _ in 0..12 {
        assert_eq!(stack.get().await.unwrap(), status);
    }
    stack
}

#[tokio::test]
async fn our_own_credentials_and_rate_say_nothing_about_the_partner() {
    for status in [401, 403, 407, 429] {
        let stack = answered_twelve_times(status).await;
        let now = stack.handle.status();
        assert_serving(&stack.handle);
        assert_eq!((now.window.total, now.calls.neutral), (0, 12), "{status}");
    }
}

#[tokio::test]
async fn a_redirect_neither_trips_nor_proves_that_the_partner_is_back() {
    for status in [300, 301, 302, 303, 307, 308] {
        let stack = answered_twelve_times(status).await;
        let now = stack.handle.status();
        assert_serving(&stack.handle);
        assert_eq!((now.window.total, now.calls.neutral), (0, 12), "{status}");
    }
    // Every request is redirected to a maintenance page: no probe succeeds, and no signal comes.
    let stack = Stack::new(&layer()).await;
    let mut recoveries = stack.handle.cache_bust();
    stack.partner_is(Phase::failing(1.0).with_status(302)).await;
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    for _ in 0..2 {
        assert_eq!(stack.get().await.unwrap(), 302);
    }
    assert_probing(&stack.handle);
    let probing = stack.handle.status().probing.unwrap();
    assert_eq!(probing.successes, 0);
    assert!(recoveries.try_recv().is_none());
}

#[tokio::test]
async fn every_other_answer_is_a_success() {
    for status in [200, 204, 304, 400, 404, 409, 422] {
        let stack = answered_twelve_times(status).await;
        let window = stack.handle.status().window;
        assert_eq!((window.succeeded, window.failed), (12, 0), "{status}");
    }
}

#[tokio::test]
async fn a_retry_after_is_the_least_that_the_trip_waits() {
    for (asked, status, waits) in [
        // A failure that asks for it, and a neutral answer that asks for it before others fail.
        (secs(1800), 503, secs(1800)),
        (secs(1800), 429, secs(1800)),
        // Shorter than the wait, and longer than the longest wait.
        (secs(5), 503, secs(600)),
        (secs(86_400), 503, secs(3600)),
    ] {
        let stack = Stack::new(&layer()).await;
        stack
            .partner_is(Phase::retry_after(asked).with_status(status))
            .await;
        stack.get().await.unwrap();
        stack.partner_is(Phase::failing(1.0)).await;
        for _ in 0..3 {
            let _ = stack.get().await;
        }
        let refused = assert_refused(stack.get().await);
        let left = refused.retry_after().unwrap();
        assert!(
            left <= waits && left > waits - CAP,
            "{status}, {asked:?}: {left:?}"
        );
    }
}

#[tokio::test]
async fn only_a_body_that_came_to_its_end_is_a_success() {
    let layer = layer();
    let mut stack = Stack::new(&layer).await;
    let partner = SimulatedPartner::healthy();
    let large = |_: &_| Response::new(Bytes::from(vec![b'x'; 8 << 20]));
    stack.server = partner
        .over_http()
        .healthy_with(large)
        .listen()
        .await
        .unwrap();
    let calls = || stack.handle.status().calls;

    // A call is in flight until its body is read to the end.
    let answer = stack.send(Method::GET, "/").await.unwrap();
    assert_eq!((calls().in_flight(), calls().succeeded), (1, 0));
    let body = soon(Box::pin(answer.into_body()).collect()).await.unwrap();
    assert_eq!(body.to_bytes().len(), 8 << 20);
    assert_eq!((calls().in_flight(), calls().succeeded), (0, 1));

    // Dropped unread, and dropped in the middle of the body: both are the reader's choice.
    drop(stack.send(Method::GET, "/").await.unwrap());
    let mut body = Box::pin(stack.send(Method::GET, "/").await.unwrap().into_body());
    soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(calls().in_flight(), 1);
    drop(body);
    let window = stack.handle.status().window;
    assert_eq!((window.total, window.failed), (1, 0));
    assert_eq!((calls().in_flight(), calls().abandoned), (0, 2));

    // Broken off by the partner: its failure, and the reader sees it too.
    stack.partner_is(Phase::ResetMidBody).await;
    let answer = stack.send(Method::GET, "/").await.unwrap();
    assert_eq!(answer.status(), 200, "it began well");
    assert_eq!(calls().failed, 0);
    assert!(soon(Box::pin(answer.into_body()).collect()).await.is_err());
    assert_eq!((calls().in_flight(), calls().failed), (0, 1));
}

#[tokio::test]
async fn an_answer_without_a_body_is_complete_at_once() {
    let stack = Stack::new(&layer()).await;
    drop(stack.send(Method::HEAD, "/v1/prices").await.unwrap());
    assert_eq!(stack.handle.status().calls.succeeded, 1);
}

#[tokio::test]
async fn judged_at_headers_the_body_says_nothing_any_more() {
    let stack = Stack::with_protocol(&layer(), HttpCalls::new().judged_at_headers()).await;
    drop(stack.send(Method::GET, "/").await.unwrap());
    assert_eq!(stack.handle.status().calls.succeeded, 1);

    stack.partner_is(Phase::ResetMidBody).await;
    let answer = stack.send(Method::GET, "/").await.unwrap();
    assert!(soon(Box::pin(answer.into_body()).collect()).await.is_err());
    assert_eq!(stack.handle.status().calls.succeeded, 2);

    stack.partner_is(Phase::failing(1.0)).await;
    drop(stack.send(Method::GET, "/").await.unwrap());
    assert_eq!(stack.handle.status().calls.failed, 1);
}

#[tokio::test]
async fn a_charge_is_no_probe_and_a_read_is_one() {
    let stack = Stack::new(&layer()).await;
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();

    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_refused(stack.call(method).await);
    }
    assert_probing(&stack.handle);
    assert_eq!(stack.server.counts().calls, 0);

    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_probing(&stack.handle);
        assert_eq!(stack.call(method).await.unwrap(), 200);
    }
    assert_serving(&stack.handle);
    assert_eq!(stack.call(Method::POST).await.unwrap(), 200);
}

#[tokio::test]
async fn what_may_probe_is_the_users_to_say() {
    let calls = HttpCalls::new().may_probe(|_, uri| uri.path() == "/v1/ping");
    let stack = Stack::with_protocol(&layer(), calls).await;
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();

    assert!(stack.send(Method::GET, "/v1/prices").await.is_err());
    for _ in 0..3 {
        let answer = stack.send(Method::POST, "/v1/ping?deep=1").await.unwrap();
        soon(Box::pin(answer.into_body()).collect()).await.unwrap();
    }
    assert_serving(&stack.handle);
}

#[tokio::test]
async fn a_probe_that_breaks_off_proves_that_the_partner_is_not_back() {
    let stack = Stack::new(&layer()).await;
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    for _ in 0..2 {
        stack.get().await.unwrap();
    }
    stack.partner_is(Phase::ResetMidBody).await;
    stack.get().await.unwrap();
    assert_in_maintenance(&stack.handle);
}

#[tokio::test]
async fn a_path_of_the_partner_can_be_exempt() {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy())
        .exempt(Exemption::http_call(
            "/v1/invoices/{id}",
            "customers may always see what they owe",
        ))
        .build()
        .unwrap();
    let stack = Stack::new(&layer).await;
    hold(&stack.handle);
    for path in ["/v1/invoices/7", "/v1/invoices/INV%202024?pdf=1"] {
        assert_eq!(stack.send(Method::POST, path).await.unwrap().status(), 200);
    }
    for path in [
        "/v1/invoices",
        "/v1/invoices/7/pay",
        "/v1/invoices/..",
        "/v1//invoices/7",
        "/",
    ] {
        let answer = stack.send(Method::GET, path).await;
        assert!(
            answer.is_err_and(|error| error.refused().is_some()),
            "{path}"
        );
    }
}

// ---- before routes ------------------------------------------------------------------------------

async fn ask(addr: SocketAddr, method: Method, path: &str) -> Response<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{addr}{path}"))
        .body(Full::default())
        .unwrap();
    let answer = soon(http_client().request(request)).await.unwrap();
    collected(answer).await
}

/// Sends a request target as it is, which no well-behaved client would do. Returns the status.
async fn ask_raw(addr: SocketAddr, target: &str) -> u16 {
    let head = format!("GET {target} HTTP/1.1\r\nhost: billing\r\nconnection: close\r\n\r\n");
    let answer = exchange(addr, head).await;
    let status = answer.strip_prefix("HTTP/1.1 ").unwrap();
    status[..3].parse().unwrap()
}

/// Asserts that each of these targets is refused, or is no valid request.
async fn assert_no_way_through(addr: SocketAddr, targets: impl IntoIterator<Item = &str>) {
    for target in targets {
        let status = ask_raw(addr, target).await;
        assert!(matches!(status, 503 | 400), "{target}: {status}");
    }
}

/// Asserts that each of these targets is served.
async fn assert_served(addr: SocketAddr, targets: &[&str]) {
    for target in targets {
        assert_eq!(ask_raw(addr, target).await, 200, "{target}");
    }
}

fn problem(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// The range of `Retry-After` where no end is known.
const AROUND_30: std::ops::RangeInclusive<Duration> = secs(15)..=secs(45);
/// The range of `Retry-After` while the partner is being probed.
const AROUND_5: std::ops::RangeInclusive<Duration> = secs(2)..=secs(7);

const OWED: &str = "customers may always see what they owe";

fn exempting(patterns: &[&str]) -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder("zuora").policy(policy());
    let exempt = |layer, pattern: &&str| -> tower_maintenance::Builder {
        tower_maintenance::Builder::exempt(layer, Exemption::route(pattern, OWED))
    };
    patterns.iter().fold(layer, exempt).build().unwrap()
}

#[tokio::test]
async fn a_refusal_says_all_that_a_client_needs() {
    let layer = layer();
    let app = Router::new()
        .route(
            "/billing/prices",
            get(async || "12 EUR").post(async || "charged"),
        )
        .layer(layer.routes());
    let addr = serve(app).await;
    assert_eq!(
        ask(addr, Method::GET, "/billing/prices").await.body(),
        "12 EUR"
    );

    hold(&layer.handle());
    let status = layer.handle().status();
    for method in [Method::GET, Method::POST] {
        let answer = ask(addr, method, "/billing/prices").await;
        let hint = assert_refusal(&answer);
        assert!(AROUND_30.contains(&hint), "around 30 where no end is known");
        assert!(!answer.headers().contains_key("etag"));
        let problem = problem(&answer);
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"], "Service Unavailable");
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["component"], "This service");
        assert_eq!(problem["generation"], status.generation);
        assert_eq!(problem["retry_after"], hint.as_secs());
        assert_eq!(problem["processed"], false);
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("not processed")
        );
        let since = problem["since"].as_str().unwrap();
        assert!(since.ends_with('Z') && since.len() == 24, "{since}");
        assert!(
            !answer.body().windows(6).any(|part| part == b"ticket"),
            "the reason is the operator's"
        );
    }
    let head = ask(addr, Method::HEAD, "/billing/prices").await;
    assert!(AROUND_30.contains(&assert_refusal(&head)));
    assert_eq!(head.body().len(), 0);
    assert_eq!(layer.handle().status().refused_in_mode, 3);
}

#[tokio::test]
async fn retry_after_is_between_half_and_the_whole_of_what_is_left() {
    let layer = layer();
    let app = Router::new()
        .route("/", get(async || "12 EUR").post(async || "charged"))
        .layer(layer.routes());
    let addr = serve(app).await;
    let handle = layer.handle();
    // Real time goes on meanwhile. The upper bound was read before the refusal, the lower one after
    // it.
    let refusal_counts_down = async || {
        let left = || handle.status().retry_after.unwrap();
        for _ in 0..20 {
            let before = left();
            let answer = ask(addr, Method::GET, "/").await;
            let said = assert_refusal(&answer);
            let least = (left().min(secs(300)) / 2).as_secs();
            assert!(
                said <= before,
                "never past a known end: {said:?} {before:?}"
            );
            assert!(least <= said.as_secs() && said <= secs(300), "{said:?}");
            assert_eq!(problem(&answer)["retry_after"], said.as_secs());
        }
    };
    for held in [60_500, 90_000, 3_600_001] {
        let span = Duration::from_millis(held);
        let hold = Hold::new("on-call", "drill").for_at_most(span);
        handle.engage(hold).unwrap();
        refusal_counts_down().await;
    }
    hold(&handle);
    let answer = ask(addr, Method::GET, "/").await;
    assert!(
        AROUND_30.contains(&assert_refusal(&answer)),
        "no end is known"
    );
    handle.release("on-call", "drill").unwrap();

    handle.trip("on-call", "drill").unwrap();
    refusal_counts_down().await;
    handle.probe_now("on-call", "drill").unwrap();
    let answer = ask(addr, Method::POST, "/").await;
    assert!(AROUND_5.contains(&assert_refusal(&answer)), "any moment");
    let read = ask(addr, Method::GET, "/").await;
    assert_eq!(read.status(), 200, "what may probe passes here");
}

#[tokio::test]
async fn exempt_is_what_the_router_says_nested_and_merged() {
    let layer = exempting(&[
        "/billing/invoices/{id}",
        "/health/{*check}",
        "/api/v2/webhooks",
        "/whole",
        "/apart/{id}",
    ]);
    let invoice = get(async |Path(id): Path<String>| format!("invoice {id}"));
    let within = Router::new()
        .route("/invoices/{id}", invoice)
        .route("/prices", get(async || "12 EUR"))
        // Within the nest `uri().path()` is `/invoices/7`.
        .layer(layer.routes());
    let webhooks = Router::new().route("/webhooks", post(async || "noted").get(async || "none"));
    let versions = Router::new()
        .nest("/v2", webhooks.clone())
        .nest("/v3", webhooks);
    let health = Router::new().route("/health/{*check}", get(async || "alive"));
    let apart = Router::new()
        .route("/{id}", get(async || "apart"))
        .fallback(async || "lost")
        .layer(layer.routes());
    let app = Router::new()
        .nest("/api", versions)
        .merge(health)
        .route("/whole", get(async || "whole"))
        .route("/half", get(async || "half"))
        .fallback(async || "lost")
        .layer(layer.routes())
        .nest("/billing", within)
        .nest_service("/apart", apart);
    let addr = serve(app).await;

    let exempt = [
        (Method::GET, "/billing/invoices/7", "invoice 7"),
        (
            Method::GET,
            "/billing/invoices/INV%2F2024",
            "invoice INV/2024",
        ),
        (Method::GET, "/billing/invoices/%2e%2e", "invoice .."),
        (Method::HEAD, "/billing/invoices/7", ""),
        (Method::GET, "/health/live", "alive"),
        (Method::GET, "/health/live/deep?verbose=1", "alive"),
        (Method::POST, "/api/v2/webhooks", "noted"),
        (Method::GET, "/whole", "whole"),
        (Method::GET, "/apart/7", "apart"),
    ];
    let others = [
        (Method::GET, "/billing/prices"),
        (Method::GET, "/half"),
        (Method::POST, "/api/v3/webhooks"),
        (Method::GET, "/api/v3/webhooks"),
        (Method::HEAD, "/billing/prices"),
    ];
    // Paths that only resemble an exempt one go where the router sends them: to the fallback.
    let lost = [
        "/invoices/7",
        "/whole/",
        "/Whole",
        "/billing%2Finvoices%2F7",
        "/health",
        "/nowhere",
        "/apart/7/pdf",
    ];

    for (method, path) in &others {
        assert_eq!(
            ask(addr, method.clone(), path).await.status(),
            200,
            "{path}"
        );
    }
    for path in lost {
        assert_eq!(ask(addr, Method::GET, path).await.body(), "lost", "{path}");
    }
    hold(&layer.handle());
    for (method, path, body) in exempt {
        let answer = ask(addr, method.clone(), path).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (200, body.as_bytes()),
            "{method} {path}"
        );
    }
    for (method, path) in others {
        assert_refusal(&ask(addr, method, path).await);
    }
    for path in lost {
        assert_refusal(&ask(addr, Method::GET, path).await);
    }
    assert_eq!(layer.handle().status().calls.exempt, 9);
}

#[tokio::test]
async fn a_pattern_is_the_whole_one_from_the_root() {
    // As it is written inside the nest, the pattern matches nothing.
    let layer = exempting(&["/invoices/{id}", "/billing/{id}"]);
    let within = Router::new()
        .route("/invoices/{id}", get(async || "invoice"))
        .layer(layer.routes());
    let addr = serve(Router::new().nest("/billing", within)).await;
    hold(&layer.handle());
    assert_refusal(&ask(addr, Method::GET, "/billing/invoices/7").await);
}

/// Spellings that some part of some stack reads as `/health/live` or `/billing/invoices/7`.
const SNEAKY: [&str; 15] = [
    "/health/../billing/prices",
    "/health/live/../../billing/prices",
    "/billing/invoices/../prices",
    "/billing/invoices/%2e%2e/prices",
    "/billing/prices/../../health/live",
    "//health/live",
    "/health//live",
    "/billing//invoices/7",
    "/health/live;/../../billing/prices",
    "/health/live/",
    "/HEALTH/LIVE",
    "/health/live%00",
    "/health%2Flive",
    "/billing%2Finvoices%2F7",
    "*",
];

#[tokio::test]
async fn nobody_sneaks_past_the_router_as_an_exempt_endpoint() {
    let layer = exempting(&["/health/live", "/billing/invoices/{id}"]);
    let app = Router::new()
        .route("/health/live", get(async || "alive"))
        .route("/billing/invoices/{id}", get(async || "invoice"))
        .route("/billing/{*rest}", get(async || "billing"))
        .fallback(async || "lost")
        .layer(layer.routes());
    let addr = serve(app).await;
    hold(&layer.handle());
    assert_no_way_through(addr, SNEAKY).await;
    // The scheme and the host are no part of the path.
    let exempt = [
        "/health/live",
        "http://elsewhere/health/live?x=/../y",
        "/billing/invoices/%2F",
    ];
    assert_served(addr, &exempt).await;
}

/// Serves one service over HTTP/1.1, without any router, until the test's runtime ends.
async fn serve_plain<S>(service: S) -> SocketAddr
where
    S: Service<
            Request<hyper::body::Incoming>,
            Response = Response<String>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service.clone();
            let answer =
                hyper::service::service_fn(move |request| service.clone().oneshot(request));
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
        }
    });
    addr
}

#[tokio::test]
async fn without_a_router_the_path_decides_and_what_is_ambiguous_is_not_exempt() {
    let layer = exempting(&["/health/live", "/billing/invoices/{id}"]);
    let ours = service_fn(async |request: Request<hyper::body::Incoming>| {
        Ok::<_, Infallible>(Response::new(request.uri().path().to_owned()))
    });
    let addr = serve_plain(layer.paths().layer(ours)).await;
    assert_eq!(
        ask(addr, Method::POST, "/billing/prices").await.body(),
        "/billing/prices"
    );

    hold(&layer.handle());
    let ambiguous = [
        "/billing/invoices/a%2Fb",
        "/billing/invoices/%252e",
        "/nowhere",
    ];
    assert_no_way_through(addr, SNEAKY.into_iter().chain(ambiguous)).await;
    let exempt = [
        "/health/live",
        "/billing/invoices/INV%202024",
        "http://elsewhere/health/live?x=/../y",
    ];
    assert_served(addr, &exempt).await;
    let answer = ask(addr, Method::GET, "/billing/prices").await;
    assert!(AROUND_30.contains(&assert_refusal(&answer)));
    assert_eq!(problem(&answer)["processed"], false);
    let handle = layer.handle();
    handle.release("on-call", "drill").unwrap();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    let answer = ask(addr, Method::POST, "/billing/prices").await;
    assert!(
        AROUND_5.contains(&assert_refusal(&answer)),
        "a charge is no probe"
    );
    assert_eq!(
        ask(addr, Method::GET, "/billing/prices").await.status(),
        200
    );
}

// ---- both ---------------------------------------------------------------------------------------

/// Billing as an application has it: gated routes, and handlers that call the partner.
struct Billing {
    handle: MaintenanceHandle,
    partner: Arc<PartnerServer>,
    addr: SocketAddr,
}

#[derive(Clone)]
struct Shop {
    calls: Calls,
    partner: Arc<PartnerServer>,
}

async fn prices(State(shop): State<Shop>, method: Method) -> Result<String, AxumResponse> {
    let request = Request::builder().method(method).uri(shop.partner.url());
    let request = request.body(Full::default()).unwrap();
    let answer = shop
        .calls
        .oneshot(request)
        .await
        .map_err(|error| match error {
            // The call is the handler's first act.
            Error::Refused(refused) => refused.nothing_processed().into_response(),
            other @ Error::Inner(_) => (StatusCode::BAD_GATEWAY, other.to_string()).into_response(),
        })?;
    let good = answer.status().is_success();
    match answer.into_body().collect().await {
        Ok(body) if good => Ok(String::from_utf8(body.to_bytes().into()).unwrap()),
        _ => Err(StatusCode::BAD_GATEWAY.into_response()),
    }
}

impl Billing {
    async fn open(layer: &MaintenanceLayer) -> Self {
        let partner = Arc::new(PartnerServer::start(Script::healthy(), 0).await.unwrap());
        let shop = Shop {
            calls: layer.http_calls().layer(http_client()),
            partner: partner.clone(),
        };
        let app = Router::new()
            .route("/billing/prices", get(prices).post(prices))
            .route("/billing/invoices/{id}", get(async || "invoice"))
            .layer(layer.routes())
            // The same handler, where only its calls are gated.
            .route("/ungated/prices", get(prices).post(prices))
            .with_state(shop);
        Self {
            handle: layer.handle(),
            partner,
            addr: serve(app).await,
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Response<Bytes> {
        ask(self.addr, method, path).await
    }
}

#[tokio::test]
async fn both_placements_share_one_state() {
    let billing = Billing::open(&exempting(&["/billing/invoices/{id}"])).await;
    let prices = async || billing.ask(Method::GET, "/billing/prices").await;
    assert_eq!(prices().await.status(), 200);

    // Only the calls measure: three failures, although each request passed two gates.
    soon(billing.partner.switch_to(Phase::failing(1.0)))
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(prices().await.status(), 502);
    }
    assert_eq!(assert_tripped(&billing.handle).failed, 3);

    // The routes refuse, and the partner is not called.
    let calls = billing.partner.counts().calls;
    assert_refusal(&prices().await);
    let invoice = billing.ask(Method::GET, "/billing/invoices/7").await;
    assert_eq!(invoice.body(), "invoice");
    assert_eq!(billing.partner.counts().calls, calls);

    // The routes take no probe slot: each read passes them, and its call is the one probe.
    soon(billing.partner.switch_to(Phase::Healthy))
        .await
        .unwrap();
    billing.handle.probe_now("on-call", "drill").unwrap();
    assert_refusal(&billing.ask(Method::POST, "/billing/prices").await);
    for successes in 0..3 {
        let probing = billing.handle.status().probing.unwrap();
        assert_eq!((probing.successes, probing.in_flight), (successes, 0));
        assert_eq!(prices().await.status(), 200);
    }
    assert_serving(&billing.handle);
    assert_eq!(
        billing.ask(Method::POST, "/billing/prices").await.status(),
        200
    );
}

#[tokio::test]
async fn a_call_refused_in_a_handler_answers_like_a_refused_route() {
    let billing = Billing::open(&layer()).await;
    hold(&billing.handle);
    let before_routes = billing.ask(Method::GET, "/billing/prices").await;
    let around_calls = billing.ask(Method::GET, "/ungated/prices").await;
    // Two members differ: the hint, which is random, and the route, which the handler's refusal
    // does not know.
    let alike = |answer: &Response<Bytes>| {
        assert_refusal(answer);
        let mut problem = problem(answer);
        for differs in ["retry_after", "instance"] {
            problem.as_object_mut().unwrap().remove(differs);
        }
        problem
    };
    assert_eq!(alike(&before_routes), alike(&around_calls));
    assert_eq!(billing.partner.counts().calls, 0);
    billing.handle.release("on-call", "drill").unwrap();

    billing.handle.trip("on-call", "drill").unwrap();
    billing.handle.probe_now("on-call", "drill").unwrap();
    let before_routes = billing.ask(Method::POST, "/billing/prices").await;
    let around_calls = billing.ask(Method::POST, "/ungated/prices").await;
    assert!(AROUND_5.contains(&assert_refusal(&before_routes)));
    assert_eq!(alike(&before_routes), alike(&around_calls));
}

/// A wall clock may be set to any time. A time that cannot be written is written as the nearest one
/// that can.
#[tokio::test(start_paused = true)]
async fn a_refusal_under_an_odd_wall_clock_is_a_page_like_any_other() {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};
    let clocks: [SystemTime; 2] = [
        UNIX_EPOCH - Duration::from_secs(86_400),
        UNIX_EPOCH + Duration::from_secs(1 << 40),
    ];
    for clock in clocks {
        let layer = MaintenanceLayer::builder("zuora")
            .wall_clock(clock)
            .build()
            .unwrap();
        layer.handle().engage(Hold::new("test", "a drill")).unwrap();
        let page = layer
            .paths()
            .layer(tower::service_fn(async |_: http::Request<String>| {
                Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
            }))
            .oneshot(http::Request::new(String::new()))
            .await
            .unwrap();
        assert_eq!(page.status(), 503);
        assert!(page.body().contains("\"since\":\""), "{}", page.body());
    }
}

/// An inner layer of our own refuses: that call never came to this partner.
#[tokio::test(start_paused = true)]
async fn another_layers_refusal_from_within_is_no_failure_of_the_partner() {
    let within = MaintenanceLayer::new("the gateway's");
    hold(&within.handle());
    let layer = layer();
    let gateway =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let stack = layer.http_calls().layer(within.paths().layer(gateway));
    for _ in 0..5 {
        let request = Request::get("/v1/prices").body(()).unwrap();
        let answer = stack.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 503);
    }
    assert_serving(&layer.handle());
    let calls = layer.handle().status().calls;
    assert_eq!((calls.failed, calls.refused_within), (0, 5));
}
