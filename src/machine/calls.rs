//! The calls: admission, and what the end of a call changes.

use std::time::Duration;

use super::{Machine, Slot, State, probing::Stage, trip_rules::judge, word::era_bits};
use crate::{
    base::moment::Moment,
    counting::counts::Landing,
    facts::{
        event::EventKind,
        evidence::Rule,
        outcome::{Outcome, Verdict},
    },
};

/// The kind of a call that asks for admission: it matters in `Probing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A customer's call that may probe.
    Eligible,
    /// A customer's call that may not probe.
    Ineligible,
    /// A customer's call that passes in `Serving` only: it may not probe and has no part in a ramp.
    Barred,
    /// A synthetic ping.
    Ping,
}

/// How the machine counts an admitted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The call counts in the window of `Serving`.
    Plain,
    /// The call is a probe and holds a slot.
    Probe(Slot),
    /// The call counts in the window of the ramp.
    Ramp,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// The call got a verdict. `took` is how long it took.
    Judged { verdict: Verdict, took: Duration },
    /// The call was dropped. `quiet` is how long nothing had come from the partner (R6).
    Dropped { quiet: Duration },
}

impl Machine {
    /// Admits a call to the partner, or refuses it with `None`. The caller has ticked to the
    /// current moment.
    pub(crate) fn admit(&mut self, asker: Asker) -> Option<Role> {
        let now = self.now;
        let pinged = self.pings > 0;
        match &mut self.state {
            State::Serving(_) => Some(Role::Plain),
            State::Maintenance { .. } => None,
            State::Probing(probing) => match &mut probing.stage {
                Stage::Ramp(_) if asker == Asker::Barred => None,
                // All other calls take part in a ramp, whether they may probe or not (R15).
                Stage::Ramp(climb) => climb.draw(now).then_some(Role::Ramp),
                Stage::Trials(_) => {
                    let may_probe = match asker {
                        Asker::Eligible => !pinged || mutant!("customers probe beside a ping"),
                        Asker::Ineligible | Asker::Barred => mutant!("every request may probe"),
                        Asker::Ping => !mutant!("a ping takes no slot"),
                    };
                    if !may_probe {
                        return None;
                    }
                    let slot = probing.take_slot(now)?;
                    self.episodes.note_probe();
                    Some(Role::Probe(slot))
                }
            },
        }
    }

    /// Whether a view before routes lets a request pass. Such a view never takes a slot (R13).
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

    /// Ends a call that was admitted in `era`. The call's ticket guarantees that this happens once
    /// (R5).
    pub(crate) fn settle(&mut self, role: Role, era: u32, ending: Ending) {
        let at = self.now;
        let landing = self.landing(ending);
        match landing {
            Landing::Success { .. } => self.calls.succeeded += 1,
            Landing::Failure { .. } | Landing::Hung { .. } => self.calls.failed += 1,
            Landing::Neutral => self.calls.neutral += 1,
            Landing::Abandoned if mutant!("a dropped call does not end") => {}
            Landing::Abandoned => self.calls.abandoned += 1,
        }
        // A late answer is no evidence about a later era (R8).
        if era != era_bits(self.era) && !mutant!("late answers count") {
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
            Ending::Dropped { quiet }
                if quiet >= self.rules.hang_limit && !mutant!("every drop is neutral") =>
            {
                Landing::Hung { slow: slow(quiet) }
            }
            Ending::Dropped { .. } if mutant!("every drop is a failure") => {
                Landing::Hung { slow: false }
            }
            Ending::Dropped { .. } => Landing::Abandoned,
        }
    }

    fn settle_plain(&mut self, landing: Landing, verdict: Verdict, at: Moment) {
        self.heed_retry_after(verdict, at);
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        match serving.record(landing, verdict.code, &self.rules, at) {
            Some(evidence) if self.switches.armed() => self.trip(evidence, None, at),
            Some(evidence) if serving.shadow.is_none() => self.begin_shadow(evidence, at),
            Some(_) | None => self.end_shadow_if_over(at),
        }
    }

    fn settle_probe(&mut self, slot: Slot, landing: Landing, verdict: Verdict, at: Moment) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        let Stage::Trials(slots) = &mut probing.stage else {
            return;
        };
        // A probe whose lease ended no longer holds its slot. The end of the lease also ended the
        // era, so the era check in `settle` has already sorted that probe out.
        if !slots.give_back(slot, at) {
            return;
        }
        if let Landing::Success { .. } = landing {
            slots.successes += 1;
        }
        let proven = slots.successes >= probing.trials.needed || mutant!("one success is enough");
        probing.record(landing, at);
        if let Some(retry_after) = pause_asked(verdict)
            && !mutant!("a probe is not told to retry later")
        {
            let evidence = self.evidence(Rule::PartnerAsked { retry_after }, verdict.code, at);
            let wait = retry_after.min(self.rules.longest_wait);
            self.trip(evidence, Some(wait), at);
            return;
        }
        match landing {
            Landing::Failure { .. } if mutant!("a failed probe changes nothing") => {}
            Landing::Failure { .. } | Landing::Hung { .. } => {
                self.heed_retry_after(verdict, at);
                let evidence = self.evidence(Rule::ProbeFailed, verdict.code, at);
                self.trip(evidence, None, at);
            }
            Landing::Success { .. } if proven => self.proven(at),
            Landing::Success { .. } | Landing::Neutral | Landing::Abandoned => {}
        }
    }

    /// Ends the trials after the last needed success. Nothing is in flight (R12).
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

    /// Applies a deadline of `Probing`: a lease, the warning, or the end of the ramp.
    pub(super) fn probing_falls_due(&mut self, at: Moment) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        match &mut probing.stage {
            Stage::Trials(slots) if slots.lease_end() <= at => {
                let lease = probing.trials.lease;
                probing.record(Landing::Failure { slow: false }, at);
                let evidence = self.evidence(Rule::ProbeHung { lease }, None, at);
                self.trip(evidence, None, at);
            }
            Stage::Trials(slots) => {
                slots.warned = true;
                self.tell(at, EventKind::WaitingForProbe);
            }
            Stage::Ramp(_) => {
                self.causes.tripped = None;
                self.reconcile(at);
            }
        }
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
        if let Some(evidence) = judge(&self.rules, &climb.tally, landing, verdict.code, at)
            && !mutant!("a ramp is not judged")
        {
            self.trip(evidence, None, at);
        }
    }

    fn heed_retry_after(&mut self, verdict: Verdict, at: Moment) {
        if let Some(span) = verdict.retry_after
            && !mutant!("Retry-After is not heeded")
        {
            self.backoff.partner_asked(span, &self.rules, at);
        }
    }
}

/// Returns how long the partner asked not to be called, if the verdict on a probe says so (R14).
fn pause_asked(verdict: Verdict) -> Option<Duration> {
    let asks =
        verdict.outcome != Outcome::Success && matches!(verdict.code, None | Some(429 | 503));
    verdict.retry_after.filter(|span| asks && !span.is_zero())
}
