//! Helpers of several modules.

use tower_maintenance::{Hold, MaintenanceHandle};

/// Makes one episode by hand, and returns the generation after it.
pub(crate) fn recover(handle: &MaintenanceHandle) -> u64 {
    let before = handle.generation();
    handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
    handle.release("on-call", "partner is back").unwrap();
    let generation = handle.generation();
    assert!(generation > before);
    generation
}
