//! What one call costs on one thread, each case beside the bare service.
#![allow(missing_docs, reason = "criterion's macros make items without docs")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Bare, call, exempt, held, serving, tripped};

fn admitted(c: &mut Criterion) {
    let mut group = c.benchmark_group("gate/admitted");
    group.bench_function("bare", |b| b.iter(|| assert!(call(&mut Bare))));
    let mut service = serving();
    group.bench_function("maintenance", |b| b.iter(|| assert!(call(&mut service))));
    group.finish();
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
    let mut group = c.benchmark_group("gate/exempt");
    group.bench_function("bare", |b| b.iter(|| assert!(call(&mut Bare))));
    let mut service = exempt();
    group.bench_function("one_of_1000", |b| b.iter(|| assert!(call(&mut service))));
    group.finish();
}

criterion_group!(gate, admitted, refused, exempted);
criterion_main!(gate);
