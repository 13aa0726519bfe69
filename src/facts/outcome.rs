//! What the end of a call says about the partner.

use std::{fmt, time::Duration};

/// What the end of a call says about the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The partner answered, and the answer shows that it works.
    Success,
    /// The partner failed.
    Failure,
    /// No evidence in either direction: a mistake of the caller, for instance.
    #[doc(alias = "ignored")]
    #[doc(alias = "excluded")]
    Neutral,
}

/// Whose doing the end of a call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Origin {
    /// The partner's, or the network's on the way to it.
    #[default]
    Partner,
    /// This process's own: the call was never sent, met a limit of ours, or broke off by a body,
    /// file descriptor or resolver of ours. It says nothing about the partner.
    #[doc(alias = "local")]
    Ourselves,
    /// A layer of this crate further in refused the call. It says nothing about the partner.
    RefusedWithin,
}

/// How an admitted call ended: each is in exactly one of these
/// ([`CallCounts::by_outcome`](crate::CallCounts::by_outcome)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Succeeded,
    Failed,
    Neutral,
    Ours,
    RefusedWithin,
    Abandoned,
}

impl Ended {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Neutral => "neutral",
            Self::Ours => "ours",
            Self::RefusedWithin => "refused_within",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Is told how long the callers waited for each call. It runs on the request path, under no lock.
pub(crate) trait CallTimes: fmt::Debug + Send + Sync {
    fn ended(&self, how: Ended, took: Duration);
}

/// An [`Outcome`], with the code and the `Retry-After` of the answer.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{Outcome, Verdict};
///
/// let verdict = Verdict::from(Outcome::Failure)
///     .with_code(503)
///     .with_retry_after(Duration::from_secs(20));
/// assert_eq!(verdict.outcome, Outcome::Failure);
/// assert_eq!(verdict.code, Some(503));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Verdict {
    /// What the end of the call says about the partner.
    pub outcome: Outcome,
    /// How long the partner asked not to be called, as with `Retry-After`. Zero means the same as
    /// `None`.
    ///
    /// In `Serving` it is the minimum of the next trip's wait, up to the policy's longest wait. In
    /// `Probing` a probe that did not succeed returns the layer to `Maintenance` for that long, if
    /// its [`code`](Self::code) is 429, 503 or `None`.
    pub retry_after: Option<Duration>,
    /// The code of the protocol, an HTTP status for instance. It is shown to operators.
    pub code: Option<u16>,
    /// Whose doing it was. Anything but [`Origin::Partner`] gives no evidence: whatever the
    /// `outcome` says, the call counts as [`Neutral`](Outcome::Neutral), in a number of its own.
    pub origin: Origin,
}

impl Verdict {
    /// The verdict on an error of this process: neutral, and counted in
    /// [`CallCounts::ours`](crate::CallCounts::ours).
    ///
    /// ```
    /// use tower_maintenance::{Origin, Outcome, Verdict};
    ///
    /// let verdict = Verdict::ours();
    /// assert_eq!((verdict.outcome, verdict.origin), (Outcome::Neutral, Origin::Ourselves));
    /// ```
    #[must_use]
    pub fn ours() -> Self {
        Self {
            origin: Origin::Ourselves,
            ..Outcome::Neutral.into()
        }
    }

    /// The verdict on a call that a layer of this crate further in refused: neutral, and counted in
    /// [`CallCounts::refused_within`](crate::CallCounts::refused_within).
    ///
    /// A [`Protocol`](crate::Protocol) of your own gives it by
    /// [`Ticket::settle_refused`](crate::Ticket::settle_refused).
    #[must_use]
    pub fn refused_within() -> Self {
        Self {
            origin: Origin::RefusedWithin,
            ..Outcome::Neutral.into()
        }
    }

    /// Sets the code of the protocol.
    ///
    /// Default: `None`.
    #[must_use]
    pub fn with_code(self, code: u16) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// Sets how long the partner asked not to be called.
    ///
    /// Default: `None`.
    #[must_use]
    pub fn with_retry_after(self, span: Duration) -> Self {
        Self {
            retry_after: Some(span),
            ..self
        }
    }
}

impl Verdict {
    /// Returns the worse of two verdicts: a failure, before a neutral outcome, before a success.
    ///
    /// Of two waits the longer one counts. The code is that of the worse verdict; if both are
    /// equally bad, the first code that is there.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_maintenance::{Outcome, Verdict};
    ///
    /// let busy = Verdict::from(Outcome::Neutral)
    ///     .with_code(429)
    ///     .with_retry_after(Duration::from_secs(20));
    /// let failed = Verdict::from(Outcome::Failure).with_code(200);
    /// let worse = failed.with_retry_after(Duration::from_secs(20));
    /// assert_eq!(busy.or_worse(failed), worse);
    /// assert_eq!(failed.or_worse(busy), worse);
    /// ```
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let badness = |verdict: Self| match (verdict.origin, verdict.outcome) {
            (Origin::Partner, Outcome::Failure) => 3,
            // What is not the partner's doing is neutral, whatever the outcome says.
            (Origin::Ourselves | Origin::RefusedWithin, _) => 2,
            (Origin::Partner, Outcome::Neutral) => 1,
            (Origin::Partner, Outcome::Success) => 0,
        };
        let (worse, better) = if badness(other) > badness(self) {
            (other, self)
        } else {
            (self, other)
        };
        Self {
            retry_after: worse.retry_after.max(better.retry_after),
            code: match badness(worse) == badness(better) {
                true => worse.code.or(better.code),
                false => worse.code,
            },
            ..worse
        }
    }
}

/// The verdict on an error with this origin: a failure of the partner, or neutral.
impl From<Origin> for Verdict {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Partner => Outcome::Failure.into(),
            Origin::Ourselves => Self::ours(),
            Origin::RefusedWithin => Self::refused_within(),
        }
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            retry_after: None,
            code: None,
            origin: Origin::Partner,
        }
    }
}
