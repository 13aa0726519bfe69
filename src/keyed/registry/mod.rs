//! The keys of a keyed layer: found without a lock, bounded in number, and dropped when idle.
//!
//! A call looks its key up in a *shard*, a sorted slice behind an atomic pointer. The look-up takes
//! no lock and no reference count, and writes nothing that another core reads. The call writes one
//! word of its key's entry, and only the first time after a sweep. A thread that adds or removes
//! keys copies the slice of one shard, about 32 entries, under the lock of that shard.
//!
//! # Idle keys
//!
//! Calls do not read the clock for this. The [usage](usage::Usage) of an entry is either *used* or
//! *unused since* a moment. A sweep knows the time and turns the first into the second; a call
//! turns it back. An entry that a later sweep finds unused for `idle_after` has had no call for at
//! least that long. There is no background task. Sweeps are done by a thread that adds a key, by
//! one of 64 calls, and by a thread that lists the keys. Each looks at a few shards, or at all for
//! a list, and each shard is swept at most four times per `idle_after`.
//!
//! # A key that is called while it is dropped
//!
//! - **A call that begins meanwhile.** The call changes the word from *unused since* to *used*, the
//!   sweep from *unused since* to *retired*. Both use compare-exchange, so one of them fails. If
//!   the sweep fails, the key stays. If the call fails, it goes on as the first call of a key that
//!   is not there.
//! - **A call that began before.** It counts as in flight in the state of the key. The sweep looks
//!   at that state after it marked the word and before it retires the key, so the key stays until
//!   the call has ended.
//! - **An operator.** Handles are given out under the lock of the shard, and asking for one is a
//!   use. A sweep looks for other holders of the state, then at the state, then takes the lock,
//!   looks for holders again, and retires. A handle that exists at the first look keeps the key. A
//!   handle given out later has changed the word, even if it was dropped since.
//! - **What remains.** A thread may read *used* and then sleep for a whole `idle_after`, while two
//!   sweeps run, before it asks the gate. Its call is let in by a state that no other thread can
//!   reach. That state serves, as a new one would, so the call is neither let in nor refused
//!   wrongly. Its outcome is lost to a window that was empty for as long.

mod departed;
mod entry;
mod shard;
#[cfg(all(test, not(maintenance_loom)))]
mod tests;
mod usage;

use std::{
    borrow::Borrow,
    cell::Cell,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) use self::entry::Entry as Pinged;
use self::{
    departed::Departed,
    entry::Entry,
    shard::{Shard, find},
};
#[cfg(feature = "metrics")]
use crate::operator::metrics::Sums;
use crate::{
    base::{clock::Clock, harmless::harmless, target::TARGET},
    layer::MaintenanceLayer,
    operator::handle::MaintenanceHandle,
};

/// The shortest `idle_after`: a quarter of it is the pause between two sweeps of a shard, and must
/// not be zero.
pub(crate) const SHORTEST_IDLE: Duration = Duration::from_secs(1);

/// Keys per shard, on average, when all places are taken: adding or removing a key copies so many.
const SHARD: usize = 32;
/// One of so many calls sweeps.
const TURN: u32 = 64;
/// How many shards a sweep by a call looks at.
const A_FEW: usize = 8;
/// How many shards a sweep looks at that is made to find a place.
const TO_FIND_ROOM: usize = 64;

/// Makes the layer of a key.
pub(crate) type Make<K, P> = dyn Fn(&K) -> MaintenanceLayer<P> + Send + Sync;

pub(crate) struct Registry<K, P> {
    make: Box<Make<K, P>>,
    max_keys: usize,
    idle_after: Duration,
    clock: Clock,
    /// Seeded at random, so that a caller that chooses keys cannot choose shards.
    hasher: RandomState,
    shards: Box<[Shard<K, P>]>,
    /// Places that are taken or reserved.
    taken: AtomicUsize,
    next_sweep: AtomicUsize,
    departed: Departed,
    evicted: AtomicU64,
    overflowed: AtomicU64,
    warned: AtomicBool,
    /// The futures that ping all keys. While there is one, no request probes.
    pings: AtomicU32,
    /// Gives calls without a place their protocol. Its state is never asked.
    spare: OnceLock<MaintenanceLayer<P>>,
}

