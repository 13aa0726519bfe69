//! The length of the waits (R10).

use std::time::Duration;

use crate::{
    base::{
        jitter::{Seeded, jittered, seeded},
        moment::Moment,
    },
    policy::rules::Rules,
};

/// The state from which the next wait is computed.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The number of trips since the last return to the base wait.
    trips: u32,
    /// The partner asked not to be called before this moment.
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

    /// Counts a trip at `at`; returns its wait.
    pub(crate) fn next(&mut self, rules: &Rules, at: Moment) -> Duration {
        self.trips = self.trips.saturating_add(1);
        let wait = self.jittered(self.current(rules), rules.jitter);
        wait.max(self.not_before.since(at))
    }

    /// Returns the wait, without jitter, that a trip after `trips` others would have. For shadow
    /// episodes.
    pub(crate) fn preview(&self, rules: &Rules, trips: u32, at: Moment) -> Duration {
        let next = Self {
            trips: trips.saturating_add(1),
            not_before: self.not_before,
            rng: self.rng.clone(),
        };
        next.current(rules).max(self.not_before.since(at))
    }

    fn current(&self, rules: &Rules) -> Duration {
        // The first wait is exactly the configured one: a detour through floating point would round
        // it.
        let growth = rules
            .wait_factor
            .powi(i32::try_from(self.trips.saturating_sub(1)).unwrap_or(i32::MAX));
        if growth <= 1.0 || mutant!("waits do not grow") {
            return rules.wait;
        }
        let grown = Duration::try_from_secs_f64(rules.wait.as_secs_f64() * growth);
        // An error means that the product overflows, so it is above the longest wait.
        grown.unwrap_or(rules.longest_wait).min(rules.longest_wait)
    }

    fn jittered(&mut self, wait: Duration, jitter: f64) -> Duration {
        if jitter == 0.0 {
            return wait;
        }
        // A wait of zero would end maintenance at once.
        jittered(wait, jitter, &mut self.rng).max(Duration::from_nanos(1))
    }

    /// Notes that the partner asked at `at` not to be called for `span`. The next trip waits at
    /// least that long, up to the longest wait.
    pub(crate) fn partner_asked(&mut self, span: Duration, rules: &Rules, at: Moment) {
        self.not_before = self.not_before.max(at.after(span.min(rules.longest_wait)));
    }

    pub(crate) fn trips(&self) -> u32 {
        self.trips
    }

    /// Makes the next wait the base wait again.
    pub(crate) fn start_anew(&mut self) {
        self.trips = 0;
    }

    /// Forgets what the partner asked for, because it has recovered.
    pub(crate) fn partner_is_back(&mut self) {
        self.not_before = Moment::ORIGIN;
    }
}
