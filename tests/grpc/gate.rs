//! What passes the gate, at both placements.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::BodyExt;
use test_support::millis;
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Exemption, Hold, MaintenanceLayer, Mode, Refused,
    grpc::{GrpcCalls, GrpcRoutes, find},
    http::Refusals,
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_tripped_layer_answers_by_itself_and_exempt_methods_pass() {
    let stack = Stack::new(in_trailers("14"));
    for _ in 0..3 {
        assert!(!stack.is_refused(CHARGE).await);
        stack.call(CHARGE).await;
    }
    assert!(stack.is_refused(CHARGE).await);
    assert!(stack.is_refused(PRICES).await);
    assert!(!stack.is_refused("/billing.v1.Billing/GetInvoice").await);
    for sneaky in [
        "/billing.v1.Billing//GetInvoice",
        "/billing.v1.Billing/x/../GetInvoice",
        "/billing.v1.Billing/GetInvoice;x",
        "/billing.v1.Billing/GetInvoice%2f",
        "/billing.v1.Billing/getinvoice",
    ] {
        assert!(stack.is_refused(sneaky).await, "{sneaky}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_is_said_to_read_probes() {
    let stack = Stack::new(in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.is_refused(CHARGE).await);
    assert!(stack.is_refused("/billing.v1.Billing//GetPrices").await);
    for _ in 0..3 {
        assert_eq!(stack.handle.mode(), Mode::Probing);
        stack.call(PRICES).await;
    }
    assert_eq!(stack.handle.mode(), Mode::Serving);

    // By default no method reads.
    let stack = Stack::with_protocol(GrpcCalls::new(), in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.is_refused(PRICES).await);
}

#[tokio::test(start_paused = true)]
async fn what_may_probe_is_the_users_to_say() {
    let speaks = GrpcCalls::new().reads([PRICES]).unwrap();
    let speaks = speaks.may_probe(|path| path == CHARGE);
    let stack = Stack::with_protocol(speaks, in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(
        stack.is_refused(PRICES).await,
        "it reads, and may not probe"
    );
    assert!(!stack.is_refused(CHARGE).await);
    // Probing and class differ: under a read-only hold the read passes, and the charge does not.
    stack.handle.clear("on-call", "seen").unwrap();
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    stack.handle.engage(hold).unwrap();
    assert!(!stack.is_refused(PRICES).await);
    assert!(stack.is_refused(CHARGE).await);
}

/// Whether a call of a method passes the gate before our own services.
fn passes(layer: &MaintenanceLayer, routes: GrpcRoutes) -> impl AsyncFn(&str) -> bool {
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("served")));
    let ours = layer.with_protocol(routes).layer(ours);
    async move |method: &str| {
        let request = Request::post(method).body(()).unwrap();
        *ours.clone().oneshot(request).await.unwrap().body() == "served"
    }
}

#[tokio::test(start_paused = true)]
async fn what_never_passes_passes_in_serving_alone() {
    const SETTLE: &str = "/billing.v1.Billing/SettleYear";
    let speaks = GrpcCalls::new().never([SETTLE]).unwrap();
    let speaks = speaks.may_probe(|_| true);
    let stack = Stack::with_protocol(speaks, in_trailers("0"));
    let routes = GrpcRoutes::new().reads([PRICES]).unwrap();
    let routes = routes.never([SETTLE]).unwrap();
    let passes = passes(&stack.layer, routes);
    assert!(!stack.is_refused(SETTLE).await);
    assert!(passes(SETTLE).await);

    stack.handle.trip("on-call", "drill").unwrap();
    assert!(stack.is_refused(SETTLE).await);
    assert!(!passes(SETTLE).await);
    stack.handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.is_refused(SETTLE).await, "whatever may probe");
    assert!(!passes(SETTLE).await);
    assert!(passes(PRICES).await);

    stack.handle.clear("on-call", "seen").unwrap();
    let hold = Hold::new("on-call", "the ledger moves").read_only();
    stack.handle.engage(hold).unwrap();
    assert!(stack.is_refused(SETTLE).await);
    assert!(!passes(SETTLE).await);
    assert!(passes(PRICES).await, "reads pass under a read-only hold");
}

#[test]
fn a_method_that_both_reads_and_never_passes_is_an_error_that_names_it() {
    let calls = GrpcCalls::new().reads([PRICES]).unwrap().never([PRICES]);
    let routes = GrpcRoutes::new().never([PRICES]).unwrap().reads([PRICES]);
    for (error, classes) in [
        (calls.unwrap_err(), "read and never"),
        (routes.unwrap_err(), "never and read"),
    ] {
        assert_eq!(
            error.to_string(),
            format!("the method `{PRICES}` has two classes, {classes}: give it one")
        );
    }
    let error = GrpcCalls::new().streams(["WatchPrices"]).unwrap_err();
    assert_eq!(error.name(), "WatchPrices");
}

