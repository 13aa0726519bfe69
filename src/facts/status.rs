//! The state of a layer at one moment, for people and for programs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    base::{moment::Moment, one_line::OneLine, span::Span},
    facts::{
        episode::Episode,
        evidence::{Evidence, Rule},
        mode::{Cause, Mode, Switches},
        outcome::Ended,
        partner_word::{Heard, PartnerReport, PartnerUnreadable, Seen},
        totals::Totals,
    },
    policy::Policy,
};

/// The state of a layer at one moment.
///
/// Its `Display` explains the state in one sentence.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer, Mode};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// assert_eq!(handle.status().to_string(), "zuora is serving: no calls in 60 s");
///
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// let status = handle.status();
/// assert_eq!(status.mode, Mode::Maintenance);
/// assert_eq!(status.to_string(), "zuora is in maintenance: held by on-call (ticket 4711)");
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The name that the layer was given for its partner.
    pub partner: Arc<str>,
    /// When the status was read.
    pub at: SystemTime,
    /// The mode: what happens to requests that are not exempt.
    pub mode: Mode,
    /// When the mode began.
    pub since: SystemTime,
    /// The causes of maintenance. The first one determines the mode, unless bypass is on.
    pub causes: Vec<CauseReport>,
    /// Whether reads pass although the mode is `Maintenance`, under a
    /// [read-only hold](crate::Hold::read_only).
    pub read_only: bool,
    /// The message for customers that the operator's hold carries.
    pub message: Option<Arc<str>>,
    /// When maintenance ends, if that is known: at the expiry of a hold without a trip beneath it.
    pub promised_end: Option<SystemTime>,
    /// The switches: dry run and bypass.
    pub switches: Switches,
    /// The policy in force, as it was given.
    pub policy: Policy,
    /// The generation of what callers may have cached. It grows at each recovery.
    pub generation: u64,
    /// The number of the era. A new era begins at each mode change, at each reset, and when a hold
    /// starts or stops to let reads pass.
    pub era: u64,
    /// How long until a request may pass again, if that is known: until the hold expires and the
    /// wait of the trip ends.
    pub retry_after: Option<Duration>,
    /// The counts of the window. In `Serving` they are live. In `Maintenance` they are those of the
    /// moment at which it began. In `Probing` they are the outcomes of the probes, or of the ramp's
    /// calls.
    pub window: WindowReport,
    /// The progress of the probes; `None` outside `Probing`.
    pub probing: Option<ProbingReport>,
    /// The shadow episode under dry run or bypass; `None` if there is none.
    pub shadow: Option<ShadowReport>,
    /// The evidence of the trip in force; `None` if the layer is not tripped.
    pub evidence: Option<Evidence>,
    /// The calls since the layer was built.
    pub calls: CallCounts,
    /// Time, trips, episodes and probes since the layer was built.
    pub totals: Totals,
    /// The number of requests refused since the mode began.
    pub refused_in_mode: u64,
    /// The episode under way; `None` in `Serving`.
    pub episode: Option<Episode>,
    /// The number of synthetic pings that are alive. While there is one, requests of customers do
    /// not probe.
    pub pings: u32,
    /// The partner's own statement about its state; `None` if there is none. It changes nothing.
    pub partner_says: Option<PartnerReport>,
    /// The last attempt to read that statement, if it failed.
    pub partner_unreadable: Option<PartnerUnreadable>,
}

/// A cause of maintenance, with its actor, reason and times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CauseReport {
    /// The kind of cause.
    pub cause: Cause,
    /// The operator, or `tower-maintenance` for a trip that a rule decided.
    pub actor: Arc<str>,
    /// The operator's reason, or the evidence in one clause.
    pub reason: Arc<str>,
    /// When the cause began.
    pub since: SystemTime,
    /// When the hold expires, or when the wait of the trip ends; `None` for a hold without expiry.
    pub until: Option<SystemTime>,
    /// Whether the cause lets reads pass.
    pub read_only: bool,
}

