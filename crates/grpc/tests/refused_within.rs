//! A refusal that was made in this process, under the `Status` that tonic makes of it.

use std::{error::Error as StdError, io, sync::Arc};

use grpc_tests::{Ask, Behaviour, BillingClient, Partner};
use tonic::{Code, Status};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_maintenance::{
    Error, Hold, KeyedLayer, MaintenanceLayer, Mode, Policy, Refused,
    grpc::{self, find},
};

fn layer(name: &str) -> MaintenanceLayer {
    let policy = Policy::default().with_consecutive_failures(3);
    let layer = MaintenanceLayer::builder(name).policy(policy);
    layer.build().expect("the policy is valid")
}

fn hold(layer: &MaintenanceLayer) {
    let hold = Hold::new("on-call", "drill");
    layer
        .handle()
        .engage(hold)
        .expect("nothing speaks against it");
}

async fn refused() -> Refused {
    let layer = layer("zuora");
    hold(&layer);
    let partner = service_fn(async |()| Ok::<(), io::Error>(()));
    let called = layer.layer(partner).oneshot(()).await;
    called
        .expect_err("it is held")
        .refused()
        .expect("it is held")
        .clone()
}

#[tokio::test]
async fn a_status_that_was_made_of_a_refusal_has_it_and_one_that_was_sent_has_not() {
    let refused = refused().await;
    let error = || Error::<io::Error>::Refused(refused.clone());
    let mut with_source = Status::unavailable("try later");
    with_source.set_source(Arc::new(refused.clone()));
    let within = Status::from_error(Box::new(Status::from_error(error().into())));
    for (case, status) in [
        ("made of it", Status::from_error(error().into())),
        (
            "in an io error",
            Status::from_error(io::Error::other(error()).into()),
        ),
        ("its source", with_source),
        ("a status of a status", within),
    ] {
        let found = find(&status).map(Refused::partner);
        assert_eq!(found, Some("zuora"), "{case}");
        let shared: Arc<dyn StdError + Send + Sync> = Arc::new(status);
        assert!(Refused::find(&shared).is_some(), "{case}");
    }

    // The same words from a server: all that a refusal says, headers and details.
    let answer: http::Response<String> = grpc::refusal(&refused);
    let sent = Status::from_header_map(answer.headers()).expect("it has a status");
    assert_eq!(sent.code(), Code::Unavailable);
    assert!(!sent.details().is_empty());
    assert!(find(&sent).is_none());
    assert!(find(&Status::unavailable("zuora is in maintenance")).is_none());
}

/// Layers around a generated client, over a channel with a layer of its own.
#[tokio::test]
async fn layers_around_a_generated_client_know_the_refusal_of_the_channels_layer() {
    let partner = Partner::default();
    let server = partner.listen().await.expect("there is a port");
    let account = layer("zuora");
    let channel = account.grpc_calls().boxed();
    let channel = channel.layer(server.channel().expect("it has an address"));
    let client = BillingClient::new(channel);
    let call = service_fn(move |_: u32| {
        let mut client = client.clone();
        async move {
            client
                .get_prices(Ask {})
                .await
                .map(|prices| prices.into_inner().cents)
        }
    });
    let tenants = KeyedLayer::builder(|tenant: &u32| *tenant, |_: &u32| layer("tenant").nested());
    let tenants = tenants.build().expect("the numbers are valid");
    let keys = tenants.keys();
    let stack = ServiceBuilder::new().layer(tenants).service(call);

    assert_eq!(stack.clone().oneshot(0).await.expect("it serves"), 1200);
    hold(&account);
    for call in 0..30 {
        let error = stack
            .clone()
            .oneshot(call % 3)
            .await
            .expect_err("it is held");
        assert_eq!(find(&error).map(Refused::partner), Some("zuora"));
    }
    assert_eq!(partner.calls(), 1);
    for tenant in 0..3 {
        let status = keys.handle(&tenant).expect("there is a place").status();
        assert_eq!(status.mode, Mode::Serving, "{status}");
        assert_eq!((status.calls.failed, status.calls.refused_within), (0, 10));
    }
}

/// What a server says is the partner's word: it counts for every layer.
#[tokio::test]
async fn what_the_server_itself_says_trips_the_layers_around_a_generated_client() {
    let partner = Partner::default();
    let server = partner.listen().await.expect("there is a port");
    let (account, tenant) = (layer("zuora"), layer("tenant"));
    let channel = account.grpc_calls().boxed();
    let channel = channel.layer(server.channel().expect("it has an address"));
    let client = BillingClient::new(channel);
    let call = service_fn(move |()| {
        let mut client = client.clone();
        async move { client.get_prices(Ask {}).await }
    });
    let stack = tenant.nested().layer(call);
    partner.does(Behaviour::failing(Code::Unavailable));
    for _ in 0..3 {
        let error = stack.clone().oneshot(()).await;
        assert!(find(&error.expect_err("the partner is down")).is_none());
    }
    assert_eq!(tenant.handle().mode(), Mode::Maintenance);
    assert_eq!(account.handle().mode(), Mode::Maintenance);
}
