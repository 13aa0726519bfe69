//! The routes of the example `billing`, and their handlers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
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
    Hold, MaintenanceHandle, MaintenanceLayer, Status,
    http::{Notices, Push, PushScript},
    testing::{PartnerServer, Phase},
};

use super::{
    failed::{AnyJson, Failed},
    partner::{Partner, SLOW, TIMEOUT},
    reload::Loaded,
    shop::{self, Cure, Customers, Setup},
};

#[derive(Clone)]
pub(super) struct Billing {
    pub(super) partner: Partner,
    pub(super) handle: MaintenanceHandle,
    pub(super) exporter: PrometheusHandle,
    pub(super) loaded: Loaded,
    pub(super) simulated: Arc<PartnerServer>,
    /// How often the partner was repaired.
    pub(super) mended: Arc<AtomicU64>,
    /// The requests that passed the gate to a route that calls the partner.
    pub(super) passed: Arc<AtomicU64>,
    pub(super) customers: Arc<Customers>,
    pub(super) setup: Arc<Setup>,
}

pub(super) fn app(
    layer: &MaintenanceLayer,
    billing: Billing,
    push: &Push,
) -> Result<Router, BoxError> {
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

/// Answers with the status of the layer, and beside it with that of the configuration file.
async fn status(State(billing): State<Billing>) -> Result<Json<Value>, Failed> {
    let mut status = serde_json::to_value(billing.handle.status()).map_err(BoxError::from)?;
    status["config"] = billing.loaded.to_json();
    Ok(Json(status))
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
