//! What the partner does when: a value, checked once, that knows no clock.
//!
//! A [`Script`] maps time since its start to a [`Phase`]. It answers for any instant without having
//! been asked about the ones before, so that nobody has to run it: the simulators look the phase up
//! when a call arrives, and a script can be printed, compared and replayed.

mod error;
mod phase;

use std::time::Duration;

pub(super) use self::error::Place;
use self::phase::divided;
pub use self::{error::ScriptError, phase::Phase};

/// What the partner does when: phases in order, of which the last lasts for ever.
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
/// // The same hour in a minute.
/// assert_eq!(outage.sped_up(60.0)?.phase_at(secs(1)), Phase::Healthy);
/// # Ok::<(), tower_maintenance::testing::ScriptError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// When each phase begins; starts with zero, strictly ascending.
    phases: Vec<(Duration, Phase)>,
    latency: Duration,
}

impl Script {
    /// Begins a script of several phases.
    pub fn builder() -> ScriptBuilder {
        ScriptBuilder::default()
    }

    /// A partner that is well and stays so.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            phases: vec![(Duration::ZERO, Phase::Healthy)],
            latency: Duration::ZERO,
        }
    }

    /// One phase for ever.
    ///
    /// # Errors
    ///
    /// If the phase cannot be: a share that is not within 0 and 1, for instance.
    pub fn always(phase: Phase) -> Result<Self, ScriptError> {
        Self::builder().finally(phase)
    }

    /// The same script with another base latency: how long an answer takes in every phase but
    /// [`Slow`](Phase::Slow), which has its own, and [`ConnectionRefused`](Phase::ConnectionRefused).
    ///
    /// The default is zero, so that in-memory tests on a clock that is not paused lose no time.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The same script, everything happening `factor` times as fast: the lengths of the phases and
    /// of [`Flapping`](Phase::Flapping), latencies, and what [`RetryAfter`](Phase::RetryAfter) asks
    /// for. A factor below 1 slows it down.
    ///
    /// # Errors
    ///
    /// If `factor` is not a finite number above 0, or so large or small that a phase would be
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

    /// The phase that rules `elapsed` after the start. A phase rules from its first instant on.
    #[must_use]
    pub fn phase_at(&self, elapsed: Duration) -> Phase {
        self.moment(elapsed).phase
    }

    /// When, counted from the start, the phase that rules at `elapsed` gives way to the next;
    /// `None` in the last one.
    #[must_use]
    pub fn next_change(&self, elapsed: Duration) -> Option<Duration> {
        self.moment(elapsed).ends
    }

    /// Every phase with the time it begins at, in order: what a test prints about its timeline.
    pub fn phases(&self) -> impl Iterator<Item = (Duration, Phase)> {
        self.phases.iter().copied()
    }

    /// The base latency.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.latency
    }

    pub(crate) fn moment(&self, elapsed: Duration) -> ScriptMoment {
        // At least one begins at zero, so `next` is never 0.
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

/// A [`Script`] being written; made by [`Script::builder`].
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

    /// Adds the phase that lasts for ever, and checks them all.
    ///
    /// # Errors
    ///
    /// Names the first phase, field and value that cannot be, with what could: a share that is not
    /// within 0 and 1, a status that is none, a phase or a flapping period of length zero, lengths
    /// whose sum does not fit a [`Duration`].
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
