//! The guarded reqwest client and the middleware, on real sockets: what a caller gets, and what the
//! layer counts.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;
use reqwest_middleware::{ClientBuilder, Middleware, Next};
use test_support::{soon, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::BoxError;
use tower_maintenance::{
    CallCounts, Exemption, Hold, MaintenanceLayer, Mode, Policy, Refused,
    http::{HttpCalls, JsonAnswer},
};

// ---- a partner ----------------------------------------------------------------------------------

/// A partner that does what the path says. It counts the requests.
struct Partner {
    addr: SocketAddr,
    asked: Arc<AtomicU32>,
}

impl Partner {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, counted.clone()));
            }
        });
        Self { addr, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn asked(&self) -> u32 {
        self.asked.load(Relaxed)
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<AtomicU32>) -> std::io::Result<()> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(());
        }
    }
    asked.fetch_add(1, Relaxed);
    let text = String::from_utf8_lossy(&seen).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let json = "content-type: application/json";
    let (status, length, body, head) = match path {
        "/down" => ("503 Down", 4, "down", ""),
        "/declined" => ("402 Declined", 2, "no", ""),
        "/half" | "/cut" => ("200 OK", 20, "half", ""),
        "/no" => ("200 OK", 13, "{\"ok\": false}", json),
        "/moved" => ("302 Found", 0, "", "location: /json"),
        "/json" => ("200 OK", 12, "{\"ok\": true}", json),
        "/hang" => ("", 0, "", ""),
        _ => ("200 OK", 2, "ok", ""),
    };
    if !status.is_empty() {
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}{}\r\n{body}",
            if head.is_empty() { "" } else { "\r\n" },
        );
        stream.write_all(head.as_bytes()).await?;
    }
    if matches!(path, "/half" | "/hang") {
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
    }
    Ok(())
}

// ---- the two clients ----------------------------------------------------------------------------

type Answer = Pin<Box<dyn Future<Output = Result<reqwest::Response, BoxError>>>>;
type Call = Box<dyn Fn(Method, String) -> Answer>;

/// A way to guard a client.
#[derive(Debug, Clone, Copy)]
enum By {
    Client,
    Middleware,
}

const BOTH: [By; 2] = [By::Client, By::Middleware];

impl By {
    fn guard(self, layer: &MaintenanceLayer<HttpCalls>, client: reqwest::Client) -> Call {
        match self {
            Self::Client => {
                let client = layer.reqwest(client);
                Box::new(move |method, url| {
                    let request = client.request(method, url);
                    Box::pin(async { Ok(soon(request.send()).await?) })
                })
            }
            Self::Middleware => {
                let middleware = layer.reqwest_middleware();
                let client = ClientBuilder::new(client).with(middleware).build();
                Box::new(move |method, url| {
                    let request = client.request(method, url);
                    Box::pin(async { Ok(soon(request.send()).await?) })
                })
            }
        }
    }
}

fn layer(policy: Policy) -> MaintenanceLayer<HttpCalls> {
    let exempt = Exemption::http_call("/health", "the dashboard shows it");
    let builder = MaintenanceLayer::builder("zuora").policy(policy);
    builder.exempt(exempt).build().unwrap().http_calls()
}

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.timeout(Duration::from_millis(400)).build().unwrap()
}

fn counts(layer: &MaintenanceLayer<HttpCalls>) -> CallCounts {
    layer.handle().status().calls
}

fn is_refused<T>(called: Result<T, BoxError>) -> bool {
    called.is_err_and(|error| Refused::find(&*error).is_some())
}

// ---- an outage ----------------------------------------------------------------------------------