/// The counts of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WindowReport {
    /// The number of calls that were judged: successes and failures.
    pub total: u64,
    /// The number of successes among them.
    pub succeeded: u64,
    /// The number of failures among them.
    pub failed: u64,
    /// The number of calls that took longer than the policy's slow limit.
    pub slow: u64,
    /// The number of failures in a row, up to now.
    pub consecutive_failures: u64,
    /// The number of calls that were given up while their callers waited for the partner, those
    /// that hung included.
    pub given_up: u64,
    /// The longest wait among them, in whole milliseconds; zero if there is none.
    pub longest_wait: Duration,
    /// The number of answers that gave no evidence.
    pub neutral: u64,
    /// The code of the last of them.
    pub last_neutral_code: Option<u16>,
    /// The number of calls that ended by an error of this process.
    pub ours: u64,
    /// The number of calls that a layer of this crate further in refused.
    pub refused_within: u64,
    /// The share of failures, 0 to 1; `None` below the policy's `min_calls`.
    pub failure_rate: Option<f64>,
    /// The share of slow calls, 0 to 1; `None` below the policy's `min_calls`.
    pub slow_rate: Option<f64>,
    /// The size of the window.
    pub window: crate::policy::window::Window,
}

/// The progress of the probes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ProbingReport {
    /// The number of probes under way.
    pub in_flight: u32,
    /// The number of probes that succeeded in a row.
    pub successes: u32,
    /// The number of successes in a row that end the probing.
    pub needed: u32,
    /// The number of probes that could begin now.
    pub free: u32,
    /// The number of slots that rest because the partner's answers prove nothing.
    pub resting: u32,
    /// Whether a whole wait has passed without a request that may probe. There are two remedies: a
    /// [synthetic ping](crate::MaintenanceHandle::ping), or a wider `may_probe`.
    pub waiting_for_probe: bool,
    /// Whether a whole wait has passed in which probes ended and none gave evidence.
    pub without_evidence: bool,
    /// The code of the partner's last answer that proved nothing, since the last success.
    pub last_code: Option<u16>,
    /// The share of calls that the ramp lets pass, 0 to 1; `None` if no ramp is under way.
    pub ramp_share: Option<f64>,
}

/// A shadow episode: a trip that dry run or bypass kept from taking effect.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ShadowReport {
    /// When the trip would have happened.
    pub since: SystemTime,
    /// The rule that fired, and the numbers it fired on.
    pub evidence: Evidence,
    /// How long the trip would have waited.
    pub wait: Duration,
}

/// The calls since the layer was built.
///
/// `admitted` is the sum of `succeeded`, `failed`, `neutral`, `ours`, `refused_within`, `abandoned`
/// and [`in_flight`](Self::in_flight).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls that passed and are measured. Exempt calls are among them only if their exemption is
    /// [counted](crate::Exemption::counted).
    ///
    /// A call that still waits for the inner service when the mode changes is admitted or refused
    /// again. Its first admission then counts as `abandoned` and `late`.
    pub admitted: u64,
    /// Calls that ended in success.
    pub succeeded: u64,
    /// Calls that ended in failure.
    pub failed: u64,
    /// Calls that the partner answered without evidence, and calls whose judge panicked.
    pub neutral: u64,
    /// Calls that ended by an error of this process: see [`Origin::Ourselves`](crate::Origin).
    pub ours: u64,
    /// Calls that a layer of this crate further in refused.
    pub refused_within: u64,
    /// Calls that their callers dropped before there was evidence.
    pub abandoned: u64,
    /// Calls that ended after the era in which they began. Each is also counted by its outcome, but
    /// it changed nothing else.
    pub late: u64,
    /// Requests that were refused, at both placements.
    pub refused: u64,
    /// Requests that passed because they are exempt, at both placements.
    pub exempt: u64,
    /// Reads that passed under a read-only hold, at both placements. They are not measured.
    pub reads: u64,
}

impl CallCounts {
    /// Returns the name of each outcome, as in JSON and in metrics, with the calls that ended so.
    ///
    /// Each admitted call that has ended is in exactly one of them.
    pub fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            (Ended::Succeeded, self.succeeded),
            (Ended::Failed, self.failed),
            (Ended::Neutral, self.neutral),
            (Ended::Ours, self.ours),
            (Ended::RefusedWithin, self.refused_within),
            (Ended::Abandoned, self.abandoned),
        ]
        .map(|(ended, calls)| (ended.as_str(), calls))
        .into_iter()
    }

    /// Returns the number of admitted calls that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let ended: u64 = self.by_outcome().map(|(_, calls)| calls).sum();
        self.admitted.saturating_sub(ended)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partner = OneLine(&self.partner);
        match self.mode {
            Mode::Serving => write!(f, "{partner} is serving: {}", self.window)?,
            Mode::Maintenance => {
                write!(f, "{partner} is in maintenance: ")?;
                self.explain_causes(f)?;
            }
            Mode::Probing => {
                write!(f, "{partner} is probing: ")?;
                self.explain_probing(f)?;
            }
        }
        self.explain_switches(f)?;
        self.explain_partner(f)
    }
}

