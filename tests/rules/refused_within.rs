//! R24: a refusal that was made in this process is found under any wrapping, and is neutral to
//! every layer outside the one that made it.

use std::{
    error::Error as StdError,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::advance;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_maintenance::{
    Error, KeyedLayer, MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Policy, Refused,
};
use tracing::Level;

use crate::support::{Log, drill, secs};

// ---- found under any wrapping -------------------------------------------------------------------

/// An error that shows what it wraps, as most do.
#[derive(Debug, thiserror::Error)]
#[error("wraps")]
struct Wraps(#[source] BoxError);

/// An error that is its own source.
#[derive(Debug)]
struct Circle;

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circle")
    }
}

impl StdError for Circle {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self)
    }
}

async fn refused() -> Refused {
    let layer = MaintenanceLayer::new("zuora");
    layer.handle().engage(drill()).unwrap();
    let partner = service_fn(async |()| Ok::<(), io::Error>(()));
    let called = layer.layer(partner).oneshot(()).await;
    called.unwrap_err().refused().unwrap().clone()
}

type Wrap = (&'static str, fn(BoxError) -> BoxError);

fn boxed(error: impl StdError + Send + Sync + 'static) -> BoxError {
    Box::new(error)
}

/// Every wrapping that takes an error of any type.
const WRAPS: [Wrap; 6] = [
    ("source", |error| boxed(Wraps(error))),
    ("io", |error| boxed(io::Error::other(error))),
    ("Arc<io>", |error| boxed(Arc::new(io::Error::other(error)))),
    ("Box<io>", |error| boxed(Box::new(io::Error::other(error)))),
    ("Arc<dyn>", |error| {
        boxed(Arc::<dyn StdError + Send + Sync>::from(error))
    }),
    ("Arc<Error<io>>", |error| {
        boxed(Arc::new(Error::Inner(io::Error::other(error))))
    }),
];

/// Every form of the refusal itself.
fn forms(refused: &Refused) -> [(&'static str, BoxError); 6] {
    let refused = || refused.clone();
    [
        ("itself", boxed(refused())),
        ("Arc", boxed(Arc::new(refused()))),
        ("Box", boxed(Box::new(refused()))),
        ("Error", boxed(Error::<io::Error>::Refused(refused()))),
        (
            "Arc<Error>",
            boxed(Arc::new(Error::<Wraps>::Refused(refused()))),
        ),
        (
            "Error in Error",
            boxed(Error::Inner(Error::<fmt::Error>::Refused(refused()))),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn r24_a_refusal_is_found_under_any_two_wrappings() {
    let refused = refused().await;
    for (outer, wrap) in WRAPS {
        for (inner, wrap_first) in WRAPS {
            for (form, error) in forms(&refused) {
                assert!(Refused::find(&*error).is_some(), "{form}");
                let once = wrap_first(error);
                assert!(Refused::find(&*once).is_some(), "{inner} of {form}");
                let twice = wrap(once);
                let found = Refused::find(&*twice).map(Refused::partner);
                assert_eq!(found, Some("zuora"), "{outer} of {inner} of {form}");
            }
            let other = wrap(wrap_first(boxed(fmt::Error)));
            assert!(Refused::find(&*other).is_none(), "{outer} of {inner}");
            // It ends, where a chain does not.
            let circle = wrap(wrap_first(boxed(Circle)));
            assert!(Refused::find(&*circle).is_none(), "{outer} of {inner}");
        }
    }
}

// ---- neutral to every layer outside -------------------------------------------------------------

/// A call for a tenant.
type Call = u32;

/// A partner that fails as it is told to, and counts the calls.
#[derive(Clone, Default)]
struct Partner {
    calls: Arc<AtomicU64>,
}

impl Partner {
    fn service<E>(
        &self,
        answer: Result<(), E>,
    ) -> impl Service<Call, Response = (), Error = E, Future: Send> + Clone + use<E>
    where
        E: Clone + Send + 'static,
    {
        let calls = self.calls.clone();
        service_fn(move |_: Call| {
            calls.fetch_add(1, Ordering::Relaxed);
            std::future::ready(answer.clone())
        })
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Trips at the third failure.
fn policy() -> Policy {
    Policy::default()
        .with_consecutive_failures(3)
        .with_wait(secs(3600))
}

fn layer(name: &str) -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder(name).policy(policy());
    layer.build().unwrap()
}

/// An error that is no [`StdError`].
#[derive(Debug, Clone, Copy)]
struct Bare;

/// Holds `inner`, calls 30 times, lets go, and checks that `outer` was told nothing by it: the
/// partner is reached again.
async fn assert_neutral<S>(
    case: &str,
    inner: &MaintenanceHandle,
    outer: &[MaintenanceHandle],
    partner: &Partner,
    stack: S,
) where
    S: Service<Call, Response = ()> + Clone,
{
    inner.engage(drill()).unwrap();
    for call in 0..30 {
        assert!(stack.clone().oneshot(call % 3).await.is_err(), "{case}");
        advance(secs(1)).await;
    }
    assert_eq!(partner.calls(), 0, "{case}");
    for outer in outer {
        let status = outer.status();
        assert_eq!(status.mode, Mode::Serving, "{case}: {status}");
        let calls = status.calls;
        assert_eq!((calls.failed, calls.neutral), (0, 0), "{case}");
        assert_eq!(calls.refused_within, calls.admitted, "{case}");
    }
    let within: u64 = outer
        .iter()
        .map(|outer| outer.status().calls.refused_within)
        .sum();
    assert_eq!(within, 30, "{case}");
    inner.release("on-call", "over").unwrap();
    for call in 0..3 {
        let _ = stack.clone().oneshot(call).await;
    }
    assert_eq!(partner.calls(), 3, "{case}");
}

#[tokio::test(start_paused = true)]
async fn r24_a_global_layer_inside_a_keyed_one_puts_no_tenant_into_maintenance() {
    let (global, partner) = (layer("zuora"), Partner::default());
    let keyed = KeyedLayer::builder(|call: &Call| *call, |_: &u32| layer("tenant"));
    let keyed = keyed.build().unwrap();
    let tenants = [0, 1, 2].map(|tenant| keyed.keys().handle(&tenant).unwrap());
    let stack = ServiceBuilder::new()
        .layer(keyed)
        .layer(global.clone())
        .service(partner.service(Err(Bare)));
    assert_neutral("keyed", &global.handle(), &tenants, &partner, stack).await;
}

#[tokio::test(start_paused = true)]
async fn r24_a_keyed_layer_inside_a_global_one_does_not_trip_it() {
    let (global, partner) = (layer("zuora"), Partner::default());
    let keyed = KeyedLayer::builder(|_: &Call| (), |_: &()| layer("the only tenant"));
    let keyed = keyed.build().unwrap();
    let tenant = keyed.keys().handle(&()).unwrap();
    let stack = ServiceBuilder::new()
        .layer(global.clone())
        .layer(keyed)
        .service(partner.service(Ok::<_, Bare>(())));
    assert_neutral("global", &tenant, &[global.handle()], &partner, stack).await;
}

#[tokio::test(start_paused = true)]
async fn r24_each_view_around_calls_knows_a_refusal_of_a_layer_further_in() {
    // Errors of this crate within each other, whatever the innermost error is.
    let (inner, outer, partner) = (layer("inner"), layer("outer"), Partner::default());
    let stack = ServiceBuilder::new()
        .layer(outer.judged_by(|_: Result<&(), &_>| Outcome::Failure))
        .layer(layer("between"))
        .layer(inner.clone())
        .service(partner.service(Ok::<_, Bare>(())));
    let outers = [outer.handle()];
    assert_neutral("plain", &inner.handle(), &outers, &partner, stack).await;
}

#[tokio::test(start_paused = true)]
async fn r24_a_refusal_is_known_through_a_timeout_between_the_layers() {
    // Boxed, with a timeout between the two.
    let (inner, outer, partner) = (layer("inner"), layer("outer"), Partner::default());
    let stack = ServiceBuilder::new()
        .layer(outer.boxed())
        .timeout(secs(1))
        .layer(inner.clone())
        .service(partner.service(Ok::<_, fmt::Error>(())));
    let outers = [outer.handle()];
    assert_neutral("boxed", &inner.handle(), &outers, &partner, stack).await;

    // A plain view over a stack of boxed errors.
    let (inner, outer, partner) = (layer("inner"), layer("outer"), Partner::default());
    let stack = ServiceBuilder::new()
        .layer(outer.clone())
        .timeout(secs(1))
        .layer(inner.clone())
        .service(partner.service(Ok::<_, fmt::Error>(())));
    let outers = [outer.handle()];
    assert_neutral("over a timeout", &inner.handle(), &outers, &partner, stack).await;
}

#[tokio::test(start_paused = true)]
async fn r24_a_refusal_is_known_where_errors_are_wrapped_between_the_layers() {
    // Wrapped in an `io::Error`.
    let (inner, outer, partner) = (layer("inner"), layer("outer"), Partner::default());
    let stack = ServiceBuilder::new()
        .layer(outer.clone())
        .map_err(io::Error::other::<Error<fmt::Error>>)
        .layer(inner.clone())
        .service(partner.service(Ok::<_, fmt::Error>(())));
    let outers = [outer.handle()];
    assert_neutral("io", &inner.handle(), &outers, &partner, stack).await;

    // Wrapped in an error type of the user's own, for tenants.
    let (inner, partner) = (layer("inner"), Partner::default());
    let keyed = KeyedLayer::builder(|_: &Call| (), |_: &()| layer("the only tenant").nested());
    let keyed = keyed.build().unwrap();
    let outers = [keyed.keys().handle(&()).unwrap()];
    let stack = ServiceBuilder::new()
        .layer(keyed)
        .map_err(|error: Error<fmt::Error>| Wraps(error.into()))
        .layer(inner.clone())
        .service(partner.service(Ok::<_, fmt::Error>(())));
    assert_neutral("nested", &inner.handle(), &outers, &partner, stack).await;
}

/// A bound on the error type that names a lifetime would keep callers with `BoxError` from
/// spawning their calls.
#[tokio::test(start_paused = true)]
async fn a_call_with_boxed_errors_can_be_spawned() {
    let layer = layer("outer");
    let service = layer.layer(tower::service_fn(async |call: u32| Ok::<_, BoxError>(call)));
    let spawned = tokio::spawn(async move { service.oneshot(7).await.is_ok() });
    assert!(spawned.await.unwrap());
}

/// A refusal that the caller further in swallowed says nothing about the failure that comes later.
#[tokio::test(start_paused = true)]
async fn r24_a_failure_after_a_swallowed_refusal_is_the_partners() {
    let (inner, outer) = (layer("inner"), layer("outer"));
    inner.handle().engage(drill()).unwrap();
    let optional = inner.layer(tower::service_fn(async |call: u32| {
        Ok::<_, fmt::Error>(call)
    }));
    let service = outer.layer(tower::service_fn(move |call: u32| {
        let optional = optional.clone();
        async move {
            assert!(optional.oneshot(call).await.is_err(), "it is refused");
            // The partner itself answers at a later poll.
            tokio::time::sleep(secs(1)).await;
            Err::<u32, _>(fmt::Error)
        }
    }));
    for call in 0..3 {
        assert!(service.clone().oneshot(call).await.is_err());
    }
    assert_eq!(outer.handle().mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn r24_the_partners_own_failures_under_a_layer_further_in_still_count() {
    let (inner, outer, partner) = (layer("inner"), layer("outer"), Partner::default());
    let stack = ServiceBuilder::new()
        .layer(outer.nested())
        .layer(inner.clone())
        .service(partner.service(Err(fmt::Error)));
    for _ in 0..3 {
        assert!(stack.clone().oneshot(0).await.is_err());
    }
    assert_eq!(outer.handle().mode(), Mode::Maintenance);
    assert_eq!(outer.handle().status().calls.refused_within, 0);
}

// ---- the same layer twice -----------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r24_a_layer_that_refuses_its_own_probe_warns_once() {
    let log = Log::new();
    let _listening = log.listen();
    let warned = || log.lines(Level::WARN, &["stands twice"]).len();
    let partner = Partner::default();

    // A layer of the same name further in is another layer.
    let (outer, inner) = (layer("zuora"), layer("zuora"));
    let stack = ServiceBuilder::new()
        .layer(outer.clone())
        .layer(inner.clone())
        .service(partner.service(Ok::<_, Bare>(())));
    inner.handle().engage(drill()).unwrap();
    let handle = outer.handle();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "let us see").unwrap();
    assert!(stack.oneshot(0).await.is_err());
    assert_eq!(outer.handle().status().calls.refused_within, 1);
    assert_eq!(warned(), 0);

    let stack = ServiceBuilder::new()
        .layer(outer.clone())
        .layer(outer.clone())
        .service(partner.service(Ok::<_, Bare>(())));
    for _ in 0..5 {
        assert!(stack.clone().oneshot(0).await.is_err());
    }
    assert_eq!(outer.handle().mode(), Mode::Probing);
    assert_eq!(warned(), 1, "{:?}", log.lines(Level::WARN, &[]));
    assert_eq!(log.lines(Level::WARN, &["stands twice", "zuora"]).len(), 1);
}
