//! Read-only holds, and which requests pass by their class.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use test_support::HOUR;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Class, CommandError, Endpoint, Error, EventKind, Hold, Judge, Maintenance, MaintenanceLayer,
    Mode, Outcome, Placement, Policy, Protocol, Rate, Refused, Ticket, Verdict, Window,
};

/// Calls are their own names: `get ...` reads, and `settle` passes in `Serving` alone.
#[derive(Debug, Clone, Copy)]
struct Billing;

fn class(call: &str) -> Class {
    match call {
        "settle" => Class::Never,
        call if call.starts_with("get ") => Class::Read,
        _ => Class::Write,
    }
}

impl Judge<&'static str, &'static str, &'static str> for Billing {
    fn class(&self, call: &&'static str) -> Class {
        class(call)
    }

    fn verdict(&self, result: Result<&&'static str, &&'static str>) -> Verdict {
        match result {
            Ok(_) => Outcome::Success.into(),
            Err(_) => Outcome::Failure.into(),
        }
    }
}

/// The same before routes.
#[derive(Debug, Clone, Copy)]
struct Routes;

impl Protocol<&'static str, &'static str, Infallible> for Routes {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Result<&'static str, Refused>;
    type Error = Infallible;

    fn endpoint<'r>(&self, call: &'r &'static str) -> Endpoint<'r> {
        Endpoint::unnamed(true).with_class(class(call))
    }

    fn finish(
        &self,
        _: Ticket,
        result: Result<&'static str, Infallible>,
    ) -> Result<Self::Response, Infallible> {
        result.map(Ok)
    }

    fn refuse(&self, _: &'static str, refused: Refused) -> Result<Self::Response, Infallible> {
        Ok(Err(refused))
    }

    fn unready(&self, error: Infallible) -> Infallible {
        error
    }
}

fn policy() -> Policy {
    Policy::new(Window::calls(10), Rate::HALF)
        .with_consecutive_failures(2)
        .with_jitter(0.0)
}

fn layer(policy: Policy) -> MaintenanceLayer<tower_maintenance::Calls<Billing>> {
    let layer = MaintenanceLayer::builder("zuora").policy(policy).build();
    layer.unwrap().judged(Billing)
}

fn read_only() -> Hold {
    Hold::new("on-call", "the ledger moves").read_only()
}

