//! The evidence of a trip: the rule that fired, and its numbers.

use std::{fmt, time::Duration};

use crate::{
    base::span::Span,
    policy::{rate::Rate, window::Window},
};

/// The rule that tripped the layer, and the numbers it fired on.
///
/// Its `Display` is one clause: `6 of 10 calls failed in 60 s, threshold 50 %, last: 502`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// The rule that fired.
    pub rule: Rule,
    /// The number of judged calls in the window at that moment.
    pub total: u64,
    /// The number of failures among them.
    pub failed: u64,
    /// The code of the last failure; `None` if the protocol gave none.
    pub last_code: Option<u16>,
}

/// A rule that trips the layer.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// The failure rate reached its threshold.
    #[non_exhaustive]
    FailureRate {
        /// The threshold.
        threshold: Rate,
        /// The window that the rate was computed from.
        window: Window,
    },
    /// The number of failures in a row reached its threshold.
    #[non_exhaustive]
    ConsecutiveFailures {
        /// The number of failures in a row.
        run: u64,
    },
    /// The share of slow calls reached its threshold.
    #[non_exhaustive]
    SlowCalls {
        /// The number of slow calls.
        slow: u64,
        /// The limit: a call is slow if it took strictly longer.
        longer_than: Duration,
        /// The threshold.
        threshold: Rate,
    },
    /// Callers gave up after a long wait, and nothing came from the partner in the whole window.
    #[non_exhaustive]
    GivenUp {
        /// The number of calls that were given up.
        calls: u64,
        /// The longest wait among them, in whole milliseconds.
        longest_wait: Duration,
    },
    /// A probe failed.
    ProbeFailed,
    /// A probe did not end within its lease.
    #[non_exhaustive]
    ProbeHung {
        /// The length of the lease.
        lease: Duration,
    },
    /// The partner answered a probe with `Retry-After`.
    #[non_exhaustive]
    PartnerAsked {
        /// How long the partner asked not to be called.
        retry_after: Duration,
    },
    /// The partner answered a probe with 429 and did not say for how long.
    #[non_exhaustive]
    PartnerLimits {
        /// The wait, which is that of the trip before: it does not grow.
        wait: Duration,
    },
    /// An operator called [`trip`](crate::MaintenanceHandle::trip) or
    /// [`release_verified`](crate::MaintenanceHandle::release_verified).
    Command,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Rule::FailureRate { .. }
            | Rule::ConsecutiveFailures { .. }
            | Rule::SlowCalls { .. }
            | Rule::GivenUp { .. } => self.explain_rule_of_the_window(f)?,
            Rule::ProbeFailed => f.write_str("a probe failed")?,
            Rule::ProbeHung { lease } => write!(f, "a probe hung for {}", Span(lease))?,
            Rule::PartnerAsked { retry_after } => {
                write!(f, "the partner asked for a pause of {}", Span(retry_after))?
            }
            Rule::PartnerLimits { wait } => {
                write!(f, "the partner limits calls, again after {}", Span(wait))?
            }
            Rule::Command => f.write_str("by an operator's command")?,
        }
        match self.last_code {
            Some(code) if self.rule.has_code() => write!(f, ", last: {code}"),
            _ => Ok(()),
        }
    }
}

impl Evidence {
    fn explain_rule_of_the_window(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, failed, .. } = self;
        match self.rule {
            Rule::FailureRate { threshold, window } => match window {
                Window::Calls(_) => write!(
                    f,
                    "{failed} of the last {total} calls failed, threshold {threshold}"
                ),
                Window::Time { .. } => write!(
                    f,
                    "{failed} of {total} calls failed in {window}, threshold {threshold}"
                ),
            },
            Rule::ConsecutiveFailures { run } => write!(f, "{run} calls failed in a row"),
            Rule::SlowCalls {
                slow,
                longer_than,
                threshold,
            } => {
                let longer_than = Span(longer_than);
                write!(
                    f,
                    "{slow} of {total} calls took longer than {longer_than}, threshold {threshold}"
                )
            }
            Rule::GivenUp {
                calls,
                longest_wait,
            } => write!(
                f,
                "{calls} calls were given up after up to {}, and nothing came from the partner",
                Span(longest_wait)
            ),
            _ => Ok(()),
        }
    }
}

impl Rule {
    /// Whether the code of the last answer belongs to what fired.
    fn has_code(self) -> bool {
        !matches!(
            self,
            Self::GivenUp { .. } | Self::ProbeHung { .. } | Self::Command
        )
    }
}
