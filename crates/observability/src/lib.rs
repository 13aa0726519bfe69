//! Recipes that keep refusals out of error trackers, traces and logs, and that publish metrics.
//!
//! The recipes of `tower_maintenance::guide::watching` and `guide::metrics` are here word for word,
//! to be copied, with the real crates. `tests/` runs each of them. Beside those that keep refusals
//! out it runs a control that shows the noise without them. The tests fail if the text of the guide
//! differs.
#![expect(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "recipes are as short as they can be read"
)]

pub mod app;
pub mod opentelemetry;
pub mod prometheus;
pub mod publish_task;
pub mod sentry;
pub mod trace_layer;
