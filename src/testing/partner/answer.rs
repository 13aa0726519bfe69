//! The answers and errors of the plain service.

use std::time::Duration;

use super::body_text::body;

/// The partner's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The number of the call, counted from 1.
    pub number: u64,
    /// The HTTP status, below 500.
    pub status: u16,
    /// What the body says. In a phase of [`FailingWith200`](crate::testing::Phase::FailingWith200)
    /// it is `false` beside a status of 200.
    pub success: bool,
    /// How long the partner asks callers to wait.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Returns the JSON body of the answer: `{"success": true, "n": 7}`, or
    /// `{"success": false, "reasons": [{"code": 50000060, "message": "..."}]}`.
    ///
    /// It is written on demand, so a call whose body is not read allocates nothing for it.
    #[must_use]
    pub fn body(&self) -> String {
        body(self.success, None, self.number)
    }
}

/// An error of a call to the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartnerError {
    /// The port is closed; see
    /// [`Phase::ConnectionRefused`](crate::testing::Phase::ConnectionRefused).
    #[error("the simulated partner refused the connection")]
    ConnectionRefused,
    /// The connection broke in the middle of the answer; see
    /// [`Phase::ResetMidBody`](crate::testing::Phase::ResetMidBody).
    #[error("the simulated partner reset the connection")]
    ConnectionReset,
    /// The partner answered with a status of 500 or more.
    #[error("the simulated partner answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// How long the partner asks callers to wait.
        retry_after: Option<Duration>,
    },
}

impl PartnerError {
    /// Returns the HTTP status, if there was an answer.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status),
            Self::ConnectionRefused | Self::ConnectionReset => None,
        }
    }

    /// Returns how long the partner asks callers to wait.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => retry_after,
            Self::ConnectionRefused | Self::ConnectionReset => None,
        }
    }
}
