//! One key and its state.

use std::sync::atomic::{AtomicU64, Ordering};

use super::usage::Usage;
use crate::{
    base::moment::Moment,
    facts::mode::{Mode, Switches},
    layer::MaintenanceLayer,
    operator::handle::MaintenanceHandle,
};

/// One key and its state.
pub(crate) struct Entry<K, P> {
    key: K,
    layer: MaintenanceLayer<P>,
    usage: Usage,
    /// The switches that the layer was built with: a key that was built in dry run may go while in
    /// dry run.
    as_built: Switches,
    /// Before this moment no ping checks the key.
    next_check: AtomicU64,
}

impl<K, P> Entry<K, P> {
    pub(super) fn new(key: K, layer: MaintenanceLayer<P>) -> Self {
        let as_built = layer.borrowed_handle().status().switches;
        Self {
            key,
            layer,
            usage: Usage::new(),
            as_built,
            next_check: AtomicU64::new(0),
        }
    }

    /// Returns whether a ping should check the key now: it is being probed, and its last check has
    /// begun long enough ago. It looks at a key that serves without a lock.
    pub(super) fn is_due_for_a_check(&self, now: Moment) -> bool {
        let state = self.layer.borrowed_handle();
        // One future checks keys as a rule. If two do, the machine still bounds the probes.
        self.next_check.load(Ordering::Relaxed) <= now.0
            && !state.is_serving()
            && state.mode() == Mode::Probing
    }

    /// Notes that a check begins, and none again before `next`.
    pub(super) fn next_check_at(&self, next: Moment) {
        self.next_check.store(next.0, Ordering::Relaxed);
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn layer(&self) -> &MaintenanceLayer<P> {
        &self.layer
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Returns a handle. Asking for one is a use of the key.
    pub(super) fn handle_while_locked(&self) -> MaintenanceHandle {
        self.usage.used_while_locked();
        self.layer.handle()
    }

    /// Returns whether nothing is lost with the entry: its state has no other holder, and is as it
    /// was built.
    pub(super) fn may_go(&self) -> bool {
        let state = self.layer.borrowed_handle();
        // Holders first. A holder that comes after this look marks the key as used, and a hold that
        // an earlier holder engages shows in the state.
        state.is_sole_holder() && state.is_as_built(self.as_built)
    }
}
