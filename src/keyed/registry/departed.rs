//! What stays of keys that were dropped: their highest generation, and with feature `metrics` the
//! sums that are published.

use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "metrics")]
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::entry::Entry;
#[cfg(feature = "metrics")]
use crate::operator::metrics::Sums;

#[derive(Default)]
pub(super) struct Departed {
    /// The highest generation of a key that was dropped: no key begins below it (R17).
    ///
    /// A sweep raises it under the lock of the shard that it takes the key from, and a new key
    /// reads it under the same lock. So a key that comes back finds the generation that it had.
    floor: AtomicU64,
    /// Locked while keys are taken out, and while all keys are listed for publication. So a key is
    /// either in the list or in these sums.
    #[cfg(feature = "metrics")]
    sums: Mutex<Sums>,
}

/// The last sums of a key. They are read before any lock is taken.
pub(super) struct Last {
    #[cfg(feature = "metrics")]
    sums: Sums,
}

/// The right to take keys out.
pub(super) struct Farewell<'d> {
    floor: &'d AtomicU64,
    #[cfg(feature = "metrics")]
    sums: MutexGuard<'d, Sums>,
}

impl Departed {
    pub(super) fn floor_while_locked(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Begins to take keys out. Without `metrics` this is always possible.
    #[cfg(not(feature = "metrics"))]
    pub(super) fn try_begin(&self) -> Option<Farewell<'_>> {
        let floor = &self.floor;
        Some(Farewell { floor })
    }

    /// Begins to take keys out, unless another thread does so or lists all keys. A call may be the
    /// one that sweeps, and it does not wait: the keys go with a later sweep.
    #[cfg(feature = "metrics")]
    pub(super) fn try_begin(&self) -> Option<Farewell<'_>> {
        let sums = match self.sums.try_lock() {
            Ok(sums) => sums,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        let floor = &self.floor;
        Some(Farewell { floor, sums })
    }

    /// Runs `list` while no key is taken out. Returns its result, and the sums of all keys that
    /// were taken out before.
    #[cfg(feature = "metrics")]
    pub(super) fn with_sums<T>(&self, list: impl FnOnce() -> T) -> (T, Sums) {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut copied = Sums::default();
        copied.add(&sums);
        (list(), copied)
    }
}

impl Last {
    #[cfg(not(feature = "metrics"))]
    pub(super) fn of<K, P>(_entry: &Entry<K, P>) -> Self {
        Self {}
    }

    #[cfg(feature = "metrics")]
    pub(super) fn of<K, P>(entry: &Entry<K, P>) -> Self {
        let status = entry.layer().borrowed_handle().status();
        let sums = Sums::of(&status);
        Self { sums }
    }
}

impl Farewell<'_> {
    /// Takes the last sums of a key over. The shard of the key is locked.
    pub(super) fn take_while_locked(&mut self, generation: u64, last: &Last) {
        self.floor.fetch_max(generation, Ordering::Relaxed);
        self.take_sums(last);
    }

    #[cfg(not(feature = "metrics"))]
    fn take_sums(&mut self, _last: &Last) {}

    #[cfg(feature = "metrics")]
    fn take_sums(&mut self, last: &Last) {
        self.sums.add(&last.sums);
    }
}
