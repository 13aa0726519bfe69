//! What keeps refusals out of error trackers, traces and logs, with the real crates.
//!
//! The recipes of `tower_maintenance::guide::watching` stand here word for word, to be copied; `tests/` runs each
//! beside a control that shows the noise without it, and fails if the guide says anything else.
#![expect(
    clippy::must_use_candidate,
    reason = "recipes are as short as they can be read"
)]

pub mod app;
pub mod opentelemetry;
pub mod sentry;
pub mod trace_layer;
