//! Whether a key was used since the last sweep.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::moment::Moment;

/// When a key was last used, as far as sweeps can tell: *used*, *unused since* a moment, or
/// *retired*.
///
/// # Orderings
///
/// | change | made by | how |
/// |---|---|---|
/// | *unused since* to *used* | a call | compare-exchange |
/// | *used* to *unused since* | a sweep | compare-exchange |
/// | *unused since* to *retired* | a sweep, under the shard's lock | compare-exchange |
/// | to *used*, when an operator asks for a handle | the operator, under the shard's lock | store |
///
/// Calls, sweeps and the lookups of operators read the word. Every race between a call and a sweep
/// is decided by the word alone: both change it, and one of the two compare-exchanges fails.
///
/// What a call counts after it noted its use is not ordered by this word. A sweep reads those
/// counts before it retires the key, at least `idle_after` (one second or more) after it marked the
/// word. A store is visible to other cores long before that.
pub(super) struct Usage(AtomicU64);

const USED: u64 = 0;
const RETIRED: u64 = u64::MAX;

impl Usage {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(USED))
    }

    /// Notes a call; returns `false` if the key is retired.
    #[inline]
    pub(super) fn note(&self) -> bool {
        let mut seen = self.0.load(Ordering::Acquire);
        // Most calls find *used* and write nothing.
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

    /// Notes a use. The shard's lock keeps sweeps from retiring the key meanwhile.
    pub(super) fn used_while_locked(&self) {
        self.0.store(USED, Ordering::Release);
    }

    /// Marks a used key as unused since `now`. If it was marked before, returns since when it is
    /// unused.
    pub(super) fn unused_since(&self, now: Moment) -> Option<Moment> {
        let since = now.0.clamp(USED + 1, RETIRED - 1);
        let marked = self
            .0
            .compare_exchange(USED, since, Ordering::AcqRel, Ordering::Acquire);
        marked.err().filter(|seen| *seen != RETIRED).map(Moment)
    }

    /// Retires the key if it is still unused since that moment.
    pub(super) fn retire(&self, since: Moment) -> bool {
        self.0
            .compare_exchange(since.0, RETIRED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.0.load(Ordering::Acquire) == RETIRED
    }
}
