//! Helpers of several modules.

use tower_maintenance::{Hold, MaintenanceHandle};

/// Lets an operator hold maintenance, without an end.
pub(crate) fn hold(handle: &MaintenanceHandle) {
    handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
}
