//! Which keys there are: found without a lock, bounded, and let go of when idle.
//!
//! A call looks its key up in a *shard*, a sorted slice behind an atomic pointer, and writes nothing that another
//! core reads: no lock, no reference count. What it writes is one word of its key's entry, and only the first
//! time after a sweep came by. Whoever adds or removes keys copies the slice, some tens of entries, under the lock of that shard.
//!
//! # Idle keys
//!
//! A call should not have to read the clock for this. So an entry's [`Usage`] says *used*, or *unused since*: a sweep, which
//! knows the time, turns the one into the other, and a call turns it back. What a later sweep
//! still finds unused after `idle_after` has really been unused for so long; it may have been for longer. There is no background
//! task: sweeps are done by whoever adds a key, by one of 64 calls, and by whoever lists the keys, a few
//! shards at a time, each at most four times an `idle_after`.
//!
//! # A key that is called while it is let go of
//!
//! *A call that begins meanwhile.* Both change one word: the call from *unused* to *used*, the sweep from *unused* to
//! *retired*, by compare-exchange, so one of them fails. If it is the sweep, the key stays. If it is the call, it goes on as
//! the first call of a key that is not there.
//!
//! *A call that has begun before.* It counts as in flight in the key's own state, which is looked at between the two sweeps' words:
//! the key stays until the call has ended.
//!
//! *An operator.* Handles are given out under the shard's lock, and asking for one is a use. A sweep looks who holds
//! the state, then at the state, then takes the lock, looks who holds it again, and retires. A handle that was there at the first
//! look keeps the key; one given out later has changed the word, also if it is gone again.
//!
//! *What is left.* A thread that read *used*, and then sleeps before it asks the gate for a whole `idle_after` while two sweeps
//! come by, is let in by a state that nobody can see any more. That state serves, as a new one would: nobody is let in or refused
//! wrongly. What is lost is the outcome of that one call, to a window that had seen nothing for as long.

use std::{
    borrow::Borrow,
    cell::Cell,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    base::{clock::Clock, harmless::harmless, moment::Moment},
    facts::mode::Switches,
    layer::MaintenanceLayer,
    operator::handle::MaintenanceHandle,
};

/// So many keys share a shard on average when all places are taken: what adding or removing one copies.
const SHARD: usize = 32;
/// Of so many calls, one sweeps.
const TURN: u32 = 64;
/// How many shards a sweep on the way looks at, and one that is made to find room.
const A_FEW: usize = 8;
const TO_FIND_ROOM: usize = 64;

/// Makes the layer of a key.
pub(crate) type Make<K, P> = dyn Fn(&K) -> MaintenanceLayer<P> + Send + Sync;

pub(crate) struct Registry<K, P> {
    make: Box<Make<K, P>>,
    max_keys: usize,
    idle_after: Duration,
    clock: Clock,
    /// Seeded at random: who chooses keys cannot choose shards.
    hasher: RandomState,
    shards: Box<[Shard<K, P>]>,
    /// Places that are taken or spoken for.
    taken: AtomicUsize,
    next_sweep: AtomicUsize,
    /// The highest generation of a key that was let go of: none that comes back begins below it (R17).
    floor: AtomicU64,
    evicted: AtomicU64,
    overflowed: AtomicU64,
    warned: AtomicBool,
    /// Of calls without a place only the protocol matters; their layer's state is never asked.
    spare: OnceLock<MaintenanceLayer<P>>,
}

struct Shard<K, P> {
    /// Sorted by hash.
    slots: ArcSwap<Vec<Slot<K, P>>>,
    /// Of whoever changes `slots` or gives out a handle. No code of the user's but `Eq` runs under it.
    lock: Mutex<()>,
    /// When the next sweep is worth it, in nanoseconds of the registry's clock.
    due: AtomicU64,
}

struct Slot<K, P> {
    hash: u64,
    entry: Arc<Entry<K, P>>,
}

impl<K, P> Clone for Slot<K, P> {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash,
            entry: self.entry.clone(),
        }
    }
}

