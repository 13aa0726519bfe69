//! What the gate, the notice and the status read from a machine.

use std::time::{Duration, SystemTime};

use super::{Machine, Passing, State, causes::Held, probing::Stage, word::Op};
use crate::{
    base::moment::Moment,
    counting::counts::Counts,
    facts::{
        episode::Episode,
        event::Event,
        mode::Cause,
        status::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
        totals::Totals,
    },
    policy::{Policy, rules::Rules},
};

impl Machine {
    /// Returns what the gate does until the next deadline.
    pub(crate) fn op(&self) -> Op {
        match self.state {
            State::Serving(_) if self.next_deadline() == Moment::NEVER => Op::Serve,
            State::Serving(_) => Op::ServeUntil,
            State::Maintenance { .. } if mutant!("maintenance lets calls through") => Op::Serve,
            State::Maintenance { .. } => Op::Refuse,
            State::Probing(_) => Op::Ask,
        }
    }

    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Raises the generation to `floor`, that of the machine which this one replaces (R17).
    pub(crate) fn generation_at_least(&mut self, floor: u64) {
        self.generation = self.generation.max(floor);
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the cause that determines the mode.
    pub(crate) fn first_cause(&self) -> Option<Cause> {
        self.causes.first()
    }

    /// Returns the kinds of causes that are active, the one that determines the mode first.
    pub(crate) fn causes(&self) -> Vec<Cause> {
        self.causes.kinds().collect()
    }

    /// Returns the number of the episode under way.
    pub(crate) fn episode(&self) -> Option<u64> {
        self.episodes.number()
    }

    /// Returns the latest moment that a look brought.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Returns the operator's hold.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.causes.operator.as_ref()
    }

    /// Returns when the gate shut: the beginning of the episode, or of the mode without an episode.
    pub(crate) fn shut_since(&self) -> SystemTime {
        let began = self.episodes.began();
        began.unwrap_or_else(|| self.wall.at(self.since))
    }

    /// Returns until when the gate stays shut at least; [`Moment::NEVER`] if that is unknown.
    pub(crate) fn known_end(&self) -> Moment {
        match self.state {
            State::Maintenance { .. } => self.causes.known_end(),
            State::Serving(_) | State::Probing(_) => Moment::NEVER,
        }
    }

    /// Returns when maintenance ends; [`Moment::NEVER`] if that is unknown.
    pub(crate) fn promised_end(&self) -> Moment {
        match self.state {
            State::Maintenance { .. } => self.causes.promised_end(),
            State::Serving(_) | State::Probing(_) => Moment::NEVER,
        }
    }

