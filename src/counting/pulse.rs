//! Signs of life: when something last came from the partner while its call goes on.
//!
//! Headers and frames of calls that are still streaming say that the partner is there, which the
//! rule of calls given up must know. They come more often than calls end, so that a call notes them
//! without the lock: once per bucket of the window, by a store that others only read until the
//! bucket ends. The next lock holder takes the note over into the window.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::moment::Moment;

/// The last sign of life that no lock holder has taken over yet.
///
/// Relaxed throughout: it is one number, and a sign of life that a lock holder misses is taken over
/// by the next one.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// The end of the bucket in which something came, in nanoseconds; [`NOTHING`] if nothing did.
    until: AtomicU64,
    /// How wide a bucket is, in nanoseconds; [`UNTIMED`] in a window of calls.
    width: AtomicU64,
}

const NOTHING: u64 = 0;
/// One bucket for all time.
const UNTIMED: u64 = u64::MAX;

impl Pulse {
    /// Notes signs of life for a window with buckets of this width; `None` for a window of calls.
    pub(crate) fn new(width: Option<u64>) -> Self {
        Self {
            until: AtomicU64::new(NOTHING),
            width: AtomicU64::new(width.unwrap_or(UNTIMED)),
        }
    }

    /// Notes that something came from the partner.
    #[inline]
    pub(crate) fn hear(&self, now: Moment) {
        if now.0 >= self.until.load(Ordering::Relaxed) {
            let width = self.width.load(Ordering::Relaxed);
            let until = (now.0 / width).saturating_add(1).saturating_mul(width);
            self.until.store(until, Ordering::Relaxed);
        }
    }

    /// Takes the note out: the number of the last bucket in which something came.
    pub(crate) fn take_while_locked(&self) -> Option<u64> {
        // Mostly there is none: a load leaves the cache line with its readers.
        if self.until.load(Ordering::Relaxed) == NOTHING {
            return None;
        }
        let until = self.until.swap(NOTHING, Ordering::Relaxed);
        let index = (until - 1) / self.width.load(Ordering::Relaxed);
        (until != NOTHING).then_some(index)
    }

    /// Tells whether it notes signs of life for a window with buckets of this width.
    pub(crate) fn is_for(&self, width: Option<u64>) -> bool {
        self.width.load(Ordering::Relaxed) == width.unwrap_or(UNTIMED)
    }

    /// Begins anew, for a window with buckets of this width.
    pub(crate) fn restart_while_locked(&self, width: Option<u64>) {
        self.width
            .store(width.unwrap_or(UNTIMED), Ordering::Relaxed);
        self.until.store(NOTHING, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bucket_in_which_something_came_is_noted_once() {
        let pulse = Pulse::new(Some(10));
        assert_eq!(pulse.take_while_locked(), None);
        pulse.hear(Moment(0));
        pulse.hear(Moment(35));
        pulse.hear(Moment(39));
        assert_eq!(pulse.take_while_locked(), Some(3));
        assert_eq!(pulse.take_while_locked(), None);
        pulse.hear(Moment(u64::MAX - 1));
        assert_eq!(pulse.take_while_locked(), Some((u64::MAX - 1) / 10));
    }

    #[test]
    fn in_a_window_of_calls_any_time_is_one_bucket() {
        let pulse = Pulse::new(None);
        pulse.hear(Moment(7));
        assert_eq!(pulse.take_while_locked(), Some(0));
        pulse.hear(Moment(u64::MAX - 1));
        assert_eq!(pulse.take_while_locked(), Some(0));
    }
}
