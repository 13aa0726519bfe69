//! A billing server to try by hand, in front of a partner that you break and repair.
//!
//! ```sh
//! cargo run --example billing --features axum,last-good,metrics,serde,testing
//! ```
//!
//! It listens on 127.0.0.1:8080, or on the loopback address of `--listen ADDR`; port 0 takes a free
//! port. It prints its address on stdout in one line, and the layer's changes on stderr. Ctrl-C
//! ends it.
//!
//! # With a browser
//!
//! 1. Open <http://localhost:8080/shop>. The prices come from the partner. Buy a plan; the page
//!    then shows which one you have.
//! 2. Break the partner: `curl -X POST localhost:8080/partner/failing`.
//! 3. Open a second tab of the same page, and buy: the partner's failure shows. Go back and buy
//!    again. After the third failure the maintenance page appears.
//! 4. Repair the partner: `curl -X POST localhost:8080/partner/healthy`. Its prices are now higher
//!    by 1 EUR, under the same `ETag`.
//! 5. Watch both tabs for about ten seconds, and touch nothing. The first tab shows the new prices.
//!    The second tab says that the service works again, and returns to the shop. Buy there: your
//!    session has survived.
//!
//! Each cure has a flag, so that you can see its effect (`--help` lists them). Repeat the steps
//! with these flags:
//!
//! - `--without-push`: the first tab keeps the old prices until you reload it.
//! - `--without-push --without-salted-etags`: a reload does not help either. The partner's tag is
//!   the same, so a 304 confirms the old prices.
//! - `--without-push --max-age 600`: a reload does not help either. For ten minutes the browser
//!   does not revalidate at all.
//! - `--without-push --max-age 600 --clear-site-data`: a reload shows the new prices. The browser
//!   has emptied its cache.
//! - `--last-good`: in maintenance a page that is reloaded still shows prices, with their age.
//!   Purchases are refused.
//! - `--expire-cookie`: the offer below the prices, which is stored in a cookie, is a new one after
//!   a reload.
//! - `--ramp 20`: for 20 s after the partner has proved itself, a growing share of all requests is
//!   let in. Reload the page several times, or send requests by curl. The tabs are told after the
//!   ramp.
//!
//! `crates/browser/tests/incident.rs` does this in a real browser.
//!
//! # With curl
//!
//! While the partner is healthy, the prices come from it:
//!
//! ```sh
//! curl -i localhost:8080/billing/prices
//! curl -i localhost:8080/billing/subscriptions -d '{"plan": "basic"}'
//! ```
//!
//! Break the partner (`failing`, `slow`, `hanging` or `down`). Request prices until the answer is a
//! 503 with `Retry-After` in place of the partner's failure. Invoices still work:
//!
//! ```sh
//! curl -X POST localhost:8080/partner/failing
//! for _ in 1 2 3 4 5; do curl -i localhost:8080/billing/prices; echo; done
//! curl -i localhost:8080/billing/invoices/7
//! curl localhost:8080/maintenance
//! ```
//!
//! Two numbers show how many requests have passed the gate to a route that calls the partner, and
//! how many calls the partner got. In maintenance neither grows, except for probes:
//!
//! ```sh
//! curl localhost:8080/partner
//! ```
//!
//! Repair the partner, and wait up to ten seconds. No call is needed, because a synthetic ping
//! probes the partner. Then `generation` has grown, and caches are told the new one:
//!
//! ```sh
//! curl -X POST localhost:8080/partner/healthy
//! curl localhost:8080/maintenance
//! ```
//!
//! An operator can engage maintenance in any state of the partner:
//!
//! ```sh
//! curl localhost:8080/maintenance/engage -d '{"actor": "me", "reason": "ticket 4711"}'
//! curl localhost:8080/maintenance/release -d '{"actor": "me", "reason": "it was a drill"}'
//! ```
//!
//! Prometheus scrapes <http://localhost:8080/metrics>. `examples/observability` has a dashboard and
//! alert rules for it:
//!
//! ```sh
//! curl localhost:8080/metrics
//! ```
//!
//! The policy is quick and has no jitter, for trying it by hand. A real policy waits longer:
//!
//! - It trips at 3 failures in a row, or if half of at least 4 calls in 10 s failed or took more
//!   than 1 s. So a few requests by hand are enough.
//! - The timeout is 3 s and the hang limit 1 s. A hanging partner trips, because the limit is below
//!   the timeout.
//! - The wait is 5 s each time.
//! - While probing, a ping is sent every second and given up after 1 s. Three successes in a row
//!   are needed. So the layer recovers without calls.
//!
//! `docs/exempt-endpoints.md` lists the endpoints that maintenance does not touch, and the reasons.
//! A test (`tests/examples/billing.rs`) compares that page with [`layer`] below.
//!
//! The server speaks HTTP/1, and HTTP/2 to clients that begin with it
//! (`curl --http2-prior-knowledge`).
//!
//! There is no authentication, so the server listens on loopback addresses only.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::map_request_with_state,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::BoxError;
use tower_maintenance::{
    EventKind, Exemption, Hold, MaintenanceHandle, MaintenanceLayer, Policy, Rate, Status, Window,
    http::{Notices, Push, PushScript, Refusals, RefusalsError},
    testing::{PartnerServer, Phase},
};

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/exporter.rs"]
mod exporter;
#[path = "support/failed.rs"]
mod failed;
#[path = "support/partner.rs"]
mod partner;
#[path = "support/shop.rs"]
pub(crate) mod shop;

