//! The memory of answers that are on their way, within the bound of the store.
//!
//! An answer on its way takes its bytes before it allocates them. All of them together take at most
//! a *share* of the bound, so that bodies that never end do not evict what is stored. The store
//! holds a *ballast* beside the answers: an entry of as many bytes as are taken, for which it
//! evicts other entries.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::store::Store;

/// The bytes that are taken, and the ballast for them.
pub(super) struct UnderWay {
    share: u64,
    /// How much the ballast may exceed the bytes that are taken. With it a request at a time moves
    /// no ballast.
    slack: u64,
    taken: AtomicU64,
}

impl UnderWay {
    /// The share is a quarter of the bound, or one answer of the largest size if that is more.
    pub(super) fn new(max_entry: usize, max_total: u64) -> Self {
        let (largest, quarter) = (max_entry as u64, max_total / 4);
        // Where few answers fit, the ballast is exact: it must not evict the only answer.
        let slack = if largest <= quarter { quarter / 8 } else { 0 };
        Self {
            share: largest.max(quarter),
            slack,
            taken: AtomicU64::new(0),
        }
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
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

    /// Returns the ballast to place; `None` if the present one will do.
    pub(super) fn new_ballast(&self, present: u64) -> Option<u64> {
        let taken = self.taken();
        let will_do = taken <= present && present - taken <= self.slack;
        (!will_do).then_some(taken + self.slack / 2)
    }
}

/// The bytes that one answer on its way has taken. Dropping it gives them back.
pub(super) struct Taken {
    store: Arc<Store>,
    bytes: u64,
}

impl Taken {
    /// Takes the first bytes; `None` if the share has too few left.
    pub(super) fn new(store: &Arc<Store>, bytes: usize) -> Option<Self> {
        let mut taken = Self {
            store: store.clone(),
            bytes: 0,
        };
        taken.more(bytes).then_some(taken)
    }

    /// Takes more bytes; `false` if the share has too few left.
    pub(super) fn more(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if !self.store.under_way().take(bytes) {
            return false;
        }
        self.bytes += bytes;
        self.store.place_ballast();
        true
    }

    /// Gives all bytes back, and returns the store.
    pub(super) fn give_back(mut self) -> Arc<Store> {
        self.leave();
        self.store.clone()
    }

    fn leave(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            let under_way = self.store.under_way();
            under_way.taken.fetch_sub(bytes, Ordering::Relaxed);
            self.store.place_ballast();
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.leave();
    }
}
