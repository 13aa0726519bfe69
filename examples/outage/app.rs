//! The billing app: what stands between the customers and the partner, and where the layer goes.
//!
//! The layer is in two places. Before the routes it refuses requests before any work is done for
//! them. Around the calls to the partner it sees how the calls end. The app without a layer is the
//! same apart from that.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes, HttpBody},
    extract::{Path, State},
    http::{Method, Request, Response, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response as AxumResponse},
    routing::{get, post},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{
    BoxError, ServiceBuilder, ServiceExt, service_fn, timeout::error::Elapsed,
    util::BoxCloneSyncService,
};
use tower_maintenance::{
    CacheBusts, Exemption, MaintenanceHandle, MaintenanceLayer, Outcome, Policy, Refused, Verdict,
    http::{AnswerPrefix, HttpCalls, JsonAnswer},
};

use crate::{
    ledger::{By, HttpClient, Ledger, enters},
    timeline::now,
};

/// The layer of the billing app: its policy, what it must not touch, and why.
pub(crate) fn maintenance(policy: Policy) -> Result<MaintenanceLayer, BoxError> {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy)
        .exempt(Exemption::route(
            "/billing/invoices/{id}",
            "customers may always see what they owe; it is in our own database",
        ))
        .exempt(Exemption::route(
            "/webhooks/partner",
            "what the partner tells us during an outage must not be lost",
        ))
        .exempt(Exemption::route(
            "/health/live",
            "a load balancer that sees a 503 would take the whole app out",
        ))
        .cache_tags(["prices"])
        .build()?;
    Ok(layer)
}

/// How the partner's answers are judged: by status, and where that is 200 by what the answer says.
pub(crate) fn by_what_they_say() -> Result<HttpCalls, BoxError> {
    let says = JsonAnswer::new().failure_when("/success", false)?;
    Ok(HttpCalls::new().judged_by_json(says))
}

/// Where the partner is, and how it is called.
#[derive(Debug, Clone)]
pub(crate) enum Site {
    /// The simulated one: a base URL under which every path is answered.
    Simulated(String),
    /// A real one: this URL, read only.
    Real(Uri),
}

impl Site {
    fn url(&self, path: &str) -> Result<Uri, BoxError> {
        match self {
            Self::Simulated(base) => Ok(format!("{base}{path}").parse()?),
            Self::Real(url) => Ok(url.clone()),
        }
    }
}

