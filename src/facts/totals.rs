//! What happened since a layer was built, in sums that never go back.

use std::time::Duration;

use crate::facts::{evidence::Rule, mode::Mode};

/// What happened since the layer was built, in sums that never go back.
///
/// A reader that looks seldom misses a short trip in the mode. In these sums it shows.
///
/// ```
/// use tower_maintenance::MaintenanceLayer;
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// handle.trip("on-call", "drill")?;
/// handle.clear("on-call", "drill over")?;
///
/// let totals = handle.status().totals;
/// assert_eq!((totals.trips.command, totals.episodes), (1, 1));
/// assert_eq!(totals.trips.sum(), 1);
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// How long each mode lasted.
    pub time_in: ModeTimes,
    /// The trips, by their rule.
    pub trips: TripCounts,
    /// The episodes that began.
    pub episodes: u64,
    /// The probes, by how they ended.
    pub probes: ProbeCounts,
}

/// How long each mode lasted since the layer was built, the present one included.
///
/// Together they are the time since the layer was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModeTimes {
    /// The time in `Serving`.
    pub serving: Duration,
    /// The time in `Maintenance`.
    pub maintenance: Duration,
    /// The time in `Probing`.
    pub probing: Duration,
}

/// The trips since the layer was built, by their [`Rule`].
///
/// Each [`Tripped`](crate::EventKind::Tripped) event is one. A trip under dry run or bypass is
/// none: it is a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TripCounts {
    /// Trips by [`Rule::FailureRate`].
    pub failure_rate: u64,
    /// Trips by [`Rule::ConsecutiveFailures`].
    pub consecutive_failures: u64,
    /// Trips by [`Rule::SlowCalls`].
    pub slow_calls: u64,
    /// Trips by [`Rule::GivenUp`].
    pub given_up: u64,
    /// Trips by [`Rule::ProbeFailed`].
    pub probe_failed: u64,
    /// Trips by [`Rule::ProbeHung`].
    pub probe_hung: u64,
    /// Trips by [`Rule::PartnerAsked`].
    pub partner_asked: u64,
    /// Trips by [`Rule::PartnerLimits`].
    pub partner_limits: u64,
    /// Trips by [`MaintenanceHandle::trip`](crate::MaintenanceHandle::trip).
    pub command: u64,
}

/// The probes since the layer was built, by how they ended. Pings are among them.
///
/// `started` is the sum of the others and [`in_flight`](Self::in_flight). The calls of a ramp are
/// no probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProbeCounts {
    /// Probes that took a slot.
    pub started: u64,
    /// Probes that succeeded.
    pub succeeded: u64,
    /// Probes that failed, or hung until the end of their lease.
    pub failed: u64,
    /// Probes that proved nothing: a neutral answer, an error of this process, a caller that left,
    /// or a lease that ended while the caller did not wait for the partner.
    pub without_evidence: u64,
    /// Probes that were under way when `Probing` ended for another reason. Their answers come too
    /// late to count.
    pub cut_off: u64,
}

impl ModeTimes {
    pub(crate) fn add(&mut self, mode: Mode, lasted: Duration) {
        let time = match mode {
            Mode::Serving => &mut self.serving,
            Mode::Maintenance => &mut self.maintenance,
            Mode::Probing => &mut self.probing,
        };
        *time = time.saturating_add(lasted);
    }

    /// Returns the mode and its time, for each mode.
    pub fn by_mode(&self) -> impl Iterator<Item = (Mode, Duration)> + use<> {
        [
            (Mode::Serving, self.serving),
            (Mode::Maintenance, self.maintenance),
            (Mode::Probing, self.probing),
        ]
        .into_iter()
    }
}

impl TripCounts {
    pub(crate) fn note(&mut self, rule: Rule) {
        let count = match rule {
            Rule::FailureRate { .. } => &mut self.failure_rate,
            Rule::ConsecutiveFailures { .. } => &mut self.consecutive_failures,
            Rule::SlowCalls { .. } => &mut self.slow_calls,
            Rule::GivenUp { .. } => &mut self.given_up,
            Rule::ProbeFailed => &mut self.probe_failed,
            Rule::ProbeHung { .. } => &mut self.probe_hung,
            Rule::PartnerAsked { .. } => &mut self.partner_asked,
            Rule::PartnerLimits { .. } => &mut self.partner_limits,
            Rule::Command => &mut self.command,
        };
        *count += 1;
    }

    /// Returns the name of each rule, as in JSON and in metrics, with its trips.
    pub fn by_rule(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("failure_rate", self.failure_rate),
            ("consecutive_failures", self.consecutive_failures),
            ("slow_calls", self.slow_calls),
            ("given_up", self.given_up),
            ("probe_failed", self.probe_failed),
            ("probe_hung", self.probe_hung),
            ("partner_asked", self.partner_asked),
            ("partner_limits", self.partner_limits),
            ("command", self.command),
        ]
        .into_iter()
    }

    /// Returns the number of all trips.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.by_rule().map(|(_, trips)| trips).sum()
    }
}

impl ProbeCounts {
    /// Returns the name of each way to end, as in JSON and in metrics, with the probes that ended
    /// so.
    pub fn by_outcome(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("succeeded", self.succeeded),
            ("failed", self.failed),
            ("without_evidence", self.without_evidence),
            ("cut_off", self.cut_off),
        ]
        .into_iter()
    }

    /// Returns the number of probes that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let ended: u64 = self.by_outcome().map(|(_, probes)| probes).sum();
        self.started.saturating_sub(ended)
    }
}
