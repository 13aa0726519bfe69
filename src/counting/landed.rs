//! What goes into the lanes and what comes out of them.

use super::slot::INDEX;

/// What a success must know of the window while the lanes are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) era: u32,
    /// How wide a bucket is, in nanoseconds.
    pub(crate) width: u64,
    /// The longest call that is not slow, in nanoseconds; `u64::MAX` without a slow-call rule.
    pub(crate) slow_limit: u64,
}

/// Successes of one bucket that were counted without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) era: u32,
    pub(crate) width: u64,
    /// The low bits of the bucket's number.
    pub(super) low: u64,
    pub(crate) successes: u64,
}

impl Landed {
    /// Returns the number of the bucket, given the bucket `then` of the last drain.
    ///
    /// Of all buckets with these low bits it is the first at or after `then`. A success with an
    /// older bucket (its clock is behind, in another runtime) counts in `then`, as everything does
    /// that goes backwards.
    pub(crate) fn index(&self, then: u64) -> u64 {
        let ahead = self.low.wrapping_sub(then) & INDEX;
        if ahead <= INDEX / 2 {
            then.saturating_add(ahead)
        } else {
            then
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_known_by_its_low_bits() {
        let landed = |low| Landed {
            era: 0,
            width: 1,
            low,
            successes: 1,
        };
        for then in [0, 5, INDEX, INDEX + 1, 3 * INDEX + 7] {
            for later in [0, 1, 17, 1_000_000, INDEX / 2] {
                let index = then + later;
                assert_eq!(landed(index & INDEX).index(then), index, "{later} later");
            }
            for earlier in [1, 17, INDEX / 2] {
                let index = then.wrapping_sub(earlier);
                assert_eq!(landed(index & INDEX).index(then), then, "{earlier} earlier");
            }
        }
    }
}
