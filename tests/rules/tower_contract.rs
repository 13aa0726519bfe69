//! The layer keeps tower's contract inside and outside of tower's own middleware.
//!
//! The partner at the bottom of every stack panics if an instance of it is called that was not
//! polled ready, and its clones start un-ready. So a test that does not panic shows R4.

use std::{
    fmt::Debug,
    future::{Ready as Now, ready},
    panic::{RefUnwindSafe, UnwindSafe},
    rc::Rc,
    task::{Context, Poll},
};

use tokio::time::timeout;
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, retry,
};
use tower_maintenance::{
    CacheBusts, Error, Events, Hold, Maintenance, MaintenanceHandle, MaintenanceLayer, Mode,
    Policy, Receipt, Refused, ResponseFuture, Status, Ticket,
};

use crate::support::{
    self, Billing, Failed, InFlight, Partner, Ready, Request, Say, policy, read, secs,
};

fn layer() -> (MaintenanceLayer, MaintenanceHandle, Partner) {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy())
        .build()
        .unwrap();
    (layer.clone(), layer.handle(), Partner::new())
}

fn engage(handle: &MaintenanceHandle) {
    handle.engage(Hold::new("on-call", "drill")).unwrap();
}

fn is_refusal(error: impl Into<BoxError>) -> bool {
    Refused::find(&*error.into()).is_some_and(|refused| refused.partner() == "zuora")
}

/// Serves, refuses under a hold without a wait, and serves again.
async fn keeps_the_contract<S>(mut stack: S, handle: &MaintenanceHandle, partner: &Partner)
where
    S: Service<Request, Response = u32, Error: Into<BoxError> + Debug> + Clone,
{
    for _ in 0..5 {
        let mut clone = stack.clone();
        let called = stack.ready().await.unwrap().call(read()).await;
        assert_eq!(called.unwrap(), 7);
        assert_eq!(clone.ready().await.unwrap().call(read()).await.unwrap(), 7);
    }
    assert_eq!(partner.reached().len(), 10);

    let mut early = stack.clone();
    early.ready().await.unwrap();
    engage(handle);
    // The partner hangs in `poll_ready`, and a refusal does not wait for it.
    partner.becomes(Ready::NotYet);
    let refused = early.call(read()).await.unwrap_err();
    assert!(is_refusal(refused), "ready before the gate shut");
    for _ in 0..10 {
        let call = async { stack.ready().await?.call(read()).await };
        let refused = timeout(secs(1), call).await.expect("a refusal never waits");
        assert!(is_refusal(refused.unwrap_err()));
    }
    assert_eq!(partner.reached().len(), 10, "no call got through");

    handle.release("on-call", "drill").unwrap();
    partner.becomes(Ready::Yes);
    for _ in 0..5 {
        // `early` serves too: the permit of a refused call is free again.
        assert_eq!(early.ready().await.unwrap().call(read()).await.unwrap(), 7);
        assert_eq!(stack.ready().await.unwrap().call(read()).await.unwrap(), 7);
    }
    assert_eq!(handle.status().calls.in_flight(), 0);
}

/// A partner that hangs trips the layer, whichever layer gives the calls up.
async fn hangs_and_trips<S>(stack: &S, handle: &MaintenanceHandle, partner: &Partner)
where
    S: Service<Request, Response = u32, Error: Debug> + Clone,
{
    partner.says(Say::Hang);
    for _ in 0..5 {
        stack.clone().oneshot(read()).await.unwrap_err();
    }
    assert_eq!(handle.mode(), Mode::Maintenance);
}

/// Tests of the contract alone: a name, and the stack.
macro_rules! keeps_the_contract {
    ($($name:ident($layer:ident, $partner:ident) { $stack:expr })*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            let ($layer, handle, partner) = layer();
            let $partner = partner.clone();
            keeps_the_contract($stack, &handle, &partner).await;
        }
    )*};
}

