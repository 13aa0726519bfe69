//! The user's guide, one page per question.
//!
//! - [`stack`]: where the layer belongs among timeout, retry, buffer and limits.
//! - [`reads_and_writes`]: a partner whose reads work while its writes fail.
//! - [`rollout`]: how to introduce the layer: watch, read, arm.
//! - [`at_3_am`]: what happens in an outage, and what an operator can do.
//! - [`watching`]: how to keep refusals out of error trackers, and what to alert on.
//! - `config` (with features `http` and `serde`): policy, exemptions and texts in a file that may
//!   change.
//! - [`metrics`]: the contract for monitoring: every metric and every `tracing` event.
//! - [`sdks`]: how to guard an SDK, reqwest, and any other future.
//! - [`background_jobs`]: a job that must rest while the partner is down.
//! - [`caches`]: caches in this process, and the fill that comes too late.
//! - [`cors`]: how a browser on another origin sees a refusal.
//! - [`testing_your_service`]: an outage of the partner in one's own tests.
//! - [`coming_from`]: recipes for users of tower-resilience, failsafe or recloser.
//! - `errors` (with feature `grpc`): whose fault an error is, and what real clients do.
//! - [`costs`]: what a call costs, and how exact the counts are.
//!
//! The pages define no items. Each example is compiled and asserts what the text says. The recipes
//! of [`watching`] are compiled and tested in `crates/observability`, with the crates they use.

pub mod at_3_am;
pub mod background_jobs;
pub mod caches;
pub mod coming_from;
#[cfg(all(feature = "http", feature = "serde"))]
pub mod config;
pub mod cors;
pub mod costs;
#[cfg(feature = "grpc")]
pub mod errors;
pub mod metrics;
pub mod reads_and_writes;
pub mod rollout;
pub mod sdks;
pub mod stack;
pub mod testing_your_service;
pub mod watching;
