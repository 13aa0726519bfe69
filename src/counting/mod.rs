//! Counting outcomes: the sliding window, and the lanes that count successes without the lock.

pub(crate) mod landed;
pub(crate) mod lanes;
mod slot;
pub(crate) mod window;
#[cfg(test)]
pub(crate) mod window_naive;
#[cfg(test)]
mod window_tests;
