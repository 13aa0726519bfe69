//! Purges Fastly and Cloudflare by tag at each recovery.
//!
//! ```sh
//! cargo run --example purge --features http
//! ```
//!
//! No request leaves this machine: a fake of each API listens on loopback, fails the first request,
//! and records all requests. In your service, omit [`CdnPurge::at`] and give the client TLS.

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Request, StatusCode, Uri, header::RETRY_AFTER},
    routing::post,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tower_maintenance::{CacheBust, CacheBusts, Hold, MaintenanceLayer, http::CdnPurge};

type Failed = Box<dyn Error + Send + Sync>;
type HttpClient = Client<HttpConnector, Full<Bytes>>;

const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest pause after repeated failures. Attempts never end: a late purge is better than none.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest `Retry-After` that is obeyed, because a CDN may send a wrong one.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last purges may take after the layer is gone.
const LAST: Duration = Duration::from_secs(30);

/// Purges at each recovery, until the layer is gone.
///
/// Each CDN has a task of its own. A CDN that hangs or stays down delays no other one, and no
/// customer.
pub(crate) async fn follow(mut busts: CacheBusts, cdns: Vec<CdnPurge>, client: HttpClient) {
    let Some(first) = busts.recv().await else {
        return;
    };
    let (newest, _) = watch::channel(first);
    let mut tasks = JoinSet::new();
    for cdn in cdns {
        tasks.spawn(follow_one(newest.subscribe(), cdn, client.clone()));
    }
    while let Some(bust) = busts.recv().await {
        newest.send_replace(bust);
    }
    drop(newest);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST, ended).await.is_err() {
        eprintln!("purge: given up, because the layer is gone");
    }
}

async fn follow_one(mut newest: watch::Receiver<CacheBust>, cdn: CdnPurge, client: HttpClient) {
    loop {
        let bust = newest.borrow_and_update().clone();
        let next = tokio::select! {
            // A newer signal purges the same tags, so the pending attempt is dropped.
            Ok(()) = newest.changed() => Ok(()),
            () = purge_all(&client, &cdn, &bust) => newest.changed().await,
        };
        if next.is_err() {
            return;
        }
    }
}

async fn purge_all(client: &HttpClient, cdn: &CdnPurge, bust: &CacheBust) {
    let requests = match cdn.requests(bust) {
        Ok(requests) => requests,
        Err(error) => {
            eprintln!("purge: {error}");
            return;
        }
    };
    for request in requests {
        if let Err(error) = send(client, request).await {
            eprintln!("purge: generation {}: {error}", bust.generation);
        }
    }
}

/// Sends the request until the CDN confirms the purge. A second purge does no harm. A request that
/// the CDN rejects is not repeated.
async fn send(client: &HttpClient, request: Request<Bytes>) -> Result<(), Failed> {
    let mut wait = FIRST_WAIT;
    loop {
        let asked = tokio::time::timeout(TIMEOUT, ask(client, request.clone())).await;
        let (why, asked_for): (Failed, _) = match asked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Answer::No(why))) => return Err(why),
            Ok(Err(Answer::NotNow(why, asked_for))) => (why, asked_for),
            Err(elapsed) => (elapsed.into(), Duration::ZERO),
        };
        let pause = wait.max(asked_for);
        println!("  not purged ({why}), again in {pause:?}");
        tokio::time::sleep(pause).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

enum Answer {
    /// Another attempt may succeed, after this time at the earliest.
    NotNow(Failed, Duration),
    /// The token, the id or the request is wrong.
    No(Failed),
}

async fn ask(client: &HttpClient, request: Request<Bytes>) -> Result<(), Answer> {
    let uri = request.uri().clone();
    let answer = client.request(request.map(Full::new)).await;
    let answer = answer.map_err(|error| Answer::NotNow(error.into(), Duration::ZERO))?;
    let status = answer.status();
    let why = || format!("{uri} answered {status}").into();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(Answer::NotNow(why(), retry_after(answer.headers())));
    }
    if !status.is_success() {
        return Err(Answer::No(why()));
    }
    // Both CDNs answer in JSON. Cloudflare may report a failure in a 200; Fastly has other members.
    let body = Limited::new(answer.into_body(), 64 * 1024).collect().await;
    let body = body.map_err(|error| Answer::NotNow(error, Duration::ZERO))?;
    let said: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    match said.get("success") {
        Some(Value::Bool(false)) => Err(Answer::No(format!("{uri} answered {said}").into())),
        Some(_) | None => Ok(()),
    }
}

