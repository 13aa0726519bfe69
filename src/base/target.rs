//! The target of the tracing events.

/// The target of every tracing event, whichever file emits it: operators filter by it, and a module
/// path would change when a file moves. `guide::metrics` lists the events.
pub(crate) const TARGET: &str = "tower_maintenance";
