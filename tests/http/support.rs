//! What several modules need.

use tower_maintenance::{Hold, MaintenanceHandle};

/// An operator holds maintenance, without an end.
pub(crate) fn hold(handle: &MaintenanceHandle) {
    handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
}