/// The app, open for customers until it is closed or dropped.
pub(crate) struct Billing {
    pub(crate) addr: SocketAddr,
    /// The generations the app's cache was told of.
    pub(crate) told: Arc<Mutex<Vec<u64>>>,
    partner: Partner,
    /// How many calls of the background job were refused.
    job_refused: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Billing {
    /// Opens the app on a free port, with the layer in both placements or without any.
    pub(crate) async fn open(
        layer: Option<&MaintenanceLayer>,
        judged: HttpCalls,
        site: Site,
        timeout: Duration,
        ledger: &Ledger,
    ) -> Result<Self, BoxError> {
        let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
        let catalogue = Catalogue::default();
        let told = Arc::default();
        let mut tasks = JoinSet::new();
        if let Some(layer) = layer {
            let handle = layer.handle();
            tasks.spawn(
                catalogue
                    .clone()
                    .listen(handle.cache_bust(), Arc::clone(&told)),
            );
            let health = site.url("/v1/health")?;
            let check = ping(
                &handle,
                client.clone(),
                ledger.clone(),
                health,
                judged.clone(),
            );
            tasks.spawn(check);
        }

        let partner = Partner {
            calls: partner_calls(layer, judged, client, ledger.clone(), timeout),
            site,
        };
        let app = App {
            partner: partner.clone(),
            catalogue,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let router = routes(layer, app);
        tasks.spawn(async {
            // Never fails: axum goes on after errors of `accept`.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            addr,
            told,
            partner,
            job_refused: Arc::default(),
            tasks,
        })
    }

    /// The background job: tells the partner what customers have used, again and again. No route
    /// stands before it; that it does not knock at a partner that is down is the second placement's
    /// doing.
    pub(crate) fn report_usage(
        &self,
        every: Duration,
        until: Instant,
    ) -> impl Future<Output = ()> + use<> {
        let partner = self.partner.clone();
        let refused = Arc::clone(&self.job_refused);
        async move {
            // To a real partner it would be a charge.
            while matches!(partner.site, Site::Simulated(_)) && now() < until {
                if let Err(error) = partner.call(Method::POST, "/v1/usage").await
                    && Refused::find(&*error).is_some()
                {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                sleep(every).await;
            }
        }
    }

    pub(crate) fn job_refused(&self) -> usize {
        self.job_refused.load(Ordering::Relaxed)
    }

    /// Stops serving, pinging and listening.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The first placement: before the app's own routes.
fn routes(layer: Option<&MaintenanceLayer>, app: App) -> Router {
    let router = Router::new()
        .route("/billing/prices", get(prices))
        .route("/billing/subscriptions", post(subscribe))
        .route("/billing/invoices/{id}", get(invoice))
        .route("/webhooks/partner", post(async || StatusCode::NO_CONTENT))
        .route("/health/live", get(async || "alive"))
        .with_state(app);
    match layer {
        Some(layer) => router.layer(layer.routes()),
        None => router,
    }
}

/// A call to the partner, read to its end.
type PartnerCalls = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, BoxError>;

/// The second placement: around the calls to the partner.
///
/// The timeout stands *outside* the layer. A call that hangs is dropped by it, and the layer judges
/// the drop: nothing came for the policy's `hang_limit`, so the partner is to blame.
fn partner_calls(
    layer: Option<&MaintenanceLayer>,
    judged: HttpCalls,
    client: HttpClient,
    ledger: Ledger,
    timeout: Duration,
) -> PartnerCalls {
    let wire = service_fn(move |request| ledger.send(&client, By::App, request));
    match layer {
        Some(layer) => BoxCloneSyncService::new(
            ServiceBuilder::new()
                .timeout(timeout)
                .map_request(enters)
                .and_then(read_to_end)
                .layer(layer.with_protocol(judged))
                .service(wire),
        ),
        None => BoxCloneSyncService::new(
            ServiceBuilder::new()
                .timeout(timeout)
                .map_request(enters)
                .and_then(read_to_end)
                .service(wire),
        ),
    }
}

/// Within the timeout, so that a partner that stops amid its answer is noticed too.
async fn read_to_end<B>(response: Response<B>) -> Result<Response<Bytes>, BoxError>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// Asks the partner's health endpoint while the layer is probing, in place of customers. Recovery
/// then does not depend on the customers' requests, and no customer's request is a probe.
fn ping(
    handle: &MaintenanceHandle,
    client: HttpClient,
    ledger: Ledger,
    health: Uri,
    judged: HttpCalls,
) -> impl Future<Output = ()> + Send + use<> {
    handle.ping(move || {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = health.clone();
        let answer = ledger.send(&client, By::Ping, request);
        let judged = judged.clone();
        async move {
            let Ok(response) = answer.await else {
                return Verdict::from(Outcome::Failure);
            };
            let (head, body) = response.into_parts();
            match body.collect().await {
                // By the same measure as the calls: a partner that says 200 and fails is not back.
                Ok(body) => {
                    let body = body.to_bytes();
                    judged.judge(&AnswerPrefix::whole(head.status, &head.headers, &body))
                }
                // A partner that breaks off mid-body is not back.
                Err(_) => Outcome::Failure.into(),
            }
        }
    })
}

// ---- what the app does -------------------------------------------------------------------------

#[derive(Clone)]
struct App {
    partner: Partner,
    catalogue: Catalogue,
}

/// Prices need the partner: what this customer has booked, and the catalogue unless it is cached.
async fn prices(State(app): State<App>) -> Result<Json<Value>, Trouble> {
    let basic = app.catalogue.price_of_basic(&app.partner).await?;
    app.partner.call(Method::GET, "/v1/account").await?;
    Ok(Json(json!({ "basic": basic })))
}

async fn subscribe(State(app): State<App>) -> Result<StatusCode, Trouble> {
    app.partner.call(Method::POST, "/v1/subscriptions").await?;
    Ok(StatusCode::CREATED)
}

async fn invoice(Path(id): Path<String>) -> Json<Value> {
    Json(json!({ "invoice": id, "total": 228, "currency": "EUR" }))
}

#[derive(Clone)]
struct Partner {
    calls: PartnerCalls,
    site: Site,
}

impl Partner {
    async fn call(&self, method: Method, path: &str) -> Result<Bytes, BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(self.site.url(path)?)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::default())?;
        let response = self.calls.clone().oneshot(request).await?;
        if response.status().is_server_error() {
            return Err(format!("the partner answered {}", response.status()).into());
        }
        let body = response.into_body();
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        if answer.is_some_and(|answer| answer["success"] == false) {
            return Err("the partner answered 200, and that it has failed".into());
        }
        Ok(body)
    }
}

/// Why a customer gets no answer. Nothing but this stands between an error of the stack and a page.
struct Trouble(BoxError);

impl From<BoxError> for Trouble {
    fn from(error: BoxError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> AxumResponse {
        // Under any wrapping: here the timeout has boxed it.
        if let Some(refused) = Refused::find(&*self.0) {
            // The call is the first thing that a handler does: nothing was processed before.
            return refused.clone().nothing_processed().into_response();
        }
        let status = if self.0.is::<Elapsed>() {
            StatusCode::GATEWAY_TIMEOUT
        } else {
            StatusCode::BAD_GATEWAY
        };
        (status, Body::from(self.0.to_string())).into_response()
    }
}

/// The partner's prices, kept until a signal says that they may have changed. On the day the
/// customers got the instruction to clear their browsers' caches.
#[derive(Clone, Default)]
struct Catalogue {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    price: Option<Price>,
    /// How often it was dropped: a price that was asked for before must not be kept after.
    drops: u64,
}

/// `None` where the partner's answer names no price, as a real one's will not.
type Price = Option<u64>;

impl Catalogue {
    async fn price_of_basic(&self, partner: &Partner) -> Result<Price, BoxError> {
        let drops = {
            let kept = self.lock();
            if let Some(price) = kept.price {
                return Ok(price);
            }
            kept.drops
        };
        let answer = partner.call(Method::GET, "/v1/catalogue").await?;
        let answer: Option<Value> = serde_json::from_slice(&answer).ok();
        let price = answer.and_then(|answer| answer["basic"].as_u64());
        let mut kept = self.lock();
        if kept.drops == drops {
            kept.price = Some(price);
        }
        Ok(price)
    }

    /// Drops the prices at each recovery, and notes that it was told.
    async fn listen(self, mut busts: CacheBusts, told: Arc<Mutex<Vec<u64>>>) {
        while let Some(bust) = busts.recv().await {
            let mut kept = self.lock();
            kept.price = None;
            kept.drops += 1;
            drop(kept);
            told.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(bust.generation);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