#[tokio::test]
async fn an_outage_trips_refuses_probes_and_recovers() {
    for by in BOTH {
        for broken in ["/down", "/hang", "/cut"] {
            let partner = Partner::start().await;
            let layer = layer(Policy::default());
            let handle = layer.handle();
            let call = by.guard(&layer, client());
            let get = |path| call(Method::GET, partner.url(path));
            for _ in 0..5 {
                assert_eq!(handle.mode(), Mode::Serving, "{by:?} {broken}");
                if let Ok(answer) = get(broken).await {
                    let _ = soon(answer.bytes()).await;
                }
            }
            assert_eq!(handle.mode(), Mode::Maintenance, "{by:?} {broken}");

            let asked = partner.asked();
            for _ in 0..20 {
                assert!(is_refused(get("/").await));
            }
            assert_eq!(partner.asked(), asked);
            assert_eq!(get("/health").await.unwrap().text().await.unwrap(), "ok");

            let mut signal = handle.cache_bust();
            handle.probe_now("on-call", "drill").unwrap();
            assert!(is_refused(call(Method::POST, partner.url("/")).await));
            for _ in 0..3 {
                assert_eq!(handle.mode(), Mode::Probing);
                assert_eq!(get("/").await.unwrap().text().await.unwrap(), "ok");
            }
            assert_eq!(handle.mode(), Mode::Serving);
            soon(signal.recv()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_declined_card_is_an_answer() {
    for by in BOTH {
        let (partner, layer) = (Partner::start().await, layer(Policy::default()));
        let call = by.guard(&layer, client());
        for _ in 0..6 {
            let declined = call(Method::POST, partner.url("/declined")).await.unwrap();
            assert_eq!(declined.status(), 402);
            assert_eq!(declined.text().await.unwrap(), "no");
        }
        assert_eq!((counts(&layer).succeeded, counts(&layer).failed), (6, 0));
    }
}

// ---- the answer ---------------------------------------------------------------------------------

#[tokio::test]
async fn the_answer_is_that_of_the_client() {
    for by in BOTH {
        let (partner, layer) = (Partner::start().await, layer(Policy::default()));
        let call = by.guard(&layer, client());
        let bare = client().get(partner.url("/moved")).send().await.unwrap();
        let answer = call(Method::GET, partner.url("/moved")).await.unwrap();
        assert_eq!(
            answer.url().as_str(),
            partner.url("/json"),
            "after the redirect"
        );
        assert_eq!(answer.url(), bare.url());
        assert_eq!(answer.remote_addr(), Some(partner.addr));
        assert_eq!(answer.headers(), bare.headers());
        assert_eq!(answer.content_length(), Some(12));
        assert_eq!(answer.version(), bare.version());
        assert_eq!(counts(&layer).in_flight(), 1, "its body is not read yet");
        let json: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(
            (counts(&layer).in_flight(), counts(&layer).succeeded),
            (0, 1)
        );
    }
}

#[tokio::test]
async fn errors_are_those_of_the_client() {
    let partner = Partner::start().await;
    let layer = layer(Policy::default());
    let guarded = layer.reqwest(client());
    let inner = |error: tower_maintenance::Error<reqwest::Error>| error.into_inner().unwrap();

    let hangs = guarded.get(partner.url("/hang")).send().await;
    let error = inner(hangs.unwrap_err());
    assert!(error.is_timeout());
    assert_eq!(error.url().unwrap().as_str(), partner.url("/hang"));
    // The time-out of one request replaces that of the client.
    let slow = guarded.get(partner.url("/half"));
    let slow = slow
        .timeout(Duration::from_millis(50))
        .send()
        .await
        .unwrap();
    let error = slow.bytes().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let cut = guarded.get(partner.url("/cut")).send().await.unwrap();
    let error = cut.bytes().await.unwrap_err();
    let bare = client().get(partner.url("/cut")).send().await.unwrap();
    let bare = bare.bytes().await.unwrap_err();
    let kinds = |error: &reqwest::Error| (error.is_body(), error.is_decode(), error.is_timeout());
    assert_eq!(kinds(&error), kinds(&bare), "{error:?} {bare:?}");
    assert_eq!((counts(&layer).failed, counts(&layer).succeeded), (3, 0));

    // A request that cannot be built begins no call.
    let relative = guarded
        .get("/v1/prices")
        .header("x-tenant", "7")
        .send()
        .await;
    assert!(inner(relative.unwrap_err()).is_builder());
    let scheme = guarded.get("ftp://partner.invalid/").send().await;
    assert!(inner(scheme.unwrap_err()).is_builder());
    assert_eq!((counts(&layer).failed, counts(&layer).ours), (3, 1));
}

#[tokio::test]
async fn the_builder_builds_what_reqwests_builder_does() {
    let layer = layer(Policy::default());
    let (bare, guarded) = (client(), layer.reqwest(client()));
    let value = serde_json::json!({ "plan": "team" });
    let ours = guarded
        .put("http://partner.invalid/v1/plans")
        .header("x-tenant", "7")
        .bearer_auth("token")
        .timeout(Duration::from_secs(3))
        .version(http::Version::HTTP_11)
        .json(&value);
    let cloned = ours.try_clone().unwrap();
    let theirs = bare
        .put("http://partner.invalid/v1/plans")
        .header("x-tenant", "7")
        .bearer_auth("token")
        .timeout(Duration::from_secs(3))
        .version(http::Version::HTTP_11)
        .json(&value)
        .build()
        .unwrap();
    for ours in [ours.build().unwrap(), cloned.build().unwrap()] {
        assert_eq!(ours.method(), theirs.method());
        assert_eq!(ours.url(), theirs.url());
        assert_eq!(ours.headers(), theirs.headers());
        assert_eq!(ours.timeout(), theirs.timeout());
        assert_eq!(ours.version(), theirs.version());
        let bytes = |request: &reqwest::Request| request.body()?.as_bytes().map(<[u8]>::to_vec);
        assert_eq!(bytes(&ours), bytes(&theirs));
    }
}

// ---- the body -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_body_that_hangs_is_a_failure_while_it_is_read() {
    for by in BOTH {
        let partner = Partner::start().await;
        let layer = layer(Policy::default().with_hang_limit(Duration::from_millis(100)));
        let slow = reqwest::Client::builder().no_proxy().build().unwrap();
        let call = by.guard(&layer, slow);
        let answer = call(Method::GET, partner.url("/half")).await.unwrap();
        let reads = tokio::spawn(answer.bytes());
        until(|| counts(&layer).failed == 1).await;
        assert!(!reads.is_finished(), "the body goes on: its reader decides");
        reads.abort();
    }
}

#[tokio::test]
async fn a_body_that_is_dropped_before_its_end_is_neutral() {
    for by in BOTH {
        let (partner, layer) = (Partner::start().await, layer(Policy::default()));
        let call = by.guard(&layer, client());
        for _ in 0..6 {
            let mut answer = call(Method::GET, partner.url("/half")).await.unwrap();
            assert_eq!(soon(answer.chunk()).await.unwrap().unwrap(), "half");
        }
        let calls = counts(&layer);
        assert_eq!((calls.failed, calls.succeeded, calls.abandoned), (0, 0, 6));
    }
}

// ---- options ------------------------------------------------------------------------------------

#[tokio::test]
async fn the_options_of_the_view_hold() {
    for by in BOTH {
        let partner = Partner::start().await;
        let json = JsonAnswer::new().failure_when("/ok", false).unwrap();
        let calls = HttpCalls::new()
            .judged_by_json(json)
            .may_probe(|_, uri| uri.path() == "/json");
        let layer = layer(Policy::default()).with_protocol(calls);
        let call = by.guard(&layer, client());
        for _ in 0..5 {
            let no = call(Method::GET, partner.url("/no")).await.unwrap();
            assert_eq!(no.text().await.unwrap(), "{\"ok\": false}");
        }
        assert_eq!(layer.handle().mode(), Mode::Maintenance);
        layer.handle().probe_now("on-call", "drill").unwrap();
        assert!(is_refused(call(Method::GET, partner.url("/")).await));
        assert!(call(Method::POST, partner.url("/json")).await.is_ok());
    }
}

#[tokio::test]
async fn a_read_only_hold_lets_reads_pass() {
    for by in BOTH {
        let (partner, layer) = (Partner::start().await, layer(Policy::default()));
        let call = by.guard(&layer, client());
        let hold = Hold::new("on-call", "drill").read_only();
        layer.handle().engage(hold).unwrap();
        assert!(call(Method::GET, partner.url("/")).await.is_ok());
        assert!(is_refused(call(Method::POST, partner.url("/")).await));
    }
}

// ---- among other middlewares --------------------------------------------------------------------

/// Tries three times.
struct Retries;

#[async_trait::async_trait]
impl Middleware for Retries {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let mut last = None;
        for _ in 0..3 {
            let request = request.try_clone().unwrap();
            match next.clone().run(request, extensions).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                other => last = Some(other),
            }
        }
        last.unwrap()
    }
}

#[tokio::test]
async fn a_retry_before_the_layer_meets_the_gate_at_each_attempt() {
    let partner = Partner::start().await;
    let layer = layer(Policy::default());
    let client = ClientBuilder::new(client())
        .with(Retries)
        .with(layer.reqwest_middleware())
        .build();
    assert!(client.get(partner.url("/down")).send().await.is_ok());
    assert_eq!((counts(&layer).failed, partner.asked()), (3, 3));
    let refused = client.get(partner.url("/down")).send().await;
    assert!(is_refused(refused.map_err(Into::into)));
    assert_eq!(
        (layer.handle().mode(), partner.asked()),
        (Mode::Maintenance, 5)
    );
}

/// A layer of this crate further in is no partner that fails.
#[tokio::test]
async fn a_refusal_of_a_layer_further_in_is_neutral() {
    let partner = Partner::start().await;
    let (account, zuora) = (layer(Policy::default()), layer(Policy::default()));
    zuora
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let client = ClientBuilder::new(client())
        .with(account.reqwest_middleware())
        .with(zuora.reqwest_middleware())
        .build();
    for _ in 0..6 {
        let refused = client.get(partner.url("/")).send().await;
        assert!(is_refused(refused.map_err(Into::into)));
    }
    assert_eq!(account.handle().mode(), Mode::Serving);
    assert_eq!(counts(&account).refused_within, 6);
}
