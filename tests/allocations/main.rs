//! What is allocated, and what waits for a lock.
//!
//! A target of its own: its global allocator counts, and holds threads in the midst of an allocation.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

mod gate;
mod keyed;
