//! Two HTTP clients behind the same layer, judged by status: hyper-util's and reqwest's.
//!
//! ```sh
//! cargo run --example clients --features http,testing
//! ```
//!
//! Each stands in the stack that `tower_maintenance::guide::stack` explains ([`guarded`] below), in
//! front of a real server that fails, hangs, refuses connections and breaks off its answers.
//!
//! The layer takes `http::Request` and returns `http::Response`, and so does hyper-util's client.
//! reqwest has types of its own, so it needs two adapters: `reqwest::Request::try_from` and
//! `http::Response::from`.

use std::{error::Error, time::Duration};

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

/// Any client behind the layer; read it from the outside in.
fn guarded<C, B>(layer: &MaintenanceLayer, client: C) -> Guarded
where
    C: Service<Request<Bytes>, Response = Response<B>, Error: Error + Send + Sync, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let stack = ServiceBuilder::new()
        .retry(Retries { left: 3 }) // each attempt passes the gate, and each counts
        .timeout(TIMEOUT) // drops a call that hangs, and the layer sees that
        .and_then(whole) // within the timeout, since a body may hang too
        .layer(layer.http_calls())
        .concurrency_limit(AT_ONCE) // inside: a refusal takes no permit
        .service(client);
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

// ---- the two clients ----------------------------------------------------------------------------

fn hyper_util_client(layer: &MaintenanceLayer) -> Guarded {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    // hyper wants a body; bytes are not one yet.
    let client = client.map_request(|request: Request<Bytes>| request.map(Full::new));
    guarded(layer, client)
}

fn reqwest_client(layer: &MaintenanceLayer) -> Result<Guarded, reqwest::Error> {
    // Without a proxy, because the partner of this example is on loopback.
    let client = reqwest::Client::builder().no_proxy().build()?;
    // A function and not `map_request`, since what is no URL shall be an error and not a panic.
    let client = service_fn(move |request: Request<Bytes>| {
        let client = client.clone();
        async move {
            let answer = client.execute(reqwest::Request::try_from(request)?).await?;
            Ok::<_, reqwest::Error>(Response::<reqwest::Body>::from(answer))
        }
    });
    Ok(guarded(layer, client))
}

// ---- what happens to them -----------------------------------------------------------------------

#[tokio::main]
pub(crate) async fn main() -> Result<(), BoxError> {
    println!("hyper-util's client");
    let layer = layer()?;
    story(&layer.handle(), hyper_util_client(&layer)).await?;

    println!("reqwest's client");
    let layer = self::layer()?;
    story(&layer.handle(), reqwest_client(&layer)?).await?;
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

    // It is slow: the limit lets no more than a few calls out at once.
    server
        .switch_to(Phase::slow(Duration::from_millis(30)))
        .await?;
    let crowd: JoinSet<_> = (0..12).map(|_| get()).collect();
    let too_many = |counts: &Counts| counts.in_flight > AT_ONCE as u64;
    tokio::select! {
        counts = server.partner().until(too_many) => panic!("{} calls at once", counts.in_flight),
        answers = crowd.join_all() => assert!(answers.iter().all(Result::is_ok)),
    }
    println!("  12 callers, never more than {AT_ONCE} calls at once");

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
