//! Three HTTP clients behind the same layer, judged alike: hyper-util's, reqwest's, and reqwest's
//! under the crate `reqwest-middleware`.
//!
//! ```sh
//! cargo run --example clients --features reqwest-middleware,testing
//! ```
//!
//! Each stands in the stack that `tower_maintenance::guide::stack` explains, in front of a real
//! server that fails, hangs, refuses connections and breaks off its answers.
//!
//! hyper-util's client is a tower service, so the layer stands around it by `layer.http_calls()`.
//! reqwest's client is no such service and has types of its own. `layer.reqwest(client)` and
//! `layer.reqwest_middleware()` guard it in one line, and callers keep its methods and answers.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{task::JoinSet, time::Sleep};
use tower::{
    BoxError, Service, ServiceBuilder, ServiceExt, retry, service_fn, util::BoxCloneService,
};
use tower_maintenance::{
    BuildError, MaintenanceHandle, MaintenanceLayer, Mode, Policy, Refused,
    testing::{
        Counts, PartnerServer, Phase, Script, assert_probing, assert_refused, assert_serving,
        assert_tripped,
    },
};

const TIMEOUT: Duration = Duration::from_millis(1_200);
/// At most the timeout, or a partner that hangs would never trip.
const HANG_LIMIT: Duration = Duration::from_secs(1);
/// How many calls may be under way at once.
const AT_ONCE: usize = 4;

/// The client as its callers have it: an answer that came whole, or an error.
type Guarded = BoxCloneService<Request<Bytes>, Response<Bytes>, BoxError>;

/// What stands outside of the layer, whichever client is inside; read it from the outside in.
fn with_retries<S>(calls: S) -> Guarded
where
    S: Service<Request<Bytes>, Response = Response<Bytes>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let stack = ServiceBuilder::new()
        .retry(Retries { left: 3 }) // each attempt passes the gate, and each counts
        .timeout(TIMEOUT) // drops a call that hangs, and the layer sees that
        .service(calls);
    BoxCloneService::new(stack)
}

/// Reads the body to its end, because a body that breaks off is a failure.
async fn whole<B>(response: Response<B>) -> Result<Response<Bytes>, BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// Tries again what failed and may be repeated.
#[derive(Clone)]
struct Retries {
    left: u32,
}

impl retry::Policy<Request<Bytes>, Response<Bytes>, BoxError> for Retries {
    type Future = Sleep;

    fn retry(
        &mut self,
        _: &mut Request<Bytes>,
        result: &mut Result<Response<Bytes>, BoxError>,
    ) -> Option<Sleep> {
        let again = match result {
            Ok(answer) => answer.status().is_server_error(),
            // Refused is refused: it says itself when to come back, and that is not in 20 ms.
            Err(error) => Refused::find(&**error).is_none(),
        };
        self.left = self.left.checked_sub(u32::from(again))?;
        again.then(|| tokio::time::sleep(Duration::from_millis(20)))
    }

    fn clone_request(&mut self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        request.method().is_safe().then(|| request.clone())
    }
}

// ---- the three clients --------------------------------------------------------------------------

fn hyper_util_client(layer: &MaintenanceLayer) -> Guarded {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let calls = ServiceBuilder::new()
        .and_then(whole) // within the timeout, since a body may hang too
        .layer(layer.http_calls())
        .concurrency_limit(AT_ONCE) // inside: a refusal takes no permit
        // hyper wants a body; bytes are not one yet.
        .map_request(|request: Request<Bytes>| request.map(Full::new))
        .service(client);
    with_retries(calls)
}

fn reqwest_client(layer: &MaintenanceLayer) -> Result<Guarded, reqwest::Error> {
    let zuora = layer.reqwest(bare()?);

    Ok(with_retries(service_fn(move |request: Request<Bytes>| {
        let (head, body) = request.into_parts();
        let request = zuora
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .body(body);
        async { in_bytes(request.send().await?).await }
    })))
}

fn middleware_client(layer: &MaintenanceLayer) -> Result<Guarded, reqwest::Error> {
    let zuora = reqwest_middleware::ClientBuilder::new(bare()?)
        .with(layer.reqwest_middleware())
        .build();

    Ok(with_retries(service_fn(move |request: Request<Bytes>| {
        let (head, body) = request.into_parts();
        let request = zuora
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .body(body);
        async { in_bytes(request.send().await?).await }
    })))
}

