//! The cost of a key: its bytes, the time to make one, and a call of a known key beside one through
//! an unkeyed layer.
//!
//! `cargo bench --bench keyed` measures 100,000 keys; `-- 1000` measures 1,000.

#[path = "support/alloc.rs"]
mod alloc;
mod support;

use std::{hint::black_box, thread, time::Duration};

use support::{Bare, call, called};
use tower::{Layer, Service};
use tower_maintenance::{
    Hold, KeyedLayer, KeyedMaintenance, Maintenance, MaintenanceHandle, MaintenanceLayer,
};

const ROUNDS: usize = 15;
const CALLS: u64 = 200_000;

/// Spreads calls over the keys, so that the next call is never of the neighbouring key.
fn key(call: u64, keys: u64) -> u64 {
    call.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys
}

type Keyed = KeyedMaintenance<
    Bare,
    u64,
    fn(&u64) -> u64,
    tower_maintenance::Calls,
    tower_maintenance::OwnView,
>;

type Unkeyed = Maintenance<Bare, tower_maintenance::Calls>;

fn layer(keys: u64) -> KeyedLayer<u64, fn(&u64) -> u64> {
    let by_key: fn(&u64) -> u64 = |key| *key;
    let layer = KeyedLayer::builder(by_key, |_: &u64| MaintenanceLayer::new("partner"))
        .max_keys(usize::try_from(keys).expect("it is that many"))
        .idle_after(Duration::from_secs(86_400));
    layer.build().expect("the numbers are in range")
}

#[inline(never)]
fn call_key<S: Service<u64>>(service: &mut S, key: u64) -> bool {
    called(service, key)
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn timed(f: impl FnOnce()) -> Duration {
    let begin = std::time::Instant::now();
    f();
    begin.elapsed()
}

/// The median of the rounds in nanoseconds per call. A round makes `CALLS` calls.
fn nanos(mut call: impl FnMut(u64) -> bool) -> f64 {
    rounds(|| {
        for n in 0..CALLS {
            black_box(call(n));
        }
    })
}

fn rounds(mut round: impl FnMut()) -> f64 {
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| timed(&mut round)).collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2].as_nanos() as f64 / CALLS as f64
}

fn call_keys<S: Service<u64>>(service: &mut S, key: impl Fn(u64) -> u64) {
    for call in 0..CALLS {
        black_box(call_key(service, key(call)));
    }
}

/// The same of two threads at once. `f` maps a thread and a call to the key.
fn two_threads<S: Service<u64> + Clone + Send>(
    service: &S,
    f: impl Fn(u64, u64) -> u64 + Sync,
) -> f64 {
    rounds(|| {
        thread::scope(|scope| {
            for thread in 0..2 {
                let (mut service, f) = (service.clone(), &f);
                scope.spawn(move || call_keys(&mut service, |call| f(thread, call)));
            }
        });
    })
}

