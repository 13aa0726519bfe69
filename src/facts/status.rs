//! The state at one moment, for people and for programs.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    base::{moment::Span, one_line::OneLine},
    facts::{
        episode::Episode,
        evidence::Evidence,
        mode::{Cause, Mode, Switches},
        partner_word::{PartnerReport, PartnerUnreadable},
    },
};

/// The state of a layer at one moment; its `Display` explains it in one sentence.
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
    /// The name the layer was given for its partner.
    pub partner: Arc<str>,
    /// When this was read.
    pub at: SystemTime,
    /// What happens to requests.
    pub mode: Mode,
    /// When the mode began.
    pub since: SystemTime,
    /// Everything that holds maintenance, the one that counts first. Under bypass they lie beneath.
    pub causes: Vec<CauseReport>,
    /// Whether reads pass although the mode is `Maintenance`: a [read-only hold](crate::Hold::read_only).
    pub read_only: bool,
    /// What the operator who holds maintenance has to say to customers.
    pub message: Option<Arc<str>>,
    /// When maintenance will be over, where an operator said so: the expiry of a hold with nothing beneath.
    pub promised_end: Option<SystemTime>,
    /// Dry run and bypass.
    pub switches: Switches,
    /// The generation of what callers may have cached; it grows at each recovery.
    pub generation: u64,
    /// Numbers the stretches between mode changes and resets.
    pub era: u64,
    /// How long until it is worth trying again, where that is known.
    pub retry_after: Option<Duration>,
    /// What the failure rate is read from: live in `Serving`; frozen at what it was when `Maintenance`
    /// began; in `Probing` the outcomes of its probes.
    pub window: WindowReport,
    /// How the probes stand; only in `Probing`.
    pub probing: Option<ProbingReport>,
    /// What dry run or bypass kept from being real.
    pub shadow: Option<ShadowReport>,
    /// What it tripped on, while it is tripped.
    pub evidence: Option<Evidence>,
    /// Calls since the layer was built.
    pub calls: CallCounts,
    /// Requests refused since the mode began.
    pub refused_in_mode: u64,
    /// The episode under way.
    pub episode: Option<Episode>,
    /// Synthetic pings that are alive; while there is one, customers do not probe.
    pub pings: u32,
    /// What the partner says of itself, if anybody noted it: information, which changes nothing.
    pub partner_says: Option<PartnerReport>,
    /// That the partner's word could not be read the last time.
    pub partner_unreadable: Option<PartnerUnreadable>,
}

/// Something that holds maintenance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CauseReport {
    /// What it is.
    pub cause: Cause,
    /// Who: an operator, or `tower-maintenance` itself.
    pub actor: Arc<str>,
    /// Why, in one sentence.
    pub reason: Arc<str>,
    /// Since when.
    pub since: SystemTime,
    /// Until when: a hold's expiry, the end of a trip's wait.
    pub until: Option<SystemTime>,
    /// Whether it lets reads pass.
    pub read_only: bool,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WindowReport {
    /// Calls that were judged.
    pub total: u64,
    /// Successes among them.
    pub succeeded: u64,
    /// Failures among them.
    pub failed: u64,
    /// Calls slower than the policy allows.
    pub slow: u64,
    /// Failures in a row up to now.
    pub consecutive_failures: u64,
    /// The share of failures, 0 to 1; `None` below the policy's `min_calls`.
    pub failure_rate: Option<f64>,
    /// The share of slow calls, 0 to 1; `None` below the policy's `min_calls`.
    pub slow_rate: Option<f64>,
    /// How long the window is.
    pub window: crate::policy::window::Window,
}

/// How the probes stand.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ProbingReport {
    /// Probes under way.
    pub in_flight: u32,
    /// Probes that succeeded in a row.
    pub successes: u32,
    /// How many must.
    pub needed: u32,
    /// Probes that could begin now.
    pub free: u32,
    /// Whether a whole wait has passed without a request that may probe. The cures: a synthetic
    /// ping, or a wider `may_probe`.
    pub waiting_for_probe: bool,
    /// The share of calls that the ramp lets in, 0 to 1, where one is under way.
    pub ramp_share: Option<f64>,
}

/// An episode that dry run or bypass kept from being real.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ShadowReport {
    /// When it would have begun.
    pub since: SystemTime,
    /// On what.
    pub evidence: Evidence,
    /// How long it would have waited.
    pub wait: Duration,
}

/// Calls since the layer was built: `admitted` is the sum of how they ended and those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallCounts {
    /// Calls let through to be measured: all but the exempt ones that nobody asked to count. One that still waits for the
    /// inner service when the mode changes asks again; what it was let through for before has ended as abandoned and late.
    pub admitted: u64,
    /// Ended in success.
    pub succeeded: u64,
    /// Ended in failure.
    pub failed: u64,
    /// Ended without evidence.
    pub neutral: u64,
    /// Given up by their callers before they had proven anything.
    pub abandoned: u64,
    /// Among all that ended: those that came too late for the era they began in, and changed nothing.
    pub late: u64,
    /// Refused, at either placement.
    pub refused: u64,
    /// Passed because they are exempt, at either placement.
    pub exempt: u64,
    /// Reads that passed under a read-only hold, at either placement; they are not measured.
    pub reads: u64,
}

impl CallCounts {
    /// Calls that have begun and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let ended = self.succeeded + self.failed + self.neutral + self.abandoned;
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
}

impl fmt::Display for WindowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total,
            failed,
            window,
            ..
        } = self;
        match (total, failed) {
            (0, _) => write!(f, "no calls in {window}"),
            _ => write!(f, "{failed} of {total} calls failed in {window}"),
        }
    }
}
