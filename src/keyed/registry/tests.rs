use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{usage::Usage, *};
use crate::{Hold, base::moment::Moment, call::plain::Calls, facts::mode::Mode};

/// Returns a registry that drops keys after two sweeps: a drop that takes minutes in production
/// happens all the time.
fn hasty(max_keys: usize, made: Arc<AtomicU64>) -> Registry<u32, Calls> {
    let make = move |key: &u32| {
        made.fetch_add(1, Ordering::Relaxed);
        MaintenanceLayer::new(&format!("tenant {key}"))
    };
    Registry::new(Box::new(make), max_keys, Duration::ZERO)
}

/// Sets the flag when it is dropped.
struct AtTheEnd<'f>(&'f AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const KEYS: u32 = 24;
const PLACES: usize = 16;

/// Threads that call, sweep and operate at once, with more keys than places.
struct Storm {
    registry: Registry<u32, Calls>,
    done: AtomicBool,
    /// How many holds were engaged and found again.
    holds: AtomicU64,
}

impl Storm {
    fn until_done(&self, mut turn: impl FnMut(u32)) {
        // Set also when this thread panics: the other threads would go on for ever.
        let _done = AtTheEnd(&self.done);
        for number in (0_u32..).take_while(|_| !self.done.load(Ordering::Relaxed)) {
            turn(number);
        }
    }

    /// Calls all keys but those of the operators.
    fn call(&self, thread: u32) {
        self.until_done(|turn| {
            let key = turn.wrapping_mul(2_654_435_761).wrapping_add(thread) % (KEYS - 2);
            let has = self.registry.with(key, |_, has| has);
            if has == Has::AState {
                self.registry.take_turn();
            }
        });
    }

    fn count_places(&self) {
        self.until_done(|_| {
            assert!(self.registry.len() <= PLACES);
            assert!(self.registry.taken.load(Ordering::Relaxed) <= PLACES);
        });
    }

    /// Engages a hold, and finds it again after sweeps.
    fn operate(&self, key: u32) {
        let mut generation = 0;
        self.until_done(|_| {
            let Some(handle) = self.registry.handle(&key) else {
                return;
            };
            assert!(generation <= handle.generation(), "it went back");
            handle.engage(Hold::new("me", "drill")).expect("engaged");
            drop(handle);
            for _ in 0..20 {
                self.registry.with(key, |layer, has| {
                    assert_eq!(has, Has::AState, "the hold is lost");
                    let mode = layer.borrowed_handle().mode();
                    assert_eq!(mode, Mode::Maintenance, "the hold is lost");
                });
                self.registry.sweep_some(1);
            }
            let handle = self.registry.get(&key).expect("the hold is lost");
            handle.release("me", "drill").expect("released");
            generation = handle.generation();
            self.holds.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn is_enough(&self) -> bool {
        self.holds.load(Ordering::Relaxed) >= 300 && self.registry.evicted() >= 1_000
    }
}

/// Places are never overdrawn and none leaks, no hold is lost, and no generation goes back.
#[test]
fn nothing_is_lost_among_threads_while_keys_come_and_go() {
    let made = Arc::new(AtomicU64::new(0));
    let storm = Storm {
        registry: hasty(PLACES, made.clone()),
        done: AtomicBool::new(false),
        holds: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        for thread in 0..2 {
            let storm = &storm;
            scope.spawn(move || storm.call(thread));
        }
        scope.spawn(|| storm.count_places());
        // Two operators, each with a key of its own.
        for key in [KEYS - 2, KEYS - 1] {
            let storm = &storm;
            scope.spawn(move || storm.operate(key));
        }
        // Runs until enough has happened, however late the threads begin.
        while !storm.is_enough() && !storm.done.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        storm.done.store(true, Ordering::Relaxed);
    });
    let registry = &storm.registry;
    let entries = registry.entries();
    assert_eq!(entries.len(), registry.taken.load(Ordering::Relaxed));
    let mut keys: Vec<_> = entries.iter().map(|entry| *entry.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), entries.len(), "each key is there once");
    assert!(made.load(Ordering::Relaxed) >= registry.evicted());
}

/// A key that goes while all keys are published is counted once: among the keys, or among those
/// that went.
#[cfg(feature = "metrics")]
#[test]
fn a_publication_beside_sweeps_counts_each_key_once() {
    let registry = Arc::new(hasty(PLACES, Arc::default()));
    let keys = crate::keyed::Keys::new(registry.clone());
    let done = AtomicBool::new(false);
    let (began, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..2 {
            let (registry, done) = (&registry, &done);
            let (began, ended) = (&began, &ended);
            // Each thread has keys of its own, so that each hold is an episode.
            scope.spawn(move || {
                let _done = AtTheEnd(done);
                let turns = (0_u32..).take_while(|_| registry.evicted() < 2_000);
                for turn in turns.take_while(|_| !done.load(Ordering::Relaxed)) {
                    let key = turn % (KEYS / 2) * 2 + thread;
                    let Some(handle) = registry.handle(&key) else {
                        continue;
                    };
                    began.fetch_add(1, Ordering::SeqCst);
                    handle.engage(Hold::new("me", "drill")).expect("engaged");
                    handle.release("me", "drill").expect("released");
                    ended.fetch_add(1, Ordering::SeqCst);
                    drop(handle);
                    registry.sweep_some(4);
                }
            });
        }
        while !done.load(Ordering::Relaxed) {
            let least = ended.load(Ordering::SeqCst);
            let published = published_episodes(&keys);
            let most = began.load(Ordering::SeqCst);
            assert!((least..=most).contains(&published), "{published}");
        }
    });
    assert_eq!(published_episodes(&keys), ended.load(Ordering::SeqCst));
}

#[cfg(feature = "metrics")]
fn published_episodes(keys: &crate::keyed::Keys<u32>) -> u64 {
    // A new one each time: a recorder keeps the highest value of a counter.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || keys.publish_metrics("all"));
    let page = recorder.handle().render();
    let name = r#"maintenance_episodes_total{partner="all"} "#;
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    value
        .and_then(|value| value.parse().ok())
        .expect("a number")
}

/// A key that is called between a sweep's look and its retirement stays.
#[test]
fn a_use_between_the_look_and_the_word_keeps_the_key() {
    let usage = Usage::new();
    let (then, now) = (Moment(5), Moment(9));
    assert_eq!(usage.unused_since(then), None, "it has just been used");
    assert_eq!(usage.unused_since(now), Some(then));
    assert!(usage.note());
    assert!(!usage.retire(then));
    assert_eq!(usage.unused_since(now), None);
    assert!(usage.retire(now));
    assert!(!usage.note(), "it is retired");
    assert_eq!(usage.unused_since(Moment(99)), None);
}

#[test]
fn a_million_keys_do_not_make_a_sweep_on_the_way_long() {
    let registry = hasty(1_000_000, Arc::default());
    assert_eq!(registry.shards.len(), 32_768);
    assert!(registry.max_keys / registry.shards.len() <= SHARD);
}