use arguments::{Arguments, usage};
use failed::{AnyJson, Failed};
use partner::{HANG_LIMIT, Partner, SLOW, TIMEOUT, simulated_partner};
use shop::{Cure, Customers, Setup};

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments::Listen(address, setup)) => match listen(&address).await {
            Ok(listener) => serve(listener, &setup).await,
            Err(error) => Err(error),
        },
        Ok(Arguments::Help) => {
            println!("{}", usage());
            Ok(())
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("billing: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How long requests may take once the server shuts down.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(10);

/// Serves until Ctrl-C. It is not private, because a test with a browser calls it.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    setup: &Setup,
) -> Result<(), BoxError> {
    let layer = layer(setup)?;
    let handle = layer.handle();
    let mended = Arc::<AtomicU64>::default();
    let simulated = Arc::new(simulated_partner(mended.clone()).await?);

    tokio::spawn(tell(handle.clone()));
    let direct = Partner::directly(&simulated.url());
    tokio::spawn(handle.ping(move || {
        let direct = direct.clone();
        async move { direct.get("/v1/ping").await }
    }));

    let billing = Billing {
        exporter: exporter::exporter()?,
        partner: Partner::behind(&layer, &simulated.url()),
        handle,
        simulated,
        mended,
        passed: Arc::default(),
        customers: Arc::default(),
        setup: Arc::new(setup.clone()),
    };
    let push = Push::builder(&billing.handle)
        .spread(Duration::from_secs(1))
        .build()?;
    let app = app(&layer, billing, &push)?;
    println!("listening on http://{}", listener.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // The streams of open tabs have no end of their own, and a graceful shutdown waits for them.
    let shutdown = push.close_after(async { stopped.await.unwrap_or_default() });
    let served = axum::serve(listener, app).with_graceful_shutdown(shutdown);
    let mut served = std::pin::pin!(served.into_future());
    tokio::select! {
        // Ctrl-C is polled first, so that it is registered before the first request is served. If
        // it cannot be registered the server ends at once.
        biased;
        _ = tokio::signal::ctrl_c() => {}
        served = &mut served => return Ok(served?),
    }
    let _ = stop.send(());
    // A client that reads nothing keeps its connection, and must not keep the server.
    match tokio::time::timeout(LONGEST_SHUTDOWN, served).await {
        Ok(served) => Ok(served?),
        Err(_elapsed) => Ok(()),
    }
}

/// Listens on loopback addresses only: every client that reaches this server can stop billing.
async fn listen(address: &str) -> Result<tokio::net::TcpListener, BoxError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("`{address}` is not an address such as 127.0.0.1:8080: {error}"))?
        .collect();
    if let Some(public) = addresses.iter().find(|address| !address.ip().is_loopback()) {
        return Err(format!(
            "will not listen on {public}: there is no authentication, so it must be a loopback \
             address such as 127.0.0.1:8080"
        )
        .into());
    }
    let listener = tokio::net::TcpListener::bind(&*addresses).await;
    Ok(listener.map_err(|error| format!("cannot listen on {address}: {error}"))?)
}

// ---- the layer

/// The routes that maintenance must not touch, and why.
const EXEMPT: [(&str, &str); 15] = [
    (
        "/billing/invoices/{id}",
        "customers may always see what they owe; the data comes from our own books",
    ),
    (
        "/webhooks/partner",
        "a refused event may be lost, and it may say that the partner is back",
    ),
    (
        "/health/live",
        "an orchestrator that gets a 503 restarts healthy processes in a loop",
    ),
    (
        "/shop",
        "the shop's page does not call the partner, and shows when there are no prices",
    ),
    ("/shop.js", "the page's own script"),
    ("/push/events", "open tabs wait for the recovery there"),
    ("/push/{script}", "the script by which open tabs wait"),
    (
        "/maintenance/notice.json",
        "the maintenance page polls it to learn of the recovery",
    ),
    (
        "/maintenance/notice.js",
        "the script that shows a notice in other pages",
    ),
    (
        "/maintenance",
        "the status is needed most during maintenance",
    ),
    ("/metrics", "monitoring must see how long maintenance takes"),
    (
        "/maintenance/engage",
        "operators must be able to act during maintenance",
    ),
    (
        "/maintenance/release",
        "operators must be able to act during maintenance",
    ),
    (
        "/partner",
        "it shows during maintenance that the partner gets no calls",
    ),
    (
        "/partner/{phase}",
        "it breaks and repairs the simulated partner, and is not a part of billing",
    ),
];

