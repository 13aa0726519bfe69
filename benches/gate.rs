//! The cost of one call on one thread, each case beside its baseline. With `--all-features` also by
//! the coarse clock, over HTTP, and through an axum router.
#![allow(missing_docs, reason = "criterion's macros make items without docs")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Bare, Later, call, call_later, exempt, held, later, serving, tripped};
use tower::{Layer, Service};
use tower_maintenance::{KeyedLayer, MaintenanceLayer};

/// Calls that pass through `service`, beside those to the bare partner.
fn passing(c: &mut Criterion, case: &str, name: &str, mut service: impl Service<u64>) {
    let mut group = c.benchmark_group(case);
    group.bench_function("bare", |b| b.iter(|| assert!(call(&mut Bare))));
    group.bench_function(name, |b| b.iter(|| assert!(call(&mut service))));
    group.finish();
}

fn admitted(c: &mut Criterion) {
    passing(c, "gate/admitted", "maintenance", serving());
}

fn refused(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate/refused");
    group.bench_function("bare", |b| b.iter(|| assert!(call(&mut Bare))));
    let mut service = held();
    group.bench_function("held", |b| b.iter(|| assert!(!call(&mut service))));
    let mut service = tripped();
    group.bench_function("tripped", |b| b.iter(|| assert!(!call(&mut service))));
    group.finish();
}

fn exempted(c: &mut Criterion) {
    passing(c, "gate/exempt", "one_of_1000", exempt());
}

/// A call that is answered at the second poll.
fn pending(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate/pending");
    group.bench_function("bare", |b| b.iter(|| assert!(call_later(&mut Later))));
    let mut service = later();
    group.bench_function("maintenance", |b| {
        b.iter(|| assert!(call_later(&mut service)));
    });
    group.finish();
}

/// A call of one of a thousand keys, beside one through a layer without keys. `benches/keyed.rs`
/// has more.
fn keyed(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate/keyed");
    let mut service = serving();
    group.bench_function("unkeyed", |b| b.iter(|| assert!(call(&mut service))));
    let built = KeyedLayer::builder(|key: &u64| *key, |_: &u64| MaintenanceLayer::new("partner"));
    let layer = built.build().expect("the defaults are in range");
    let handles: Vec<_> = (0..1_000).map(|key| layer.keys().handle(&key)).collect();
    assert!(handles.iter().all(Result::is_ok));
    let mut service = layer.layer(Bare);
    group.bench_function("one_of_1000", |b| b.iter(|| assert!(call(&mut service))));
    group.finish();
}

#[cfg(feature = "coarse-clock")]
fn coarse(c: &mut Criterion) {
    use tower_maintenance::CoarseClock;

    let mut group = c.benchmark_group("gate/coarse_clock");
    group.bench_function("bare", |b| b.iter(|| assert!(call(&mut Bare))));
    let mut service = serving();
    group.bench_function("tokio", |b| b.iter(|| assert!(call(&mut service))));
    let built = MaintenanceLayer::builder("partner")
        .clock(CoarseClock::new())
        .build();
    let mut service = built.expect("the policy is the default").layer(Bare);
    group.bench_function("coarse", |b| b.iter(|| assert!(call(&mut service))));
    group.finish();
}

/// A call whose answer is judged at its headers and its body, which is empty.
#[cfg(feature = "http")]
fn http(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate/http");
    let mut bare = support::http::Bare;
    group.bench_function("bare", |b| b.iter(|| support::http::call(&mut bare)));
    let mut service = MaintenanceLayer::new("partner").http_calls().layer(bare);
    group.bench_function("maintenance", |b| {
        b.iter(|| support::http::call(&mut service));
    });
    group.finish();
}

/// A request through a router alone, with a layer that does nothing, and with this one before the
/// routes.
#[cfg(feature = "axum")]
fn axum(c: &mut Criterion) {
    use ::axum::{Router, routing::get};
    use tower::layer::util::Identity;

    let mut group = c.benchmark_group("gate/axum");
    let router: Router = Router::new().route("/billing/prices", get(async || "12 EUR"));
    let layered = router
        .clone()
        .layer(MaintenanceLayer::new("partner").routes());
    for (name, router) in [
        ("bare", router.clone()),
        ("identity", router.layer(Identity::new())),
        ("maintenance", layered),
    ] {
        group.bench_function(name, |b| b.iter(|| support::http::ask(&router)));
    }
    group.finish();
}

/// Defines a case as empty where its feature is not enabled.
macro_rules! left_out {
    ($($feature:literal: $case:ident),*) => {
        $(#[cfg(not(feature = $feature))]
        fn $case(_: &mut Criterion) {})*
    };
}
left_out!("coarse-clock": coarse, "http": http, "axum": axum);

criterion_group!(
    gate, admitted, refused, exempted, pending, keyed, coarse, http, axum
);
criterion_main!(gate);
