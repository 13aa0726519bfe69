//! A generated tonic client behind the whole outbound stack: retry, timeout, maintenance,
//! concurrency limit, channel.
//!
//! ```sh
//! cargo run -p grpc-tests --example tonic_client
//! ```
//!
//! The order is that of `tower_maintenance::guide::stack`, and the example asserts its reasons:
//! each attempt passes the gate and counts, a hang counts as a hang, and a refusal is neither
//! retried nor queued. The partner is a real server.

use std::{error::Error, future::Ready, time::Duration};

use bytes::Bytes;
use grpc_tests::{Ask, Behaviour, BillingClient, Partner, Payment, method};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::{Code, Status, body::Body, transport::Channel};
use tonic_types::StatusExt;
use tower::{BoxError, ServiceBuilder, ServiceExt, retry, service_fn, util::BoxCloneSyncService};
use tower_maintenance::{
    MaintenanceHandle, MaintenanceLayer, Mode, Policy, Refused,
    grpc::{GrpcCallBody, GrpcCalls, REASON},
};

const TIMEOUT: Duration = Duration::from_secs(2);
/// At most the timeout, or a partner that hangs would never trip.
const HANG_LIMIT: Duration = Duration::from_secs(1);
/// How many calls may be under way at once.
const AT_ONCE: usize = 4;
/// What may be repeated, and may probe: the methods that only read.
const READS: [&str; 2] = [method::GET_PRICES, method::WATCH_PRICES];

/// What generated clients take.
type Guarded = BoxCloneSyncService<Request<Body>, Response<GrpcCallBody<Body>>, Status>;

/// The stack, from the outside in.
fn guarded(layer: &MaintenanceLayer, channel: Channel) -> Result<Guarded, BoxError> {
    let calls = GrpcCalls::new().reads(READS)?;
    let stack = ServiceBuilder::new()
        .retry(OnceMore { left: 1 })
        .timeout(TIMEOUT)
        .layer(layer.with_protocol(calls))
        .concurrency_limit(AT_ONCE)
        .map_request(|request: Request<Full<Bytes>>| request.map(Body::new))
        .service(channel);
    // A retry sends the request again, so it needs the whole request. A stack for streamed requests
    // has neither the retry nor this service.
    let whole = service_fn(move |request: Request<Body>| {
        let stack = stack.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = Full::new(body.collect().await?.to_bytes());
            let answer = stack.oneshot(Request::from_parts(head, body)).await;
            // What tonic makes of an error anyway.
            answer.map_err(Status::from_error)
        }
    });
    Ok(BoxCloneSyncService::new(whole))
}

/// Retries once, and only what reads: a charge that timed out may have been made.
#[derive(Clone)]
struct OnceMore {
    left: u32,
}

