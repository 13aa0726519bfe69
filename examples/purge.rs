//! What a CDN stored of the time before: purged by tag at the recovery, at Fastly and at Cloudflare.
//!
//! ```sh
//! cargo run --example purge --features http
//! ```
//!
//! Nothing leaves this machine: a stand-in of each API listens on loopback, fails the first time it is asked, and notes
//! what arrives. In your service leave out [`CdnPurge::at`], and give the client TLS.

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
/// However often it failed: a purge that comes late is worth more than none.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Of what a CDN asks for, for it may be nonsense.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a purge may go on once no layer is left.
const LAST: Duration = Duration::from_secs(30);

/// Purges at each recovery, for as long as the layer lives.
///
/// Each CDN has a task of its own: one that hangs or stays down holds up no other, and no customer.
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
        eprintln!("purge: given up, for the layer is gone");
    }
}

async fn follow_one(mut newest: watch::Receiver<CacheBust>, cdn: CdnPurge, client: HttpClient) {
    loop {
        let bust = newest.borrow_and_update().clone();
        let next = tokio::select! {
            // It purges the same: what still waits for its next attempt need not.
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

/// Sends until the CDN says that it has purged; twice does no harm. What it refuses for good is not repeated.
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
    /// Another attempt may do, but not sooner than after this.
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
    // Both answer in JSON. Cloudflare may say with a 200 that it did not; Fastly has other members.
    let body = Limited::new(answer.into_body(), 64 * 1024).collect().await;
    let body = body.map_err(|error| Answer::NotNow(error, Duration::ZERO))?;
    let said: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    match said.get("success") {
        Some(Value::Bool(false)) => Err(Answer::No(format!("{uri} answered {said}").into())),
        Some(_) | None => Ok(()),
    }
}

/// The seconds of a `Retry-After`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Duration {
    let said = headers.get(RETRY_AFTER).and_then(|said| said.to_str().ok());
    let seconds = said.and_then(|said| said.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER)
}

/// What arrived at a stand-in: path, headers, JSON.
pub(crate) type Arrived = (String, HeaderMap, Value);

/// A stand-in of both APIs.
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
    // The tags that the routes send as `Surrogate-Key` or `Cache-Tag`. More than fit one request, to show that.
    let products = (1..=298).map(|id| format!("product-{id}"));
    let tags = ["prices", "plans"].map(str::to_owned).into_iter();
    let layer = MaintenanceLayer::builder("zuora")
        .cache_tags(tags.chain(products))
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
    // Whoever drops the layer ends the tasks, after the signal that they still have.
    drop((layer, handle));
    following.await?;

    let arrived = stand_in.arrived();
    for (path, _, body) in &arrived {
        let tags = body.get("surrogate_keys").or(body.get("tags"));
        let tags = tags.and_then(Value::as_array).map_or(0, Vec::len);
        println!("{path}: {tags} tags");
    }
    let (fastly, cloudflare): (Vec<_>, Vec<_>) = arrived
        .iter()
        .partition(|(path, ..)| path.starts_with("/service/"));

    // The first of each failed, and was repeated as it was.
    let keys = |from: usize, to: usize| -> Vec<String> {
        let all = ["prices".to_owned(), "plans".to_owned()].into_iter();
        let all = all.chain((1..=298).map(|id| format!("product-{id}")));
        all.skip(from).take(to - from).collect()
    };
    let bodies = |of: &[&Arrived]| -> Vec<Value> { of.iter().map(|one| one.2.clone()).collect() };
    assert_eq!(
        bodies(&fastly),
        [
            json!({ "surrogate_keys": keys(0, 256) }),
            json!({ "surrogate_keys": keys(0, 256) }),
            json!({ "surrogate_keys": keys(256, 300) }),
        ]
    );
    assert_eq!(
        bodies(&cloudflare),
        [
            json!({ "tags": keys(0, 100) }),
            json!({ "tags": keys(0, 100) }),
            json!({ "tags": keys(100, 200) }),
            json!({ "tags": keys(200, 300) }),
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
    println!("both CDNs have purged");
    Ok(())
}
