//! What callers of the plain service get.

use std::time::Duration;

use super::body_text::body;

/// What the partner answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The number of the call, counted from 1.
    pub number: u64,
    /// The HTTP status, below 500.
    pub status: u16,
    /// What the body says; `false` beside a status of 200 in a phase of
    /// [`FailingWith200`](crate::testing::Phase::FailingWith200).
    pub success: bool,
    /// How long the partner asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// The JSON a partner sends along: `{"success": true, "n": 7}`, or
    /// `{"success": false, "reasons": [{"code": 50000060, "message": "..."}]}`.
    ///
    /// Written when asked for, so that a call that nobody reads allocates nothing for it.
    #[must_use]
    pub fn body(&self) -> String {
        body(self.success, None, self.number)
    }
}

/// How a call to the partner failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartnerError {
    /// Nobody listens; see [`Phase::ConnectionRefused`](crate::testing::Phase::ConnectionRefused).
    #[error("the simulated partner refused the connection")]
    ConnectionRefused,
    /// The connection broke amid the answer; see [`Phase::ResetMidBody`](crate::testing::Phase::ResetMidBody).
    #[error("the simulated partner reset the connection")]
    ConnectionReset,
    /// The answer was an error of the partner's own, 500 or more.
    #[error("the simulated partner answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// How long the partner asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl PartnerError {
    /// The HTTP status, if there was an answer at all.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status),
            Self::ConnectionRefused | Self::ConnectionReset => None,
        }
    }

    /// How long the partner asks to be left alone.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => retry_after,
            Self::ConnectionRefused | Self::ConnectionReset => None,
        }
    }
}
