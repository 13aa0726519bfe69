//! R1 to R8: what becomes of a request.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit};
use tower_maintenance::{
    BoxedCalls, Cause, Error, EventKind, Exemption, Maintenance, Mode, Policy, Rate, Refused,
    Window,
};

use crate::support::*;

fn with_invoices_exempt() -> Rig {
    Rig::built(builder(policy()).exempt(Exemption::call(
        "invoice.read",
        "customers may always see what they owe",
    )))
}

// ---- R1 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r01_an_exempt_request_passes_in_every_mode_and_is_seen_unchanged() {
    let rig = with_invoices_exempt();
    assert_eq!(rig.call(invoice()).await, Ok(11));

    rig.trip().await;
    let before = rig.partner.reached().len();
    assert_eq!(rig.call(invoice()).await, Ok(11));
    assert!(is_refused(&rig.call(read()).await));

    rig.wait_out().await;
    assert_eq!(rig.call(invoice()).await, Ok(11));

    rig.handle.engage(drill()).unwrap();
    assert_eq!(rig.call(invoice()).await, Ok(11));
    assert_eq!(rig.partner.reached()[before..], [invoice(); 3]);
    assert_eq!(rig.handle.status().calls.exempt, 4);
}

#[tokio::test(start_paused = true)]
async fn r01_only_what_is_listed_is_exempt() {
    let rig = with_invoices_exempt();
    rig.handle.engage(drill()).unwrap();
    for operation in [
        "invoice.rea",
        "invoice.read2",
        "Invoice.read",
        "invoice",
        "",
    ] {
        let request = Request {
            operation,
            ..invoice()
        };
        assert!(is_refused(&rig.call(request).await), "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn r01_an_exemption_belongs_to_its_placement() {
    let rig = with_invoices_exempt();
    rig.handle.engage(drill()).unwrap();
    // The same name before our own routes is another endpoint.
    assert!(matches!(rig.visit(invoice()).await, Page::Maintenance(_)));
    assert_eq!(rig.call(invoice()).await, Ok(11));
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn r01_an_exempt_route_is_no_exempt_call() {
    use std::convert::Infallible;

    use tower_maintenance::MaintenanceLayer;

    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::route("/invoices/{id}", "customers may see them"))
        .build()
        .unwrap();
    let answer = || {
        tower::service_fn(async |_: http::Request<()>| {
            Ok::<_, Infallible>(http::Response::new(String::new()))
        })
    };
    let request = || http::Request::get("/invoices/1").body(()).unwrap();
    layer.handle().engage(drill()).unwrap();

    let routes = layer.paths().layer(answer());
    assert_eq!(routes.oneshot(request()).await.unwrap().status(), 200);
    let calls = layer.http_calls().layer(answer());
    assert!(is_refused(&calls.oneshot(request()).await));
}

#[tokio::test(start_paused = true)]
async fn r01_an_exempt_call_is_not_counted() {
    let rig = with_invoices_exempt();
    rig.partner.says(Say::Down);
    for _ in 0..20 {
        assert_eq!(rig.call(invoice()).await, Err(Error::Inner(Failed::Down)));
    }
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn r01_an_exempt_call_is_no_probe() {
    let rig = with_invoices_exempt();
    rig.trip_and_wait().await;
    for _ in 0..5 {
        rig.call(invoice()).await.unwrap();
    }
    let probing = rig.handle.status().probing.unwrap();
    assert_eq!((probing.successes, probing.in_flight), (0, 0));

    rig.partner.says(Say::Hang);
    let _hanging = rig.begin(invoice());
    assert_eq!(rig.handle.status().probing.unwrap().free, 1);
}

#[tokio::test(start_paused = true)]
async fn r01_a_counted_exemption_counts_in_serving_and_only_there() {
    let exemption = Exemption::call("invoice.read", "customers may always see what they owe");
    let rig = Rig::built(builder(policy()).exempt(exemption.counted()));
    rig.partner.says(Say::Down);
    for _ in 0..5 {
        rig.call(invoice()).await.unwrap_err();
    }
    assert_eq!(rig.mode(), Mode::Maintenance, "five counted failures");

    rig.partner.says(Say::Ok);
    rig.call(invoice()).await.unwrap();
    assert_eq!(rig.total(), 5, "frozen");
    rig.wait_out().await;
    rig.call(invoice()).await.unwrap();
    assert_eq!(rig.total(), 0);
    assert_eq!(rig.handle.status().calls.admitted, 5);
}

#[tokio::test(start_paused = true)]
async fn r01_an_exempt_call_waits_for_an_inner_service_that_is_not_ready() {
    let rig = with_invoices_exempt();
    rig.handle.engage(drill()).unwrap();
    rig.partner.becomes(Ready::NotYet);

    let mut call = rig.begin(invoice());
    let waker = OnWake::counts();
    assert_eq!(call.poll_with(&waker.clone().into()), None);
    assert_eq!(rig.partner.reached(), []);

    rig.partner.becomes(Ready::Yes);
    assert_eq!(waker.woken(), 1);
    assert_eq!(call.ended(), Ok(11));
    assert_eq!(rig.partner.reached(), [invoice()]);
}

// ---- R2 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r02_nothing_reaches_the_partner_in_maintenance() {
    let rig = Rig::new(policy());
    rig.trip().await;
    for request in [read(), charge(), invoice()] {
        assert!(is_refused(&rig.call(request).await));
        assert!(matches!(rig.visit(request).await, Page::Maintenance(_)));
    }
    assert_eq!(rig.partner.reached().len(), 5, "those that tripped it");

    rig.handle.clear("on-call", "drill").unwrap();
    rig.handle.engage(drill()).unwrap();
    for request in [read(), charge(), invoice()] {
        assert!(is_refused(&rig.call(request).await));
        assert!(matches!(rig.visit(request).await, Page::Maintenance(_)));
    }
    assert_eq!(rig.partner.reached().len(), 5);
    assert_eq!(rig.handle.status().calls.refused, 12);
}

#[tokio::test(start_paused = true)]
async fn r02_a_refusal_around_calls_says_that_the_call_was_not_made() {
    let rig = Rig::new(policy());
    advance(secs(7)).await;
    rig.trip().await;
    advance(secs(10)).await;

    let error = rig.call(charge()).await.unwrap_err();
    assert_eq!(error.to_string(), "the call to the partner was not made");
    let refused = Refused::find(&error).unwrap();
    assert_eq!(
        refused.to_string(),
        "zuora is in maintenance, retry after 20 s"
    );
    assert_eq!(refused.partner(), "zuora");
    assert_eq!(refused.cause(), Cause::Tripped);
    assert_eq!(refused.mode(), Mode::Maintenance);
    assert_eq!(refused.since(), wall(secs(7)));
    assert_eq!(refused.retry_after(), Some(secs(20)));
    assert_eq!(refused.generation(), rig.handle.status().generation);
}

#[tokio::test(start_paused = true)]
async fn r02_a_call_that_was_ready_before_the_gate_shut_is_refused() {
    let rig = Rig::new(policy());
    let mut service = rig.service.clone();
    service.ready().await.unwrap();
    rig.handle.engage(drill()).unwrap();
    assert!(is_refused(&service.call(read()).await));
    assert_eq!(rig.partner.reached(), []);
}

#[tokio::test(start_paused = true)]
async fn r02_a_probe_that_waits_for_readiness_while_the_gate_shuts_is_refused() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let before = rig.partner.reached().len();
    rig.partner.becomes(Ready::NotYet);
    let mut probe = rig.begin(read());
    let waker = OnWake::counts();
    assert_eq!(probe.poll_with(&waker.clone().into()), None);

    rig.handle.engage(drill()).unwrap();
    assert_eq!(waker.woken(), 1);
    rig.partner.becomes(Ready::Yes);
    assert!(is_refused(&probe.ended()));
    assert_eq!(rig.partner.reached().len(), before);
}

// ---- R3 -----------------------------------------------------------------------------------------
// `tests/allocations` shows that a refusal allocates nothing and waits for no lock.

#[tokio::test(start_paused = true)]
async fn r03_a_refusal_does_not_wait_for_the_inner_service() {
    let rig = Rig::new(policy());
    rig.handle.engage(drill()).unwrap();
    rig.partner.becomes(Ready::NotYet);
    let mut service = rig.service.clone();
    let mut refused = Box::pin(async { service.ready().await?.call(read()).await });
    let polled = poll_once(refused.as_mut());
    assert!(is_refused(&polled.expect("at the first poll")));
    assert_eq!(rig.partner.polled(), 0);
}

#[tokio::test(start_paused = true)]
async fn r03_a_caller_parked_behind_a_full_concurrency_limit_is_woken_and_refused() {
    let rig = Rig::new(policy());
    let limited = ServiceBuilder::new()
        .layer(rig.layer.clone())
        .concurrency_limit(1)
        .service(rig.partner.clone());
    let answer = rig.partner.next_waits();
    let first = InFlight::begin(limited.clone().oneshot(read()));
    let mut parked = InFlight::begin(limited.clone().oneshot(charge()));
    let waker = OnWake::counts();
    assert_eq!(parked.poll_with(&waker.clone().into()), None);

    rig.handle.engage(drill()).unwrap();
    assert_eq!(waker.woken(), 1);
    assert!(is_refused(&parked.ended()));

    // The call before it is not harmed, and its permit is free again afterwards.
    answer.say(Say::Ok);
    assert_eq!(first.ended(), Ok(7));
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(limited.oneshot(read()).await, Ok(7));
    assert_eq!(rig.partner.reached(), [read(), read()]);
}

#[tokio::test(start_paused = true)]
async fn r03_a_caller_parked_while_serving_goes_on_after_a_reset() {
    let rig = Rig::new(policy());
    rig.partner.becomes(Ready::NotYet);
    let mut parked = rig.begin(read());
    rig.handle.reset("on-call", "drill").unwrap();
    assert_eq!(parked.poll(), None, "still serving");

    let waker = OnWake::counts();
    assert_eq!(parked.poll_with(&waker.clone().into()), None);
    rig.handle.engage(drill()).unwrap();
    assert_eq!(waker.woken(), 1, "it stays parked for the next era");
    assert!(is_refused(&parked.ended()));
}

#[tokio::test(start_paused = true)]
async fn r03_whoever_moves_the_state_tells_after_unlocking() {
    let rig = Rig::new(policy());
    let (handle, service) = (rig.handle.clone(), rig.service.clone());
    // A tracing subscriber that looks, commands and calls: each would wait for a lock that is still
    // held.
    let log = Log::that(move || {
        let _ = handle.status();
        let _ = handle.audit();
        let mut call = Box::pin(service.clone().oneshot(read()));
        let _ = poll_once(call.as_mut());
    });
    let _listening = log.listen();
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    assert!(
        log.lines(tracing::Level::WARN, &["held by an operator"])
            .len()
            == 1
    );
}

// ---- R4 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r04_an_admitted_call_uses_the_instance_that_was_polled_ready() {
    let rig = Rig::new(policy());
    let mut service = rig.service.clone();
    let instance = service.get_ref().instance();
    for _ in 0..3 {
        service.ready().await.unwrap().call(read()).await.unwrap();
    }
    assert_eq!(rig.partner.called_instances(), [instance; 3]);
}