impl Status {
    /// Adds the partner's statement. `now` is the moment at which the status was read.
    pub(crate) fn add_partners_word(&mut self, heard: &Heard, now: Moment) {
        // A trip by command is not a measurement.
        let by_rule = |evidence: &Evidence| evidence.rule != Rule::Command;
        let seen = Seen {
            mode: self.mode,
            failure_rate: self.window.failure_rate,
            tripped: self.evidence.as_ref().is_some_and(by_rule),
            shadow: self.shadow.is_some(),
        };
        self.partner_says = heard.report(seen, now, self.at);
        self.partner_unreadable = heard.unreadable(now, self.at);
    }

    fn explain_causes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cause) in self.causes.iter().enumerate() {
            if index > 0 {
                f.write_str("; beneath it ")?;
            }
            match cause.cause {
                Cause::Operator => {
                    let how = if cause.read_only {
                        "held read-only"
                    } else {
                        "held"
                    };
                    let (actor, reason) = (OneLine(&cause.actor), OneLine(&cause.reason));
                    write!(f, "{how} by {actor} ({reason})")?;
                }
                Cause::Tripped => write!(f, "{}", OneLine(&cause.reason))?,
            }
        }
        match self.retry_after {
            Some(left) => write!(f, "; {} left", Span(left)),
            None => Ok(()),
        }
    }

    fn explain_probing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(probing) = &self.probing else {
            return Ok(());
        };
        if let Some(share) = probing.ramp_share {
            return write!(
                f,
                "the probes succeeded, {:.0} % of the calls pass",
                share * 100.0
            );
        }
        write!(
            f,
            "{} of {} probes succeeded, {} in flight",
            probing.successes, probing.needed, probing.in_flight
        )?;
        if probing.waiting_for_probe {
            f.write_str("; no request that may probe has come for a whole wait: run a ping, or widen may_probe")?;
        }
        if probing.without_evidence {
            f.write_str("; a whole wait of probes proved nothing")?;
            if let Some(code) = probing.last_code {
                write!(f, ", last: {code}")?;
            }
        }
        Ok(())
    }

    fn explain_switches(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.switches.bypass {
            f.write_str("; bypass refuses nothing")?;
            if !self.causes.is_empty() && self.mode == Mode::Serving {
                f.write_str(", beneath it ")?;
                self.explain_causes(f)?;
            }
        } else if self.switches.dry_run {
            f.write_str("; dry run")?;
        }
        match &self.shadow {
            Some(shadow) => write!(f, "; would be in maintenance: {}", shadow.evidence),
            None => Ok(()),
        }
    }

    fn explain_partner(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.partner_says {
            let says = &report.says;
            if report.stale {
                write!(
                    f,
                    "; the partner said {} ago (stale): {says}",
                    Span(report.age)
                )?;
            } else {
                write!(f, "; the partner says: {says}")?;
            }
            if let Some(contradiction) = report.contradiction {
                write!(f, ", but {contradiction}")?;
            }
        }
        match &self.partner_unreadable {
            Some(unreadable) => write!(f, "; its own status cannot be read: {}", unreadable.error),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WindowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total,
            failed,
            window,
            ..
        } = self;
        let others = [self.given_up, self.neutral, self.ours, self.refused_within];
        match (total, others) {
            (0, [0, 0, 0, 0]) => return write!(f, "no calls in {window}"),
            (0, _) => write!(f, "no call in {window} gave evidence")?,
            _ => write!(f, "{failed} of {total} calls failed in {window}")?,
        }
        if self.given_up > 0 {
            let longest = Span(self.longest_wait);
            write!(f, ", {} given up after up to {longest}", self.given_up)?;
        }
        if self.neutral > 0 {
            write!(f, ", {} neutral", self.neutral)?;
            if let Some(code) = self.last_neutral_code {
                write!(f, " (last: {code})")?;
            }
        }
        if self.ours > 0 {
            write!(f, ", {} ended by our own errors", self.ours)?;
        }
        if self.refused_within > 0 {
            write!(f, ", {} refused by ourselves", self.refused_within)?;
        }
        Ok(())
    }
}
