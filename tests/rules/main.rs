//! The core through its public API: one test per promise of the rules R1 to R23, and what stands
//! beside the rules.
//!
//! A test of a rule is named for its rule and its promise. `.ci/break-rules` breaks the rules in
//! the source one by one, by the mutants of `.ci/mutants.txt`, and shows that these tests fail.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

// The rules.
mod entry;
mod operators;
mod probing;
mod recovery;
mod request_path;
mod switches;
mod time;

// All rules at once, in random order.
mod interleavings;

// What stands beside the rules.
mod classes;
#[cfg(feature = "coarse-clock")]
mod coarse_clock;
mod costs;
mod faults;
mod jobs;
mod keyed;
mod keyed_ping;
mod listeners;
mod names;
mod partner_says;
mod ping;
#[cfg(feature = "serde")]
mod policy_config;
mod reads_and_writes;
mod refused_within;
mod run;
#[cfg(feature = "testing")]
mod settings;
mod tower_contract;
#[cfg(feature = "axum")]
mod unrouted;

mod support;
