//! The memory of answers that are on their way, within the bound of the store.
//!
//! An answer on its way takes its bytes before it allocates them. All of them together take at most
//! a *share* of the bound, so that bodies that never end do not evict what is stored. The cache
//! holds a *ballast* beside the answers: an entry of as many bytes as are taken, for which it
//! evicts other entries.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use moka::sync::Cache;

use super::entry::{Entry, Slot};

/// The bytes that are taken, and the ballast for them.
pub(super) struct UnderWay {
    cache: Cache<Slot, Entry>,
    share: u64,
    /// How much the ballast may exceed the bytes that are taken. With it a request at a time moves
    /// no ballast.
    slack: u64,
    taken: AtomicU64,
    /// The bytes of the ballast.
    ballast: AtomicU64,
    /// Held while the ballast is placed.
    placing: Mutex<()>,
}

impl UnderWay {
    /// The share is a quarter of the bound, or one answer of the largest size if that is more.
    pub(super) fn new(cache: Cache<Slot, Entry>, max_entry: usize, max_total: u64) -> Self {
        let (largest, quarter) = (max_entry as u64, max_total / 4);
        // Where few answers fit, the ballast is exact: it must not evict the only answer.
        let slack = if largest <= quarter { quarter / 8 } else { 0 };
        Self {
            cache,
            share: largest.max(quarter),
            slack,
            taken: AtomicU64::new(0),
            ballast: AtomicU64::new(0),
            placing: Mutex::default(),
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn ballast(&self) -> u64 {
        self.ballast.load(Ordering::Relaxed)
    }

    /// Takes bytes; `false` if the share has too few left.
    fn take(&self, bytes: u64) -> bool {
        let more = |taken: u64| {
            let taken = taken.checked_add(bytes)?;
            (taken <= self.share).then_some(taken)
        };
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok()
    }

    /// Makes the ballast as large as the answers on their way, and evicts other entries for it.
    fn place_ballast(&self) {
        self.place(|| {
            let (taken, present) = (self.taken(), self.ballast());
            let will_do = taken <= present && present - taken <= self.slack;
            (!will_do).then_some(taken + self.slack / 2)
        });
    }

    /// Inserts the ballast again if it was evicted or invalidated.
    pub(super) fn restore_ballast(&self) {
        self.place(|| {
            let bytes = self.ballast();
            (bytes > 0 && !self.cache.contains_key(&Slot::Ballast)).then_some(bytes)
        });
    }

    /// Counts as a request for the ballast, so that it is not the entry that was not asked for
    /// longest.
    pub(super) fn touch_ballast(&self) {
        let _ = self.cache.get(&Slot::Ballast);
    }

    /// Places a ballast if `due` returns its bytes.
    fn place(&self, due: impl Fn() -> Option<u64>) {
        if due().is_none() {
            return;
        }
        let _placing = self.placing.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked again: another thread may have placed it.
        if let Some(bytes) = due() {
            self.ballast.store(bytes, Ordering::Relaxed);
            self.cache.insert(Slot::Ballast, Entry::Ballast(bytes));
            self.cache.run_pending_tasks();
        }
    }
}

/// The bytes that one answer on its way has taken. Dropping it gives them back.
pub(super) struct Taken {
    under_way: Arc<UnderWay>,
    bytes: u64,
}

impl Taken {
    /// Takes the first bytes; `None` if the share has too few left.
    pub(super) fn new(under_way: &Arc<UnderWay>, bytes: usize) -> Option<Self> {
        let mut taken = Self {
            under_way: under_way.clone(),
            bytes: 0,
        };
        taken.more(bytes).then_some(taken)
    }

    /// Takes more bytes; `false` if the share has too few left.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if !self.under_way.take(bytes) {
            return false;
        }
        self.bytes += bytes;
        self.under_way.place_ballast();
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.under_way
            .taken
            .fetch_sub(self.bytes, Ordering::Relaxed);
        self.under_way.place_ballast();
    }
}
