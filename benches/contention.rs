//! The cost of one call when 1, 2 and 4 threads share one layer: time per call of one thread. A
//! gate that scales shows the same time in each row. The bare service is the baseline.
#![allow(missing_docs, reason = "criterion's macros make items without docs")]

mod support;

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use support::{Bare, call, exempt, held, serving};
use tower::Service;

/// The time that `threads` threads take for `calls` calls each, through clones of one service.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn shared<S: Service<u64> + Clone + Send>(service: &S, threads: usize, calls: u64) -> Duration {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            let mut service = service.clone();
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..calls {
                    call(&mut service);
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let begin = Instant::now();
        barrier.wait();
        begin.elapsed()
    })
}

fn case<S: Service<u64> + Clone + Send>(c: &mut Criterion, name: &str, service: &S) {
    let mut group = c.benchmark_group(format!("contention/{name}"));
    for threads in [1, 2, 4] {
        group.bench_function(BenchmarkId::new("bare", threads), |b| {
            b.iter_custom(|calls| shared(&Bare, threads, calls));
        });
        group.bench_function(BenchmarkId::new("maintenance", threads), |b| {
            b.iter_custom(|calls| shared(service, threads, calls));
        });
    }
    group.finish();
}

fn contention(c: &mut Criterion) {
    case(c, "admitted", &serving());
    case(c, "refused", &held());
    case(c, "exempt", &exempt());
}

criterion_group!(benches, contention);
criterion_main!(benches);