fn policy(ramp: u32) -> Policy {
    let policy = Policy::new(Window::time(Duration::from_secs(10)), Rate::HALF)
        .with_min_calls(4)
        .with_consecutive_failures(3)
        .with_slow_calls(SLOW, Rate::HALF)
        .with_hang_limit(HANG_LIMIT)
        .with_wait(Duration::from_secs(5))
        .with_wait_growing(1.0, Duration::from_secs(5))
        .with_jitter(0.0)
        .with_ping_every(Duration::from_secs(1));
    if ramp == 0 {
        policy
    } else {
        policy.with_ramp(Duration::from_secs(ramp.into()))
    }
}

/// Builds the layer with its exemptions. It is not private, because a test compares it with the
/// runbook.
pub(crate) fn layer(setup: &Setup) -> Result<MaintenanceLayer, BoxError> {
    let builder = MaintenanceLayer::builder("zuora")
        .policy(policy(setup.ramp))
        .latency_histogram("zuora")
        .refusals(refusals()?);
    let layer = EXEMPT
        .into_iter()
        .fold(builder, |builder, (route, why)| {
            builder.exempt(Exemption::route(route, why))
        })
        .cache_tags(["prices"])
        .cache_urls(["/billing/prices"])
        .build()?;
    Ok(layer)
}

/// What customers read when the gate, or a handler's call to the partner, refuses.
fn refusals() -> Result<Refusals, RefusalsError> {
    Refusals::new()
        .component("Billing")
        .still_works(["Reading your invoices"])
        .notice_url("/maintenance/notice.json")?
        .page_checks_every(Duration::from_secs(2))
}

/// Prints the changes of the layer's mode on stderr.
async fn tell(handle: MaintenanceHandle) {
    let mut events = handle.events();
    while let Some(event) = events.recv().await {
        if let EventKind::ModeChanged { .. } = event.kind {
            eprintln!("{}", handle.status());
        }
    }
}

// ---- the routes

#[derive(Clone)]
struct Billing {
    partner: Partner,
    handle: MaintenanceHandle,
    exporter: PrometheusHandle,
    simulated: Arc<PartnerServer>,
    /// How often the partner was repaired.
    mended: Arc<AtomicU64>,
    /// The requests that passed the gate to a route that calls the partner.
    passed: Arc<AtomicU64>,
    customers: Arc<Customers>,
    setup: Arc<Setup>,
}

fn app(layer: &MaintenanceLayer, billing: Billing, push: &Push) -> Result<Router, BoxError> {
    let notices = Notices::new(&billing.handle, billing.handle.refusals());
    let last_good = billing.setup.last_good()?;
    let cache_bust = billing.setup.cache_bust(&billing.handle)?;

    let app = Router::new()
        .route("/billing/prices", get(prices))
        .route("/billing/subscriptions", post(subscribe))
        .route("/billing/purchases/{plan}", post(purchase))
        // Inside of the gate, because a layer that is added later stands outside.
        .route_layer(map_request_with_state(billing.passed.clone(), count))
        .route("/billing/invoices/{id}", get(invoice))
        .route(
            "/webhooks/partner",
            post(async || Json(json!({ "received": true }))),
        )
        .route("/shop", get(page))
        .route("/shop.js", get(shop::script))
        .route_service("/push/events", push.events())
        .route_service("/push/{script}", push.script())
        .route_service("/maintenance/notice.json", notices.json())
        .route_service("/maintenance/notice.js", notices.script())
        .route("/health/live", get(async || "alive"))
        .route("/maintenance", get(status))
        .route("/metrics", get(metrics))
        .route("/maintenance/engage", post(engage))
        .route("/maintenance/release", post(release))
        .route("/partner", get(partner))
        .route("/partner/{phase}", post(switch_partner))
        // `route_layer`, not `layer`: an unknown path stays a 404 in maintenance.
        .route_layer(layer.routes());
    // Added later, and so outside of the gate: it replaces the gate's refusals by stored answers.
    let app = match last_good {
        Some(last_good) => app.route_layer(last_good),
        None => app,
    };
    Ok(app.route_layer(cache_bust).with_state(billing))
}

