//! The layer before one's own tonic services, a real client in front of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use grpc_tests::{
    Ask, Behaviour, BillingClient, BillingServer, Listening, Partner, Payment, method, serve,
};
use test_support::{millis, secs, soon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code, Status,
    transport::{Channel, Server},
};
use tonic_health::{ServingStatus, pb::HealthCheckRequest, pb::health_client::HealthClient};
use tonic_types::StatusExt;
use tower_maintenance::{
    Exemption, Hold, MaintenanceHandle, MaintenanceLayer,
    grpc::{DOMAIN, GrpcRoutes, REASON},
};

/// Our own services behind the gate: billing, and the health check, which is exempt.
struct Ours {
    handle: MaintenanceHandle,
    billing: Partner,
    server: Listening,
    client: BillingClient<Channel>,
}

impl Ours {
    async fn open() -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .exempt(Exemption::grpc_route(
                "/grpc.health.v1.Health/Check",
                "orchestrators must not restart us",
            ))
            .build()
            .unwrap();
        let routes = GrpcRoutes::new().reads([method::GET_PRICES]).unwrap();
        let billing = Partner::default();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", ServingStatus::Serving).await;
        let router = Server::builder()
            .layer(layer.with_protocol(routes))
            .add_service(BillingServer::new(billing.clone()))
            .add_service(health_service);
        let server = serve(router).await.unwrap();
        Self {
            handle: layer.handle(),
            client: BillingClient::new(server.channel().unwrap()),
            billing,
            server,
        }
    }

    fn hold(&self) {
        let hold = Hold::new("on-call", "ticket 4711").for_at_most(secs(600));
        self.handle.engage(hold).unwrap();
    }
}

fn assert_refused(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((&*info.reason, &*info.domain), (REASON, DOMAIN));
    assert_eq!(info.metadata["processed"], "false", "the gate knows");
    let said =
        "This service is in maintenance: the call was not processed, and may be repeated safely";
    assert_eq!(status.message(), said);
    assert!(!format!("{status:?}").contains("zuora"), "{status:?}");
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(delay <= secs(300), "{delay:?}");
}

#[tokio::test]
async fn services_are_refused_with_details_and_exempt_methods_pass() {
    let ours = Ours::open().await;
    let mut client = ours.client.clone();
    assert!(soon(client.charge(Payment { cents: 7 })).await.is_ok());
    ours.hold();
    let before = ours.billing.calls();
    assert_refused(&soon(client.charge(Payment { cents: 7 })).await.unwrap_err());
    assert_refused(&soon(client.get_prices(Ask {})).await.unwrap_err());
    assert_refused(&soon(client.watch_prices(Ask {})).await.unwrap_err());
    assert_eq!(ours.billing.calls(), before, "not processed");

    let mut health = HealthClient::new(ours.server.channel().unwrap());
    let ask = || HealthCheckRequest {
        service: String::new(),
    };
    let answer = soon(health.check(ask())).await.unwrap().into_inner();
    assert_eq!(answer.status, ServingStatus::Serving as i32);
    // Only what is listed.
    assert_refused(&soon(health.watch(ask())).await.unwrap_err());

    ours.handle.release("on-call", "drill").unwrap();
    assert!(soon(client.charge(Payment { cents: 7 })).await.is_ok());
    assert_eq!(ours.handle.status().window.total, 0, "it measures nothing");
}

#[tokio::test]
async fn while_probing_only_reads_pass() {
    let ours = Ours::open().await;
    ours.handle.trip("on-call", "drill").unwrap();
    ours.handle.probe_now("on-call", "let us see").unwrap();
    let mut client = ours.client.clone();
    assert_refused(&soon(client.charge(Payment { cents: 7 })).await.unwrap_err());
    assert!(soon(client.get_prices(Ask {})).await.is_ok());
}

#[tokio::test]
async fn a_stream_under_way_is_not_cut_by_a_later_engage() {
    let ours = Ours::open().await;
    ours.billing.does(Behaviour::StreamHangs);
    let mut client = ours.client.clone();
    let mut slow = soon(client.watch_prices(Ask {}))
        .await
        .unwrap()
        .into_inner();
    assert!(soon(slow.message()).await.unwrap().is_some());

    ours.billing.does(Behaviour::Healthy);
    let mut stream = soon(client.watch_prices(Ask {}))
        .await
        .unwrap()
        .into_inner();
    ours.hold();
    // The gate is shut for others on the same connection.
    assert_refused(&soon(client.watch_prices(Ask {})).await.unwrap_err());
    let mut cents = Vec::new();
    while let Some(prices) = soon(stream.message()).await.unwrap() {
        cents.push(prices.cents);
    }
    assert_eq!(cents, [1200, 1300, 1400]);
    // The one that has nothing to say is still open.
    let more = tokio::time::timeout(millis(100), slow.message()).await;
    assert!(more.is_err(), "{more:?}");
}

// ---- on the wire --------------------------------------------------------------------------------

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Literal header fields, in HPACK's plainest form: no table, no Huffman code.
fn plain_hpack(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "a longer length has another form");
            out.push(u8::try_from(text.len()).unwrap());
            out.extend(text.as_bytes());
        }
    }
    out
}

/// The frames of the answer to one unary call: kind and flags of each, up to the frame that ends
/// the stream.
async fn frames_of_a_call(ours: &Ours, path: &str) -> Vec<(u8, u8)> {
    let mut tcp = TcpStream::connect(ours.server.addr()).await.unwrap();
    let request = plain_hpack(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "ours"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]);
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(SETTINGS, 0, 0, &[]));
    out.extend(frame(HEADERS, END_HEADERS, 1, &request));
    // An empty message.
    out.extend(frame(DATA, END_STREAM, 1, &[0; 5]));
    tcp.write_all(&out).await.unwrap();

    let mut seen = Vec::new();
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await.unwrap();
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = head;
        let length = u32::from_be_bytes([0, l1, l2, l3]);
        let stream = u32::from_be_bytes([s1, s2, s3, s4]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        tcp.read_exact(&mut payload).await.unwrap();
        if stream == 1 {
            seen.push((kind, flags));
            if kind == RST_STREAM || (flags & END_STREAM != 0 && kind <= HEADERS) {
                return seen;
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_is_one_headers_frame_that_ends_the_stream() {
    let ours = Ours::open().await;
    let path = "/billing.v1.Billing/Charge";
    // The control: a call that is served has headers, a message, and trailers.
    let kinds = |frames: &[(u8, u8)]| frames.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
    let served = soon(frames_of_a_call(&ours, path)).await;
    assert_eq!(kinds(&served), [HEADERS, DATA, HEADERS], "{served:?}");
    ours.hold();
    let refused = soon(frames_of_a_call(&ours, path)).await;
    assert_eq!(refused, [(HEADERS, END_HEADERS | END_STREAM)]);
}