/// One key and its state.
pub(crate) struct Entry<K, P> {
    key: K,
    layer: MaintenanceLayer<P>,
    usage: Usage,
    /// As the layer was built: a key that was built in dry run may go in dry run.
    switches: Switches,
}

impl<K, P> Registry<K, P> {
    pub(crate) fn new(make: Box<Make<K, P>>, max_keys: usize, idle_after: Duration) -> Self {
        let shards = (max_keys / SHARD).next_power_of_two();
        let none = Arc::new(Vec::new());
        let shard = || Shard {
            slots: ArcSwap::new(none.clone()),
            lock: Mutex::new(()),
            due: AtomicU64::new(0),
        };
        Self {
            make,
            max_keys,
            idle_after,
            clock: Clock::start(),
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| shard()).collect(),
            taken: AtomicUsize::new(0),
            next_sweep: AtomicUsize::new(0),
            floor: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            warned: AtomicBool::new(false),
            spare: OnceLock::new(),
        }
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

    /// The keys there are, after a sweep of what is due.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry<K, P>>> {
        self.sweep_some(self.shards.len());
        let slots = self.shards.iter().map(|shard| shard.slots.load());
        slots
            .flat_map(|slots| {
                let entries = slots.iter().map(|slot| slot.entry.clone());
                entries.collect::<Vec<_>>()
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.sweep_some(self.shards.len());
        let slots = self.shards.iter().map(|shard| shard.slots.load().len());
        slots.sum()
    }

    fn shard(&self, hash: u64) -> &Shard<K, P> {
        // Other bits than those that sort a shard first.
        &self.shards[hash as usize & (self.shards.len() - 1)]
    }

    /// A place for one more key, if there is one.
    fn reserve(&self) -> Option<Place<'_, K, P>> {
        let one_more = |taken| (taken < self.max_keys).then_some(taken + 1);
        let reserved = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        reserved.is_ok().then(|| Place(self))
    }

    /// Lets a call without a place pass unmeasured; it is counted, and the first is traced.
    fn overflow(&self, key: &K) -> &MaintenanceLayer<P> {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            harmless(|| {
                tracing::warn!(
                    max_keys = self.max_keys,
                    idle_after = ?self.idle_after,
                    "all keys are taken and none is idle: calls of further keys pass ungated and unmeasured; \
                     raise `max_keys`, lower `idle_after`, or look who makes up keys"
                );
            });
        }
        // Not `get_or_init`: nobody waits for the user's closure but who runs it.
        match self.spare.get() {
            Some(spare) => spare,
            None => {
                let made = (self.make)(key);
                self.spare.get_or_init(|| made)
            }
        }
    }

    // ---- sweeping -----------------------------------------------------------------------------

    /// Sweeps if it is this call's turn.
    #[inline]
    pub(crate) fn take_turn(&self) {
        thread_local! {
            static DRAWN: Cell<u32> = const { Cell::new(1) };
        }
        // By chance, not by count: of two layers that are called in turn, one would never have its turn. A linear
        // congruence will do (Numerical Recipes, 7.1), of whose numbers the high bits are good.
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
            let due = shard.due.load(Ordering::Relaxed);
            if now.0 < due {
                continue;
            }
            let again = now.after(self.idle_after / 4).0;
            let claimed =
                shard
                    .due
                    .compare_exchange(due, again, Ordering::Relaxed, Ordering::Relaxed);
            if claimed.is_ok() {
                self.sweep(shard, now);
            }
        }
    }

    fn sweep(&self, shard: &Shard<K, P>, now: Moment) {
        let slots = shard.slots.load_full();
        let mut going = Vec::new();
        for Slot { entry, .. } in slots.iter() {
            // Looking at a state may move its time, and tell tracing of it: not under the lock.
            if let Some(since) = entry.usage.unused_since(now)
                && now.since(since) >= self.idle_after
                && entry.may_go()
            {
                going.push((entry.clone(), since));
            }
        }
        drop(slots);
        if going.is_empty() {
            return;
        }
        {
            let _guard = shard.lock();
            going.retain(|(entry, since)| {
                entry.layer.borrowed_handle().is_sole_holder() && entry.usage.retire(*since)
            });
            let generations = going
                .iter()
                .map(|(entry, _)| entry.layer.borrowed_handle().generation());
            let floor = generations.max();
            self.floor
                .fetch_max(floor.unwrap_or_default(), Ordering::Relaxed);
            let slots = shard.slots.load();
            let left = slots.iter().filter(|slot| !slot.entry.usage.is_retired());
            let left = left.cloned().collect::<Vec<_>>();
            shard.slots.store(Arc::new(left));
        }
        let gone = going.len();
        self.taken.fetch_sub(gone, Ordering::Relaxed);
        self.evicted.fetch_add(gone as u64, Ordering::Relaxed);
        if gone > 0 {
            self.warned.store(false, Ordering::Relaxed);
        }
    }
}

