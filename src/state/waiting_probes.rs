//! The probes whose callers wait for the partner: what the end of a lease must know (R14).
//!
//! The lock holder that ends a lease does not have the call. So the call notes here when its caller
//! begins to wait and when the wait ends. Few probes run at a time, and each writes once per wait.
//! A short list under a lock of its own is enough. No other lock is taken while it is held.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{base::moment::Moment, machine::Slot};

/// The probes whose callers wait: era, slot, and the moment at which the wait began.
#[derive(Debug, Default)]
pub(super) struct WaitingProbes(Mutex<Vec<(u32, Slot, Moment)>>);

impl WaitingProbes {
    /// Reserves room, so that a few probes at a time allocate nothing.
    pub(super) fn expect_some(&self) {
        self.list().reserve(4);
    }

    pub(super) fn waits(&self, era: u32, slot: Slot, since: Moment) {
        self.list().push((era, slot, since));
    }

    pub(super) fn ends(&self, era: u32, slot: Slot) {
        self.list()
            .retain(|(its_era, its_slot, _)| (*its_era, *its_slot) != (era, slot));
    }

    /// Tells whether the caller of a probe waited at `at`, a moment that has just passed. A call
    /// removes its entry only after the machine has applied the deadlines before it.
    pub(super) fn waited_at(&self, era: u32, slot: Slot, at: Moment) -> bool {
        self.list()
            .iter()
            .any(|(its_era, its_slot, since)| (*its_era, *its_slot) == (era, slot) && *since <= at)
    }

    fn list(&self) -> MutexGuard<'_, Vec<(u32, Slot, Moment)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