keeps_the_contract! {
    outside_a_buffer(layer, partner) {
        ServiceBuilder::new().layer(layer.boxed()).buffer(8).service(partner)
    }
    inside_a_buffer(layer, partner) {
        ServiceBuilder::new().buffer(8).layer(layer).service(partner)
    }
    outside_a_concurrency_limit(layer, partner) {
        ServiceBuilder::new().layer(layer).concurrency_limit(2).service(partner)
    }
    inside_a_concurrency_limit(layer, partner) {
        ServiceBuilder::new().concurrency_limit(2).layer(layer).service(partner)
    }
    // A service that is not `Clone` goes behind a buffer.
    around_a_service_that_is_no_clone(layer, partner) {
        ServiceBuilder::new().layer(layer.boxed()).buffer(8).service(NoClone(partner))
    }
}

struct NoClone(Partner);

impl Service<Request> for NoClone {
    type Response = u32;
    type Error = Failed;
    type Future = support::Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request)
    }
}

// ---- timeout ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn outside_a_timeout() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .layer(layer.boxed())
        .timeout(secs(10))
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    // The time-out is an error of the inner stack: a failure.
    hangs_and_trips(&stack, &handle, &partner).await;
}

#[tokio::test(start_paused = true)]
async fn inside_a_timeout() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .timeout(secs(10))
        .layer(layer)
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    // The time-out drops the call after `hang_limit`: a failure.
    hangs_and_trips(&stack, &handle, &partner).await;
}

// ---- retry --------------------------------------------------------------------------------------

/// Tries everything twice. Refusals too, which may be repeated safely.
#[derive(Debug, Clone)]
struct Twice {
    again: bool,
}

impl<E> retry::Policy<Request, u32, E> for Twice {
    type Future = Now<()>;

    fn retry(&mut self, _: &mut Request, result: &mut Result<u32, E>) -> Option<Now<()>> {
        (result.is_err() && std::mem::take(&mut self.again)).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(*request)
    }
}

/// How many calls and failures are counted where the first try fails and the second succeeds.
async fn counted_of_a_second_try<S>(
    stack: S,
    handle: &MaintenanceHandle,
    partner: &Partner,
) -> (u64, u64)
where
    S: Service<Request, Response = u32, Error: Debug>,
{
    let before = handle.status().window;
    partner.next_says([Say::Down]);
    assert_eq!(stack.oneshot(read()).await.unwrap(), 7);
    let after = handle.status().window;
    (after.total - before.total, after.failed)
}

#[tokio::test(start_paused = true)]
async fn outside_a_retry() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .layer(layer)
        .retry(Twice { again: true })
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    // The layer sees one call, however often it is tried.
    let counted = counted_of_a_second_try(stack, &handle, &partner).await;
    assert_eq!(counted, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn inside_a_retry() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .retry(Twice { again: true })
        .layer(layer)
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    // Each try is a call.
    let counted = counted_of_a_second_try(stack, &handle, &partner).await;
    assert_eq!(counted, (2, 1));
}

// ---- load shed ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn outside_a_load_shed() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .layer(layer.boxed())
        .load_shed()
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    partner.becomes(Ready::NotYet);
    let shed = stack.oneshot(read()).await.unwrap_err();
    assert!(shed.is::<Overloaded>());
}

#[tokio::test(start_paused = true)]
async fn inside_a_load_shed() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .load_shed()
        .layer(layer)
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    let before = handle.status().calls;
    partner.becomes(Ready::NotYet);
    let shed = stack.oneshot(read()).await.unwrap_err();
    assert!(shed.is::<Overloaded>());
    assert_eq!(handle.status().calls, before, "it never got here");
}

// ---- all of it ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn amid_everything() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .load_shed()
        .buffer(8)
        .timeout(secs(60))
        .layer(layer.boxed())
        .retry(Twice { again: true })
        .timeout(secs(1))
        .concurrency_limit(2)
        .service(partner.clone());
    keeps_the_contract(stack.clone(), &handle, &partner).await;

    hangs_and_trips(&stack, &handle, &partner).await;
    partner.says(Say::Ok);
    tokio::time::sleep(secs(30)).await;
    for _ in 0..3 {
        assert_eq!(stack.clone().oneshot(read()).await.unwrap(), 7);
    }
    assert_eq!(handle.mode(), Mode::Serving);
}