impl<K: Hash + Eq, P> Registry<K, P> {
    /// Runs `f` with the layer of `key`, and whether that is the key's own. It is not when all places are taken.
    #[inline]
    pub(crate) fn with<R>(&self, key: K, f: impl FnOnce(&MaintenanceLayer<P>, Has) -> R) -> R {
        let hash = self.hasher.hash_one(&key);
        let slots = self.shard(hash).slots.load();
        if let Some(entry) = find(&slots, hash, &key)
            && entry.usage.note()
        {
            return f(&entry.layer, Has::AState);
        }
        drop(slots);
        match self.create(hash, key) {
            Ok(entry) => f(&entry.layer, Has::AState),
            Err(key) => f(self.overflow(&key), Has::NoPlace),
        }
    }

    /// The handle of a key that is there.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<MaintenanceHandle>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let _guard = shard.lock();
        let slots = shard.slots.load();
        Some(find(&slots, hash, key)?.handle_while_locked())
    }

    /// The handle of a key; `None` if it would have to be added, and there is no place.
    pub(crate) fn handle(&self, key: &K) -> Option<MaintenanceHandle>
    where
        K: Clone,
    {
        loop {
            if let Some(handle) = self.get(key) {
                return Some(handle);
            }
            // Looked up again under the lock: it may have been let go of since, if `idle_after` is that short.
            self.create(self.hasher.hash_one(key), key.clone()).ok()?;
        }
    }

    /// Adds `key`, unless somebody else was faster; gives it back if there is no place.
    #[cold]
    fn create(&self, hash: u64, key: K) -> Result<Arc<Entry<K, P>>, K> {
        self.sweep_some(A_FEW);
        let place = self.reserve().or_else(|| {
            self.sweep_some(TO_FIND_ROOM);
            self.reserve()
        });
        let Some(place) = place else {
            // Somebody else may have taken the last place for this very key.
            let slots = self.shard(hash).slots.load();
            return match find(&slots, hash, &key) {
                Some(entry) if entry.usage.note() => Ok(entry.clone()),
                _ => Err(key),
            };
        };
        // Before the lock: it is the user's code. One that loses the race is dropped.
        let layer = (self.make)(&key);
        let entry = Arc::new(Entry::new(key, layer));
        let shard = self.shard(hash);
        let guard = shard.lock();
        let slots = shard.slots.load();
        if let Some(faster) = find(&slots, hash, &entry.key) {
            faster.usage.used_while_locked();
            return Ok(faster.clone());
        }
        // Under the lock: whoever let go of this very key has raised the floor before.
        let floor = self.floor.load(Ordering::Relaxed);
        entry.layer.borrowed_handle().raise_generation(floor);
        let mut more = Vec::with_capacity(slots.len() + 1);
        let at = slots.partition_point(|slot| slot.hash < hash);
        more.extend_from_slice(&slots[..at]);
        more.push(Slot {
            hash,
            entry: entry.clone(),
        });
        more.extend_from_slice(&slots[at..]);
        shard.slots.store(Arc::new(more));
        drop(guard);
        place.keep();
        Ok(entry)
    }
}

