//! The request path: admission, and what the end of a call changes.

use std::time::Duration;

use super::{Machine, Shadow, Slot, State, probing::Stage, trip_rules::judge, word::era_bits};
use crate::{
    base::moment::Moment,
    counting::window::Landing,
    facts::{
        event::EventKind,
        evidence::{Evidence, Rule},
        outcome::{Outcome, Verdict},
    },
};

/// What a call may do in `Probing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A customer's call that may probe.
    Eligible,
    /// A customer's call that may not.
    Ineligible,
    /// A customer's call that passes in `Serving` alone, a ramp included.
    Barred,
    /// A synthetic ping.
    Ping,
}

/// What an admitted call is to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Counts in the window of `Serving`.
    Plain,
    /// Holds a slot.
    Probe(Slot),
    /// Counts in the window of the ramp.
    Ramp,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// With a verdict, after so long.
    Judged { verdict: Verdict, took: Duration },
    /// Dropped after nothing had come from the partner for so long (R6).
    Dropped { quiet: Duration },
}

impl Machine {
    /// Asks for admission around calls to the partner, at a moment that was ticked to.
    pub(crate) fn admit(&mut self, asker: Asker) -> Option<Role> {
        let now = self.now;
        let pinged = self.pings > 0;
        match &mut self.state {
            State::Serving(_) => Some(Role::Plain),
            State::Maintenance { .. } => None,
            State::Probing(probing) => match &mut probing.stage {
                Stage::Ramp(_) if asker == Asker::Barred => None,
                // Every other call takes part in a ramp, whether it may probe or not (R15).
                Stage::Ramp(climb) => climb.draw(now).then_some(Role::Ramp),
                Stage::Trials(_) => {
                    let may = match asker {
                        Asker::Eligible => !pinged,
                        Asker::Ineligible | Asker::Barred => false,
                        Asker::Ping => true,
                    };
                    let slot = if may {
                        probing.take_slot(now)?
                    } else {
                        return None;
                    };
                    if let Some(open) = &mut self.episode {
                        open.episode.probes += 1;
                    }
                    Some(Role::Probe(slot))
                }
            },
        }
    }

    /// Whether the gate before one's own routes lets a request through; it never takes a slot (R13).
    pub(crate) fn lets_through(&self, asker: Asker) -> bool {
        match &self.state {
            State::Serving(_) => true,
            State::Maintenance { .. } => false,
            State::Probing(probing) => match &probing.stage {
                Stage::Ramp(_) => asker != Asker::Barred,
                Stage::Trials(_) => asker == Asker::Eligible && self.pings == 0,
            },
        }
    }

    /// Ends a call that was admitted in `era`; the ticket guarantees that this happens once (R5).
    pub(crate) fn settle(&mut self, role: Role, era: u32, ending: Ending) {
        let at = self.now;
        let landing = self.landing(ending);
        match landing {
            Landing::Success { .. } => self.calls.succeeded += 1,
            Landing::Failure { .. } | Landing::Hung { .. } => self.calls.failed += 1,
            Landing::Neutral => self.calls.neutral += 1,
            Landing::Abandoned => self.calls.abandoned += 1,
        }
        // A late answer says nothing about a later era (R8).
        if era != era_bits(self.era) {
            self.calls.late += 1;
            return;
        }
        let verdict = match ending {
            Ending::Judged { verdict, .. } => verdict,
            Ending::Dropped { .. } => Outcome::Neutral.into(),
        };
        match role {
            Role::Plain => self.settle_plain(landing, verdict, at),
            Role::Probe(slot) => self.settle_probe(slot, landing, verdict, at),
            Role::Ramp => self.settle_ramp(landing, verdict, at),
        }
    }

    fn landing(&self, ending: Ending) -> Landing {
        let slow = |took: Duration| {
            self.rules
                .slow_calls
                .is_some_and(|slow| took > slow.longer_than)
        };
        match ending {
            Ending::Judged { verdict, took } => match verdict.outcome {
                Outcome::Success => Landing::Success { slow: slow(took) },
                Outcome::Failure => Landing::Failure { slow: slow(took) },
                Outcome::Neutral => Landing::Neutral,
            },
            Ending::Dropped { quiet } if quiet >= self.rules.hang_limit => {
                Landing::Hung { slow: slow(quiet) }
            }
            Ending::Dropped { .. } => Landing::Abandoned,
        }
    }

