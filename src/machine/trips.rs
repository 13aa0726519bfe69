//! Trips, and the shadow episodes that stand for them under dry run or bypass.

use std::time::Duration;

use super::{Machine, State, causes::Trip, signature::Signature, trip_rules::evidence};
use crate::{
    base::moment::Moment,
    facts::{
        event::EventKind,
        evidence::{Evidence, Rule},
    },
};

impl Machine {
    /// Trips on `evidence`. `wait` is given if the partner said how long to wait (R14).
    pub(super) fn trip(&mut self, evidence: Evidence, wait: Option<Duration>, at: Moment) {
        self.forget_old_trips(at);
        let wait = wait.unwrap_or_else(|| self.backoff.next(&self.rules, at));
        let by = Signature::automatic(evidence.to_string());
        self.trip_for(by, evidence, wait, at);
    }

    pub(super) fn trip_for(
        &mut self,
        by: Signature,
        evidence: Evidence,
        wait: Duration,
        at: Moment,
    ) {
        self.past().trips.note(evidence.rule);
        self.causes.tripped = Some(Box::new(Trip {
            by,
            evidence,
            since: at,
            until: at.after(wait),
            wait,
            proof: None,
        }));
        self.tell(at, EventKind::Tripped { evidence, wait });
        self.reconcile(at);
    }

    /// Returns the wait of the trip in force: a probe that the partner limits repeats it.
    pub(super) fn present_wait(&self) -> Duration {
        let tripped = self.causes.tripped.as_ref();
        tripped.map_or(self.rules.wait, |trip| trip.wait)
    }

    /// Returns the number of trips that a trip at `at` follows. It is 0 if `Serving` has lasted one
    /// base wait (R10).
    pub(super) fn trips_before(&self, at: Moment) -> u32 {
        if matches!(self.state, State::Serving(_))
            && (at.since(self.since) >= self.rules.wait || mutant!("waits always start anew"))
        {
            0
        } else {
            self.backoff.trips()
        }
    }

    /// Makes the next wait the base wait again, if `Serving` has lasted one base wait.
    pub(super) fn forget_old_trips(&mut self, at: Moment) {
        if self.trips_before(at) == 0 && !mutant!("waits never start anew") {
            self.backoff.start_anew();
        }
    }

    /// Combines a rule with the live counts.
    pub(super) fn evidence(&self, rule: Rule, last_code: Option<u16>, at: Moment) -> Evidence {
        evidence(rule, self.live_counts(at), last_code)
    }

    /// Begins a shadow episode in place of a trip.
    pub(super) fn begin_shadow(&mut self, evidence: Evidence, at: Moment) {
        let trips = self.trips_before(at);
        let wait = self.backoff.preview(&self.rules, trips, at);
        if let State::Serving(serving) = &mut self.state {
            serving.begin_shadow(evidence, wait, at);
        }
        self.tell(at, EventKind::WouldHaveTripped { evidence, wait });
    }

    /// Ends the shadow episode if its wait is over and no rule would trip.
    pub(super) fn end_shadow_if_over(&mut self, at: Moment) {
        if let State::Serving(serving) = &mut self.state
            && serving.end_shadow_if_over(&self.rules, at)
        {
            self.tell(at, EventKind::ShadowEnded);
        }
    }

    /// Ends the shadow episode, if there is one, even if a rule would trip.
    pub(super) fn end_shadow(&mut self, at: Moment) {
        if let State::Serving(serving) = &mut self.state
            && serving.shadow.take().is_some()
        {
            self.tell(at, EventKind::ShadowEnded);
        }
    }
}
