//! A handle that does not keep the layer alive.

use std::sync::{Arc, Weak};

use crate::{operator::handle::MaintenanceHandle, state::root::Root};

/// Refers to a layer without keeping it alive.
///
/// A listener that waits for the layer holds this in place of a handle. A handle would keep the
/// layer alive, and the listener would wait for ever.
#[derive(Debug, Clone)]
pub(crate) struct WeakHandle {
    root: Weak<Root>,
}

impl WeakHandle {
    /// Returns a handle; `None` once no layer, service or handle is left.
    pub(crate) fn upgrade(&self) -> Option<MaintenanceHandle> {
        self.root.upgrade().map(MaintenanceHandle::new)
    }
}

impl MaintenanceHandle {
    /// Returns a weak handle to the same layer.
    pub(crate) fn downgrade(&self) -> WeakHandle {
        WeakHandle {
            root: Arc::downgrade(self.shared()),
        }
    }
}