/// Whether a call has a state of its key's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Has {
    AState,
    NoPlace,
}

fn find<'s, K, P, Q>(slots: &'s [Slot<K, P>], hash: u64, key: &Q) -> Option<&'s Arc<Entry<K, P>>>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    let at = slots.partition_point(|slot| slot.hash < hash);
    let same = slots[at..].iter().take_while(|slot| slot.hash == hash);
    let mut entries = same.map(|slot| &slot.entry);
    entries.find(|entry| entry.key.borrow() == key)
}

/// A place that is spoken for, given back unless it is taken: making a layer may panic.
struct Place<'r, K, P>(&'r Registry<K, P>);

impl<K, P> Place<'_, K, P> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl<K, P> Drop for Place<'_, K, P> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<K, P> Shard<K, P> {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // Nothing is half done under it: the slots are replaced whole.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, P> Entry<K, P> {
    fn new(key: K, layer: MaintenanceLayer<P>) -> Self {
        let switches = layer.borrowed_handle().status().switches;
        Self {
            switches,
            key,
            layer,
            usage: Usage::new(),
        }
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn layer(&self) -> &MaintenanceLayer<P> {
        &self.layer
    }

    fn handle_while_locked(&self) -> MaintenanceHandle {
        self.usage.used_while_locked();
        self.layer.handle()
    }

    /// Whether nobody would miss it: it serves as it was built to, and nobody holds, hears or awaits anything of it.
    fn may_go(&self) -> bool {
        let state = self.layer.borrowed_handle();
        // First who holds it: a hold that they engage from here on is seen, or they are.
        state.is_sole_holder() && state.is_as_built(self.switches)
    }
}

/// When a key was last used, as far as sweeps can tell.
///
/// # Orderings
///
/// *Who writes*: calls, by compare-exchange from *unused*; sweeps, from *used* and, under the shard's lock, to *retired*; who gives out a
/// handle, under that lock. *Who reads*: they. Only this word is argued with. Acquire and Release order
/// what a call that found *unused* has counted. One that found *used* only read: what it counted a sweep sees all the same, for
/// a whole `idle_after` lies between, a second at least, and processors do not take as long to show a store.
struct Usage(AtomicU64);

const USED: u64 = 0;
const RETIRED: u64 = u64::MAX;

impl Usage {
    fn new() -> Self {
        Self(AtomicU64::new(USED))
    }

    /// Notes a call; says no if the key was let go of.
    #[inline]
    fn note(&self) -> bool {
        let mut seen = self.0.load(Ordering::Acquire);
        // The usual case writes nothing.
        while seen != USED {
            if seen == RETIRED {
                return false;
            }
            let noted =
                self.0
                    .compare_exchange_weak(seen, USED, Ordering::AcqRel, Ordering::Acquire);
            match noted {
                Ok(_) => return true,
                Err(changed) => seen = changed,
            }
        }
        true
    }

    /// Notes a use while nobody can retire it.
    fn used_while_locked(&self) {
        self.0.store(USED, Ordering::Release);
    }

    /// Since when it is unused; from now on if it was used. `None` if it has just been, or is retired.
    fn unused_since(&self, now: Moment) -> Option<Moment> {
        let since = now.0.clamp(USED + 1, RETIRED - 1);
        let marked = self
            .0
            .compare_exchange(USED, since, Ordering::AcqRel, Ordering::Acquire);
        marked.err().filter(|seen| *seen != RETIRED).map(Moment)
    }

    /// Retires it, if it is still unused since then.
    fn retire(&self, since: Moment) -> bool {
        self.0
            .compare_exchange(since.0, RETIRED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn is_retired(&self) -> bool {
        self.0.load(Ordering::Acquire) == RETIRED
    }
}

/// How long a shard is left alone between sweeps is a quarter of it, and must be something.
pub(crate) const SHORTEST_IDLE: Duration = Duration::from_secs(1);

#[cfg(all(test, not(maintenance_loom)))]
mod tests;
