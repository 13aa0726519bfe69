//! Billing to play with by hand: a real server in front of a partner that you break and mend.
//!
//! ```sh
//! cargo run --example billing --features axum,last-good,serde,testing
//! ```
//!
//! It listens on 127.0.0.1:8080 (`--listen ADDR` for another loopback address; port 0 takes a free
//! one), says so in one line on stdout, and tells on stderr what the layer does. Ctrl-C ends it.
//!
//! # With a browser
//!
//! 1. Open <http://localhost:8080/shop>. The prices come from the partner; buy a plan, and the page says which you have.
//! 2. Break the partner: `curl -X POST localhost:8080/partner/failing`.
//! 3. In a second tab of the same page, buy: the partner's failure shows. Back, and again, until after the third the maintenance page comes.
//! 4. Mend the partner: `curl -X POST localhost:8080/partner/healthy`. From now on its prices are higher by 1 EUR, under the same `ETag`.
//! 5. Watch both tabs for ten seconds or so, and touch nothing. The first shows the new prices. The second says that it works again, and leads back to the shop:
//!    buy there. You are who you were: the session has survived.
//!
//! Each cure has a flag, so that you see what it is worth (`--help` lists them). Do the same with
//!
//! | flags | and |
//! |---|---|
//! | `--without-push` | the first tab keeps the old prices, until it is loaded anew |
//! | `--without-push --without-salted-etags` | loading it anew does not help either: the partner's tag is the same, so a 304 confirms the old prices |
//! | `--without-push --max-age 600` | nor does this: for ten minutes the browser does not even ask, whatever the tags |
//! | `--without-push --max-age 600 --clear-site-data` | loaded anew the page has the new prices: the browser has emptied its cache |
//! | `--last-good` | in maintenance a page that is loaded anew shows prices still, and says how old they are; purchases are refused |
//! | `--expire-cookie` | the offer below the prices, which is kept in a cookie, is a new one when the page is loaded anew |
//! | `--ramp 20` | for 20 s after the partner has proved itself a growing share of all requests is let in: load the page again and again, or ask by curl. Only then the tabs are told |
//!
//! `browser/tests/incident.rs` does so in a real browser.
//!
//! # With curl
//!
//! All is well, and the prices come from the partner:
//!
//! ```sh
//! curl -i localhost:8080/billing/prices
//! curl -i localhost:8080/billing/subscriptions -d '{"plan": "basic"}'
//! ```
//!
//! Break the partner (`failing`, `slow`, `hanging` or `down`), and ask for prices until the answer is a
//! 503 with `Retry-After` instead of the partner's failure. Invoices do not mind:
//!
//! ```sh
//! curl -X POST localhost:8080/partner/failing
//! for _ in 1 2 3 4 5; do curl -i localhost:8080/billing/prices; echo; done
//! curl -i localhost:8080/billing/invoices/7
//! curl localhost:8080/maintenance
//! ```
//!
//! How many requests have passed the gate to a route that asks the partner, and how many calls the partner got
//! (neither grows in maintenance, but for probes):
//!
//! ```sh
//! curl localhost:8080/partner
//! ```
//!
//! Mend it, and wait up to ten seconds. Nobody need call: a synthetic ping finds out. Then `generation`
//! has grown, which is what caches are told:
//!
//! ```sh
//! curl -X POST localhost:8080/partner/healthy
//! curl localhost:8080/maintenance
//! ```
//!
//! By hand, whatever the partner does:
//!
//! ```sh
//! curl localhost:8080/maintenance/engage -d '{"actor": "me", "reason": "ticket 4711"}'
//! curl localhost:8080/maintenance/release -d '{"actor": "me", "reason": "it was a drill"}'
//! ```
//!
//! The policy is one for playing, quick and without jitter; yours waits longer:
//!
//! | what | here | so that |
//! |---|---|---|
//! | trips at | 3 failures in a row, or half of at least 4 calls in 10 s failed or slower than 1 s | a few requests by hand will do |
//! | timeout, hang limit | 3 s, 1 s | a partner that hangs trips: the limit is within the timeout |
//! | wait | 5 s, every time | you see what comes after it |
//! | ping | every 1 s while probing, given up after 1 s; 3 in a row | it recovers although nobody calls |
//!
//! Which endpoints maintenance must not touch, and why, is committed in `docs/exempt-endpoints.md`; a
//! test (`tests/billing_example.rs`) holds that page to [`layer`] below.
//!
//! It speaks HTTP/1 and, to clients that begin with it, HTTP/2 (`curl --http2-prior-knowledge`).
//!
//! There is no authentication, hence no listening on anything but loopback.

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
use serde::Deserialize;
use serde_json::{Value, json};
use tower::BoxError;
use tower_maintenance::{
    BuildError, EventKind, Exemption, Hold, MaintenanceHandle, MaintenanceLayer, Policy, Rate,
    Status, Window,
    http::{Notices, Push, PushScript, Refusals},
    testing::{PartnerServer, Phase},
};

#[path = "support/arguments.rs"]
mod arguments;
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

