//! What the partner does when: a value, checked once, that knows no clock.
//!
//! A [`Script`] maps time since its start to a [`Phase`]. It answers for any instant without having
//! been asked about the ones before, so that nobody has to run it: the simulators look the phase up
//! when a call arrives, and a script can be printed, compared and replayed.

use std::{fmt, time::Duration};

/// How the simulated partner treats the calls that begin while the phase lasts.
///
/// A call's treatment is settled when it begins: a phase that ends meanwhile changes nothing for it.
/// Phases are written freely and checked where they are put to use: by
/// [`ScriptBuilder::finally`], [`Script::always`] and
/// [`SimulatedPartner::switch_to`](super::SimulatedPartner::switch_to).
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::testing::Phase;
///
/// let phase = Phase::failing(0.25).with_status(502);
/// assert_eq!(phase, Phase::Failing { share: 0.25, status: 502 });
/// assert_eq!(phase.to_string(), "failing (25 % of calls with 502)");
/// assert_eq!(Phase::slow(Duration::from_secs(2)).to_string(), "slow (2s)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// Every call is answered with 200 and `"success": true`, after the script's base latency.
    Healthy,
    /// Every call is answered as in [`Healthy`](Self::Healthy), but only after `latency`.
    Slow {
        /// From the beginning of the call to its answer, instead of the script's base latency.
        latency: Duration,
    },
    /// A share of the calls is answered with an error status, the others as in
    /// [`Healthy`](Self::Healthy).
    Failing {
        /// How many of the calls fail: 0 is none, 0.5 is half of them, 1 is all. Each call is
        /// drawn on its own, by seed and number, so a short run may be off by a few.
        share: f64,
        /// The status of the calls that fail, 200 to 599.
        status: u16,
    },
    /// A share of the calls is answered with 200 and `{"success": false, "reasons": [...]}`, the
    /// way Zuora reports many errors; the others as in [`Healthy`](Self::Healthy).
    FailingWith200 {
        /// How many of the calls fail, 0 to 1.
        share: f64,
    },
    /// Every call fails with 503, then every call succeeds, and so on; failing comes first.
    Flapping {
        /// How long it fails, and how long it then is healthy; not zero.
        every: Duration,
    },
    /// No call is ever answered: the request is read, then nothing comes until the caller leaves.
    Hanging,
    /// Nobody listens: a call fails at once.
    ///
    /// The server really closes its port, and cuts the connections it had; calls in flight over
    /// them are reset. In memory, calls in flight get the answer they were going to get.
    #[doc(alias = "Refused")]
    ConnectionRefused,
    /// Headers come, then half of the body, then the connection is reset.
    ResetMidBody,
    /// Every call is turned away with 503 or 429 and a `Retry-After`.
    RetryAfter {
        /// 503 or 429.
        status: u16,
        /// How long the partner asks to be left alone. Over HTTP it is rounded up to whole seconds,
        /// because the header knows no others.
        after: Duration,
    },
}

impl Phase {
    /// A phase in which calls are answered after `latency`.
    #[must_use]
    pub const fn slow(latency: Duration) -> Self {
        Self::Slow { latency }
    }

    /// A phase in which `share` of the calls, 0 to 1, fail with 503; for another status see
    /// [`with_status`](Self::with_status).
    #[must_use]
    pub const fn failing(share: f64) -> Self {
        Self::Failing { share, status: 503 }
    }

    /// A phase in which `share` of the calls, 0 to 1, fail with 200 and `{"success": false}`.
    #[must_use]
    pub const fn failing_with_200(share: f64) -> Self {
        Self::FailingWith200 { share }
    }

    /// A phase that is failing for `every`, healthy for `every`, and so on.
    #[must_use]
    pub const fn flapping(every: Duration) -> Self {
        Self::Flapping { every }
    }

    /// A phase in which every call is answered with 503 and a `Retry-After`; for 429 see
    /// [`with_status`](Self::with_status).
    #[must_use]
    pub const fn retry_after(after: Duration) -> Self {
        Self::RetryAfter { status: 503, after }
    }

    /// The same phase with another status: of the failures of [`Failing`](Self::Failing), or of the
    /// answers of [`RetryAfter`](Self::RetryAfter). Other phases stay as they are.
    #[must_use]
    pub const fn with_status(self, status: u16) -> Self {
        match self {
            Self::Failing { share, .. } => Self::Failing { share, status },
            Self::RetryAfter { after, .. } => Self::RetryAfter { status, after },
            other => other,
        }
    }

