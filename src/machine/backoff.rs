//! How long a trip waits (R10).

use std::time::Duration;

use crate::{
    base::{
        jitter::{Seeded, jittered, seeded},
        moment::Moment,
    },
    policy::rules::Rules,
};

/// Which wait comes next.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Trips since the waits last started anew.
    trips: u32,
    /// Before this the partner does not want to be asked again.
    not_before: Moment,
    rng: Seeded,
}

impl Backoff {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self {
            trips: 0,
            not_before: Moment::ORIGIN,
            rng: seeded(seed),
        }
    }

    /// The wait of a trip at `at`, and one step further.
    pub(crate) fn next(&mut self, rules: &Rules, at: Moment) -> Duration {
        self.trips = self.trips.saturating_add(1);
        let wait = self.jittered(self.current(rules), rules.jitter);
        wait.max(self.not_before.since(at))
    }

    /// The wait that a trip after so many others would have, without taking the step: for shadows.
    pub(crate) fn preview(&self, rules: &Rules, trips: u32, at: Moment) -> Duration {
        let next = Self {
            trips: trips.saturating_add(1),
            not_before: self.not_before,
            rng: self.rng.clone(),
        };
        next.current(rules).max(self.not_before.since(at))
    }

    fn current(&self, rules: &Rules) -> Duration {
        // The first wait stands as it is given: no rounding through floating point.
        let growth = rules
            .wait_factor
            .powi(i32::try_from(self.trips.saturating_sub(1)).unwrap_or(i32::MAX));
        if growth <= 1.0 {
            return rules.wait;
        }
        let grown = Duration::try_from_secs_f64(rules.wait.as_secs_f64() * growth);
        // An error is an overflow: far beyond any cap.
        grown.unwrap_or(rules.longest_wait).min(rules.longest_wait)
    }

    fn jittered(&mut self, wait: Duration, jitter: f64) -> Duration {
        if jitter == 0.0 {
            return wait;
        }
        // A wait of nothing would be no maintenance at all.
        jittered(wait, jitter, &mut self.rng).max(Duration::from_nanos(1))
    }

    /// The partner asked at `at` to be left alone for `span`: the least that the next trip waits,
    /// up to the longest wait.
    pub(crate) fn partner_asked(&mut self, span: Duration, rules: &Rules, at: Moment) {
        self.not_before = self.not_before.max(at.after(span.min(rules.longest_wait)));
    }

    pub(crate) fn trips(&self) -> u32 {
        self.trips
    }

    /// The next wait is the base wait again.
    pub(crate) fn start_anew(&mut self) {
        self.trips = 0;
    }

    /// The partner is back: what it asked for no longer matters.
    pub(crate) fn partner_is_back(&mut self) {
        self.not_before = Moment::ORIGIN;
    }
}
