//! gRPC-Web with `tonic-web` on both sides: the layer on either side of its translation, over
//! HTTP/1.1 and HTTP/2.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use bytes::Bytes;
use grpc_tests::{
    Ask, Behaviour, BillingClient, BillingServer, Listening, Partner, Payment, serve,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use test_support::{secs, soon};
use tokio_stream::StreamExt;
use tonic::{Code, Status, body::Body, transport::Server};
use tonic_types::StatusExt;
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_maintenance::{Hold, MaintenanceHandle, MaintenanceLayer, Mode, Policy, grpc::REASON};

type Channel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, tower::BoxError>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    /// The layer sees gRPC.
    WithinTheService,
    /// The layer sees gRPC-Web.
    TowardsTheNetwork,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    Http1,
    Http2,
}

const EVERY: [(Side, Version); 4] = [
    (Side::WithinTheService, Version::Http1),
    (Side::WithinTheService, Version::Http2),
    (Side::TowardsTheNetwork, Version::Http1),
    (Side::TowardsTheNetwork, Version::Http2),
];

fn network(version: Version) -> Client<HttpConnector, Body> {
    let mut client = Client::builder(TokioExecutor::new());
    client.http2_only(version == Version::Http2).build_http()
}

fn client(channel: Channel, server: &Listening) -> BillingClient<Channel> {
    let origin = format!("http://{}", server.addr()).parse().unwrap();
    BillingClient::with_origin(channel, origin)
}

fn boxed<S, B>(service: S) -> Channel
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<B>,
            Error: Into<tower::BoxError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let service = service
        .map_response(|response| response.map(Body::new))
        .map_err(Into::into);
    BoxCloneSyncService::new(service)
}

/// A client around whose calls the layer stands, or one without.
fn calling(
    server: &Listening,
    version: Version,
    layer: Option<(&MaintenanceLayer, Side)>,
) -> BillingClient<Channel> {
    let with = |side, channel| match layer {
        Some((layer, its)) if its == side => boxed(layer.grpc_calls().layer(channel)),
        _ => channel,
    };
    let network = with(Side::TowardsTheNetwork, boxed(network(version)));
    let network = network.map_request(|request: http::Request<_>| request.map(Body::new));
    let web = boxed(GrpcWebClientLayer::new().layer(network));
    client(with(Side::WithinTheService, web), server)
}

fn layer() -> MaintenanceLayer {
    let policy = Policy::default()
        .with_consecutive_failures(3)
        .with_wait(secs(600));
    MaintenanceLayer::builder("zuora")
        .policy(policy)
        .build()
        .unwrap()
}

async fn partner() -> (Partner, Listening) {
    let partner = Partner::default();
    let server = Server::builder()
        .accept_http1(true)
        .layer(GrpcWebLayer::new())
        .add_service(BillingServer::new(partner.clone()));
    (partner, serve(server).await.unwrap())
}

async fn watch(client: &mut BillingClient<Channel>) -> Result<Vec<u64>, Status> {
    let answer = soon(client.watch_prices(Ask {})).await?.into_inner();
    soon(answer.map(|prices| Ok(prices?.cents)).collect()).await
}

fn counts(handle: &MaintenanceHandle) -> (u64, u64, u64) {
    let calls = handle.status().calls;
    assert_eq!(calls.in_flight(), 0);
    (calls.succeeded, calls.failed, calls.neutral)
}

fn assert_refused(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, REASON);
    assert!(details.retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn around_calls_both_sides_of_the_translation_judge_the_same() {
    for (side, version) in EVERY {
        let told = format!("{side:?}, {version:?}");
        let (partner, server) = partner().await;
        let layer = layer();
        let handle = layer.handle();
        let mut client = calling(&server, version, Some((&layer, side)));

        assert!(soon(client.charge(Payment { cents: 7 })).await.is_ok());
        assert_eq!(watch(&mut client).await.unwrap(), [1200, 1300, 1400]);
        assert_eq!(counts(&handle), (2, 0, 0), "{told}");

        let status = || Box::new(Status::resource_exhausted("slower"));
        partner.does(Behaviour::FailsInTrailers(status()));
        assert_eq!(
            watch(&mut client).await.unwrap_err().code(),
            Code::ResourceExhausted
        );
        partner.does(Behaviour::Fails(status()));
        assert_eq!(
            watch(&mut client).await.unwrap_err().code(),
            Code::ResourceExhausted
        );
        assert_eq!(counts(&handle), (2, 0, 2), "{told}");

        partner.does(Behaviour::FailsInTrailers(Box::new(Status::unavailable(
            "down",
        ))));
        for _ in 0..3 {
            assert_eq!(handle.mode(), Mode::Serving, "{told}");
            assert_eq!(watch(&mut client).await.unwrap_err().message(), "down");
        }
        assert_eq!(handle.mode(), Mode::Maintenance, "{told}");
        assert_eq!(counts(&handle), (2, 3, 2), "{told}");

        let before = partner.calls();
        assert_refused(&soon(client.charge(Payment { cents: 7 })).await.unwrap_err());
        assert_refused(&watch(&mut client).await.unwrap_err());
        assert_eq!(partner.calls(), before, "{told}");
    }
}

#[tokio::test]
async fn before_services_both_sides_of_the_translation_refuse_the_same() {
    for (side, version) in EVERY {
        let layer = layer();
        let ours = Partner::default();
        let server = Server::builder().accept_http1(true);
        let (outside, gate) = (GrpcWebLayer::new(), layer.grpc_routes());
        let billing = BillingServer::new(ours.clone());
        let server = match side {
            Side::WithinTheService => {
                serve(server.layer(outside).layer(gate).add_service(billing)).await
            }
            Side::TowardsTheNetwork => {
                serve(server.layer(gate).layer(outside).add_service(billing)).await
            }
        };
        let server = server.unwrap();
        let mut client = calling(&server, version, None);

        assert!(soon(client.charge(Payment { cents: 7 })).await.is_ok());
        let hold = Hold::new("on-call", "ticket 4711");
        layer.handle().engage(hold).unwrap();
        assert_refused(&soon(client.charge(Payment { cents: 7 })).await.unwrap_err());
        assert_refused(&watch(&mut client).await.unwrap_err());
        assert_eq!(ours.calls(), 1, "{side:?}, {version:?}");

        // As a browser's client asks, which takes no answer of another type.
        for asked in [
            "application/grpc-web+proto",
            "application/grpc-web-text+proto",
        ] {
            let request = http::Request::post(format!(
                "http://{}/billing.v1.Billing/Charge",
                server.addr()
            ))
            .header("content-type", asked)
            .header("accept", asked)
            .body(Body::empty())
            .unwrap();
            let answer = soon(network(version).request(request)).await.unwrap();
            assert_eq!(answer.headers()["content-type"], asked, "{side:?}");
            assert_eq!(answer.headers()["grpc-status"], "14", "{side:?}");
        }
    }
}
