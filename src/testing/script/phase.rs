//! The phases of a partner.

use std::{fmt, time::Duration};

use super::error::{Place, ScriptError};

/// How the simulated partner treats the calls that begin while the phase lasts.
///
/// The treatment of a call is fixed when the call begins: the end of the phase does not change it.
/// A phase can be written with any numbers. It is checked where it is used: by
/// [`ScriptBuilder::finally`](super::ScriptBuilder::finally),
/// [`Script::always`](super::Script::always) and
/// [`SimulatedPartner::switch_to`](crate::testing::SimulatedPartner::switch_to).
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
        /// The time from the beginning of the call to its answer, instead of the script's base
        /// latency.
        latency: Duration,
    },
    /// A share of the calls is answered with an error status, the others as in
    /// [`Healthy`](Self::Healthy).
    Failing {
        /// The share of calls that fail: 0 is none, 0.5 is half of them, 1 is all. Each call is
        /// drawn by itself, from seed and number, so a short run may be off by a few calls.
        share: f64,
        /// The status of the calls that fail, 200 to 599.
        status: u16,
    },
    /// A share of the calls is answered with 200 and `{"success": false, "reasons": [...]}`, as
    /// Zuora reports many errors; the others as in [`Healthy`](Self::Healthy).
    FailingWith200 {
        /// The share of calls that fail, 0 to 1.
        share: f64,
    },
    /// For a period every call fails with 503, for the next every call succeeds, and so on.
    Flapping {
        /// The length of a period, not zero.
        every: Duration,
    },
    /// No call is answered: the request is read, then nothing comes until the caller leaves.
    Hanging,
    /// The port is closed: a call fails at once.
    ///
    /// The server closes its port and cuts its connections, so calls in flight over them are reset.
    /// In memory, calls in flight get the answer that was decided when they began.
    #[doc(alias = "Refused")]
    ConnectionRefused,
    /// The headers come, then half of the body, then the connection is reset.
    ResetMidBody,
    /// Every call is answered with 503 or 429 and a `Retry-After`.
    RetryAfter {
        /// 503 or 429.
        status: u16,
        /// How long the partner asks callers to wait. Over HTTP it is rounded up to whole seconds,
        /// because the header has no fractions.
        after: Duration,
    },
}

impl Phase {
    /// Returns a phase in which calls are answered after `latency`.
    #[must_use]
    pub const fn slow(latency: Duration) -> Self {
        Self::Slow { latency }
    }

    /// Returns a phase in which `share` of the calls, 0 to 1, fail with 503. For another status see
    /// [`with_status`](Self::with_status).
    #[must_use]
    pub const fn failing(share: f64) -> Self {
        Self::Failing { share, status: 503 }
    }

    /// Returns a phase in which `share` of the calls, 0 to 1, fail with 200 and
    /// `{"success": false}`.
    #[must_use]
    pub const fn failing_with_200(share: f64) -> Self {
        Self::FailingWith200 { share }
    }

    /// Returns a phase that fails for `every`, is healthy for `every`, and so on.
    #[must_use]
    pub const fn flapping(every: Duration) -> Self {
        Self::Flapping { every }
    }

    /// Returns a phase in which every call is answered with 503 and a `Retry-After`. For 429 see
    /// [`with_status`](Self::with_status).
    #[must_use]
    pub const fn retry_after(after: Duration) -> Self {
        Self::RetryAfter { status: 503, after }
    }

    /// Sets the status: of the failures of [`Failing`](Self::Failing), or of the answers of
    /// [`RetryAfter`](Self::RetryAfter). It changes no other phase.
    #[must_use]
    pub const fn with_status(self, status: u16) -> Self {
        match self {
            Self::Failing { share, .. } => Self::Failing { share, status },
            Self::RetryAfter { after, .. } => Self::RetryAfter { status, after },
            other => other,
        }
    }

    /// Returns the name of the phase, without its numbers.
    pub(super) fn name(self) -> &'static str {
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

    /// Returns this phase if its numbers are valid.
    pub(crate) fn checked(self, place: Place) -> Result<Self, ScriptError> {
        let fault = match self {
            // Not `share < 0.0 || share > 1.0`, which accepts NaN.
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

    /// Returns the phase with every time divided by `factor`; `None` if a quotient does not fit a
    /// `Duration`.
    pub(super) fn sped_up(self, factor: f64) -> Option<Self> {
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

/// Returns a share in percent, rounded to two places: 0.07 shows as 7 and not as 7.000000000000001.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}

/// Returns `span / factor` for a finite factor above 0; `None` if the quotient does not fit.
pub(super) fn divided(span: Duration, factor: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(span.as_secs_f64() / factor).ok()
}