    /// The name of the phase without its numbers.
    fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow { .. } => "slow",
            Self::Failing { .. } => "failing",
            Self::FailingWith200 { .. } => "failing with 200",
            Self::Flapping { .. } => "flapping",
            Self::Hanging => "hanging",
            Self::ConnectionRefused => "connection refused",
            Self::ResetMidBody => "reset mid-body",
            Self::RetryAfter { .. } => "retry after",
        }
    }

    /// This phase, if a partner can be in it.
    pub(super) fn checked(self, place: Place) -> Result<Self, ScriptError> {
        let fault = match self {
            // Written so that NaN fails.
            Self::Failing { share, .. } | Self::FailingWith200 { share }
                if !(0.0..=1.0).contains(&share) =>
            {
                Some(("share", share.to_string(), "within 0 and 1"))
            }
            Self::Failing { status, .. } if !(200..=599).contains(&status) => {
                Some(("status", status.to_string(), "within 200 and 599"))
            }
            Self::RetryAfter { status, .. } if status != 503 && status != 429 => {
                Some(("status", status.to_string(), "503 or 429"))
            }
            Self::Flapping { every } if every.is_zero() => {
                Some(("every", format!("{every:?}"), "longer than zero"))
            }
            _ => None,
        };
        match fault {
            None => Ok(self),
            Some((field, value, allowed)) => Err(ScriptError {
                place,
                phase: Some(self.name()),
                field,
                value,
                allowed,
            }),
        }
    }

    /// The same phase with every span of time divided by `factor`; `None` if one would not fit.
    fn sped_up(self, factor: f64) -> Option<Self> {
        Some(match self {
            Self::Slow { latency } => Self::Slow {
                latency: divided(latency, factor)?,
            },
            Self::Flapping { every } => Self::Flapping {
                every: divided(every, factor)?,
            },
            Self::RetryAfter { status, after } => Self::RetryAfter {
                status,
                after: divided(after, factor)?,
            },
            other => other,
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Healthy | Self::Hanging | Self::ConnectionRefused | Self::ResetMidBody => Ok(()),
            Self::Slow { latency } => write!(f, " ({latency:?})"),
            Self::Failing { share, status } => {
                write!(f, " ({} % of calls with {status})", percent(*share))
            }
            Self::FailingWith200 { share } => write!(f, " ({} % of calls)", percent(*share)),
            Self::Flapping { every } => write!(f, " (every {every:?})"),
            Self::RetryAfter { status, after } => write!(f, " ({after:?}, {status})"),
        }
    }
}

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

    pub(super) fn moment(&self, elapsed: Duration) -> ScriptMoment {
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
pub(super) struct ScriptMoment {
    pub(super) phase: Phase,
    /// How long the phase has lasted.
    pub(super) into: Duration,
    /// When it ends, counted from the start of the script.
    pub(super) ends: Option<Duration>,
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

/// A phase or a script that cannot be: says where, which field, its value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    place: Place,
    phase: Option<&'static str>,
    field: &'static str,
    value: String,
    allowed: &'static str,
}

/// Where in the user's input a fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Phase { number: usize, of: usize },
    Switch,
    Speed,
}

impl ScriptError {
    /// Which phase of the script is at fault, counted from 1; `None` if it was not a phase of a
    /// script.
    #[must_use]
    pub fn phase_number(&self) -> Option<usize> {
        match self.place {
            Place::Phase { number, .. } => Some(number),
            Place::Switch | Place::Speed => None,
        }
    }

    /// The field at fault, `share` for instance.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }

    /// The value that was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What would have been right.
    #[must_use]
    pub fn allowed(&self) -> &str {
        self.allowed
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Phase { number, of } => write!(f, "phase {number} of {of}")?,
            Place::Switch => f.write_str("phase to switch to")?,
            Place::Speed => f.write_str("speed")?,
        }
        if let Some(phase) = self.phase {
            write!(f, " ({phase})")?;
        }
        let Self {
            field,
            value,
            allowed,
            ..
        } = self;
        write!(f, ": {field} is {value}, must be {allowed}")
    }
}

impl std::error::Error for ScriptError {}

/// A share in percent with two places, so that 0.07 shows as 7 and not as 7.000000000000001.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

/// `span / factor` for a factor that is finite and above 0; `None` if it does not fit.
fn divided(span: Duration, factor: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(span.as_secs_f64() / factor).ok()
}
