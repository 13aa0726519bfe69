//! The layer around tonic's `Channel`, a real server behind it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::time::Duration;

use grpc_tests::{
    Ask, Behaviour, BillingClient, BillingServer, Listening, Partner, Payment, method, serve,
};
use test_support::{CAP, millis, secs, soon};
use tokio_stream::StreamExt;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Server},
};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, ServiceBuilder};
use tower_maintenance::{
    Exemption, Hold, Maintenance, MaintenanceHandle, MaintenanceLayer, Mode, Policy, Rule,
    grpc::{DOMAIN, GrpcCalls, GrpcRoutes, REASON},
    http::Refusals,
};

type Client = BillingClient<Maintenance<Channel, GrpcCalls>>;

struct Stack {
    layer: MaintenanceLayer,
    handle: MaintenanceHandle,
    partner: Partner,
    server: Listening,
    client: Client,
}

/// Trips at the third failure in a row, and then waits so long that no test sees the end.
fn policy() -> Policy {
    Policy::default()
        .with_consecutive_failures(3)
        .with_wait(secs(600))
        .with_wait_growing(1.0, secs(3600))
        .with_jitter(0.0)
}

impl Stack {
    async fn new() -> Self {
        Self::with(policy()).await
    }

    async fn with(policy: Policy) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy)
            .exempt(Exemption::grpc_call(
                method::GET_INVOICE,
                "customers may always see what they owe",
            ))
            .build()
            .unwrap();
        let partner = Partner::default();
        let server = partner.listen().await.unwrap();
        let calls = GrpcCalls::new()
            .reads([method::GET_PRICES, method::WATCH_PRICES])
            .unwrap();
        let channel = layer.with_protocol(calls).layer(server.channel().unwrap());
        Self {
            handle: layer.handle(),
            layer,
            partner,
            server,
            client: BillingClient::new(channel),
        }
    }

    async fn charge(&self) -> Result<u64, Status> {
        let answer = soon(self.client.clone().charge(Payment { cents: 7 })).await;
        answer.map(|invoice| invoice.into_inner().cents)
    }

    async fn prices(&self) -> Result<u64, Status> {
        let answer = soon(self.client.clone().get_prices(Ask {})).await;
        answer.map(|prices| prices.into_inner().cents)
    }

    /// A stream read to its end.
    async fn watch(&self) -> Result<Vec<u64>, Status> {
        let answer = soon(self.client.clone().watch_prices(Ask {})).await?;
        let prices = answer.into_inner().map(|prices| Ok(prices?.cents));
        soon(prices.collect()).await
    }

    async fn trip(&self) {
        self.partner.does(Behaviour::failing(Code::Unavailable));
        while self.handle.mode() == Mode::Serving {
            self.charge().await.unwrap_err();
        }
    }
}

/// That it is a refusal, and what it says.
fn assert_refused(status: &Status) -> ErrorDetails {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("a refusal says why");
    assert_eq!((&*info.reason, &*info.domain), (REASON, DOMAIN));
    assert_eq!(info.metadata["component"], "This service");
    assert!(!format!("{status:?}").contains("zuora"), "{status:?}");
    details
}

/// A client behind the layer with the default protocol, and whether a time limit fires in it.
async fn hanging(
    server: impl FnOnce(Server) -> Server,
    limit: Option<Duration>,
) -> (MaintenanceHandle, Status) {
    let partner = Partner::default();
    partner.does(Behaviour::Hangs);
    let routes = server(Server::builder()).add_service(BillingServer::new(partner));
    let listening = serve(routes).await.unwrap();
    let mut endpoint = Endpoint::from_shared(format!("http://{}", listening.addr())).unwrap();
    if let Some(limit) = limit {
        endpoint = endpoint.timeout(limit);
    }
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy())
        .build()
        .unwrap();
    let channel = layer.grpc_calls().layer(endpoint.connect_lazy());
    let mut client = BillingClient::new(channel);
    let mut last = None;
    for _ in 0..3 {
        last = soon(client.charge(Payment { cents: 7 })).await.err();
    }
    (layer.handle(), last.unwrap())
}

