//! What a call's end says about the partner.

use std::time::Duration;

/// What the end of a call says about the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The partner answered as it should.
    Success,
    /// The partner failed.
    Failure,
    /// No evidence: our own mistake, or nobody's.
    #[doc(alias = "ignored")]
    #[doc(alias = "excluded")]
    Neutral,
}

/// An [`Outcome`] with what else the answer told.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{Outcome, Verdict};
///
/// let verdict = Verdict::from(Outcome::Failure).with_code(503).with_retry_after(Duration::from_secs(20));
/// assert_eq!(verdict.outcome, Outcome::Failure);
/// assert_eq!(verdict.code, Some(503));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Verdict {
    /// What it says about the partner.
    pub outcome: Outcome,
    /// How long the partner asked to be left alone. In `Serving` it is the least the next trip waits;
    /// a probe answered so (with code 429, 503, or none) goes back to maintenance for that long. Zero is the same as none.
    pub retry_after: Option<Duration>,
    /// The protocol's own code, an HTTP status for instance; it is shown to operators.
    pub code: Option<u16>,
}

impl Verdict {
    /// The same verdict with the protocol's own code.
    #[must_use]
    pub fn with_code(self, code: u16) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// The same verdict with the partner's wish to be left alone for `span`.
    #[must_use]
    pub fn with_retry_after(self, span: Duration) -> Self {
        Self {
            retry_after: Some(span),
            ..self
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            retry_after: None,
            code: None,
        }
    }
}
