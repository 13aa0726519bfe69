//! Recipes for users of another circuit breaker.
//!
//! The modes: closed is `Serving`, open is `Maintenance`, half-open is `Probing`.
//!
//! # tower-resilience
//!
//! Left: methods of `CircuitBreakerLayer::builder()` and of the breaker. Right: methods of
//! [`Policy`](crate::Policy), unless another type is named.
//!
//! | there | here |
//! |---|---|
//! | `.failure_rate_threshold(0.5)` | `.with_failure_rate(Rate::ratio(0.5)?)` |
//! | `.sliding_window_size(100)` | `.with_window(Window::calls(100))`; it slides call by call |
//! | `.sliding_window_type(TimeBased)` | `.with_window(Window::time(d))` |
//! | `.sliding_window_duration(d)` | `d` in `Window::time(d)` |
//! | `.minimum_number_of_calls(10)` | `.with_min_calls(10)` |
//! | `.wait_duration_in_open(d)` | `.with_wait(d)`; it grows and has jitter, see below |
//! | `.permitted_calls_in_half_open(3)` | `.with_probes(3).with_successes_needed(3)` |
//! | `.slow_call_duration_threshold(d)` | `d` in `.with_slow_calls(d, Rate::ratio(r)?)` |
//! | `.slow_call_rate_threshold(r)` | `r` in `.with_slow_calls(d, Rate::ratio(r)?)` |
//! | `failure_classifier` | [`judged_by`](crate::MaintenanceLayer::judged_by), see below |
//! | `force_open` | [`MaintenanceHandle::engage`](crate::MaintenanceHandle::engage) |
//! | `force_closed` | [`MaintenanceHandle::bypass`](crate::MaintenanceHandle::bypass) |
//! | `reset` | [`MaintenanceHandle::reset`](crate::MaintenanceHandle::reset) |
//!
//! - For a wait that does not grow, add `.with_wait_growing(1.0, d)` and `.with_jitter(0.0)`.
//! - A judge has a third answer besides success and failure: `Neutral`.
//! - `engage`, `bypass` and `reset` record an actor and a reason.
//!
//! ```
//! use std::time::Duration;
//! use tower_maintenance::{MaintenanceLayer, Policy, Rate, Window};
//!
//! let policy = Policy::new(Window::calls(100), Rate::ratio(0.5)?)
//!     .without_consecutive_failures()
//!     .with_min_calls(10)
//!     .with_wait_growing(1.0, Duration::from_secs(30))
//!     .with_jitter(0.0)
//!     .with_probes(3)
//!     .with_successes_needed(3);
//! let layer = MaintenanceLayer::builder("zuora").policy(policy).build()?;
//! # let _ = layer;
//! # Ok::<(), tower_maintenance::BuildError>(())
//! ```
//!
//! # failsafe
//!
//! | there | here |
//! |---|---|
//! | `consecutive_failures(3, ..)` | `.without_failure_rate().with_consecutive_failures(3)` |
//! | `success_rate_over_time_window(0.8, 10, 60 s, ..)` | the second example below |
//! | `backoff::exponential(10 s, 60 s)` | `.with_wait(10 s).with_wait_growing(2.0, 60 s)` |
//! | `backoff::equal_jittered`, `full_jittered` | `.with_jitter(0.2)` |
//! | `Error::Rejected` | [`Error::Refused`](crate::Error::Refused), with its cause and end |
//! | `FailurePredicate` | [`judged_by`](crate::MaintenanceLayer::judged_by) |
//!
//! ```
//! use std::time::Duration;
//! use tower_maintenance::Policy;
//!
//! Policy::default()
//!     .without_failure_rate()
//!     .with_consecutive_failures(3)
//!     .with_wait(Duration::from_secs(10))
//!     .with_wait_growing(2.0, Duration::from_secs(60))
//!     .check()?;
//! # Ok::<(), tower_maintenance::PolicyError>(())
//! ```
//!
//! A required success rate of 0.8 is a failure rate of 0.2:
//!
//! ```
//! use std::time::Duration;
//! use tower_maintenance::{Policy, Rate, Window};
//!
//! Policy::default()
//!     .with_failure_rate(Rate::ratio(0.2)?)
//!     .with_min_calls(10)
//!     .with_window(Window::time(Duration::from_secs(60)))
//!     .check()?;
//! # Ok::<(), tower_maintenance::PolicyError>(())
//! ```
//!
//! # recloser
//!
//! | there | here |
//! |---|---|
//! | `.error_rate(0.5)` | the second argument of `Policy::new`: `Rate::ratio(0.5)?` |
//! | `.closed_len(100)` | the first argument, `Window::calls(100)`; and `.with_min_calls(100)` |
//! | `.half_open_len(10)` | `.with_probes(10).with_successes_needed(10)`; all must succeed |
//! | `.open_wait(d)` | `.with_wait(d).with_wait_growing(1.0, d)` |
//! | `recloser.call(future)` | a layer around the service; `tower::service_fn` wraps a closure |
//! | `Error::Rejected` | [`Error::Refused`](crate::Error::Refused) |
//!
//! ```
//! use std::time::Duration;
//! use tower_maintenance::{Policy, Rate, Window};
//!
//! Policy::new(Window::calls(100), Rate::ratio(0.5)?)
//!     .with_min_calls(100)
//!     .without_consecutive_failures()
//!     .with_wait(Duration::from_secs(30))
//!     .with_wait_growing(1.0, Duration::from_secs(30))
//!     .with_probes(10)
//!     .with_successes_needed(10)
//!     .check()?;
//! # Ok::<(), tower_maintenance::PolicyError>(())
//! ```