#[tokio::test]
async fn a_tonic_server_whose_time_limit_fires_trips() {
    let limit = Duration::from_millis(50);
    let (handle, status) = hanging(|server| server.timeout(limit), None).await;
    // tonic says CANCELLED of its own limit.
    assert_eq!(status.code(), Code::Cancelled);
    assert_eq!(handle.mode(), Mode::Maintenance);
    let calls = handle.status().calls;
    assert_eq!((calls.failed, calls.neutral), (3, 0));
}

#[tokio::test]
async fn a_tonic_client_whose_time_limit_fires_trips() {
    let limit = Duration::from_millis(50);
    let (handle, status) = hanging(|server| server, Some(limit)).await;
    assert_eq!(status.code(), Code::Cancelled);
    assert_eq!(handle.status().calls.failed, 3);
    assert_eq!(handle.mode(), Mode::Maintenance);
}

#[tokio::test]
async fn unavailable_trips_in_trailers_and_as_trailers_only() {
    let status = || Box::new(Status::unavailable("database gone"));
    for behaviour in [
        Behaviour::Fails(status()),
        Behaviour::FailsInTrailers(status()),
    ] {
        let stack = Stack::new().await;
        assert_eq!(stack.watch().await.unwrap(), [1200, 1300, 1400]);
        stack.partner.does(behaviour.clone());
        for _ in 0..3 {
            assert_eq!(stack.handle.mode(), Mode::Serving);
            let status = stack.watch().await.unwrap_err();
            assert_eq!(status.message(), "database gone");
        }
        assert_eq!(stack.handle.mode(), Mode::Maintenance, "{behaviour:?}");
        let calls = stack.handle.status().calls;
        assert_eq!((calls.succeeded, calls.failed), (1, 3));
    }
    // A unary call too.
    let stack = Stack::new().await;
    stack.trip().await;
    assert_eq!(stack.partner.calls_of("charge"), 3);
}