impl retry::Policy<Request<Full<Bytes>>, Response<GrpcCallBody<Body>>, BoxError> for OnceMore {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut Request<Full<Bytes>>,
        result: &mut Result<Response<GrpcCallBody<Body>>, BoxError>,
    ) -> Option<Ready<()>> {
        let again = match result {
            // A refusal says when it is worth trying again: not now.
            Ok(answer) if answer.extensions().get::<Refused>().is_some() => false,
            Ok(answer) => answer
                .headers()
                .get("grpc-status")
                .is_some_and(|code| code == "14"),
            Err(_) => true,
        };
        if !again || self.left == 0 || !READS.contains(&request.uri().path()) {
            return None;
        }
        self.left -= 1;
        Some(std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

struct Story {
    partner: Partner,
    handle: MaintenanceHandle,
    client: BillingClient<Guarded>,
}

impl Story {
    fn prices(&self) -> impl Future<Output = Result<u64, Status>> + use<> {
        let mut client = self.client.clone();
        async move { Ok(client.get_prices(Ask {}).await?.into_inner().cents) }
    }

    fn charge(&self) -> impl Future<Output = Result<u64, Status>> + use<> {
        let mut client = self.client.clone();
        async move {
            Ok(client
                .charge(Payment { cents: 7 })
                .await?
                .into_inner()
                .cents)
        }
    }

    /// Back to `Serving`, by hand.
    fn anew(&self) -> Result<(), BoxError> {
        self.partner.does(Behaviour::Healthy);
        self.handle.reset("story", "the next chapter")?;
        assert_eq!(self.handle.mode(), Mode::Serving);
        Ok(())
    }

    async fn each_attempt_of_a_read_counts_and_a_charge_is_sent_once(
        &self,
    ) -> Result<(), BoxError> {
        self.partner.does(Behaviour::failing(Code::Unavailable));
        assert!(self.prices().await.is_err());
        assert_eq!(self.partner.calls_of("get_prices"), 2);
        assert_eq!(self.handle.status().window.failed, 2);
        assert!(self.charge().await.is_err());
        assert_eq!(self.partner.calls_of("charge"), 1);
        println!(
            "a read was tried twice, a charge once: three failures, {}",
            self.handle.status()
        );
        assert_eq!(self.handle.mode(), Mode::Maintenance);
        Ok(())
    }

    async fn a_refusal_is_an_answer_and_is_not_retried(&self) -> Result<(), BoxError> {
        let before = (self.partner.calls(), self.handle.status().calls.refused);
        let status = self.prices().await.expect_err("it has tripped");
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| &*info.reason), Some(REASON));
        let delay = details.retry_info().and_then(|info| info.retry_delay);
        println!(
            "refused: {}; worth trying again in {delay:?}",
            status.message()
        );
        assert!(delay.is_some());
        let after = (self.partner.calls(), self.handle.status().calls.refused);
        assert_eq!(after, (before.0, before.1 + 1));
        Ok(())
    }

    async fn reads_find_out_that_it_is_back(&self) -> Result<(), BoxError> {
        self.partner.does(Behaviour::Healthy);
        self.handle.probe_now("story", "let us see")?;
        let charged = self.partner.calls_of("charge");
        assert!(self.charge().await.is_err(), "a charge is no probe");
        for _ in 0..3 {
            assert_eq!(self.prices().await?, 1200);
        }
        assert_eq!(self.handle.mode(), Mode::Serving);
        assert_eq!(self.partner.calls_of("charge"), charged);
        assert_eq!(self.charge().await?, 7);
        println!("three reads proved it: {}", self.handle.status());
        Ok(())
    }

    async fn a_hang_trips_and_who_queues_for_a_permit_is_refused(&self) -> Result<(), BoxError> {
        self.partner.does(Behaviour::Hangs);
        // More than there are permits: some hang at the partner, the others queue here.
        let calls: Vec<_> = (0..2 * AT_ONCE)
            .map(|_| tokio::spawn(self.charge()))
            .collect();
        let mut refused = 0;
        for call in calls {
            let status = call.await?.expect_err("nobody answers");
            refused += u32::from(status.get_error_details().error_info().is_some());
        }
        assert!(
            refused > 0,
            "who queued was woken and refused, and did not wait on"
        );
        println!(
            "all permits taken by a partner that hangs: {}",
            self.handle.status()
        );
        assert_eq!(self.handle.mode(), Mode::Maintenance);
        Ok(())
    }
}

/// Tells the story.
#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let policy = Policy::default()
        .with_consecutive_failures(3)
        .with_hang_limit(HANG_LIMIT);
    let layer = MaintenanceLayer::builder("zuora").policy(policy).build()?;
    let partner = Partner::default();
    let server = partner.listen().await?;
    let story = Story {
        partner,
        handle: layer.handle(),
        client: BillingClient::new(guarded(&layer, server.channel()?)?),
    };
    assert_eq!(story.prices().await?, 1200);
    story.anew()?;
    story.partner.forget();

    story
        .each_attempt_of_a_read_counts_and_a_charge_is_sent_once()
        .await?;
    story.a_refusal_is_an_answer_and_is_not_retried().await?;
    story.reads_find_out_that_it_is_back().await?;
    story.anew()?;
    story
        .a_hang_trips_and_who_queues_for_a_permit_is_refused()
        .await?;
    Ok(())
}
