//! One key and its state.

use super::usage::Usage;
use crate::{facts::mode::Switches, layer::MaintenanceLayer, operator::handle::MaintenanceHandle};

/// One key and its state.
pub(crate) struct Entry<K, P> {
    key: K,
    layer: MaintenanceLayer<P>,
    usage: Usage,
    /// The switches that the layer was built with: a key that was built in dry run may go while in
    /// dry run.
    as_built: Switches,
}

impl<K, P> Entry<K, P> {
    pub(super) fn new(key: K, layer: MaintenanceLayer<P>) -> Self {
        let as_built = layer.borrowed_handle().status().switches;
        Self {
            key,
            layer,
            usage: Usage::new(),
            as_built,
        }
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
