//! A part of the keys: read without a lock, changed under one.

use std::{
    borrow::Borrow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use super::{
    departed::{Departed, Last},
    entry::Entry,
};
use crate::{base::moment::Moment, operator::handle::MaintenanceHandle};

/// A sorted slice of keys behind an atomic pointer.
pub(super) struct Shard<K, P> {
    /// Sorted by hash. A change replaces the whole slice.
    slots: ArcSwap<Vec<Slot<K, P>>>,
    /// Held while `slots` is changed and while a handle is given out. No code of the user's but
    /// `Eq` runs under it.
    lock: Mutex<()>,
    /// When the next sweep is due, in nanoseconds of the registry's clock.
    due: AtomicU64,
}

pub(super) struct Slot<K, P> {
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

impl<K, P> Shard<K, P> {
    /// Returns a shard without keys. All shards begin with the same empty slice.
    pub(super) fn new(none: Arc<Vec<Slot<K, P>>>) -> Self {
        Self {
            slots: ArcSwap::new(none),
            lock: Mutex::new(()),
            due: AtomicU64::new(0),
        }
    }

    /// Returns the keys of now, for [`find`].
    #[inline]
    pub(super) fn slots(&self) -> Guard<Arc<Vec<Slot<K, P>>>> {
        self.slots.load()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.load().len()
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry<K, P>>> {
        let slots = self.slots.load();
        slots.iter().map(|slot| slot.entry.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // A panic under the lock leaves no change half done: `slots` is replaced whole.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- sweeping -----------------------------------------------------------------------------

    /// Returns whether a sweep is due, and puts the next one off by `pause`. Of several callers one
    /// gets `true`.
    pub(super) fn claim_sweep(&self, now: Moment, pause: Duration) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        let next = now.after(pause).0;
        now.0 >= due
            && self
                .due
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Marks the keys that were used, and drops those that are unused for `idle_after` and may go.
    /// Returns the number of keys that were dropped.
    pub(super) fn sweep(&self, now: Moment, idle_after: Duration, departed: &Departed) -> usize {
        let slots = self.slots.load_full();
        let mut going = Vec::new();
        for Slot { entry, .. } in slots.iter() {
            // Before the lock is taken: a look at a state may move its time and trace the change.
            if let Some(since) = entry.usage().unused_since(now)
                && now.since(since) >= idle_after
                && entry.may_go()
            {
                going.push((entry.clone(), since, Last::of(entry)));
            }
        }
        drop(slots);
        if going.is_empty() {
            return 0;
        }
        let Some(mut farewell) = departed.try_begin() else {
            return 0;
        };
        let _guard = self.lock();
        going.retain(|(entry, since, _)| {
            entry.layer().borrowed_handle().is_sole_holder() && entry.usage().retire(*since)
        });
        for (entry, _, last) in &going {
            farewell.take_while_locked(entry.layer().borrowed_handle().generation(), last);
        }
        let slots = self.slots.load();
        let left = slots.iter().filter(|slot| !slot.entry.usage().is_retired());
        self.slots.store(Arc::new(left.cloned().collect()));
        going.len()
    }
}

impl<K: Eq, P> Shard<K, P> {
    /// Returns the handle of a key that is there. Asking for it is a use of the key.
    pub(super) fn handle<Q>(&self, hash: u64, key: &Q) -> Option<MaintenanceHandle>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let _guard = self.lock();
        let slots = self.slots.load();
        Some(find(&slots, hash, key)?.handle_while_locked())
    }

    /// Adds an entry, unless another thread has added its key meanwhile.
    ///
    /// # Errors
    ///
    /// The entry of the other thread. It is noted as used.
    pub(super) fn add(
        &self,
        hash: u64,
        entry: &Arc<Entry<K, P>>,
        departed: &Departed,
    ) -> Result<(), Arc<Entry<K, P>>> {
        let _guard = self.lock();
        let slots = self.slots.load();
        if let Some(faster) = find(&slots, hash, entry.key()) {
            faster.usage().used_while_locked();
            return Err(faster.clone());
        }
        let generation = departed.floor_while_locked();
        entry.layer().borrowed_handle().raise_generation(generation);
        let (before, after) = slots.split_at(slots.partition_point(|slot| slot.hash < hash));
        let mut more = Vec::with_capacity(slots.len() + 1);
        more.extend_from_slice(before);
        more.push(Slot {
            hash,
            entry: entry.clone(),
        });
        more.extend_from_slice(after);
        self.slots.store(Arc::new(more));
        Ok(())
    }
}

/// Returns the entry of `key` among the keys of a shard.
#[inline]
pub(super) fn find<'s, K, P, Q>(
    slots: &'s [Slot<K, P>],
    hash: u64,
    key: &Q,
) -> Option<&'s Arc<Entry<K, P>>>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    let at = slots.partition_point(|slot| slot.hash < hash);
    let same = slots[at..].iter().take_while(|slot| slot.hash == hash);
    let mut entries = same.map(|slot| &slot.entry);
    entries.find(|entry| entry.key().borrow() == key)
}
