//! The example programs, run as a user runs them, in processes of their own.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may panic too; some features have none"
)]

#[cfg(all(feature = "last-good", feature = "metrics", feature = "serde"))]
mod billing;
#[cfg(all(feature = "last-good", feature = "metrics", feature = "serde"))]
mod billing_config;
#[cfg(feature = "reqwest-middleware")]
mod clients;
#[cfg(all(feature = "last-good", feature = "metrics", feature = "serde"))]
mod http2;
#[cfg(feature = "axum")]
mod outage;
#[cfg(all(feature = "last-good", feature = "metrics", feature = "serde"))]
mod path_tricks;
#[cfg(all(feature = "last-good", feature = "metrics", feature = "serde"))]
mod program;
