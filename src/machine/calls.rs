//! The calls: admission, and what the end of a call changes.

use std::time::Duration;

use super::{
    Machine, Slot, State,
    probing::{Proof, Stage, Waits},
    trip_rules::judge,
    word::era_bits,
};
use crate::{
    base::moment::Moment,
    counting::counts::{Landing, Wait, WaitLength},
    facts::{
        event::EventKind,
        evidence::Rule,
        outcome::{Ended, Origin, Outcome, Verdict},
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
    /// The call got a verdict. `took` is how long its caller had waited for the partner.
    Judged { verdict: Verdict, took: Duration },
    /// The call got no verdict, and its drop says nothing: its judge panicked.
    Unjudged,
    /// The call was dropped. `wait` is how long its caller had waited for the partner by then since
    /// something last came, `None` if it did not wait; `took` is the sum of its waits (R6).
    Dropped {
        wait: Option<Duration>,
        took: Duration,
    },
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
                    self.past().probes.started += 1;
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

    /// Whether a probe still holds this slot.
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        match &self.state {
            State::Probing(probing) => match &probing.stage {
                Stage::Trials(slots) => slots.holds(slot),
                Stage::Ramp(_) => false,
            },
            State::Serving(_) | State::Maintenance { .. } => false,
        }
    }

    /// Ends a call that was admitted in `era`. The call's ticket guarantees that this happens once
    /// (R5). Returns how it counts.
    pub(crate) fn settle(&mut self, role: Role, era: u32, ending: Ending) -> Ended {
        let at = self.now;
        let landing = self.landing(ending);
        let ended = self.count(landing);
        // A late answer is no evidence about a later era (R8).
        if era != era_bits(self.era) && !mutant!("late answers count") {
            self.calls.late += 1;
            return ended;
        }
        let verdict = match ending {
            Ending::Judged { verdict, .. } if verdict.origin == Origin::Partner => Some(verdict),
            Ending::Judged { .. } | Ending::Unjudged | Ending::Dropped { .. } => None,
        };
        match role {
            Role::Plain => self.settle_plain(landing, verdict, at),
            Role::Probe(slot) => self.settle_probe(slot, landing, verdict, at),
            Role::Ramp => self.settle_ramp(landing, verdict, at),
        }
        ended
    }

    /// Counts the call among those that ended in the same way.
    fn count(&mut self, landing: Landing) -> Ended {
        let (ended, calls) = match landing {
            Landing::Success { .. } => (Ended::Succeeded, &mut self.calls.succeeded),
            Landing::Failure { .. } | Landing::Hung { .. } => {
                (Ended::Failed, &mut self.calls.failed)
            }
            Landing::Neutral { .. } => (Ended::Neutral, &mut self.calls.neutral),
            Landing::Ours => (Ended::Ours, &mut self.calls.ours),
            Landing::RefusedWithin => (Ended::RefusedWithin, &mut self.calls.refused_within),
            Landing::Abandoned { .. } => (Ended::Abandoned, &mut self.calls.abandoned),
        };
        if ended != Ended::Abandoned || !mutant!("a dropped call does not end") {
            *calls += 1;
        }
        ended
    }

    fn landing(&self, ending: Ending) -> Landing {
        let slow = |took: Duration| {
            self.rules
                .slow_calls
                .is_some_and(|slow| took > slow.longer_than)
        };
        match ending {
            Ending::Judged { verdict, took } => match (verdict.origin, verdict.outcome) {
                (Origin::Ourselves, _) if mutant!("our own errors are answers") => {
                    Landing::Neutral { code: 0 }
                }
                (Origin::Ourselves, _) => Landing::Ours,
                (Origin::RefusedWithin, _) => Landing::RefusedWithin,
                (Origin::Partner, Outcome::Success) => Landing::Success { slow: slow(took) },
                (Origin::Partner, Outcome::Failure) => Landing::Failure { slow: slow(took) },
                (Origin::Partner, Outcome::Neutral) => Landing::Neutral {
                    code: verdict.code.unwrap_or(0),
                },
            },
            Ending::Unjudged => Landing::Neutral { code: 0 },
            Ending::Dropped { wait, took } => {
                let slow = slow(took) && !mutant!("a call given up is never slow");
                let hung = wait.is_some_and(|wait| wait >= self.rules.hang_limit)
                    && !mutant!("every drop is neutral");
                let hung = hung || mutant!("every drop is a failure");
                let wait = self.given_up(wait);
                if hung {
                    Landing::Hung { slow, wait }
                } else {
                    Landing::Abandoned { slow, wait }
                }
            }
        }
    }

    /// Tells what the rule of calls given up makes of a wait.
    fn given_up(&self, wait: Option<Duration>) -> Wait {
        let Some(wait) = wait else {
            return Wait::NONE;
        };
        let rule = self.rules.given_up;
        // After 0, a wait of no measurable time counts too.
        let is_long = rule.is_some_and(|rule| wait > rule.after || rule.after.is_zero());
        Wait {
            length: if is_long {
                WaitLength::Long
            } else {
                WaitLength::Short
            },
            millis: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        }
    }

    fn settle_plain(&mut self, landing: Landing, verdict: Option<Verdict>, at: Moment) {
        self.heed_retry_after(verdict, at);
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let code = verdict.and_then(|verdict| verdict.code);
        match serving.record(landing, code, &self.rules, at) {
            Some(evidence) if self.switches.armed() => self.trip(evidence, None, at),
            Some(evidence) if serving.shadow.is_none() => self.begin_shadow(evidence, at),
            Some(_) => self.end_shadow_if_over(at),
            None => {
                self.warn_of_calls_given_up(landing, at);
                self.end_shadow_if_over(at);
            }
        }
    }

    /// Warns once an era if callers give up and nothing comes from the partner, but no rule fires
    /// (R6).
    fn warn_of_calls_given_up(&mut self, landing: Landing, at: Moment) {
        let rules = &self.rules;
        if let State::Serving(serving) = &mut self.state
            && let Some((calls, longest_wait)) = serving.new_worry(landing, rules, at)
        {
            let hang_limit = rules.hang_limit;
            self.tell(
                at,
                EventKind::CallersGaveUp {
                    calls,
                    longest_wait,
                    hang_limit,
                },
            );
        }
    }

    fn settle_probe(&mut self, slot: Slot, landing: Landing, verdict: Option<Verdict>, at: Moment) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        let Stage::Trials(slots) = &mut probing.stage else {
            return;
        };
        // A probe whose lease ended no longer holds its slot, and its end proves nothing any more.
        if !slots.give_back(slot, at) {
            return;
        }
        let probes = &mut self.past.get_or_insert_default().probes;
        match landing {
            Landing::Success { .. } => probes.succeeded += 1,
            Landing::Failure { .. } | Landing::Hung { .. } => probes.failed += 1,
            Landing::Neutral { .. }
            | Landing::Ours
            | Landing::RefusedWithin
            | Landing::Abandoned { .. } => probes.without_evidence += 1,
        }
        if let Landing::Success { .. } = landing {
            slots.succeeded(at);
        }
        let proven = slots.successes >= probing.trials.needed || mutant!("one success is enough");
        probing.record(landing, at);
        if let Some(verdict) = verdict
            && !mutant!("a probe is not told to retry later")
            && self.pauses(verdict, at)
        {
            return;
        }
        match landing {
            Landing::Failure { .. } if mutant!("a failed probe changes nothing") => {}
            Landing::Failure { .. } | Landing::Hung { .. } => {
                self.heed_retry_after(verdict, at);
                let code = verdict.and_then(|verdict| verdict.code);
                let evidence = self.evidence(Rule::ProbeFailed, code, at);
                self.trip(evidence, None, at);
            }
            Landing::Success { .. } if proven => self.proven(at),
            Landing::Success { .. } => {}
            Landing::Neutral { .. }
            | Landing::Ours
            | Landing::RefusedWithin
            | Landing::Abandoned { .. } => self.proved_nothing(verdict, at),
        }
    }

    /// Returns to `Maintenance` if the partner asked a probe for a pause (R14).
    fn pauses(&mut self, verdict: Verdict, at: Moment) -> bool {
        if verdict.outcome == Outcome::Success {
            return false;
        }
        let asked = verdict.retry_after.filter(|span| !span.is_zero());
        let (rule, wait) = match (asked, verdict.code) {
            (Some(retry_after), None | Some(429 | 503)) => {
                let wait = retry_after.min(self.rules.longest_wait);
                (Rule::PartnerAsked { retry_after }, wait)
            }
            (None, Some(429)) if verdict.outcome == Outcome::Neutral => {
                let wait = self.present_wait();
                (Rule::PartnerLimits { wait }, wait)
            }
            _ => return false,
        };
        let proof = self.proof_at_pause(verdict, at);
        let evidence = self.evidence(rule, verdict.code, at);
        self.trip(evidence, Some(wait), at);
        if let Some(trip) = &mut self.causes.tripped {
            trip.proof = proof;
        }
        true
    }

    /// Returns what the probes proved up to a pause that the partner asked for; `None` if that
    /// answer is evidence.
    fn proof_at_pause(&self, answer: Verdict, at: Moment) -> Option<Proof> {
        match &self.state {
            State::Probing(probing) if answer.outcome == Outcome::Neutral => match &probing.stage {
                Stage::Trials(slots) => Some(slots.proof_at_pause(answer, at)),
                Stage::Ramp(_) => None,
            },
            _ => None,
        }
    }

    /// Notes a probe that ended and proved nothing. `answer` is the partner's, if it was one.
    fn proved_nothing(&mut self, answer: Option<Verdict>, at: Moment) {
        if let State::Probing(probing) = &mut self.state {
            probing.proved_nothing(answer, at);
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

    /// Applies a deadline of `Probing`: a lease, a warning, or the end of the ramp.
    pub(super) fn probing_falls_due(&mut self, at: Moment, waits: Waits<'_>) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        match &mut probing.stage {
            Stage::Trials(slots) if slots.lease_end() <= at => self.lease_ends(at, waits),
            Stage::Trials(slots) if slots.patience_end() <= at => {
                slots.warned = true;
                self.tell(at, EventKind::WaitingForProbe);
            }
            Stage::Trials(slots) => {
                let (ended, last_code) = slots.tell_without_evidence(at);
                self.tell(at, EventKind::ProbingWithoutEvidence { ended, last_code });
            }
            Stage::Ramp(_) => {
                self.causes.tripped = None;
                self.reconcile(at);
            }
        }
    }

    /// Ends the first lease. A probe whose caller waits for the partner failed. Any other gives its
    /// slot back, neutral (R14).
    fn lease_ends(&mut self, at: Moment, waits: Waits<'_>) {
        let era = era_bits(self.era);
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        let Stage::Trials(slots) = &mut probing.stage else {
            return;
        };
        let Some(slot) = slots.first_lease() else {
            return;
        };
        slots.give_back(slot, at);
        let probes = &mut self.past.get_or_insert_default().probes;
        if !waits(era, slot, at) && !mutant!("every probe hangs at the end of its lease") {
            probes.without_evidence += 1;
            self.proved_nothing(None, at);
            return;
        }
        probes.failed += 1;
        let lease = probing.trials.lease;
        probing.record(Landing::Failure { slow: false }, at);
        let evidence = self.evidence(Rule::ProbeHung { lease }, None, at);
        self.trip(evidence, None, at);
    }

    fn settle_ramp(&mut self, landing: Landing, verdict: Option<Verdict>, at: Moment) {
        self.heed_retry_after(verdict, at);
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        probing.record(landing, at);
        let Stage::Ramp(climb) = &probing.stage else {
            return;
        };
        let code = verdict.and_then(|verdict| verdict.code);
        if let Some(evidence) = judge(&self.rules, &climb.tally, landing, code, at)
            && !mutant!("a ramp is not judged")
        {
            self.trip(evidence, None, at);
        }
    }

    fn heed_retry_after(&mut self, verdict: Option<Verdict>, at: Moment) {
        if let Some(span) = verdict.and_then(|verdict| verdict.retry_after)
            && !mutant!("Retry-After is not heeded")
        {
            self.backoff.partner_asked(span, &self.rules, at);
        }
    }
}