/// A client without a proxy, because the partner of this example is on loopback.
fn bare() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder().no_proxy().build()
}

/// Reads reqwest's answer to its end.
async fn in_bytes(answer: reqwest::Response) -> Result<Response<Bytes>, BoxError> {
    let status = answer.status();
    let answer = Response::builder()
        .status(status)
        .body(answer.bytes().await?);
    Ok(answer?)
}

// ---- what happens to them -----------------------------------------------------------------------

#[tokio::main]
pub(crate) async fn main() -> Result<(), BoxError> {
    println!("hyper-util's client");
    let layer = layer()?;
    let client = hyper_util_client(&layer);
    story(&layer.handle(), client.clone()).await?;
    at_most_a_few_at_once(client).await?;

    println!("reqwest's client");
    let layer = self::layer()?;
    story(&layer.handle(), reqwest_client(&layer)?).await?;

    println!("reqwest's client under reqwest-middleware");
    let layer = self::layer()?;
    story(&layer.handle(), middleware_client(&layer)?).await?;
    Ok(())
}

fn layer() -> Result<MaintenanceLayer, BuildError> {
    let policy = Policy::default().with_hang_limit(HANG_LIMIT);
    MaintenanceLayer::builder("zuora").policy(policy).build()
}

async fn story(handle: &MaintenanceHandle, client: Guarded) -> Result<(), BoxError> {
    let server = PartnerServer::start(Script::always(Phase::failing(0.3))?, 4711).await?;
    let url = format!("{}/v1/prices", server.url());
    let get = || {
        client
            .clone()
            .oneshot(Request::get(&url).body(Bytes::new()).expect("a valid URL"))
    };

    // It fails now and then: the retries make that good, and nothing trips.
    for _ in 0..10 {
        assert_eq!(get().await?.status(), 200);
    }
    println!("  10 of 10 answered, by {} calls", server.counts().calls);
    assert!(server.counts().failed > 0);
    assert_serving(handle);

    // It breaks, in every way a partner can.
    for broken in [
        Phase::failing(1.0).with_status(502),
        Phase::Hanging,
        Phase::ConnectionRefused,
        Phase::ResetMidBody,
    ] {
        let before = handle.status().generation;
        server.switch_to(broken).await?;
        while handle.mode() == Mode::Serving {
            let _ = get().await;
        }
        let evidence = assert_tripped(handle);
        println!("  {broken}: tripped, {evidence}");

        // From now on the partner has its peace, retries or not.
        let calls = server.counts().calls;
        for _ in 0..100 {
            assert_refused(get().await);
        }
        assert_eq!(server.counts().calls, calls);

        // The partner is healthy again. Three reads in a row prove it. A charge proves nothing, so
        // it is no probe.
        server.switch_to(Phase::Healthy).await?;
        handle.probe_now(
            "on-call",
            "the partner says it is back: do not wait, but verify",
        )?;
        let charge = Request::post(&url).body(Bytes::from_static(b"19 EUR"))?;
        assert_refused(client.clone().oneshot(charge).await);
        for _ in 0..3 {
            assert_probing(handle);
            assert_eq!(get().await?.status(), 200);
        }
        assert_serving(handle);
        assert!(handle.status().generation > before);
    }
    server.shutdown().await?;
    Ok(())
}

/// The partner is slow, and the limit inside the layer lets no more than a few calls out at once.
async fn at_most_a_few_at_once(client: Guarded) -> Result<(), BoxError> {
    let slow = Phase::slow(Duration::from_millis(30));
    let server = PartnerServer::start(Script::always(slow)?, 4711).await?;
    let url = format!("{}/v1/prices", server.url());
    let get = Request::get(&url).body(Bytes::new())?;
    let crowd: JoinSet<_> = (0..12)
        .map(|_| client.clone().oneshot(get.clone()))
        .collect();
    let too_many = |counts: &Counts| counts.in_flight > AT_ONCE as u64;
    tokio::select! {
        counts = server.partner().until(too_many) => panic!("{} calls at once", counts.in_flight),
        answers = crowd.join_all() => assert!(answers.iter().all(Result::is_ok)),
    }
    println!("  12 callers, never more than {AT_ONCE} calls at once");
    server.shutdown().await?;
    Ok(())
}