#[tokio::test]
async fn each_code_is_judged_as_the_table_says() {
    let judged = |code| match code {
        // CANCELLED that is received: the caller still waits.
        1 | 2 | 4 | 13 | 14 | 15 => (0, 1, 0),
        7 | 8 | 16 => (0, 0, 1),
        _ => (1, 0, 0),
    };
    for number in 1..=16 {
        let status = Box::new(Status::new(Code::from(number), "the partner says so"));
        for behaviour in [
            Behaviour::Fails(status.clone()),
            Behaviour::FailsInTrailers(status),
        ] {
            let stack = Stack::new().await;
            stack.partner.does(behaviour);
            let seen = stack.watch().await.unwrap_err();
            assert_eq!(seen.code(), Code::from(number));
            let calls = stack.handle.status().calls;
            let counted = (calls.succeeded, calls.failed, calls.neutral);
            assert_eq!(counted, judged(number), "{number}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_trips() {
    for frames in [0, 1] {
        let stack = Stack::new().await;
        stack.partner.does(Behaviour::BreaksOff(frames));
        for _ in 0..3 {
            assert_eq!(stack.handle.mode(), Mode::Serving);
            stack.watch().await.unwrap_err();
        }
        assert_eq!(stack.handle.mode(), Mode::Maintenance, "{frames}");
    }
    let stack = Stack::new().await;
    stack.partner.does(Behaviour::BreaksOff(0));
    for _ in 0..3 {
        stack.prices().await.unwrap_err();
    }
    assert_eq!(stack.handle.mode(), Mode::Maintenance);
}

#[tokio::test]
async fn a_server_that_is_gone_trips() {
    let Stack {
        handle,
        server,
        mut client,
        ..
    } = Stack::new().await;
    drop(server);
    for _ in 0..3 {
        assert_eq!(handle.mode(), Mode::Serving);
        soon(client.charge(Payment { cents: 7 })).await.unwrap_err();
    }
    assert_eq!(handle.mode(), Mode::Maintenance);
}

#[tokio::test]
async fn a_hang_under_a_timeout_trips() {
    const LIMIT: Duration = millis(100);
    let stack = Stack::with(policy().with_hang_limit(LIMIT)).await;
    let channel = ServiceBuilder::new()
        .timeout(LIMIT)
        .layer(stack.layer.grpc_calls())
        .service(stack.server.channel().unwrap());
    let mut client = BillingClient::new(channel);
    stack.partner.does(Behaviour::Hangs);
    for _ in 0..3 {
        assert_eq!(stack.handle.mode(), Mode::Serving);
        soon(client.charge(Payment { cents: 7 })).await.unwrap_err();
    }
    assert_eq!(stack.handle.mode(), Mode::Maintenance);
}

#[tokio::test]
async fn a_stream_that_hangs_is_a_failure_when_its_reader_gives_up() {
    const LIMIT: Duration = millis(100);
    let stack = Stack::with(policy().with_hang_limit(LIMIT)).await;
    stack.partner.does(Behaviour::StreamHangs);
    for _ in 0..3 {
        let answer = soon(stack.client.clone().watch_prices(Ask {})).await;
        let mut stream = answer.unwrap().into_inner();
        assert_eq!(soon(stream.message()).await.unwrap().unwrap().cents, 1200);
        let more = tokio::time::timeout(LIMIT, stream.message()).await;
        assert!(more.is_err());
    }
    assert_eq!(stack.handle.mode(), Mode::Maintenance);
}

#[tokio::test]
async fn a_stream_that_hangs_is_a_failure_while_its_reader_still_waits() {
    const LIMIT: Duration = millis(100);
    let stack = Stack::with(policy().with_hang_limit(LIMIT)).await;
    stack.partner.does(Behaviour::StreamHangs);
    let mut readers = Vec::new();
    for _ in 0..3 {
        let answer = soon(stack.client.clone().watch_prices(Ask {})).await;
        let mut stream = answer.unwrap().into_inner();
        assert_eq!(soon(stream.message()).await.unwrap().unwrap().cents, 1200);
        // The readers wait for more, and none gives up.
        readers.push(tokio::spawn(async move { stream.message().await }));
    }
    let mut events = stack.handle.events();
    soon(async {
        while stack.handle.mode() == Mode::Serving {
            events.recv().await;
        }
    })
    .await;
    assert_eq!(stack.handle.status().calls.failed, 3);
    for reader in readers {
        assert!(!reader.is_finished());
        reader.abort();
    }
}

#[tokio::test]
async fn a_stream_that_is_quiet_after_its_first_message_is_a_success() {
    // Longer than any first message takes.
    const LIMIT: Duration = secs(2);
    let stack = Stack::with(policy().with_hang_limit(LIMIT)).await;
    let watches = GrpcCalls::new().reads([method::WATCH_PRICES]).unwrap();
    let watches = watches.streams([method::WATCH_PRICES]).unwrap();
    let watching = stack
        .layer
        .with_protocol(watches)
        .layer(stack.server.channel().unwrap());
    let mut client = BillingClient::new(watching);
    let calls = || stack.handle.status().calls;
    stack.partner.does(Behaviour::StreamHangs);
    let mut readers = Vec::new();
    for watched in 1..=5 {
        let mut stream = soon(client.watch_prices(Ask {}))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(soon(stream.message()).await.unwrap().unwrap().cents, 1200);
        assert_eq!((calls().succeeded, calls().in_flight()), (watched, 0));
        readers.push(tokio::spawn(async move { stream.message().await }));
    }
    // Until it is past the limit for all of them.
    let last = readers.last_mut().unwrap();
    let more = tokio::time::timeout(LIMIT * 3 / 2, last).await;
    assert!(more.is_err(), "it is quiet");
    for reader in readers {
        assert!(!reader.is_finished());
        reader.abort();
    }
    assert_eq!((calls().succeeded, calls().failed), (5, 0));
    // How it ends says nothing more; how it begins does.
    let down = Box::new(Status::unavailable("database gone"));
    stack.partner.does(Behaviour::FailsInTrailers(down.clone()));
    for _ in 0..3 {
        let answer = soon(client.watch_prices(Ask {})).await;
        let mut stream = answer.unwrap().into_inner();
        soon(stream.message()).await.unwrap();
        let status = soon(stream.message()).await.unwrap_err();
        assert_eq!(status.message(), "database gone");
    }
    assert_eq!((calls().succeeded, calls().failed), (8, 0));
    for behaviour in [Behaviour::Fails(down), Behaviour::BreaksOff(0)] {
        stack.partner.does(behaviour);
        let answer = soon(client.watch_prices(Ask {})).await;
        if let Ok(answer) = answer {
            soon(answer.into_inner().message()).await.unwrap_err();
        }
    }
    assert_eq!((calls().succeeded, calls().failed), (8, 2));
}

#[tokio::test]
async fn the_longest_delay_is_as_long_as_it_is_said_to_be() {
    let stack = Stack::new().await;
    let hold = Hold::new("on-call", "drill").for_at_most(secs(7200));
    stack.handle.engage(hold).unwrap();
    for longest in [secs(2), secs(3600)] {
        let calls = GrpcCalls::new().longest_retry_delay(longest).unwrap();
        let routes = GrpcRoutes::new().longest_retry_delay(longest).unwrap();
        let around = stack.layer.with_protocol(calls);
        let around = around.layer(stack.server.channel().unwrap());
        let before = Server::builder()
            .layer(stack.layer.with_protocol(routes))
            .add_service(BillingServer::new(stack.partner.clone()));
        let before = serve(before).await.unwrap();
        let refusals = [
            soon(BillingClient::new(around).charge(Payment { cents: 7 })).await,
            soon(BillingClient::new(before.channel().unwrap()).charge(Payment { cents: 7 })).await,
        ];
        for refused in refusals {
            let details = assert_refused(&refused.unwrap_err());
            let delay = details.retry_info().unwrap().retry_delay.unwrap();
            assert!((longest / 2..=longest).contains(&delay), "{delay:?}");
        }
    }
    assert_eq!(stack.partner.calls(), 0);
}

#[tokio::test]
async fn tonics_own_timeout_counts_like_any_other_error() {
    let stack = Stack::new().await;
    stack.partner.does(Behaviour::Hangs);
    for _ in 0..3 {
        let mut request = tonic::Request::new(Payment { cents: 7 });
        request.set_timeout(millis(50));
        soon(stack.client.clone().charge(request))
            .await
            .unwrap_err();
    }
    assert_eq!(stack.handle.mode(), Mode::Maintenance);
}

#[tokio::test]
async fn while_tripped_callers_see_unavailable_with_details_and_the_server_sees_nobody() {
    let stack = Stack::new().await;
    stack.trip().await;
    let before = stack.partner.calls();
    for refused in [
        stack.charge().await.unwrap_err(),
        stack.prices().await.unwrap_err(),
        stack.watch().await.unwrap_err(),
    ] {
        let details = assert_refused(&refused);
        let delay = details.retry_info().unwrap().retry_delay.unwrap();
        assert!(delay <= secs(300) && delay >= secs(150), "{delay:?}");
        let info = details.error_info().unwrap();
        assert_eq!(info.metadata["mode"], "maintenance");
        assert!(!info.metadata.contains_key("processed"), "not known");
        assert_eq!(
            refused.message(),
            "This service is in maintenance: a call that the request needs was not made"
        );
    }
    // Not every caller is sent to the same instant.
    let mut delays = Vec::new();
    for _ in 0..20 {
        let details = assert_refused(&stack.charge().await.unwrap_err());
        delays.push(details.retry_info().unwrap().retry_delay.unwrap().as_secs());
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 5, "{delays:?}");
    assert_eq!(stack.partner.calls(), before, "not processed");

    // What is exempt still reaches it, and sees what the partner itself says.
    let own = soon(stack.client.clone().get_invoice(Ask {}))
        .await
        .unwrap_err();
    assert_eq!(own.message(), "the partner says so");
    assert!(own.get_error_details().error_info().is_none());
    assert_eq!(stack.partner.calls_of("get_invoice"), 1);
}

#[tokio::test]
async fn a_read_probes_and_a_charge_does_not() {
    let stack = Stack::new().await;
    stack.trip().await;
    let charged = stack.partner.calls_of("charge");
    stack.partner.does(Behaviour::Healthy);
    stack.handle.probe_now("on-call", "let us see").unwrap();

    let details = assert_refused(&stack.charge().await.unwrap_err());
    assert_eq!(details.error_info().unwrap().metadata["mode"], "probing");
    assert_eq!(stack.prices().await.unwrap(), 1200);
    assert_eq!(stack.watch().await.unwrap(), [1200, 1300, 1400]);
    assert_refused(&stack.charge().await.unwrap_err());
    assert_eq!(stack.handle.mode(), Mode::Probing);
    assert_eq!(stack.prices().await.unwrap(), 1200);

    assert_eq!(stack.handle.mode(), Mode::Serving);
    assert_eq!(stack.partner.calls_of("charge"), charged);
    assert_eq!(stack.charge().await.unwrap(), 7);
}

#[tokio::test]
async fn a_read_only_hold_lets_reads_pass() {
    let stack = Stack::new().await;
    let hold = Hold::new("on-call", "the ledger moves, ticket 4711").read_only();
    let hold = hold.with_message("Pr\u{e4}sentation: back at 9 %\n");
    stack.handle.engage(hold).unwrap();
    assert_eq!(stack.prices().await.unwrap(), 1200);
    assert_eq!(stack.watch().await.unwrap().len(), 3);
    let refused = stack.charge().await.unwrap_err();
    let details = assert_refused(&refused);
    assert_eq!(details.error_info().unwrap().metadata["read_only"], "true");
    assert_eq!(
        refused.message(),
        "This service is read-only: a call that the request needs was not made: \
         Pr\u{e4}sentation: back at 9 %\n"
    );
    assert!(
        !format!("{refused:?}").contains("4711"),
        "the reason is not for customers"
    );
    assert_eq!(stack.partner.calls_of("charge"), 0);
}

#[tokio::test]
async fn the_longest_message_fits_a_clients_headers() {
    let stack = Stack::new().await;
    let hold = Hold::new("on-call", "drill").with_message("\u{1f6a7}".repeat(512));
    stack.handle.engage(hold).unwrap();
    let refused = stack.charge().await.unwrap_err();
    assert_refused(&refused);
    assert!(refused.message().ends_with('\u{1f6a7}'));
    assert!(refused.message().len() <= 1024);
}

#[tokio::test]
async fn a_retry_info_of_the_partner_is_the_least_that_the_trip_waits() {
    let details = ErrorDetails::with_retry_info(Some(secs(1800)));
    let busy = Status::with_error_details(Code::Unavailable, "busy", details);
    for behaviour in [
        Behaviour::Fails(Box::new(busy.clone())),
        Behaviour::FailsInTrailers(Box::new(busy)),
    ] {
        let stack = Stack::new().await;
        stack.partner.does(behaviour);
        for _ in 0..3 {
            stack.watch().await.unwrap_err();
        }
        let left = stack.handle.status().retry_after.unwrap();
        assert!(left <= secs(1800) && left > secs(1700), "{left:?}");

        // A probe that is answered so goes back for that long.
        stack.handle.probe_now("on-call", "let us see").unwrap();
        stack.watch().await.unwrap_err();
        let rule = stack.handle.status().evidence.unwrap().rule;
        assert!(matches!(rule, Rule::PartnerAsked { .. }), "{rule:?}");
    }
}

/// Two services, both with the layer: what one says while it is in maintenance, the other heeds.
#[tokio::test]
async fn a_partner_that_is_in_maintenance_itself_is_left_alone_that_long() {
    let refusals = Refusals::new().component("Ledger");
    let theirs = MaintenanceLayer::builder("ledger-db").refusals(refusals);
    let theirs = theirs.build().unwrap();
    let hold = Hold::new("their on-call", "migration").for_at_most(secs(1800));
    theirs.handle().engage(hold).unwrap();
    let partner = Partner::default();
    let router = Server::builder()
        .layer(theirs.grpc_routes())
        .add_service(BillingServer::new(partner.clone()));
    let server = serve(router).await.unwrap();

    let ours = MaintenanceLayer::builder("zuora")
        .policy(policy().with_wait(secs(60)))
        .build()
        .unwrap();
    let channel = ours.grpc_calls().layer(server.channel().unwrap());
    let mut client = BillingClient::new(channel);
    for _ in 0..3 {
        let status = soon(client.charge(Payment { cents: 7 })).await.unwrap_err();
        let details = status.get_error_details();
        assert_eq!(
            details.error_info().unwrap().metadata["component"],
            "Ledger"
        );
    }
    let left = ours.handle().status().retry_after.unwrap();
    assert!(left <= secs(300) && left > secs(150) - CAP, "{left:?}");
    assert!(left > secs(60), "longer than by itself: {left:?}");
    assert_eq!(partner.calls(), 0);
}
