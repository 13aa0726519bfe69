//! Recoveries as customers and caches see them: the signal, cache-bust over HTTP, push, the last
//! good answers, and the order of all of these.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

#[cfg(all(unix, feature = "axum", feature = "last-good"))]
mod behind_nginx;
mod by_tag;
#[cfg(feature = "axum")]
mod cache_bust;
mod fill;
#[cfg(feature = "last-good")]
mod last_good;
#[cfg(feature = "http")]
mod push;
#[cfg(feature = "last-good")]
mod settings;
#[cfg(feature = "axum")]
mod smooth_return;
mod support;
