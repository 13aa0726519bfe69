//! Whose fault an error is: by its type, and by the closures of `judged_errors`.

use std::{
    convert::Infallible,
    error::Error as StdError,
    fmt,
    future::{pending, ready},
    io,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::Poll,
};

use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, load_shed::error::Overloaded, service_fn,
    util::BoxCloneService,
};
use tower_maintenance::{
    CallCounts, Error, KeyedLayer, MaintenanceLayer, Mode, Origin, Outcome, Policy, Verdict, fault,
};

use crate::support::{drill, millis, poll_once, secs};

/// An error that wraps another one.
#[derive(Debug)]
struct Wrapping<E>(E);

impl<E> fmt::Display for Wrapping<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call failed")
    }
}

impl<E: StdError + 'static> StdError for Wrapping<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Too many open files.
fn no_descriptor() -> io::Error {
    io::Error::from_raw_os_error(24)
}

fn layer() -> MaintenanceLayer {
    let policy = Policy::default().with_jitter(0.0).with_wait(secs(10));
    let layer = MaintenanceLayer::builder("zuora").policy(policy).build();
    layer.unwrap()
}

/// A service that fails with what `error` makes.
fn failing<E: Send + 'static>(
    error: impl Fn() -> E + Clone + Send + 'static,
) -> BoxCloneService<(), (), E> {
    BoxCloneService::new(service_fn(move |()| ready(Err(error()))))
}

/// The numbers of failed, neutral and own calls.
fn told(layer: &MaintenanceLayer<impl Sized>) -> (u64, u64, u64) {
    let CallCounts {
        failed,
        neutral,
        ours,
        ..
    } = layer.handle().status().calls;
    (failed, neutral, ours)
}

/// Ours, neutral, or a failure: what becomes of this error in the nested and in the boxed view.
async fn both<E: StdError + Send + Sync + 'static>(
    error: impl Fn() -> E + Clone + Send + 'static,
) -> [(u64, u64, u64); 2] {
    let nested = layer();
    let service = nested.nested().layer(failing(error.clone()));
    let _ = service.oneshot(()).await;
    [told(&nested), boxed(error).await]
}

/// What becomes of this error in the boxed view.
async fn boxed<E: Into<BoxError> + Send + 'static>(
    error: impl Fn() -> E + Clone + Send + 'static,
) -> (u64, u64, u64) {
    let boxed = layer();
    let _ = boxed.boxed().layer(failing(error)).oneshot(()).await;
    told(&boxed)
}

const FAILURE: (u64, u64, u64) = (1, 0, 0);
const OURS: (u64, u64, u64) = (0, 0, 1);