#[tokio::test(start_paused = true)]
async fn r04_a_clone_starts_unready() {
    let rig = Rig::new(policy());
    let mut service = rig.service.clone();
    service.ready().await.unwrap();
    let mut clone = service.clone();
    assert_ne!(
        clone.get_ref().instance(),
        service.get_ref().instance(),
        "each has its own"
    );
    // The partner panics if the clone took over the readiness of its original.
    assert_eq!(clone.call(read()).await, Ok(7));
    assert_eq!(service.call(read()).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn r04_all_services_of_one_layer_share_one_state() {
    let rig = Rig::new(policy());
    let other = Partner::new();
    let elsewhere = rig.layer.clone().layer(other.clone());
    let boxed: Maintenance<_, BoxedCalls<_>> =
        rig.layer
            .boxed()
            .layer(
                ServiceBuilder::new()
                    .timeout(secs(10))
                    .service(tower::service_fn(async |_: Request| {
                        Ok::<_, tower::BoxError>(1)
                    })),
            );
    rig.trip().await;
    assert!(is_refused(&elsewhere.oneshot(read()).await));
    let _ = boxed;
    assert!(matches!(rig.visit(read()).await, Page::Maintenance(_)));
    assert_eq!(other.reached(), []);
}

#[tokio::test(start_paused = true)]
async fn r04_poll_ready_is_ready_at_once_in_maintenance_and_probing() {
    let rig = Rig::new(policy());
    rig.trip().await;
    rig.partner.becomes(Ready::NotYet);
    let before = rig.partner.polled();
    let ready = |mut service: Wrapped| {
        let mut ready = Box::pin(async move { service.ready().await.is_ok() });
        poll_once(ready.as_mut())
    };
    assert_eq!(ready(rig.service.clone()), Some(true));
    rig.wait_out().await;
    assert_eq!(ready(rig.service.clone()), Some(true));
    assert_eq!(rig.partner.polled(), before, "the partner was not polled");
}

#[tokio::test(start_paused = true)]
async fn r04_a_probe_takes_an_instance_and_waits_for_it() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.becomes(Ready::NotYet);
    let mut probe = rig.begin(read());
    let waker = OnWake::counts();
    assert_eq!(probe.poll_with(&waker.clone().into()), None);
    assert_eq!(rig.handle.status().probing.unwrap().in_flight, 1);

    rig.partner.becomes(Ready::Yes);
    assert_eq!(waker.woken(), 1);
    assert_eq!(probe.ended(), Ok(7));
    assert_eq!(rig.handle.status().probing.unwrap().successes, 1);
}

fn limited(rig: &Rig) -> Maintenance<ConcurrencyLimit<Partner>, tower_maintenance::Calls<Billing>> {
    ServiceBuilder::new()
        .layer(rig.layer.clone())
        .concurrency_limit(1)
        .service(rig.partner.clone())
}

#[tokio::test(start_paused = true)]
async fn r04_a_refused_call_returns_its_permit() {
    let rig = with_invoices_exempt();
    let limited = limited(&rig);
    let mut service = limited.clone();
    service.ready().await.unwrap(); // holds the only permit
    rig.handle.engage(drill()).unwrap();
    let refused = service.call(read());
    // The refusal has not been awaited yet, and both service and future are alive.
    assert_eq!(at_once(limited.oneshot(invoice())), Some(Ok(11)));
    assert!(is_refused(&refused.await));
    drop(service);
}

#[tokio::test(start_paused = true)]
async fn r04_poll_ready_returns_a_permit_when_the_gate_has_shut() {
    let rig = with_invoices_exempt();
    let limited = limited(&rig);
    let mut service = limited.clone();
    service.ready().await.unwrap();
    rig.handle.engage(drill()).unwrap();
    service.ready().await.unwrap();
    assert_eq!(at_once(limited.oneshot(invoice())), Some(Ok(11)));
    drop(service);
}

#[tokio::test(start_paused = true)]
async fn r04_a_parked_caller_leaves_the_queue_when_the_gate_shuts() {
    let rig = with_invoices_exempt();
    let limited = limited(&rig);
    let answer = rig.partner.next_waits();
    let first = InFlight::begin(limited.clone().oneshot(read()));
    let mut parked = limited.clone();
    let waker = OnWake::counts();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(parked.poll_ready(&mut cx).is_pending());
    rig.handle.engage(drill()).unwrap();
    assert!(parked.poll_ready(&mut cx).is_ready());

    // It would queue behind the parked caller, were that still in the queue.
    let mut exempt = InFlight::begin(limited.oneshot(invoice()));
    assert_eq!(exempt.poll_with(&waker.clone().into()), None);
    answer.say(Say::Ok);
    first.ended().unwrap();
    assert_eq!(exempt.ended(), Ok(11));
    drop(parked);
}

// ---- R5 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r05_every_call_ends_exactly_once() {
    let rig = Rig::new(policy());
    rig.calls(2, Say::Ok).await;
    rig.calls(3, Say::Down).await;
    rig.calls(4, Say::OurFault).await;
    rig.partner.says(Say::Hang);
    let calls: Vec<_> = (0..5).map(|_| rig.begin(read())).collect();
    let counts = rig.handle.status().calls;
    assert_eq!((counts.admitted, counts.in_flight()), (14, 5));

    drop(calls);
    let counts = rig.handle.status().calls;
    assert_eq!(
        (
            counts.admitted,
            counts.succeeded,
            counts.failed,
            counts.neutral,
            counts.abandoned,
            counts.in_flight(),
        ),
        (14, 2, 3, 4, 5, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn r05_a_call_that_was_never_polled_ends_too() {
    let rig = Rig::new(policy());
    let mut service = rig.service.clone();
    let call = service.ready().await.unwrap().call(read());
    assert_eq!(rig.handle.status().calls.in_flight(), 1);
    drop(call);
    assert_eq!(rig.handle.status().calls.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn r05_an_inner_service_that_panics_in_call_failed() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::PanicInCall);
    for _ in 0..5 {
        let mut call = Box::pin(rig.call(read()));
        assert!(panics(|| poll_once(call.as_mut())), "it propagates");
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
    assert_eq!(rig.handle.status().calls.failed, 5);
}

#[tokio::test(start_paused = true)]
async fn r05_an_inner_future_that_panics_failed() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::PanicInFuture);
    for _ in 0..5 {
        let mut call = Box::pin(rig.call(read()));
        assert!(panics(|| poll_once(call.as_mut())), "it propagates");
        // It has ended already, though the future is still there.
        assert_eq!(rig.handle.status().calls.in_flight(), 0);
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r05_an_inner_service_that_panics_in_poll_ready_failed() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.becomes(Ready::Panics);
    let mut probe = Box::pin(rig.call(read()));
    assert!(panics(|| poll_once(probe.as_mut())));
    assert_eq!(rig.mode(), Mode::Maintenance, "a failed probe");
}

#[tokio::test(start_paused = true)]
async fn r05_a_panicking_classifier_is_neutral_however_long_the_call_was() {
    let rig = Rig::new(policy());
    for _ in 0..5 {
        let answer = rig.partner.next_waits();
        let mut call = rig.begin(read());
        advance(secs(60)).await;
        answer.say(Say::Unjudgeable);
        assert!(panics(|| call.poll()), "it propagates");
    }
    let counts = rig.handle.status().calls;
    assert_eq!(
        (counts.neutral, counts.failed, counts.in_flight()),
        (5, 0, 0)
    );
    assert_eq!(rig.mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn r05_a_classifier_that_panics_on_a_probe_gives_the_slot_back() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.says(Say::Unjudgeable);
    let mut probe = Box::pin(rig.call(read()));
    assert!(panics(|| poll_once(probe.as_mut())));
    assert_eq!(rig.handle.status().probing.unwrap().free, 1);
    rig.partner.says(Say::Ok);
    rig.prove().await;
}

#[tokio::test(start_paused = true)]
async fn r05_a_body_still_streaming_is_in_flight() {
    let rig = Rig::new(policy());
    let mut body = rig.stream().await;
    body.frame();
    assert_eq!(rig.handle.status().calls.in_flight(), 1);
    body.end();
    let counts = rig.handle.status().calls;
    assert_eq!((counts.in_flight(), counts.succeeded), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn r05_a_probes_body_holds_the_slot() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let body = rig.stream().await;
    assert!(is_refused(&rig.call(read()).await));
    body.end();
    assert_eq!(rig.handle.status().probing.unwrap().successes, 1);
}

#[tokio::test(start_paused = true)]
async fn r05_a_body_that_panics_failed() {
    let rig = Rig::new(policy());
    let mut body = rig.stream().await;
    assert!(panics(move || body.frame_that_panics()));
    let counts = rig.handle.status().calls;
    assert_eq!((counts.failed, counts.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn r05_no_ending_of_a_probe_leaks_its_slot() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let free = || rig.handle.status().probing.unwrap().free;
    let mut service = rig.service.clone();

    let unpolled = service.ready().await.unwrap().call(read());
    assert_eq!(free(), 0);
    drop(unpolled);
    assert_eq!(free(), 1);

    rig.partner.says(Say::Hang);
    let polled = rig.begin(read());
    assert_eq!(free(), 0);
    drop(polled);
    assert_eq!(free(), 1);

    rig.partner.becomes(Ready::NotYet);
    let waiting = rig.begin(read());
    assert_eq!(free(), 0);
    drop(waiting);
    assert_eq!(free(), 1);
}

#[tokio::test(start_paused = true)]
async fn r05_a_drop_is_judged_by_its_own_holder_and_not_by_somebody_elses_panic() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::Hang);
    let call = rig.begin(read());
    assert!(panics(move || {
        let _dropped_while_unwinding = call;
        panic!("another part's");
    }));
    let counts = rig.handle.status().calls;
    assert_eq!((counts.abandoned, counts.failed), (1, 0));
}

// ---- R6 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r06_a_call_dropped_at_the_hang_limit_failed() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::Hang);
    let call = rig.begin(read());
    advance(secs(5)).await;
    drop(call);
    assert_eq!((rig.total(), rig.failed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn r06_a_call_dropped_before_the_hang_limit_is_neutral() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::Hang);
    let call = rig.begin(read());
    advance(secs(5) - NANO).await;
    drop(call);
    assert_eq!(rig.total(), 0);
    assert_eq!(rig.handle.status().calls.abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn r06_the_hang_limit_is_the_policys() {
    let rig = Rig::new(policy().with_hang_limit(secs(20)));
    rig.partner.says(Say::Hang);
    let (first, second) = (rig.begin(read()), rig.begin(read()));
    advance(secs(19)).await;
    drop(first);
    assert_eq!(rig.failed(), 0);
    advance(secs(1)).await;
    drop(second);
    assert_eq!(rig.failed(), 1);
}

#[tokio::test(start_paused = true)]
async fn r06_a_hanging_partner_under_an_outer_timeout_trips() {
    let rig = Rig::new(policy());
    let stack = ServiceBuilder::new()
        .timeout(secs(10))
        .layer(rig.layer.clone())
        .service(rig.partner.clone());
    rig.partner.says(Say::Hang);
    for _ in 0..5 {
        let error = stack.clone().oneshot(read()).await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>());
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
    let refused = stack.oneshot(read()).await.unwrap_err();
    assert!(Refused::find(&*refused).is_some());
}

#[tokio::test(start_paused = true)]
async fn r06_customers_who_hang_up_early_do_not_trip_a_healthy_partner() {
    let rig = Rig::new(policy());
    for _ in 0..100 {
        let _answer = rig.partner.next_waits();
        // A healthy partner that takes two seconds, and a customer that waits for one.
        let left = timeout(secs(1), rig.call(read())).await;
        assert!(left.is_err());
    }
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.total(), 0);
    assert_eq!(rig.handle.status().calls.abandoned, 100);
}

/// A call whose headers come after `late`, and whose body goes on.
async fn stream_after(rig: &Rig, late: Duration) -> Body {
    let answer = rig.partner.next_waits();
    let service = rig
        .layer
        .with_protocol(Streaming)
        .layer(rig.partner.clone());
    let call = InFlight::begin(service.oneshot(read()));
    advance(late).await;
    answer.say(Say::Ok);
    call.ended().unwrap()
}

#[tokio::test(start_paused = true)]
async fn r06_a_wait_counts_from_the_first_poll_that_found_nothing_after_the_headers() {
    let rig = Rig::new(policy());
    let mut body = stream_after(&rig, secs(60)).await;
    advance(secs(60)).await;
    body.asks();
    advance(secs(5) - NANO).await;
    drop(body);
    assert_eq!(rig.failed(), 0);

    let mut body = rig.stream().await;
    body.asks();
    advance(secs(5)).await;
    drop(body);
    assert_eq!(rig.failed(), 1);
}

#[tokio::test(start_paused = true)]
async fn r06_a_wait_begins_anew_after_each_frame() {
    let rig = Rig::new(policy());
    let mut body = stream_after(&rig, secs(1)).await;
    for _ in 0..10 {
        body.asks();
        advance(secs(4)).await;
        body.frame();
    }
    body.asks();
    advance(secs(5) - NANO).await;
    drop(body);
    assert_eq!(rig.failed(), 0);
}

#[tokio::test(start_paused = true)]
async fn r06_a_reader_that_does_not_ask_does_not_wait() {
    let rig = Rig::new(policy());
    for _ in 0..10 {
        let mut body = rig.stream().await;
        advance(secs(60)).await;
        body.frame();
        advance(secs(60)).await;
        drop(body);
    }
    assert_eq!((rig.failed(), rig.mode()), (0, Mode::Serving));
}

#[tokio::test(start_paused = true)]
async fn r06_a_reader_that_asked_once_and_never_again_waits() {
    let rig = Rig::new(policy());
    let mut body = rig.stream().await;
    body.asks();
    body.asks();
    advance(secs(5)).await;
    drop(body);
    assert_eq!(rig.failed(), 1);
}

fn slow_beyond(limit: Duration) -> Policy {
    policy()
        .without_failure_rate()
        .without_consecutive_failures()
        .with_slow_calls(limit, Rate::HALF)
        .with_min_calls(4)
}

#[tokio::test(start_paused = true)]
async fn r06_a_call_given_up_beyond_the_slow_limit_is_slow_and_neither_failed_nor_in_the_run() {
    let rig = Rig::new(slow_beyond(secs(10)));
    for round in 1..=4 {
        let mut body = rig.stream().await;
        // Four waits of three seconds each, and none of them is a hang.
        for _ in 0..4 {
            body.asks();
            advance(secs(3)).await;
            body.frame();
        }
        assert_eq!(rig.mode(), Mode::Serving);
        drop(body);
        let window = rig.handle.status().window;
        let numbers = (window.total, window.slow, window.failed);
        assert_eq!(numbers, (round, round, 0));
        assert_eq!(window.consecutive_failures, 0);
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r06_time_in_which_no_reader_waits_does_not_make_a_call_slow() {
    let rig = Rig::new(slow_beyond(secs(10)));
    for _ in 0..8 {
        let mut body = rig.stream().await;
        advance(secs(20)).await;
        body.frame();
        body.asks();
        advance(secs(4)).await;
        drop(body);
    }
    let window = rig.handle.status().window;
    assert_eq!((window.total, window.slow), (0, 0));
}

/// A call that hangs and is given up after `wait`.
async fn give_up_after(rig: &Rig, wait: Duration) {
    rig.partner.next_says([Say::Hang]);
    let call = rig.begin(read());
    advance(wait).await;
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn r06_a_hang_under_a_short_time_out_trips_by_default() {
    for time_out in [2, 3] {
        let rig = Rig::new(policy());
        let mut calls = 0;
        while rig.mode() == Mode::Serving && calls < 200 {
            give_up_after(&rig, secs(time_out)).await;
            calls += 1;
        }
        assert_eq!(calls, 10, "under {time_out} s");
        let evidence = rig.handle.status().evidence.unwrap();
        assert_eq!(
            evidence.to_string(),
            format!(
                "10 calls were given up after up to {time_out} s, and nothing came from the partner"
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn r06_calls_given_up_within_a_second_do_not_trip() {
    let rig = Rig::new(policy());
    for _ in 0..100 {
        give_up_after(&rig, secs(1)).await;
    }
    assert_eq!(rig.mode(), Mode::Serving);
    let eager = Rig::new(policy());
    for _ in 0..10 {
        give_up_after(&eager, secs(1) + NANO).await;
    }
    assert_eq!(eager.mode(), Mode::Maintenance, "more than a second");
}

#[tokio::test(start_paused = true)]
async fn r06_at_least_ten_calls_are_given_up_whatever_min_calls_is() {
    let rig = Rig::new(policy().with_min_calls(2));
    for _ in 0..9 {
        give_up_after(&rig, secs(2)).await;
    }
    assert_eq!(rig.mode(), Mode::Serving);
    give_up_after(&rig, secs(2)).await;
    assert_eq!(rig.mode(), Mode::Maintenance);

    let many = Rig::new(policy().with_min_calls(12));
    for _ in 0..11 {
        give_up_after(&many, secs(2)).await;
    }
    assert_eq!(many.mode(), Mode::Serving);
    give_up_after(&many, secs(2)).await;
    assert_eq!(many.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r06_anything_from_the_partner_speaks_against_calls_given_up() {
    for say in [Say::Ok, Say::OurFault, Say::Down] {
        let rig = Rig::new(policy());
        rig.calls(1, say).await;
        for _ in 0..20 {
            give_up_after(&rig, secs(2)).await;
        }
        assert_eq!(rig.mode(), Mode::Serving, "{say:?}");
        // 40 s have passed; the answer leaves the window of 60 s.
        for _ in 0..10 {
            give_up_after(&rig, secs(2)).await;
        }
        assert_eq!(rig.mode(), Mode::Maintenance, "{say:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r06_a_frame_of_a_call_that_still_streams_speaks_against_calls_given_up() {
    let rig = Rig::new(policy());
    let mut body = rig.stream().await;
    for _ in 0..100 {
        give_up_after(&rig, secs(2)).await;
        body.frame();
    }
    assert_eq!(rig.mode(), Mode::Serving);
    // From here on the stream is silent. Its last frame came at 200 s, in the bucket that began at
    // 198 s and leaves the window at 258 s.
    for _ in 0..28 {
        give_up_after(&rig, secs(2)).await;
    }
    assert_eq!(rig.mode(), Mode::Serving);
    give_up_after(&rig, secs(2)).await;
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r06_our_own_errors_neither_count_as_given_up_nor_speak_against_it() {
    let rig = Rig::new(policy());
    rig.calls(20, Say::NeverSent).await;
    assert_eq!(rig.mode(), Mode::Serving);
    for _ in 0..10 {
        give_up_after(&rig, secs(2)).await;
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r06_calls_given_up_below_the_numbers_are_one_warning_an_era() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    let mut warnings = || {
        let mut seen = vec![];
        while let Some(event) = events.try_recv() {
            if let EventKind::CallersGaveUp {
                calls,
                longest_wait,
                hang_limit,
                ..
            } = event.kind
            {
                seen.push((calls, longest_wait, hang_limit));
            }
        }
        seen
    };
    // A caller with a time-out of half a second, every ten seconds.
    for _ in 0..50 {
        give_up_after(&rig, secs(1) / 2).await;
        advance(secs(9)).await;
    }
    assert_eq!(warnings(), [(5, secs(1) / 2, secs(5))]);
    rig.handle.reset("on-call", "a new era").unwrap();
    for _ in 0..50 {
        give_up_after(&rig, secs(1) / 2).await;
    }
    assert_eq!(warnings(), [(5, secs(1) / 2, secs(5))]);
    assert_eq!(rig.mode(), Mode::Serving);
}

fn given_up_at_once() -> Policy {
    policy().with_min_calls(3).with_given_up(3, Duration::ZERO)
}

fn abandon(rig: &Rig) {
    rig.partner.next_says([Say::Hang]);
    drop(rig.begin(read()));
}

#[tokio::test(start_paused = true)]
async fn r06_calls_given_up_after_any_wait_are_evidence_where_asked_for() {
    let rig = Rig::new(given_up_at_once());
    abandon(&rig);
    abandon(&rig);
    assert_eq!(rig.mode(), Mode::Serving, "two of at least three");
    abandon(&rig);
    assert_eq!(rig.mode(), Mode::Maintenance);

    let off = Rig::new(policy().without_given_up());
    for _ in 0..50 {
        give_up_after(&off, secs(2)).await;
    }
    assert_eq!(off.mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn r06_one_completed_call_in_the_window_spoils_that_evidence() {
    let rig = Rig::new(given_up_at_once());
    rig.calls(1, Say::OurFault).await;
    (0..10).for_each(|_| abandon(&rig));
    assert_eq!(rig.mode(), Mode::Serving);
    advance(secs(60)).await;
    (0..3).for_each(|_| abandon(&rig));
    assert_eq!(rig.mode(), Mode::Maintenance, "the window has slid past it");
}

#[tokio::test(start_paused = true)]
async fn r06_calls_given_up_count_within_the_window() {
    let rig = Rig::new(given_up_at_once().with_window(Window::time(secs(60))));
    abandon(&rig);
    abandon(&rig);
    advance(secs(60)).await;
    abandon(&rig);
    abandon(&rig);
    assert_eq!(rig.mode(), Mode::Serving);
}

// ---- R7 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r07_a_failing_poll_ready_is_a_failed_call() {
    let rig = Rig::new(policy());
    rig.partner.becomes(Ready::Fails);
    for _ in 0..5 {
        assert_eq!(
            rig.call(read()).await,
            Err(Error::Inner(Failed::Unready)),
            "the caller gets it"
        );
    }
    assert_eq!(rig.mode(), Mode::Maintenance);
    assert_eq!(rig.handle.status().calls.failed, 5);
}

#[tokio::test(start_paused = true)]
async fn r07_in_maintenance_the_exempt_caller_gets_it_and_it_is_not_counted() {
    let exemption = Exemption::call("invoice.read", "customers may always see what they owe");
    let rig = Rig::built(builder(policy()).exempt(exemption.counted()));
    rig.handle.engage(drill()).unwrap();
    rig.partner.becomes(Ready::Fails);
    let called = rig.call(invoice()).await;
    assert_eq!(called, Err(Error::Inner(Failed::Unready)));
    let counts = rig.handle.status().calls;
    assert_eq!((counts.admitted, counts.failed), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn r07_a_probe_whose_poll_ready_fails_is_a_failed_probe() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.partner.becomes(Ready::Fails);
    assert_eq!(rig.call(read()).await, Err(Error::Inner(Failed::Unready)));
    assert_eq!(rig.mode(), Mode::Maintenance);
}

// ---- R8 -----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r08_late_failures_do_not_close_the_gate() {
    let rig = Rig::new(policy());
    let answers: Vec<_> = (0..10).map(|_| rig.partner.next_waits()).collect();
    let calls: Vec<_> = (0..10).map(|_| rig.begin(read())).collect();
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    for (answer, call) in answers.into_iter().zip(calls) {
        answer.say(Say::Down);
        assert_eq!(call.ended(), Err(Error::Inner(Failed::Down)));
    }
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.total(), 0);
    assert_eq!(rig.handle.status().calls.late, 10);
}

#[tokio::test(start_paused = true)]
async fn r08_late_successes_do_not_open_it() {
    let rig = Rig::new(policy());
    let answers: Vec<_> = (0..3).map(|_| rig.partner.next_waits()).collect();
    let calls: Vec<_> = (0..3).map(|_| rig.begin(read())).collect();
    rig.trip_and_wait().await;
    for (answer, call) in answers.into_iter().zip(calls) {
        answer.say(Say::Ok);
        assert_eq!(call.ended(), Ok(7), "the caller gets its answer");
    }
    assert_eq!(rig.mode(), Mode::Probing);
    assert_eq!(rig.handle.status().probing.unwrap().successes, 0);
}

#[tokio::test(start_paused = true)]
async fn r08_a_late_failure_ends_no_probing() {
    let rig = Rig::new(policy());
    let answer = rig.partner.next_waits();
    let late = rig.begin(read());
    rig.trip_and_wait().await;
    answer.say(Say::Down);
    late.ended().unwrap_err();
    assert_eq!(rig.mode(), Mode::Probing);
}

#[tokio::test(start_paused = true)]
async fn r08_a_late_answer_frees_no_slot_of_a_later_era() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    let answer = rig.partner.next_waits();
    let late = rig.begin(read());
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Probing, "a later stretch of it");
    rig.partner.next_says([Say::Hang]);
    let _holds_the_slot = rig.begin(read());

    answer.say(Say::OurFault);
    late.ended().unwrap_err();
    assert_eq!(rig.handle.status().probing.unwrap().free, 0);
    assert!(is_refused(&rig.call(read()).await));
}

#[tokio::test(start_paused = true)]
async fn r08_a_reset_begins_an_era_too() {
    let rig = Rig::new(policy());
    let answer = rig.partner.next_waits();
    let late = rig.begin(read());
    rig.handle.reset("on-call", "drill").unwrap();
    answer.say(Say::Down);
    late.ended().unwrap_err();
    assert_eq!(rig.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn r08_a_late_drop_says_nothing_either() {
    let rig = Rig::new(policy());
    rig.partner.says(Say::Hang);
    let calls: Vec<_> = (0..5).map(|_| rig.begin(read())).collect();
    rig.handle.reset("on-call", "drill").unwrap();
    advance(secs(60)).await;
    drop(calls);
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(rig.total(), 0);
}