/// Returns the seconds of a `Retry-After`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Duration {
    let said = headers.get(RETRY_AFTER).and_then(|said| said.to_str().ok());
    let seconds = said.and_then(|said| said.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER)
}

/// A request that arrived at a fake: path, headers, JSON.
pub(crate) type Arrived = (String, HeaderMap, Value);

/// A fake of both APIs.
#[derive(Clone, Default)]
pub(crate) struct StandIn {
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl StandIn {
    pub(crate) async fn start(&self) -> Result<String, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new()
            .route("/service/{id}/purge", post(purge))
            .route("/client/v4/zones/{id}/purge_cache", post(purge))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(url)
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("nobody panics with it").clone()
    }
}

async fn purge(
    State(stand_in): State<StandIn>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = uri.path().to_owned();
    let mut arrived = stand_in.arrived.lock().expect("nobody panics with it");
    let is_first = arrived.iter().all(|(known, ..)| *known != path);
    arrived.push((path, headers, body));
    if is_first {
        return (StatusCode::SERVICE_UNAVAILABLE, "not now".to_owned());
    }
    (StatusCode::OK, json!({ "success": true }).to_string())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    run().await
}

pub(crate) async fn run() -> Result<(), Failed> {
    // The tags that the routes send as `Surrogate-Key` or `Cache-Tag`. One request cannot hold all.
    let layer = MaintenanceLayer::builder("zuora")
        .cache_tags(tags())
        .build()?;
    let handle = layer.handle();

    let stand_in = StandIn::default();
    let url = stand_in.start().await?;
    let cdns = vec![
        CdnPurge::fastly_soft("SU1Z0isxPaozGVKXdv0eY", "fastly-token")?.at(&url)?,
        CdnPurge::cloudflare("023e105f4ecef8ad9ca31a8372d0c353", "cloudflare-token")?.at(&url)?,
    ];
    let client = Client::builder(TokioExecutor::new()).build_http();
    let following = tokio::spawn(follow(handle.cache_bust(), cdns, client));

    handle.engage(Hold::new("on-call", "Zuora degraded, ticket 4711"))?;
    handle.release("on-call", "partner reports recovery")?;
    println!("recovered, generation {}", handle.status().generation);
    // Dropping the layer ends the tasks after they have handled the last signal.
    drop((layer, handle));
    following.await?;

    let arrived = stand_in.arrived();
    for (path, _, body) in &arrived {
        let tags = body.get("surrogate_keys").or(body.get("tags"));
        let tags = tags.and_then(Value::as_array).map_or(0, Vec::len);
        println!("{path}: {tags} tags");
    }
    check(&arrived);
    println!("both CDNs have purged");
    Ok(())
}

/// 300 tags.
fn tags() -> Vec<String> {
    let products = (1..=298).map(|id| format!("product-{id}"));
    let tags = ["prices", "plans"].map(str::to_owned).into_iter();
    tags.chain(products).collect()
}

/// Checks that each CDN got every tag. The first request to each failed, and was repeated
/// unchanged.
fn check(arrived: &[Arrived]) {
    let (fastly, cloudflare): (Vec<_>, Vec<_>) = arrived
        .iter()
        .partition(|(path, ..)| path.starts_with("/service/"));
    let bodies = |of: &[&Arrived]| -> Vec<Value> { of.iter().map(|one| one.2.clone()).collect() };
    let tags = tags();
    assert_eq!(
        bodies(&fastly),
        [
            json!({ "surrogate_keys": tags[..256] }),
            json!({ "surrogate_keys": tags[..256] }),
            json!({ "surrogate_keys": tags[256..] }),
        ]
    );
    assert_eq!(
        bodies(&cloudflare),
        [
            json!({ "tags": tags[..100] }),
            json!({ "tags": tags[..100] }),
            json!({ "tags": tags[100..200] }),
            json!({ "tags": tags[200..] }),
        ]
    );
    for (path, headers, _) in fastly {
        assert_eq!(path, "/service/SU1Z0isxPaozGVKXdv0eY/purge");
        assert_eq!(headers["fastly-key"], "fastly-token");
        assert_eq!(headers["fastly-soft-purge"], "1");
        assert_eq!(headers["content-type"], "application/json");
    }
    for (path, headers, _) in cloudflare {
        let zone = "023e105f4ecef8ad9ca31a8372d0c353";
        assert_eq!(path, &format!("/client/v4/zones/{zone}/purge_cache"));
        assert_eq!(headers["authorization"], "Bearer cloudflare-token");
        assert_eq!(headers["content-type"], "application/json");
    }
}
