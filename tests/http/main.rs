//! HTTP, in memory and over sockets: calls, routes, bodies, refusals, exemptions, the partner's
//! status page, and the simulated partner.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic; without any feature there are none"
)]

#[cfg(all(feature = "axum", feature = "serde", feature = "testing"))]
mod before_routes;
#[cfg(all(feature = "http", feature = "testing"))]
mod bodies;
#[cfg(all(feature = "axum", feature = "serde", feature = "testing"))]
mod config;
#[cfg(feature = "axum")]
mod dispatch;
#[cfg(all(feature = "axum", feature = "testing"))]
mod drain;
#[cfg(feature = "axum")]
mod exempt_dispatch;
#[cfg(all(feature = "axum", feature = "serde", feature = "testing"))]
mod exemptions;
#[cfg(feature = "axum")]
mod faults;
#[cfg(all(feature = "axum", feature = "testing"))]
mod in_handlers;
#[cfg(all(feature = "http", feature = "testing"))]
mod judges;
#[cfg(all(feature = "axum", feature = "testing"))]
mod placements;
#[cfg(feature = "axum")]
mod readiness;
#[cfg(all(feature = "axum", feature = "testing"))]
mod refusals;
#[cfg(all(feature = "axum", feature = "testing"))]
mod refused_within;
#[cfg(all(feature = "http", feature = "testing"))]
mod retry_after;
#[cfg(all(feature = "axum", feature = "reqwest", feature = "testing"))]
mod shutdown;
#[cfg(feature = "testing")]
mod simulator;
#[cfg(feature = "http")]
mod statuspage;
#[cfg(all(feature = "axum", feature = "testing"))]
mod support;
#[cfg(feature = "tower-http")]
mod trace;
#[cfg(all(feature = "axum", feature = "testing"))]
mod uploads;
#[cfg(feature = "http")]
mod waiting;
#[cfg(feature = "axum")]
mod warnings;