#[tokio::test(start_paused = true)]
async fn what_this_process_lacks_is_ours_under_any_wrapping() {
    assert_eq!(both(no_descriptor).await, [OURS; 2]);
    assert_eq!(both(|| io::Error::from_raw_os_error(23)).await, [OURS; 2]);
    let kinds = [
        io::ErrorKind::AddrNotAvailable,
        io::ErrorKind::AddrInUse,
        io::ErrorKind::OutOfMemory,
    ];
    for kind in kinds {
        assert_eq!(
            both(move || io::Error::from(kind)).await,
            [OURS; 2],
            "{kind}"
        );
    }
    let wrapped = || BoxError::from(Wrapping(no_descriptor()));
    assert_eq!(boxed(wrapped).await, OURS);
    let in_io = || io::Error::other(Wrapping(io::Error::other(no_descriptor())));
    assert_eq!(both(in_io).await, [OURS; 2]);
    let shared = || BoxError::from(Wrapping(Arc::new(no_descriptor())));
    assert_eq!(boxed(shared).await, OURS);
    let any_shared = || {
        let shared: Arc<dyn StdError + Send + Sync> = Arc::new(no_descriptor());
        BoxError::from(shared)
    };
    assert_eq!(boxed(any_shared).await, OURS);
    // In the error of another layer further in.
    assert_eq!(both(|| Error::Inner(no_descriptor())).await, [OURS; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_the_partner_or_the_network_does_is_a_failure() {
    let kinds = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::TimedOut,
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::PermissionDenied,
    ];
    for kind in kinds {
        assert_eq!(
            both(move || io::Error::from(kind)).await,
            [FAILURE; 2],
            "{kind}"
        );
    }
    assert_eq!(boxed(|| BoxError::from("no")).await, FAILURE);
    // The plain view takes any error type and opens none; the others open a type of the user's own.
    let plain = layer();
    let _ = plain.layer(failing(no_descriptor)).oneshot(()).await;
    assert_eq!(told(&plain), FAILURE);
    assert_eq!(both(|| Wrapping(no_descriptor())).await, [OURS; 2]);

    // A time limit further in is the partner's.
    let slow = layer();
    let stack = ServiceBuilder::new()
        .layer(slow.boxed())
        .timeout(millis(10))
        .service(service_fn(async |()| {
            pending::<Result<(), BoxError>>().await
        }));
    stack.oneshot(()).await.unwrap_err();
    assert_eq!(told(&slow), FAILURE);
}

#[tokio::test(start_paused = true)]
async fn a_load_shed_further_in_trips_nothing() {
    let layer = layer();
    let stack = ServiceBuilder::new()
        .layer(layer.boxed())
        .load_shed()
        .concurrency_limit(1)
        .service(service_fn(async |()| {
            pending::<Result<(), Infallible>>().await
        }));
    let mut taken = Box::pin(stack.clone().oneshot(()));
    assert!(poll_once(taken.as_mut()).is_none());
    for _ in 0..20 {
        let error = stack.clone().oneshot(()).await.unwrap_err();
        assert!(error.is::<Overloaded>());
    }
    assert_eq!(told(&layer), (0, 0, 20));
    assert_eq!(layer.handle().mode(), Mode::Serving);
    assert_eq!(
        layer.handle().status().to_string(),
        "zuora is serving: no call in 60 s gave evidence, 20 ended by our own errors"
    );
}

#[tokio::test(start_paused = true)]
async fn a_closure_has_the_first_word_and_none_leaves_it_to_the_type() {
    let calls = layer().judged_errors(|error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Some(Origin::Ourselves),
        io::ErrorKind::AddrInUse => Some(Origin::Partner),
        io::ErrorKind::Interrupted => Some(Origin::RefusedWithin),
        _ => None,
    });
    for (kind, expected) in [
        (io::ErrorKind::NotFound, OURS),
        (io::ErrorKind::AddrInUse, (1, 0, 1)),
        (io::ErrorKind::AddrNotAvailable, (1, 0, 2)),
        (io::ErrorKind::ConnectionReset, (2, 0, 2)),
        (io::ErrorKind::Interrupted, (2, 0, 2)),
    ] {
        let _ = calls
            .nested()
            .layer(failing(move || io::Error::from(kind)))
            .oneshot(())
            .await;
        assert_eq!(told(&calls), expected, "{kind}");
    }
    assert_eq!(calls.handle().status().calls.refused_within, 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_closures_the_first_that_answers_counts_and_then_the_judge() {
    #[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
    #[error("{0}")]
    struct Code(u16);

    let base = layer();
    let calls = base
        .judged_errors(|error: &Code| (error.0 == 1).then_some(Outcome::Neutral))
        .judged_by(|result: Result<&(), &Code>| match result {
            Ok(()) | Err(Code(3)) => Outcome::Success,
            Err(_) => Outcome::Failure,
        })
        .judged_errors(|error: &Code| (error.0 < 3).then_some(Origin::Ourselves));
    for (code, expected) in [
        (1, (0, 1, 0)),
        (2, (0, 1, 1)),
        (3, (0, 1, 1)),
        (4, (1, 1, 1)),
    ] {
        let _ = calls.layer(failing(move || Code(code))).oneshot(()).await;
        assert_eq!(told(&base), expected, "{code}");
    }
    assert_eq!(base.handle().status().calls.succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_closure_judges_in_boxed_views() {
    let base = MaintenanceLayer::new("zuora").judged_errors(|error: &BoxError| {
        let found: Option<&Wrapping<io::Error>> = fault::find(&**error);
        found.map(|_| Verdict::ours().with_code(7))
    });
    let boxed = base.boxed();
    let wrapped = || Wrapping(Wrapping(io::Error::other("reset")));
    let _ = boxed.layer(failing(wrapped)).oneshot(()).await;
    assert_eq!(told(&base), OURS);
    let _ = boxed
        .layer(failing(|| io::Error::other("reset")))
        .oneshot(())
        .await;
    assert_eq!(told(&base), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_closure_judges_in_the_layers_of_keys() {
    let built = KeyedLayer::builder(|(): &()| 7_u8, |_: &u8| MaintenanceLayer::new("zuora"));
    let layer = built.build().unwrap();
    let keys = layer.keys();
    let viewed = layer.with_view(
        |(): &()| 7_u8,
        |layer: &MaintenanceLayer| {
            layer.judged_errors(|_: &Wrapping<io::Error>| Some(Origin::Ourselves))
        },
    );
    for _ in 0..20 {
        let calls = viewed.layer(failing(|| Wrapping(io::Error::other("reset"))));
        let _ = calls.oneshot(()).await;
    }
    let handle = keys.handle(&7).unwrap();
    assert_eq!(
        (handle.mode(), handle.status().calls.ours),
        (Mode::Serving, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_closure_is_neutral_and_frees_the_slot_of_a_probe() {
    let base = layer();
    let calls = base.judged_errors(|_: &io::Error| -> Option<Origin> { panic!("in the closure") });
    let handle = base.handle();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    for _ in 0..3 {
        let service = calls.layer(failing(|| io::Error::other("reset")));
        let call = AssertUnwindSafe(service.oneshot(()));
        let panicked = tokio::spawn(call.0).await.unwrap_err();
        assert!(panicked.is_panic());
    }
    assert_eq!(told(&base), (0, 3, 0));
    assert_eq!(handle.status().calls.in_flight(), 0);
    let service = base.layer(service_fn(async |()| Ok::<_, io::Error>(())));
    service.oneshot(()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_by_an_error_of_ours_proves_nothing() {
    let base = layer();
    let handle = base.handle();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    for _ in 0..5 {
        let _ = base
            .nested()
            .layer(failing(no_descriptor))
            .oneshot(())
            .await;
        assert_eq!(handle.mode(), Mode::Probing);
    }
    assert_eq!(told(&base), (0, 0, 5));
    // A failure of the partner still does.
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let _ = base.layer(failing(reset)).oneshot(()).await;
    assert_eq!(handle.mode(), Mode::Maintenance);
}

/// A service whose `poll_ready` fails with the error that it has.
#[derive(Clone)]
struct Unready(fn() -> io::Error);

impl Service<()> for Unready {
    type Response = ();
    type Error = io::Error;
    type Future = std::future::Ready<Result<(), io::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Err((self.0)()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_readiness_has_an_origin_too() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    for (make, expected) in [
        (no_descriptor as fn() -> io::Error, (0, 0, 3)),
        (reset, (3, 0, 0)),
        (|| io::Error::other("by the closure"), (0, 0, 3)),
    ] {
        let base = layer();
        let calls = base.judged_errors(|error: &io::Error| {
            (error.kind() == io::ErrorKind::Other).then_some(Origin::Ourselves)
        });
        for _ in 0..2 {
            let _ = calls.nested().layer(Unready(make)).oneshot(()).await;
        }
        // Probing asks for readiness in the call's future.
        base.handle().trip("on-call", "drill").unwrap();
        base.handle().probe_now("on-call", "drill").unwrap();
        let _ = calls.nested().layer(Unready(make)).oneshot(()).await;
        assert_eq!(told(&base), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_closure_about_readiness_holds_no_slot() {
    let base = layer();
    let calls = base.judged_errors(|_: &io::Error| -> Option<Origin> { panic!("in the closure") });
    let panics = async || {
        let call = calls.layer(Unready(no_descriptor)).oneshot(());
        assert!(tokio::spawn(call).await.unwrap_err().is_panic());
    };
    panics().await;
    assert_eq!(
        (told(&base), base.handle().mode()),
        ((0, 0, 0), Mode::Serving)
    );
    base.handle().trip("on-call", "drill").unwrap();
    base.handle().probe_now("on-call", "drill").unwrap();
    for _ in 0..3 {
        panics().await;
    }
    assert_eq!(
        (told(&base), base.handle().mode()),
        ((0, 3, 0), Mode::Probing)
    );
    assert_eq!(base.handle().status().calls.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_exempt_call_in_maintenance_asks_no_closure() {
    let base = MaintenanceLayer::builder("zuora")
        .exempt(tower_maintenance::Exemption::call(
            "invoice.read",
            "customers may see it",
        ))
        .build()
        .unwrap()
        .named(|(): &()| "invoice.read")
        .judged_errors(|_: &io::Error| -> Option<Origin> { panic!("not asked") });
    base.handle().engage(drill()).unwrap();
    let error = base.layer(failing(no_descriptor)).oneshot(()).await;
    assert!(matches!(error, Err(Error::Inner(_))));
    assert_eq!(told(&base), (0, 0, 0));
}

#[test]
fn a_chain_is_followed_for_a_bounded_number_of_errors() {
    #[derive(Debug)]
    struct Endless;
    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("endless")
        }
    }
    impl StdError for Endless {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&Self)
        }
    }
    assert_eq!(fault::by_type(&Endless), None);
    assert!(fault::find::<io::Error>(&Endless).is_none());

    let deep = |depth| {
        let first: BoxError = Box::new(no_descriptor());
        (0..depth).fold(first, |error, _| Box::new(Wrapping(Boxed(error))))
    };
    #[derive(Debug, thiserror::Error)]
    #[error("boxed")]
    struct Boxed(#[source] BoxError);
    assert!(fault::by_type(&*deep(60)).is_some());
    assert!(fault::by_type(&*deep(200)).is_none());
}
