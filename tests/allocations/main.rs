//! Allocations, and waits for a lock.
//!
//! A target of its own, because its global allocator counts, and can stop a thread in the middle of
//! an allocation.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

mod gate;
mod keyed;
#[cfg(feature = "last-good")]
mod last_good;

#[global_allocator]
static ALLOCATOR: test_support::Counting = test_support::Counting;
