//! The script of a partner: a value that is checked once and knows no clock.
//!
//! A [`Script`] maps the time since its start to a [`Phase`]. It answers for any instant, without
//! the instants before it, so no task has to run it. The simulators look the phase up when a call
//! arrives. A script can be printed, compared and replayed.

mod error;
mod phase;

use std::time::Duration;

pub(super) use self::error::Place;
use self::phase::divided;
pub use self::{error::ScriptError, phase::Phase};

/// Says which phase the partner is in at which time: phases in order, the last of which never ends.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::testing::{Phase, Script};
///
/// let secs = Duration::from_secs;
/// let outage = Script::builder()
///     .then(Phase::Healthy, secs(10))
///     .then(Phase::failing(0.5), secs(30))
///     .then(Phase::Hanging, secs(20))
///     .finally(Phase::Healthy)?;
///
/// assert_eq!(outage.phase_at(secs(9)), Phase::Healthy);
/// assert_eq!(outage.phase_at(secs(10)), Phase::failing(0.5));
/// assert_eq!(outage.phase_at(secs(1_000_000)), Phase::Healthy);
///
/// // The same script, 60 times as fast.
/// assert_eq!(outage.sped_up(60.0)?.phase_at(secs(1)), Phase::Healthy);
/// # Ok::<(), tower_maintenance::testing::ScriptError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Each phase with the time at which it begins: the first at zero, the others strictly later
    /// than the one before.
    phases: Vec<(Duration, Phase)>,
    latency: Duration,
}

impl Script {
    /// Returns a builder for a script of several phases.
    pub fn builder() -> ScriptBuilder {
        ScriptBuilder::default()
    }

    /// Returns a script of a partner that is always healthy.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            phases: vec![(Duration::ZERO, Phase::Healthy)],
            latency: Duration::ZERO,
        }
    }

    /// Returns a script of one phase that never ends.
    ///
    /// # Errors
    ///
    /// If the phase is invalid: for instance, its share is not within 0 and 1.
    pub fn always(phase: Phase) -> Result<Self, ScriptError> {
        Self::builder().finally(phase)
    }

    /// Sets the base latency: how long an answer takes in every phase except [`Slow`](Phase::Slow),
    /// which has its own, and [`ConnectionRefused`](Phase::ConnectionRefused). Default: zero.
    ///
    /// With the default, in-memory tests on a clock that is not paused lose no time.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Returns the same script, `factor` times as fast. A factor below 1 slows it down.
    ///
    /// It divides the lengths of the phases and of [`Flapping`](Phase::Flapping), the latencies,
    /// and the times that [`RetryAfter`](Phase::RetryAfter) asks for.
    ///
    /// # Errors
    ///
    /// If `factor` is not a finite number above 0. If it is so large or small that a phase would be
    /// shorter than a nanosecond or longer than a [`Duration`] can be.
    pub fn sped_up(&self, factor: f64) -> Result<Self, ScriptError> {
        let refused = |allowed| ScriptError {
            place: Place::Speed,
            phase: None,
            field: "factor",
            value: factor.to_string(),
            allowed,
        };
        if !(factor.is_finite() && factor > 0.0) {
            return Err(refused("finite and above 0"));
        }
        let faster = |(at, phase): &(Duration, Phase)| {
            let phase = phase.sped_up(factor)?.checked(Place::Speed).ok()?;
            Some((divided(*at, factor)?, phase))
        };
        let phases: Option<Vec<_>> = self.phases.iter().map(faster).collect();
        match (phases, divided(self.latency, factor)) {
            (Some(phases), Some(latency)) if phases.is_sorted_by(|a, b| a.0 < b.0) => {
                Ok(Self { phases, latency })
            }
            _ => Err(refused(
                "such that every phase lasts at least 1 ns and fits a Duration",
            )),
        }
    }

    /// Returns the phase at `elapsed` after the start. A phase includes its first instant.
    #[must_use]
    pub fn phase_at(&self, elapsed: Duration) -> Phase {
        self.moment(elapsed).phase
    }

    /// Returns when the phase at `elapsed` ends, counted from the start; `None` for the last phase.
    #[must_use]
    pub fn next_change(&self, elapsed: Duration) -> Option<Duration> {
        self.moment(elapsed).ends
    }

    /// Returns every phase with the time at which it begins, in order, for a test that prints its
    /// timeline.
    pub fn phases(&self) -> impl Iterator<Item = (Duration, Phase)> {
        self.phases.iter().copied()
    }

    /// Returns the base latency.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.latency
    }

    pub(crate) fn moment(&self, elapsed: Duration) -> ScriptMoment {
        // The first phase begins at zero, so `next` is never 0.
        let next = self.phases.partition_point(|(at, _)| *at <= elapsed);
        let (began, phase) = self.phases[next - 1];
        ScriptMoment {
            phase,
            into: elapsed - began,
            ends: self.phases.get(next).map(|(at, _)| *at),
        }
    }
}

/// Where a script stands at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScriptMoment {
    pub(crate) phase: Phase,
    /// How long the phase has lasted.
    pub(crate) into: Duration,
    /// When it ends, counted from the start of the script.
    pub(crate) ends: Option<Duration>,
}

/// Builds a [`Script`]; made by [`Script::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "a script is made by `finally`"]
pub struct ScriptBuilder {
    phases: Vec<(Phase, Duration)>,
}

impl ScriptBuilder {
    /// Adds a phase that lasts for `length`.
    pub fn then(mut self, phase: Phase, length: Duration) -> Self {
        self.phases.push((phase, length));
        self
    }

    /// Adds the last phase, which never ends, and checks all phases.
    ///
    /// # Errors
    ///
    /// If a phase is invalid: a share is not within 0 and 1, a status is none, or the length of a
    /// phase or of a flapping period is zero. If the sum of the lengths does not fit a
    /// [`Duration`]. The error names the first such phase, its field and value, and what is
    /// allowed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_maintenance::testing::{Phase, Script};
    ///
    /// let error = Script::builder()
    ///     .then(Phase::Healthy, Duration::from_secs(10))
    ///     .then(Phase::failing(50.0), Duration::from_secs(30))
    ///     .finally(Phase::Healthy)
    ///     .unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "phase 2 of 3 (failing): share is 50, must be within 0 and 1"
    /// );
    /// ```
    pub fn finally(self, last: Phase) -> Result<Script, ScriptError> {
        let of = self.phases.len() + 1;
        let mut phases = Vec::with_capacity(of);
        let mut begins = Duration::ZERO;
        for (index, (phase, length)) in self.phases.into_iter().enumerate() {
            let place = Place::Phase {
                number: index + 1,
                of,
            };
            let refused = |allowed| ScriptError {
                place,
                phase: Some(phase.name()),
                field: "length",
                value: format!("{length:?}"),
                allowed,
            };
            phases.push((begins, phase.checked(place)?));
            if length.is_zero() {
                return Err(refused("longer than zero"));
            }
            begins = begins
                .checked_add(length)
                .ok_or_else(|| refused("such that the sum of all fits a Duration"))?;
        }
        phases.push((begins, last.checked(Place::Phase { number: of, of })?));
        Ok(Script {
            phases,
            latency: Duration::ZERO,
        })
    }
}
