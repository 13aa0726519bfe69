//! The probes whose callers wait for the partner: what the end of a lease must know (R14).
//!
//! The lock holder that ends a lease does not hold the call, so that the call notes here when its
//! caller begins and ends to wait. Few probes are under way, and each writes once per wait: one
//! short list under a lock of its own. It is a leaf: nothing else is locked while it is held.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{base::moment::Moment, machine::Slot};

/// The probes whose callers wait, by era and slot, and since when they do.
#[derive(Debug, Default)]
pub(super) struct WaitingProbes(Mutex<Vec<(u32, Slot, Moment)>>);

impl WaitingProbes {
    /// Makes room, so that a few probes at once allocate nothing.
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

    /// Tells whether the caller of a probe waited at a moment that is not over for long: a call
    /// ends its wait here after the machine has looked at the time.
    pub(super) fn waited_at(&self, era: u32, slot: Slot, at: Moment) -> bool {
        self.list()
            .iter()
            .any(|(its_era, its_slot, since)| (*its_era, *its_slot) == (era, slot) && *since <= at)
    }

    fn list(&self) -> MutexGuard<'_, Vec<(u32, Slot, Moment)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
