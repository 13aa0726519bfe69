//! Counting outcomes: the sliding window, and the lanes that count successes without the lock.

mod call_ring;
pub(crate) mod counts;
pub(crate) mod landed;
pub(crate) mod lanes;
pub(crate) mod pulse;
mod slot;
mod time_ring;
pub(crate) mod window;
#[cfg(test)]
pub(crate) mod window_naive;
#[cfg(test)]
mod window_tests;