/// Returns whether a call passes. Both placements must agree.
async fn passes(
    layer: &MaintenanceLayer<tower_maintenance::Calls<Billing>>,
    call: &'static str,
) -> bool {
    let partner = service_fn(async |call| Ok::<_, &'static str>(call));
    let around = layer.layer(partner).oneshot(call).await.is_ok();
    let routes = service_fn(async |call| Ok::<_, Infallible>(call));
    let before = layer
        .with_protocol(Routes)
        .layer(routes)
        .oneshot(call)
        .await;
    assert_eq!(around, before.unwrap().is_ok(), "{call}");
    around
}

#[tokio::test(start_paused = true)]
async fn a_read_only_hold_lets_reads_pass_and_refuses_writes() {
    let layer = layer(policy());
    let handle = layer.handle();
    handle.engage(read_only()).unwrap();
    assert!(passes(&layer, "get prices").await);
    assert!(!passes(&layer, "charge").await);
    assert!(!passes(&layer, "settle").await);

    let status = handle.status();
    assert_eq!(status.mode, Mode::Maintenance);
    assert!(status.read_only && status.causes[0].read_only);
    assert_eq!(
        status.to_string(),
        "zuora is in maintenance: held read-only by on-call (the ledger moves)"
    );
    // Reads that pass are counted apart, and give no evidence about the partner.
    assert_eq!((status.calls.reads, status.calls.refused), (2, 4));
    assert_eq!((status.calls.admitted, status.window.total), (0, 0));

    let refused = layer
        .layer(service_fn(async |call| Ok::<_, &'static str>(call)))
        .oneshot("charge")
        .await
        .unwrap_err();
    let Error::Refused(refused) = refused else {
        panic!("{refused:?}")
    };
    assert!(refused.is_read_only());
    assert_eq!(refused.to_string(), "zuora is read-only");

    handle.release("on-call", "moved").unwrap();
    assert!(passes(&layer, "charge").await);
}

#[tokio::test(start_paused = true)]
async fn without_a_class_nothing_is_a_read() {
    let layer = MaintenanceLayer::new("zuora");
    layer.handle().engage(read_only()).unwrap();
    let partner = service_fn(async |call: &'static str| Ok::<_, Infallible>(call));
    assert!(layer.layer(partner).oneshot("get prices").await.is_err());
    let reads = layer.reads(|call: &&'static str| call.starts_with("get "));
    assert!(reads.layer(partner).oneshot("get prices").await.is_ok());
    assert!(reads.layer(partner).oneshot("charge").await.is_err());
}

/// The order of events in the incident: the layer trips first, then the on-call lets reads pass.
#[tokio::test(start_paused = true)]
async fn a_read_only_hold_over_a_trip_lets_reads_pass_and_uncovers_the_trip() {
    let layer = layer(policy());
    let handle = layer.handle();
    handle.trip("on-call", "drill").unwrap();
    assert!(!passes(&layer, "get prices").await);
    handle.engage(read_only()).unwrap();
    assert!(passes(&layer, "get prices").await);
    assert!(!passes(&layer, "charge").await);
    handle.release("on-call", "drill").unwrap();
    assert!(!passes(&layer, "get prices").await);
    assert_eq!(handle.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn engaging_again_makes_it_whole_or_read_only() {
    let layer = layer(policy());
    let handle = layer.handle();
    let mut events = handle.events();
    handle.engage(read_only()).unwrap();
    handle.engage(Hold::new("on-call", "all of it")).unwrap();
    assert!(!passes(&layer, "get prices").await);
    handle.engage(read_only()).unwrap();
    assert!(passes(&layer, "get prices").await);

    let mut engaged = Vec::new();
    while let Some(event) = events.try_recv() {
        if let EventKind::HoldEngaged { read_only, .. } = event.kind {
            engaged.push(read_only);
        }
    }
    assert_eq!(engaged, [true, false, true]);
    assert_eq!(handle.episodes().len(), 0, "one episode, under way");
}

#[tokio::test(start_paused = true)]
async fn a_read_only_hold_ends_by_itself() {
    let layer = layer(policy());
    layer
        .handle()
        .engage(read_only().for_at_most(HOUR))
        .unwrap();
    advance(HOUR - Duration::from_nanos(1)).await;
    assert!(passes(&layer, "get prices").await);
    assert!(!passes(&layer, "charge").await);
    advance(Duration::from_nanos(1)).await;
    assert!(passes(&layer, "get prices").await);
    assert!(passes(&layer, "charge").await);
    assert_eq!(layer.handle().mode(), Mode::Serving);
    assert_eq!(layer.handle().status().calls.reads, 2);
}

/// A service that is ready when told so, and counts the calls that reach it.
#[derive(Debug, Clone, Default)]
struct Slow {
    ready: Arc<AtomicBool>,
    reached: Arc<AtomicU64>,
}

impl Service<&'static str> for Slow {
    type Response = &'static str;
    type Error = &'static str;
    type Future = Ready<Result<&'static str, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        match self.ready.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn call(&mut self, call: &'static str) -> Self::Future {
        self.reached.fetch_add(1, Ordering::Relaxed);
        ready(Ok(call))
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_for_readiness_is_refused_when_the_hold_becomes_whole() {
    let layer = layer(policy());
    let handle = layer.handle();
    let slow = Slow::default();
    let mut service: Maintenance<_, _> = layer.layer(slow.clone());
    handle.engage(read_only()).unwrap();

    service.ready().await.unwrap();
    let mut waiting = task::spawn(service.call("get prices"));
    assert_pending!(waiting.poll());
    handle.engage(Hold::new("on-call", "all of it")).unwrap();
    assert!(waiting.is_woken(), "a waiting call is woken");
    slow.ready.store(true, Ordering::Relaxed);
    assert!(matches!(
        assert_ready_err!(waiting.poll()),
        Error::Refused(_)
    ));
    assert_eq!(slow.reached.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_let_through_passes_in_serving_alone() {
    let ramp = policy()
        .with_ramp(HOUR)
        .with_ramp_start(Rate::percent(100.0).unwrap());
    let layer = layer(ramp);
    let handle = layer.handle();
    assert!(passes(&layer, "settle").await);

    handle.trip("on-call", "drill").unwrap();
    assert!(!passes(&layer, "settle").await);
    handle.probe_now("on-call", "drill").unwrap();
    assert_eq!(handle.mode(), Mode::Probing);
    assert!(!passes(&layer, "settle").await);
    for _ in 0..3 {
        assert!(passes(&layer, "get prices").await);
    }
    // The partner has proven itself: every class that takes part in the ramp passes, and `settle`
    // does not take part.
    assert_eq!(handle.status().probing.unwrap().ramp_share, Some(1.0));
    assert!(passes(&layer, "charge").await);
    assert!(!passes(&layer, "settle").await);
    advance(HOUR).await;
    assert!(passes(&layer, "settle").await);
}

#[tokio::test(start_paused = true)]
async fn a_message_reaches_customers_and_the_reason_does_not() {
    let layer = layer(policy());
    let hold = read_only().with_message("Prices are fine, changes wait until 20:00 UTC.");
    layer.handle().engage(hold).unwrap();
    let refused = layer
        .layer(service_fn(async |call| Ok::<_, &'static str>(call)))
        .oneshot("charge")
        .await
        .unwrap_err();
    let refused = refused.refused().unwrap();
    assert_eq!(
        refused.message(),
        Some("Prices are fine, changes wait until 20:00 UTC.")
    );
    assert!(!format!("{refused:?} {refused}").contains("ledger"));

    for message in ["", " \n", &"x".repeat(2049)] {
        let error = layer.handle().engage(read_only().with_message(message));
        let error = error.unwrap_err();
        assert!(
            matches!(
                error,
                CommandError::Text {
                    field: "message",
                    most: 2048,
                    ..
                }
            ),
            "{error}"
        );
    }
}