#[test]
fn a_longest_delay_under_a_second_is_an_error() {
    let short = millis(500);
    let calls = GrpcCalls::new().longest_retry_delay(short).unwrap_err();
    let routes = GrpcRoutes::new().longest_retry_delay(short).unwrap_err();
    for error in [calls, routes] {
        assert_eq!(
            error.to_string(),
            "longest_retry_delay is 500 ms: allowed is 1 s or longer"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_holds_its_slot_until_its_trailers_came() {
    let stack = Stack::new(in_trailers("0"));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    let first = stack.head(PRICES).await.unwrap();
    assert!(first.extensions().get::<Refused>().is_none());
    assert!(stack.is_refused(PRICES).await, "one probe at a time");
    first.into_body().collect().await.unwrap();
    assert!(!stack.is_refused(PRICES).await);
}

#[tokio::test(start_paused = true)]
async fn another_layers_refusal_from_within_is_no_failure_of_this_partner() {
    let inner = MaintenanceLayer::new("tax");
    inner
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let outer = MaintenanceLayer::new("zuora");
    let partner = Partner::default();
    let channel = outer
        .grpc_calls()
        .layer(inner.grpc_calls().layer(partner.channel()));
    let request = Request::post(CHARGE).body(()).unwrap();
    let answer = channel.oneshot(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "14");
    let calls = outer.handle().status().calls;
    assert_eq!((calls.failed, calls.refused_within), (0, 1));

    // Refusals that are errors, too.
    let channel = outer
        .grpc_calls()
        .layer(inner.grpc_calls().boxed().layer(partner.channel()));
    let request = Request::post(CHARGE).body(()).unwrap();
    let error = channel.oneshot(request).await.unwrap_err();
    assert_eq!(find(&*error).unwrap().partner(), "tax");
    let calls = outer.handle().status().calls;
    assert_eq!((calls.failed, calls.refused_within), (0, 2));

    // The same answer from another process is the partner's word.
    let said = inner.grpc_calls().layer(partner.channel());
    let said = said.map_response(|mut answer| {
        answer.extensions_mut().clear();
        answer
    });
    let request = Request::post(CHARGE).body(()).unwrap();
    let answer = outer.grpc_calls().layer(said).oneshot(request).await;
    assert_eq!(answer.unwrap().headers()["grpc-status"], "14");
    let calls = outer.handle().status().calls;
    assert_eq!((calls.failed, calls.refused_within), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn before_services_reads_pass_while_the_partner_is_probed() {
    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::grpc_route(
            "/grpc.health.v1.Health/{method}",
            "orchestrators must not restart us",
        ))
        .build()
        .unwrap();
    let routes = GrpcRoutes::new().reads(["/shop.v1.Shop/ListPrices"]);
    let passes = passes(&layer, routes.unwrap());
    assert!(passes("/shop.v1.Shop/Buy").await);

    let handle = layer.handle();
    handle.trip("on-call", "drill").unwrap();
    assert!(passes("/grpc.health.v1.Health/Check").await);
    assert!(passes("/grpc.health.v1.Health/Watch").await);
    assert!(!passes("/grpc.health.v1.Health/../../shop.v1.Shop/Buy").await);
    assert!(!passes("/shop.v1.Shop/ListPrices").await);
    assert!(!passes("/shop.v1.Shop/Buy").await);

    handle.probe_now("on-call", "let us see").unwrap();
    for _ in 0..5 {
        assert!(passes("/shop.v1.Shop/ListPrices").await, "it takes no slot");
    }
    assert!(!passes("/shop.v1.Shop/Buy").await);
    assert_eq!(handle.status().window.total, 0, "it measures nothing");
}

#[tokio::test(start_paused = true)]
async fn a_components_name_does_not_get_out_of_the_message() {
    let name = " zuora\r\ngrpc-status: 0 100% Z\u{fc}rich";
    let layer = MaintenanceLayer::builder("the partner").refusals(Refusals::new().component(name));
    let layer = layer.build().unwrap();
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let channel = layer.grpc_calls().layer(Partner::default().channel());
    let request = Request::post(CHARGE).body(()).unwrap();
    let answer = channel.oneshot(request).await.unwrap();
    let message = answer.headers()["grpc-message"].to_str().unwrap();
    assert!(
        message.starts_with("%20zuora%0D%0Agrpc-status: 0 100%25 Z%C3%BCrich is in maintenance"),
        "{message}"
    );
    assert_eq!(answer.headers()["grpc-status"], "14");
}

/// A browser that speaks gRPC-Web asks first. It must see the refusal of the call itself.
#[tokio::test]
async fn a_preflight_passes_before_grpc_routes_unless_it_is_gated() {
    use tower::{Layer, ServiceExt};
    use tower_maintenance::{Hold, MaintenanceLayer, grpc::GrpcRoutes};

    let layer = MaintenanceLayer::new("zuora");
    let gated = layer.with_protocol(GrpcRoutes::new().with_gated_preflights());
    let hold = Hold::new("on-call", "drill");
    layer.handle().engage(hold).unwrap();
    for (view, passes) in [(layer.grpc_routes(), true), (gated, false)] {
        let ours = tower::service_fn(async |_: http::Request<()>| {
            let answer = http::Response::builder().header("ran", "1");
            answer.body(String::new())
        });
        let preflight = http::Request::options("/shop.v1.Shop/ListPrices")
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST");
        let request = preflight.body(()).unwrap();
        let answer = view.layer(ours).oneshot(request).await.unwrap();
        assert_eq!(answer.headers().contains_key("ran"), passes);
    }
}
