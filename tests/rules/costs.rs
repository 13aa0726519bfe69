//! Promises of `guide::costs` that no other test is named for.

use std::{
    convert::Infallible,
    future::ready,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use tokio_test::block_on;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{MaintenanceLayer, Mode, Policy, Window};

fn partner() -> impl Service<bool, Response = (), Error = &'static str, Future: Send> + Clone + Send
{
    service_fn(|fails: bool| ready(if fails { Err("502") } else { Ok(()) }))
}

/// Makes `calls` calls, and adds each to `ended` once it has ended.
fn call_and_count<S>(service: &mut S, calls: u64, ended: &AtomicU64)
where
    S: Service<bool, Response = (), Error: std::fmt::Debug>,
{
    for _ in 0..calls {
        block_on(async { service.ready().await.unwrap().call(false).await }).unwrap();
        ended.fetch_add(1, Ordering::Release);
    }
}

/// A status that is read while calls land may miss some of those, but none that ended before it.
#[test]
fn status_sees_every_call_that_ended_before_it() {
    const THREADS: u64 = 3;
    const CALLS: u64 = 5_000;
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let ended = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut service = layer.layer(partner());
            let ended = &ended;
            scope.spawn(move || call_and_count(&mut service, CALLS, ended));
        }
        loop {
            let before = ended.load(Ordering::Acquire);
            let calls = handle.status().calls;
            assert!(
                calls.succeeded >= before,
                "{calls:?}, and {before} had ended"
            );
            assert!(
                calls.admitted >= before,
                "{calls:?}, and {before} had ended"
            );
            if before == THREADS * CALLS {
                assert_eq!((calls.admitted, calls.succeeded), (before, before));
                break;
            }
        }
    });
}

/// A failure takes the lock, and the success after it opens the lanes again: both are counted.
#[test]
fn successes_between_failures_are_counted_exactly() {
    for window in [
        Window::calls(1_000),
        Window::time(std::time::Duration::from_secs(3_600)),
    ] {
        let policy = Policy::default()
            .with_window(window)
            .without_consecutive_failures();
        let built = MaintenanceLayer::builder("zuora").policy(policy).build();
        let layer = built.unwrap();
        let mut service = layer.layer(partner());
        for call in 0..1_000 {
            let fails = call % 10 < 2;
            let called = block_on(async { service.ready().await.unwrap().call(fails).await });
            assert_eq!(called.is_err(), fails);
        }
        let status = layer.handle().status();
        assert_eq!(status.mode, Mode::Serving);
        assert_eq!((status.calls.succeeded, status.calls.failed), (800, 200));
        assert_eq!((status.window.total, status.window.failed), (1_000, 200));
    }
}

/// A thread that calls many layers by turns keeps a bucket of each, and never counts in another's.
#[test]
fn a_thread_that_calls_many_layers_by_turns_counts_each_call_in_its_own() {
    let layers: Vec<_> = (0..100).map(|_| MaintenanceLayer::new("zuora")).collect();
    let mut services: Vec<_> = layers
        .iter()
        .map(|layer| layer.layer(service_fn(|()| ready(Ok::<_, Infallible>(())))))
        .collect();
    for turn in 0..50 {
        for (number, service) in services.iter_mut().enumerate() {
            if turn <= number % 50 {
                block_on(async { service.ready().await.unwrap().call(()).await }).unwrap();
            }
        }
    }
    for (number, layer) in layers.iter().enumerate() {
        let calls = layer.handle().status().calls;
        let made = number as u64 % 50 + 1;
        assert_eq!(
            (calls.admitted, calls.succeeded),
            (made, made),
            "layer {number}"
        );
    }
}
