use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{usage::Usage, *};
use crate::{Hold, base::moment::Moment, call::plain::Calls, facts::mode::Mode};

/// Lets go of keys as soon as two sweeps have come by: what takes minutes outside happens all the time.
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

/// Callers, sweepers and operators at once, with more keys than places: places are never overdrawn and none
/// leaks, no hold is lost, and no generation goes back.
#[test]
fn nothing_is_lost_among_threads_while_keys_come_and_go() {
    let made = Arc::new(AtomicU64::new(0));
    let registry = hasty(PLACES, made.clone());
    let (done, holds) = (AtomicBool::new(false), AtomicU64::new(0));
    let until_done = |f: &dyn Fn(u32)| {
        // Also when this thread panics: the others would go on for ever.
        let _done = AtTheEnd(&done);
        for turn in (0_u32..).take_while(|_| !done.load(Ordering::Relaxed)) {
            f(turn);
        }
    };
    thread::scope(|scope| {
        for thread in 0..2 {
            let (until_done, registry) = (&until_done, &registry);
            scope.spawn(move || {
                until_done(&|turn| {
                    let key = turn.wrapping_mul(2_654_435_761).wrapping_add(thread) % (KEYS - 2);
                    let has = registry.with(key, |_, has| has);
                    if has == Has::AState {
                        registry.take_turn();
                    }
                });
            });
        }
        scope.spawn(|| {
            until_done(&|_| {
                assert!(registry.len() <= PLACES);
                assert!(registry.taken.load(Ordering::Relaxed) <= PLACES);
            });
        });
        // Two operators, each with a key of their own: what they engage is there when they come back.
        for key in [KEYS - 2, KEYS - 1] {
            let (until_done, registry, holds) = (&until_done, &registry, &holds);
            scope.spawn(move || {
                let generation = AtomicU64::new(0);
                until_done(&|_| {
                    let Some(handle) = registry.handle(&key) else {
                        return;
                    };
                    let before = generation.swap(handle.generation(), Ordering::Relaxed);
                    assert!(before <= handle.generation(), "it went back");
                    handle.engage(Hold::new("me", "drill")).expect("engaged");
                    drop(handle);
                    // Sweeps come by meanwhile.
                    for _ in 0..20 {
                        registry.with(key, |layer, has| {
                            assert_eq!(has, Has::AState, "the hold is lost");
                            let mode = layer.borrowed_handle().mode();
                            assert_eq!(mode, Mode::Maintenance, "the hold is lost");
                        });
                        registry.sweep_some(1);
                    }
                    let handle = registry.get(&key).expect("the hold is lost");
                    handle.release("me", "drill").expect("released");
                    generation.store(handle.generation(), Ordering::Relaxed);
                    holds.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
        // On until enough of everything has happened, however late the threads begin.
        let enough = || holds.load(Ordering::Relaxed) >= 300 && registry.evicted() >= 1_000;
        while !enough() && !done.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    let entries = registry.entries();
    assert_eq!(entries.len(), registry.taken.load(Ordering::Relaxed));
    let mut keys: Vec<_> = entries.iter().map(|entry| *entry.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), entries.len(), "a key stands once");
    assert!(made.load(Ordering::Relaxed) >= registry.evicted());
}

/// A key that is called between a sweep's look and its word stays.
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
    assert!(!usage.note(), "it has gone");
    assert_eq!(usage.unused_since(Moment(99)), None);
}

#[test]
fn a_million_keys_do_not_make_a_sweep_on_the_way_long() {
    let registry = hasty(1_000_000, Arc::default());
    assert_eq!(registry.shards.len(), 32_768);
    assert!(registry.max_keys / registry.shards.len() <= SHARD);
}