    fn settle_plain(&mut self, landing: Landing, verdict: Verdict, at: Moment) {
        self.heed_retry_after(verdict, at);
        let trips = self.trips_before(at);
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if let Landing::Failure { .. } | Landing::Hung { .. } = landing {
            serving.last_code = verdict.code;
        }
        serving.window.record(landing, at);
        let last_code = serving.last_code;
        if let Some(evidence) = judge(&self.rules, &serving.window, landing, last_code, at) {
            if self.switches.armed() {
                self.trip(evidence, None, at);
                return;
            }
            if serving.shadow.is_none() {
                let wait = self.backoff.preview(&self.rules, trips, at);
                let until = at.after(wait);
                serving.shadow = Some(Shadow {
                    since: at,
                    evidence,
                    wait,
                    until,
                    look_at: until,
                });
                self.tell(at, EventKind::WouldHaveTripped { evidence, wait });
                return;
            }
        }
        self.end_shadow_if_over(at);
    }

    fn settle_probe(&mut self, slot: Slot, landing: Landing, verdict: Verdict, at: Moment) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        let Stage::Trials(slots) = &mut probing.stage else {
            return;
        };
        // A slot that is not taken any more belongs to a lease that ended: the era would have ended with it.
        if !slots.give_back(slot, at) {
            return;
        }
        let asked = verdict.retry_after.filter(|span| !span.is_zero());
        let asked = asked.filter(|_| {
            verdict.outcome != Outcome::Success && matches!(verdict.code, None | Some(429 | 503))
        });
        match landing {
            Landing::Success { .. } => slots.successes += 1,
            Landing::Failure { .. }
            | Landing::Hung { .. }
            | Landing::Neutral
            | Landing::Abandoned => {}
        }
        let proven = slots.successes >= probing.trials.needed;
        probing.record(landing, at);
        if let Some(retry_after) = asked {
            let evidence =
                self.probe_evidence(Rule::PartnerAsked { retry_after }, verdict.code, at);
            let wait = retry_after.min(self.rules.longest_wait);
            self.trip(evidence, Some(wait), at);
            return;
        }
        match landing {
            Landing::Failure { .. } | Landing::Hung { .. } => {
                self.heed_retry_after(verdict, at);
                let evidence = self.probe_evidence(Rule::ProbeFailed, verdict.code, at);
                self.trip(evidence, None, at);
            }
            Landing::Success { .. } if proven => self.proven(at),
            Landing::Success { .. } | Landing::Neutral | Landing::Abandoned => {}
        }
    }

    /// The last needed success landed; nothing is in flight (R12).
    fn proven(&mut self, at: Moment) {
        self.backoff.partner_is_back();
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        if let Some(ramp) = probing.trials.ramp {
            probing.begin_ramp(ramp, self.rules.window, at);
            self.tell(
                at,
                EventKind::RampBegan {
                    duration: ramp.duration,
                },
            );
            return;
        }
        self.causes.tripped = None;
        self.reconcile(at);
    }

    fn settle_ramp(&mut self, landing: Landing, verdict: Verdict, at: Moment) {
        self.heed_retry_after(verdict, at);
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        probing.record(landing, at);
        let Stage::Ramp(climb) = &probing.stage else {
            return;
        };
        if let Some(evidence) = judge(&self.rules, &climb.tally, landing, verdict.code, at) {
            self.trip(evidence, None, at);
        }
    }

    fn heed_retry_after(&mut self, verdict: Verdict, at: Moment) {
        if let Some(span) = verdict.retry_after {
            self.backoff.partner_asked(span, &self.rules, at);
        }
    }

    pub(super) fn probe_evidence(
        &self,
        rule: Rule,
        last_code: Option<u16>,
        at: Moment,
    ) -> Evidence {
        let counts = self.live_counts(at);
        Evidence {
            rule,
            total: counts.total,
            failed: counts.failed,
            last_code,
        }
    }
}