fn main() {
    let asked = std::env::args().nth(1).and_then(|keys| keys.parse().ok());
    let keys: u64 = asked.unwrap_or(100_000);
    // For callgrind: `-- KEYS instructions CASE CALLS`.
    if std::env::args().nth(2).as_deref() == Some("instructions") {
        return instructions(keys);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("{keys} keys, {cores} cores, medians of {ROUNDS} rounds of {CALLS} calls\n");

    let mut bench = Bench::made(keys);
    bench.admitted();
    bench.refused();
}

/// Layers with keys and without.
struct Bench {
    keys: u64,
    layer: KeyedLayer<u64, fn(&u64) -> u64>,
    keyed: Keyed,
    handle: MaintenanceHandle,
    unkeyed: Unkeyed,
    /// As many unkeyed layers as there are keys, at most 10,000.
    many: Vec<Unkeyed>,
}

impl Bench {
    /// Makes them, and prints what one key costs to make.
    fn made(keys: u64) -> Self {
        let before = alloc::bytes();
        let one = black_box(MaintenanceLayer::new("partner"));
        let unkeyed_bytes = alloc::bytes() - before;
        let allocated = alloc::allocations();
        drop(black_box(MaintenanceLayer::new("partner")));
        let unkeyed_allocations = alloc::allocations() - allocated;

        let layers = 10_000.min(keys);
        let mut many = Vec::with_capacity(layers as usize);
        let making_unkeyed = timed(|| {
            many.extend((0..layers).map(|_| MaintenanceLayer::new("partner").layer(Bare)));
        });

        let layer = layer(keys);
        let mut keyed: Keyed = layer.layer(Bare);
        let (before, allocated) = (alloc::bytes(), alloc::allocations());
        let making = timed(|| {
            for key in 0..keys {
                assert!(call_key(&mut keyed, key));
            }
        });
        let bytes = (alloc::bytes() - before) as f64 / keys as f64;
        let allocations = (alloc::allocations() - allocated) as f64 / keys as f64;
        assert_eq!(layer.keys().len() as u64, keys);
        println!("| one key | unkeyed layer | keyed |\n|---|---|---|");
        println!("| bytes | {unkeyed_bytes} | {bytes:.0} |");
        println!("| allocations to make it | {unkeyed_allocations} | {allocations:.1} |");
        println!(
            "| ns to make it (keyed: by its first call) | {:.0} | {:.0} |",
            making_unkeyed.as_nanos() as f64 / layers as f64,
            making.as_nanos() as f64 / keys as f64,
        );
        Self {
            keys,
            layer,
            keyed,
            handle: one.handle(),
            unkeyed: one.layer(Bare),
            many,
        }
    }

    fn admitted(&mut self) {
        let (keys, keyed, many) = (self.keys, &mut self.keyed, &mut self.many);
        let layers = many.len() as u64;
        let bare = nanos(|_| call(&mut Bare));
        let plain = nanos(|_| call(&mut self.unkeyed));
        let hot = nanos(|_| call_key(keyed, 7));
        let few = nanos(|n| call_key(keyed, key(n, 64.min(keys))));
        // Found by index: the cost of the processor's caches without a look-up.
        let cold_plain = nanos(|n| call(&mut many[key(n, layers) as usize]));
        let cold_some = nanos(|n| call_key(keyed, key(n, layers)));
        let cold = nanos(|n| call_key(keyed, key(n, keys)));
        println!("\n| one call, admitted | ns |\n|---|---|");
        println!("| bare | {bare:.1} |\n| unkeyed | {plain:.1} |\n| one key | {hot:.1} |");
        println!("| 64 keys | {few:.1} |\n| {layers} unkeyed layers in turn | {cold_plain:.1} |");
        println!("| {layers} keys in turn | {cold_some:.1} |\n| {keys} keys in turn | {cold:.1} |");
        let plain_two = two_threads(&self.unkeyed, |_, call| call);
        let hot_two = two_threads(keyed, |_, _| 7);
        let own_two = two_threads(keyed, |thread, _| thread);
        println!("| two threads, unkeyed | {plain_two:.1} |");
        println!("| two threads, one key | {hot_two:.1} |");
        println!("| two threads, a key each | {own_two:.1} |");
    }

    fn refused(&mut self) {
        let hold = |handle: &MaintenanceHandle| {
            let held = handle.engage(Hold::new("bench", "refuse everything"));
            drop(held.expect("actor and reason are given"));
        };
        hold(&self.handle);
        hold(&self.layer.keys().get(&7).expect("it is there"));
        let plain = nanos(|_| call(&mut self.unkeyed));
        let hot = nanos(|_| call_key(&mut self.keyed, 7));
        println!("\n| one call, refused under a hold | ns |\n|---|---|");
        println!("| unkeyed | {plain:.1} |\n| one key | {hot:.1} |");
        let listing = timed(|| assert_eq!(self.layer.keys().not_serving().count(), 1));
        println!("\nlisting the keys that are not serving: {listing:.1?}");
    }
}

/// Makes this number of calls: the difference of two runs under callgrind is the cost of the calls.
fn instructions(keys: u64) {
    let mut args = std::env::args().skip(3);
    let case = args.next().unwrap_or_default();
    let calls: u64 = args
        .next()
        .and_then(|calls| calls.parse().ok())
        .unwrap_or(0);
    let mut unkeyed = MaintenanceLayer::new("partner").layer(Bare);
    let mut keyed: Keyed = layer(keys).layer(Bare);
    for key in 0..keys {
        call_key(&mut keyed, key);
    }
    for _ in 0..calls {
        match case.as_str() {
            "unkeyed" => call_key(&mut unkeyed, 7),
            _ => call_key(&mut keyed, 7),
        };
    }
}
