//! One test per promise of the rules R1 to R23, through the public API only.
//!
//! A test is named for its rule and its promise. `.ci/break-rules` breaks the rules in the source one
//! by one and shows that the tests named here fail.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

mod entry;
mod operators;
mod probing;
mod recovery;
mod request_path;
mod support;
mod switches;
mod time;