/// Serves until Ctrl-C; not private, for the test that looks at it with a browser.
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
        partner: Partner::behind(&layer, &simulated.url()),
        handle,
        simulated,
        mended,
        passed: Arc::default(),
        customers: Arc::default(),
        setup: Arc::new(setup.clone()),
    };
    let app = app(&layer, billing)?;
    println!("listening on http://{}", listener.local_addr()?);
    // Not gracefully: a tab that waits for the next recovery would never let it end.
    tokio::select! {
        // First, so that it is heard before anybody is served.
        biased;
        // If Ctrl-C cannot be heard it is better to end at once than never.
        _ = tokio::signal::ctrl_c() => Ok(()),
        served = axum::serve(listener, app).into_future() => Ok(served?),
    }
}

/// Listens on loopback, and on nothing else: whoever reaches this server may stop billing.
async fn listen(address: &str) -> Result<tokio::net::TcpListener, BoxError> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| format!("`{address}` is no address such as 127.0.0.1:8080: {error}"))?
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

// ---- the layer ------------------------------------------------------------------------------------

/// The routes that maintenance must not touch, and why.
const EXEMPT: [(&str, &str); 14] = [
    (
        "/billing/invoices/{id}",
        "customers may always see what they owe; it comes from our own books",
    ),
    (
        "/webhooks/partner",
        "an event that is refused may be lost, and it may be the news that the partner is back",
    ),
    (
        "/health/live",
        "an orchestrator that sees a 503 restarts healthy processes in a loop",
    ),
    (
        "/shop",
        "the shop's page asks no partner, and says itself when there are no prices",
    ),
    ("/shop.js", "the page's own script"),
    ("/push/events", "open tabs wait there for the recovery"),
    ("/push/{script}", "the script with which they do"),
    (
        "/maintenance/notice.json",
        "the maintenance page asks there whether it works again",
    ),
    (
        "/maintenance/notice.js",
        "it shows in other pages what is going on",
    ),
    (
        "/maintenance",
        "what is going on is asked for most when something is going on",
    ),
    (
        "/maintenance/engage",
        "operators must be able to act while it lasts",
    ),
    (
        "/maintenance/release",
        "operators must be able to act while it lasts",
    ),
    (
        "/partner",
        "whether the partner is left in peace is asked while it should be",
    ),
    (
        "/partner/{phase}",
        "it breaks and mends the simulated partner, which is none of billing's",
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

/// The layer, with all that maintenance must not touch; not private, for the test that compares it with the
/// runbook.
pub(crate) fn layer(setup: &Setup) -> Result<MaintenanceLayer, BuildError> {
    let builder = MaintenanceLayer::builder("zuora").policy(policy(setup.ramp));
    EXEMPT
        .into_iter()
        .fold(builder, |builder, (route, why)| {
            builder.exempt(Exemption::route(route, why))
        })
        .cache_tags(["prices"])
        .cache_urls(["/billing/prices"])
        .build()
}

/// Tells on stderr what the layer does.
async fn tell(handle: MaintenanceHandle) {
    let mut events = handle.events();
    while let Some(event) = events.recv().await {
        if let EventKind::ModeChanged { .. } = event.kind {
            eprintln!("{}", handle.status());
        }
    }
}

// ---- the routes -----------------------------------------------------------------------------------

#[derive(Clone)]
struct Billing {
    partner: Partner,
    handle: MaintenanceHandle,
    simulated: Arc<PartnerServer>,
    /// How often the partner was mended.
    mended: Arc<AtomicU64>,
    /// Requests that passed the gate to a route that asks the partner.
    passed: Arc<AtomicU64>,
    customers: Arc<Customers>,
    setup: Arc<Setup>,
}

fn app(layer: &MaintenanceLayer, billing: Billing) -> Result<Router, BoxError> {
    let refusals = Refusals::new()
        .component("Billing")
        .still_works(["Reading your invoices"])
        .notice_url("/maintenance/notice.json")?
        .page_checks_every(Duration::from_secs(2))?;
    let notices = Notices::new(&billing.handle, &refusals);
    let push = Push::builder(&billing.handle)
        .spread(Duration::from_secs(1))
        .build()?;
    let last_good = billing.setup.last_good()?;
    let cache_bust = billing.setup.cache_bust(&billing.handle)?;

    let app = Router::new()
        .route("/billing/prices", get(prices))
        .route("/billing/subscriptions", post(subscribe))
        .route("/billing/purchases/{plan}", post(purchase))
        // Within the gate, since what is added later stands outside.
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
        .route("/maintenance/engage", post(engage))
        .route("/maintenance/release", post(release))
        .route("/partner", get(partner))
        .route("/partner/{phase}", post(switch_partner))
        // `route_layer` and not `layer`: what is not there at all stays a 404 in maintenance too.
        .route_layer(layer.routes().refusing(refusals));
    // What is added later stands outside: the gate refuses, and what was last good is shown instead.
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

/// The same for everybody, which `public` says: otherwise the session's cookie would keep it from being the last good answer.
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

/// What the page's buttons do: without a session there is nobody to sell to.
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

/// Any JSON is fine, and goes to the partner as it is.
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

/// What an operator's command says: both are needed, for the audit trail.
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
        // Slower than the policy likes, and still within the timeout.
        "slow" => Phase::slow((SLOW + TIMEOUT) / 2),
        "hanging" => Phase::Hanging,
        "down" => Phase::ConnectionRefused,
        _ => return Err(Failed::NoSuchPhase(phase)),
    };
    // Answers once the port has followed: what is asked next meets the new phase.
    billing.simulated.switch_to(phase).await?;
    Ok(Json(json!({ "partner": phase.to_string() })))
}