/// Two partners, two layers, one stack: a refusal by one is no failure of the other.
#[tokio::test(start_paused = true)]
async fn around_another_layer() {
    let (inner, inner_handle, partner) = layer();
    let outer = MaintenanceLayer::builder("payments").build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(outer.boxed())
        .layer(inner.boxed())
        .service(partner.clone());
    engage(&inner_handle);
    for _ in 0..20 {
        assert!(is_refusal(stack.clone().oneshot(read()).await.unwrap_err()));
    }
    assert_eq!(outer.handle().mode(), Mode::Serving);
    assert_eq!(outer.handle().status().window.total, 0);
}

// ---- readiness ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_admitted_call_uses_the_very_instance_that_was_polled() {
    let (layer, _, partner) = layer();
    let mut service = layer.layer(partner.clone());
    let instance = service.get_ref().instance();
    service.ready().await.unwrap().call(read()).await.unwrap();
    service.ready().await.unwrap().call(read()).await.unwrap();
    assert_eq!(partner.called_instances(), [instance; 2]);
    assert_eq!(service.get_ref().instance(), instance, "not replaced");
    assert_eq!(service.into_inner().instance(), instance);
}

#[tokio::test(start_paused = true)]
async fn clones_start_unready() {
    let (layer, _, partner) = layer();
    let mut service = layer.layer(partner.clone());
    service.ready().await.unwrap();
    // Called un-ready, the clone takes an instance and waits for it: no instance is called
    // unpolled.
    let mut clone = service.clone();
    partner.becomes(Ready::NotYet);
    let call = InFlight::begin(clone.call(read()));
    assert_eq!(service.call(read()).await, Ok(7), "the original is ready");
    partner.becomes(Ready::Yes);
    assert_eq!(call.ended(), Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_ready_service_may_be_dropped_uncalled() {
    let (layer, handle, partner) = layer();
    let stack = ServiceBuilder::new()
        .layer(layer)
        .concurrency_limit(1)
        .service(partner.clone());
    for _ in 0..3 {
        let mut service = stack.clone();
        service.ready().await.unwrap();
    }
    assert_eq!(stack.oneshot(read()).await, Ok(7));
    assert_eq!(handle.status().calls.admitted, 1);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_not_send_is_fine() {
    let (layer, _, _) = layer();
    let service = layer.layer(tower::service_fn(|()| {
        let local = Rc::new(7);
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Failed>(*local)
        }
    }));
    assert_eq!(service.oneshot(()).await, Ok(7));
}

// ---- auto traits --------------------------------------------------------------------------------

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

/// A compile-time check: it holds for all types, or does not compile.
fn of_the_parts<F: Send, S: Send, Req: Send, P: Send>() {
    send::<ResponseFuture<F, S, Req, P>>();
    send::<Maintenance<S, P>>();
    send::<MaintenanceLayer<P>>();
}

fn of_shared_parts<P: Sync>() {
    sync::<MaintenanceLayer<P>>();
}

#[test]
fn auto_traits() {
    of_the_parts::<Now<()>, Partner, Request, tower_maintenance::Calls<Billing>>();
    of_shared_parts::<tower_maintenance::Calls<Billing>>();
    send::<MaintenanceHandle>();
    sync::<MaintenanceHandle>();
    unwind_safe::<MaintenanceHandle>();
    send::<Ticket>();
    sync::<Ticket>();
    send::<Refused>();
    sync::<Refused>();
    send::<Error<Failed>>();
    sync::<Error<Failed>>();
    send::<Status>();
    sync::<Status>();
    send::<Receipt>();
    send::<Policy>();
    sync::<Policy>();
    send::<Events>();
    send::<CacheBusts>();
    fn cloned<T: Clone + Debug>() {}
    cloned::<MaintenanceHandle>();
    cloned::<MaintenanceLayer>();
    cloned::<Refused>();
}
