//! The evidence behind a trip.

use std::{fmt, time::Duration};

use crate::{
    base::moment::Span,
    policy::{rate::Rate, window::Window},
};

/// What the layer tripped on, in numbers; its `Display` is one half-sentence.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// The rule that fired.
    pub rule: Rule,
    /// Calls in the window at that moment.
    pub total: u64,
    /// Failures among them.
    pub failed: u64,
    /// The code of the last failure, where the protocol has codes.
    pub last_code: Option<u16>,
}

/// Which rule fired.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// The failure rate reached its threshold.
    #[non_exhaustive]
    FailureRate {
        /// The threshold.
        threshold: Rate,
        /// What the rate was read from.
        window: Window,
    },
    /// Too many failures in a row.
    #[non_exhaustive]
    ConsecutiveFailures {
        /// How many it were.
        run: u64,
    },
    /// The share of slow calls reached its threshold.
    #[non_exhaustive]
    SlowCalls {
        /// How many were slow.
        slow: u64,
        /// What slow means: strictly longer than this.
        longer_than: Duration,
        /// The threshold.
        threshold: Rate,
    },
    /// Every call in the window was abandoned by its caller.
    #[non_exhaustive]
    AbandonedAll {
        /// How many.
        abandoned: u64,
    },
    /// A probe failed.
    ProbeFailed,
    /// A probe hung for its whole lease.
    #[non_exhaustive]
    ProbeHung {
        /// The lease.
        lease: Duration,
    },
    /// A probe was answered with the wish to be left alone.
    #[non_exhaustive]
    PartnerAsked {
        /// For how long.
        retry_after: Duration,
    },
    /// Somebody called [`trip`](crate::MaintenanceHandle::trip), or released verified.
    Command,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Rule::FailureRate { threshold, window } => match window {
                Window::Calls(_) => write!(
                    f,
                    "{} of the last {} calls failed, threshold {threshold}",
                    self.failed, self.total
                )?,
                Window::Time { .. } => write!(
                    f,
                    "{} of {} calls failed in {window}, threshold {threshold}",
                    self.failed, self.total
                )?,
            },
            Rule::ConsecutiveFailures { run } => write!(f, "{run} calls failed in a row")?,
            Rule::SlowCalls {
                slow,
                longer_than,
                threshold,
            } => {
                write!(
                    f,
                    "{slow} of {} calls took longer than {}, threshold {threshold}",
                    self.total,
                    Span(longer_than)
                )?;
            }
            Rule::AbandonedAll { abandoned } => {
                return write!(
                    f,
                    "{abandoned} calls were given up by their callers and none came to an end"
                );
            }
            Rule::ProbeFailed => f.write_str("a probe failed")?,
            Rule::ProbeHung { lease } => return write!(f, "a probe hung for {}", Span(lease)),
            Rule::PartnerAsked { retry_after } => write!(
                f,
                "the partner asked to be left alone for {}",
                Span(retry_after)
            )?,
            Rule::Command => return f.write_str("by command"),
        }
        match self.last_code {
            Some(code) => write!(f, ", last: {code}"),
            None => Ok(()),
        }
    }
}
