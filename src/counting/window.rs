//! Counting outcomes: the sliding window that the failure rate is read from.
//!
//! Counting is a seam of its own. The machine only ever asks a [`Tally`] for [`Counts`] and tells
//! it to forget; no other module knows how the counts are kept. Successes come in two ways: one by
//! one, under the lock, and by the bucket from the [`lanes`](super::lanes), where they were counted
//! without it. Cost and memory are flat in traffic: a time window is a ring of buckets, a count
//! window three bits a call.
//!
//! Both windows really slide. A bucket leaves when its *start* is a whole window old, so that
//! nothing older than the window is ever counted; what is counted is at most one bucket short of
//! it.

use super::{
    call_ring::CallRing,
    counts::{Counts, Landing},
    time_ring::TimeRing,
};
use crate::{
    base::moment::{Moment, nanos},
    policy::window::Window,
};

/// A sliding window of outcomes.
#[derive(Debug, Clone)]
pub(crate) enum Tally {
    Calls(CallRing),
    Time(TimeRing),
}

impl Tally {
    pub(crate) fn new(window: Window) -> Self {
        match window {
            Window::Calls(size) => Self::Calls(CallRing::new(size)),
            Window::Time { length, buckets } => Self::Time(TimeRing::new(nanos(length), buckets)),
        }
    }

    /// Records what landed at `at`; `at` never goes back.
    pub(crate) fn record(&mut self, landing: Landing, at: Moment) {
        match self {
            Self::Calls(ring) => ring.record(landing),
            Self::Time(ring) => ring.record(landing, at),
        }
    }

    /// Adds successes that landed in the bucket with this number, before the newest failure there
    /// is.
    pub(crate) fn add_successes(&mut self, index: u64, successes: u64) {
        if let Self::Time(ring) = self {
            ring.add_successes(index, successes);
        }
    }

    /// Notes that something came from the partner, at the latest in the bucket with this number.
    pub(crate) fn hear(&mut self, index: u64) {
        match self {
            Self::Calls(ring) => ring.hear(),
            Self::Time(ring) => ring.hear(index),
        }
    }

    /// How wide a bucket is, in nanoseconds; `None` for a window of calls.
    pub(crate) fn bucket_width(&self) -> Option<u64> {
        match self {
            Self::Calls(_) => None,
            Self::Time(ring) => Some(ring.width()),
        }
    }

    /// How wide a bucket is, in nanoseconds, if successes may be added to one by its number.
    pub(crate) fn width(&self) -> Option<u64> {
        match self {
            Self::Calls(_) => None,
            Self::Time(ring) => ring.lane_width(),
        }
    }

    /// What the window holds at `at`.
    pub(crate) fn counts(&self, at: Moment) -> Counts {
        match self {
            Self::Calls(ring) => ring.counts(),
            Self::Time(ring) => ring.counts(at),
        }
    }

    /// Returns when the window will next lose an outcome without a call; `None` if never.
    pub(crate) fn next_departure(&self, at: Moment) -> Option<Moment> {
        match self {
            Self::Calls(_) => None,
            Self::Time(ring) => ring.next_departure(at),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Calls(ring) => ring.clear(),
            Self::Time(ring) => ring.clear(),
        }
    }
}