async fn count(State(passed): State<Arc<AtomicU64>>, request: Request) -> Request {
    passed.fetch_add(1, Ordering::Relaxed);
    request
}

/// Answers with the partner's prices, which are the same for all customers. `public` says so:
/// without it the answer to a request with a session cookie would not be stored as the last good
/// one.
async fn prices(State(billing): State<Billing>, asked: HeaderMap) -> Result<Response, Failed> {
    let (mut head, body) = billing.partner.get("/v1/prices").await?.into_parts();
    let tag = head.headers.remove(header::ETAG);
    let max_age = billing.setup.max_age;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::try_from(format!("public, max-age={max_age}")).map_err(BoxError::from)?,
    );
    headers.extend(tag.clone().map(|tag| (header::ETAG, tag)));
    if tag.is_some() && asked.get(header::IF_NONE_MATCH) == tag.as_ref() {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, as_json(body)).into_response())
}

async fn page(State(billing): State<Billing>, asked: HeaderMap) -> Response {
    let session = shop::session(&asked);
    let plan = session
        .as_deref()
        .and_then(|session| billing.customers.plan(session));
    let push = if billing.setup.has(Cure::Push) {
        format!(
            r#"<script src="/push/{}" integrity="{}" data-generation="{}" defer></script>"#,
            PushScript::NAME,
            PushScript::INTEGRITY,
            billing.handle.generation(),
        )
    } else {
        String::new()
    };
    shop::page(session.as_deref(), plan.as_deref(), &push)
}

/// Buys a plan for the customer of the session. The page's buttons call it.
async fn purchase(
    State(billing): State<Billing>,
    Path(plan): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Failed> {
    if !matches!(&*plan, "basic" | "pro") {
        return Err(Failed::NoSuchPlan(plan));
    }
    let session = shop::session(&asked).ok_or(Failed::NoSession)?;
    let order = json!({ "plan": plan });
    billing.partner.post("/v1/subscriptions", &order).await?;
    billing.customers.bought(session, plan);
    Ok(Redirect::to("/shop").into_response())
}

async fn invoice(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "id": id, "currency": "EUR", "total": 19 }))
}

/// Sends any JSON to the partner unchanged.
async fn subscribe(
    State(billing): State<Billing>,
    AnyJson(plan): AnyJson<Value>,
) -> Result<Response, Failed> {
    let answer = billing.partner.post("/v1/subscriptions", &plan);
    Ok(as_json(answer.await?.into_body()))
}

fn as_json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn status(State(billing): State<Billing>) -> Json<Status> {
    Json(billing.handle.status())
}

async fn metrics(State(billing): State<Billing>) -> impl IntoResponse {
    billing.handle.publish_metrics();
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    let headers = [(header::CONTENT_TYPE, content_type)];
    (headers, billing.exporter.render())
}

/// The body of an operator's command. The audit trail needs both members.
#[derive(Deserialize)]
struct Command {
    actor: String,
    reason: String,
}

async fn engage(
    State(billing): State<Billing>,
    AnyJson(command): AnyJson<Command>,
) -> Result<Json<Status>, Failed> {
    let hold = Hold::new(command.actor, command.reason);
    Ok(Json(billing.handle.engage(hold)?.status().clone()))
}

async fn release(
    State(billing): State<Billing>,
    AnyJson(command): AnyJson<Command>,
) -> Result<Json<Status>, Failed> {
    let receipt = billing.handle.release(command.actor, command.reason)?;
    Ok(Json(receipt.status().clone()))
}

async fn partner(State(billing): State<Billing>) -> Json<Value> {
    Json(json!({
        "passed": billing.passed.load(Ordering::Relaxed),
        "calls": billing.simulated.counts().calls,
    }))
}

async fn switch_partner(
    State(billing): State<Billing>,
    Path(phase): Path<String>,
) -> Result<Json<Value>, Failed> {
    let phase = match &*phase {
        "healthy" => {
            billing.mended.fetch_add(1, Ordering::Relaxed);
            Phase::Healthy
        }
        "failing" => Phase::failing(1.0),
        // Above the policy's limit for slow calls, and below the timeout.
        "slow" => Phase::slow((SLOW + TIMEOUT) / 2),
        "hanging" => Phase::Hanging,
        "down" => Phase::ConnectionRefused,
        _ => return Err(Failed::NoSuchPhase(phase)),
    };
    // Returns once the port has the new phase, so that the next request meets it.
    billing.simulated.switch_to(phase).await?;
    Ok(Json(json!({ "partner": phase.to_string() })))
}