impl<K, P> Registry<K, P> {
    pub(crate) fn new(make: Box<Make<K, P>>, max_keys: usize, idle_after: Duration) -> Self {
        let shards = (max_keys / SHARD).next_power_of_two();
        let none = Arc::new(Vec::new());
        Self {
            make,
            max_keys,
            idle_after,
            clock: Clock::start(),
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Shard::new(none.clone())).collect(),
            taken: AtomicUsize::new(0),
            next_sweep: AtomicUsize::new(0),
            departed: Departed::default(),
            evicted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            pings: AtomicU32::new(0),
            spare: OnceLock::new(),
        }
    }

    /// Makes the layer of a key. It takes no name in the process: all keys may have one name.
    fn make(&self, key: &K) -> MaintenanceLayer<P> {
        MaintenanceLayer::without_names(|| (self.make)(key))
    }

    pub(crate) fn max_keys(&self) -> usize {
        self.max_keys
    }

    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Sweeps the shards that are due, and returns the keys.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry<K, P>>> {
        self.sweep_some(self.shards.len());
        self.shards.iter().flat_map(Shard::entries).collect()
    }

    /// Sweeps the shards that are due, and returns the keys with the sums of those that are gone.
    #[cfg(feature = "metrics")]
    pub(crate) fn entries_and_departed(&self) -> (Vec<Arc<Entry<K, P>>>, Sums) {
        self.sweep_some(self.shards.len());
        let list = || self.shards.iter().flat_map(Shard::entries).collect();
        self.departed.with_sums(list)
    }

    /// Sweeps the shards that are due, and returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.sweep_some(self.shards.len());
        self.shards.iter().map(Shard::len).sum()
    }

    fn shard(&self, hash: u64) -> &Shard<K, P> {
        // The low bits choose the shard. The order within a shard is first that of the high bits.
        &self.shards[hash as usize & (self.shards.len() - 1)]
    }

    /// Reserves a place for one more key, if there is one.
    fn reserve(&self) -> Option<Place<'_>> {
        let one_more = |taken| (taken < self.max_keys).then_some(taken + 1);
        let reserved = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        reserved.is_ok().then(|| Place(&self.taken))
    }

    /// Counts a call without a place and returns the layer whose protocol it uses. The first such
    /// call is traced.
    fn overflow(&self, key: &K) -> &MaintenanceLayer<P> {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            harmless(|| {
                tracing::warn!(target: TARGET,
                    max_keys = self.max_keys,
                    idle_after = ?self.idle_after,
                    "all keys are taken and none is idle: calls of further keys pass ungated and unmeasured; \
                     raise `max_keys`, lower `idle_after`, or find the caller that invents keys"
                );
            });
        }
        // Not `get_or_init`: that would make other threads wait for the user's closure.
        match self.spare.get() {
            Some(spare) => spare,
            None => {
                let made = self.make(key);
                self.spare.get_or_init(|| made)
            }
        }
    }

    // ---- pings --------------------------------------------------------------------------------

    pub(crate) fn ping_began(&self) {
        self.pings.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ping_ended(&self) {
        self.pings.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns whether pings probe in place of requests.
    #[inline]
    pub(crate) fn is_pinged(&self) -> bool {
        self.pings.load(Ordering::Relaxed) > 0
    }

    /// Returns the keys that a ping should check now. Looking at them is no use of them.
    pub(crate) fn due_for_a_check(&self) -> impl Iterator<Item = Arc<Entry<K, P>>> {
        let now = self.clock.now();
        let entries = self.shards.iter().flat_map(Shard::entries);
        entries.filter(move |entry| entry.is_due_for_a_check(now))
    }

    /// Notes that a check of this key begins, and none again before `every` has passed.
    pub(crate) fn checks_now(&self, entry: &Entry<K, P>, every: Duration) {
        entry.next_check_at(self.clock.now().after(every));
    }

    // ---- sweeping -----------------------------------------------------------------------------

    /// Sweeps a few shards, on one of [`TURN`] calls.
    #[inline]
    pub(crate) fn take_turn(&self) {
        thread_local! {
            static DRAWN: Cell<u32> = const { Cell::new(1) };
        }
        // Drawn at random, not counted: if a thread calls two layers in turn, a count would always
        // choose the same one. A linear congruential generator suffices (Numerical Recipes, 7.1);
        // its high bits are good.
        let drawn = DRAWN
            .get()
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        DRAWN.set(drawn);
        if drawn < u32::MAX / TURN {
            self.sweep_some(A_FEW);
        }
    }

    /// Sweeps those of the next `most` shards that are due.
    #[cold]
    fn sweep_some(&self, most: usize) {
        let now = self.clock.now();
        for _ in 0..most.min(self.shards.len()) {
            let next = self.next_sweep.fetch_add(1, Ordering::Relaxed);
            let shard = &self.shards[next & (self.shards.len() - 1)];
            if !shard.claim_sweep(now, self.idle_after / 4) {
                continue;
            }
            let gone = shard.sweep(now, self.idle_after, &self.departed);
            if gone > 0 {
                self.taken.fetch_sub(gone, Ordering::Relaxed);
                self.evicted.fetch_add(gone as u64, Ordering::Relaxed);
                self.warned.store(false, Ordering::Relaxed);
            }
        }
    }
}

impl<K: Hash + Eq, P> Registry<K, P> {
    /// Runs `f` with the layer of `key`, and with whether that is the key's own.
    #[inline]
    pub(crate) fn with<R>(&self, key: K, f: impl FnOnce(&MaintenanceLayer<P>, Has) -> R) -> R {
        let hash = self.hasher.hash_one(&key);
        let slots = self.shard(hash).slots();
        if let Some(entry) = find(&slots, hash, &key)
            && entry.usage().note()
        {
            return f(entry.layer(), Has::AState);
        }
        drop(slots);
        match self.create(hash, key) {
            Ok(entry) => f(entry.layer(), Has::AState),
            Err(key) => f(self.overflow(&key), Has::NoPlace),
        }
    }

    /// Returns the handle of a key that is there.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<MaintenanceHandle>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).handle(hash, key)
    }

    /// Returns the handle of a key, and adds the key if it is not there; `None` if there is no
    /// place for it.
    pub(crate) fn handle(&self, key: &K) -> Option<MaintenanceHandle>
    where
        K: Clone,
    {
        loop {
            if let Some(handle) = self.get(key) {
                return Some(handle);
            }
            // The loop looks the key up again under the lock: with a short `idle_after` a sweep may
            // have dropped it.
            self.create(self.hasher.hash_one(key), key.clone()).ok()?;
        }
    }

    /// Adds `key`, unless another thread was faster. Gives the key back if there is no place.
    #[cold]
    fn create(&self, hash: u64, key: K) -> Result<Arc<Entry<K, P>>, K> {
        self.sweep_some(A_FEW);
        let place = self.reserve().or_else(|| {
            self.sweep_some(TO_FIND_ROOM);
            self.reserve()
        });
        let shard = self.shard(hash);
        let Some(place) = place else {
            // Another thread may have taken the last place for this very key.
            return match find(&shard.slots(), hash, &key) {
                Some(entry) if entry.usage().note() => Ok(entry.clone()),
                _ => Err(key),
            };
        };
        // Not under the lock, since it is the user's code. A layer that loses the race is dropped.
        let layer = self.make(&key);
        let entry = Arc::new(Entry::new(key, layer));
        match shard.add(hash, &entry, &self.departed) {
            Ok(()) => {
                place.keep();
                Ok(entry)
            }
            Err(faster) => Ok(faster),
        }
    }
}

/// Whether a call has a state of its key's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Has {
    AState,
    /// All places are taken.
    NoPlace,
}

/// A place that is reserved. Its drop gives it back, also if the user's closure panics; `keep`
/// takes it.
struct Place<'r>(&'r AtomicUsize);

impl Place<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
