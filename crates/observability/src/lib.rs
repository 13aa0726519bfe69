//! Recipes that keep refusals out of error trackers, traces and logs, with the real crates.
//!
//! The recipes of `tower_maintenance::guide::watching` are here word for word.
//! `tests/` runs each of them beside a control that shows the noise without it. The tests fail if
//! the text of the guide differs.
#![expect(
    clippy::must_use_candidate,
    reason = "recipes are as short as they can be read"
)]

pub mod app;
pub mod opentelemetry;
pub mod sentry;
pub mod trace_layer;