    /// Whether the gate lets reads pass and refuses all else that is not exempt.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(
            self.state,
            State::Maintenance {
                passing: Passing::Reads,
                ..
            }
        )
    }

    pub(crate) fn wall_at(&self, moment: Moment) -> SystemTime {
        self.wall.at(moment)
    }

    /// Returns the events since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        if mutant!("what was told is told again") {
            return self.events.clone();
        }
        std::mem::take(&mut self.events)
    }

    /// Returns the episodes that ended since the last call.
    pub(crate) fn take_ended(&mut self) -> Vec<Episode> {
        self.episodes.take_ended()
    }

    pub(crate) fn wall_now(&self) -> SystemTime {
        self.wall.at(self.now)
    }

    pub(crate) fn status(&self) -> Status {
        let at = self.now;
        let until = self.known_end();
        let counts = self.live_counts(at);
        let shadow = match &self.state {
            State::Serving(serving) => serving.shadow.as_ref(),
            State::Maintenance { .. } | State::Probing(_) => None,
        };
        Status {
            partner: self.partner.clone(),
            at: self.wall.at(at),
            mode: self.mode(),
            since: self.wall.at(self.since),
            causes: self.cause_reports(),
            read_only: self.is_read_only(),
            promised_end: self.promised_end().known().map(|end| self.wall.at(end)),
            message: self.held().and_then(|held| held.message.clone()),
            switches: self.switches,
            policy: Policy::clone(&self.rules.policy),
            generation: self.generation,
            era: self.era,
            retry_after: until.known().map(|until| until.since(at)),
            window: WindowReport::new(counts, &self.rules),
            probing: self.probing_report(at),
            shadow: shadow.map(|shadow| ShadowReport {
                since: self.wall.at(shadow.since),
                evidence: shadow.evidence,
                wait: shadow.wait,
            }),
            evidence: self.causes.tripped.as_ref().map(|trip| trip.evidence),
            calls: CallCounts {
                admitted: self.traffic.admitted,
                refused: self.traffic.refused,
                exempt: self.traffic.exempt,
                reads: self.traffic.reads,
                ..self.calls
            },
            totals: self.totals(at),
            refused_in_mode: self.traffic.refused.saturating_sub(self.entry.refused),
            episode: self.episodes.so_far(self.traffic),
            pings: self.pings,
            // The machine does not know the partner's statement: the caller adds it.
            partner_says: None,
            partner_unreadable: None,
        }
    }

    fn totals(&self, at: Moment) -> Totals {
        let mut totals = self.past.as_deref().copied().unwrap_or_default();
        totals.time_in.add(self.mode(), at.since(self.since));
        totals.episodes = self.episodes.begun();
        totals
    }

    fn cause_reports(&self) -> Vec<CauseReport> {
        let held = self.causes.operator.as_ref().map(|held| CauseReport {
            cause: Cause::Operator,
            actor: held.by.actor.clone(),
            reason: held.by.reason.clone(),
            since: self.wall.at(held.since),
            until: held.until.known().map(|until| self.wall.at(until)),
            read_only: held.passing == Passing::Reads,
        });
        let tripped = self.causes.tripped.as_ref().map(|trip| CauseReport {
            cause: Cause::Tripped,
            actor: trip.by.actor.clone(),
            reason: trip.by.reason.clone(),
            since: self.wall.at(trip.since),
            until: trip.until.known().map(|until| self.wall.at(until)),
            read_only: false,
        });
        held.into_iter().chain(tripped).collect()
    }

    fn probing_report(&self, at: Moment) -> Option<ProbingReport> {
        let State::Probing(probing) = &self.state else {
            return None;
        };
        let needed = probing.trials.needed;
        Some(match &probing.stage {
            Stage::Trials(slots) => ProbingReport {
                in_flight: slots.in_flight(),
                successes: slots.successes,
                needed,
                free: probing.free_slots(at),
                resting: slots.resting_at(at),
                waiting_for_probe: slots.is_waiting(at),
                without_evidence: slots.is_without_evidence(),
                last_code: slots.last_code(),
                ramp_share: None,
            },
            Stage::Ramp(climb) => ProbingReport {
                in_flight: 0,
                successes: needed,
                needed,
                free: 0,
                resting: 0,
                waiting_for_probe: false,
                without_evidence: false,
                last_code: None,
                ramp_share: Some(climb.share_as_ratio(at)),
            },
        })
    }
}

impl WindowReport {
    pub(crate) fn new(counts: Counts, rules: &Rules) -> Self {
        let total = counts.total();
        let enough = total >= rules.min_calls;
        let rate = |part: u32| enough.then(|| f64::from(part) / total as f64);
        Self {
            total,
            succeeded: counts.successes,
            failed: counts.failed.into(),
            slow: counts.slow.into(),
            consecutive_failures: counts.run.into(),
            given_up: u64::from(counts.given_up) + u64::from(counts.left_early),
            longest_wait: Duration::from_millis(counts.longest_wait.into()),
            neutral: counts.neutral.into(),
            last_neutral_code: Some(counts.neutral_code).filter(|code| *code != 0),
            ours: counts.ours.into(),
            refused_within: counts.refused_within.into(),
            failure_rate: rate(counts.failed),
            slow_rate: rate(counts.slow),
            window: rules.window,
        }
    }
}
