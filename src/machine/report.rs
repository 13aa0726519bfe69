//! The state as operators see it.

use super::{Machine, Passing, State, probing::Stage};
use crate::{
    base::moment::Moment,
    counting::window::Counts,
    facts::{
        mode::Cause,
        status::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
    },
    policy::rules::Rules,
};

impl Machine {
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
            refused_in_mode: self.traffic.refused.saturating_sub(self.entry.refused),
            episode: self.episode.as_ref().map(|open| open.so_far(self.traffic)),
            pings: self.pings,
            // Not the machine's to know: `Shared` adds them.
            partner_says: None,
            partner_unreadable: None,
        }
    }

    fn cause_reports(&self) -> Vec<CauseReport> {
        let held = self.causes.operator.as_ref().map(|held| CauseReport {
            cause: Cause::Operator,
            actor: held.actor.clone(),
            reason: held.reason.clone(),
            since: self.wall.at(held.since),
            until: held.until.known().map(|until| self.wall.at(until)),
            read_only: held.passing == Passing::Reads,
        });
        let tripped = self.causes.tripped.as_ref().map(|trip| CauseReport {
            cause: Cause::Tripped,
            actor: trip.actor.clone(),
            reason: trip.reason.clone(),
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
        let (in_flight, successes, waiting) = match &probing.stage {
            Stage::Trials(slots) => (slots.in_flight(), slots.successes, slots.is_waiting(at)),
            Stage::Ramp(_) => (0, probing.trials.needed, false),
        };
        let share = match &probing.stage {
            Stage::Trials(_) => None,
            Stage::Ramp(climb) => Some(climb.share_as_ratio(at)),
        };
        Some(ProbingReport {
            in_flight,
            successes,
            needed: probing.trials.needed,
            free: probing.free_slots(),
            waiting_for_probe: waiting,
            ramp_share: share,
        })
    }
}

impl WindowReport {
    pub(crate) fn new(counts: Counts, rules: &Rules) -> Self {
        let enough = counts.total >= rules.min_calls;
        let rate = |part: u64| enough.then(|| part as f64 / counts.total as f64);
        Self {
            total: counts.total,
            succeeded: counts.total - counts.failed,
            failed: counts.failed,
            slow: counts.slow,
            consecutive_failures: counts.run,
            failure_rate: rate(counts.failed),
            slow_rate: rate(counts.slow),
            window: rules.window,
        }
    }
}
