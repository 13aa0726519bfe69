//! The records of calls in the partner's log.

use std::time::Duration;

use crate::testing::script::Phase;

/// One call in the partner's log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CallRecord {
    /// The number of the call, counted from 1.
    pub number: u64,
    /// Method and target of an HTTP request, `GET /v1/prices?page=2`; `None` for calls to the plain
    /// service.
    pub target: Option<String>,
    /// The phase in which the call began. It decided what became of the call.
    pub phase: Phase,
    /// When it began, counted from the start of the run.
    pub began: Duration,
    /// When it ended; `None` while it is in flight.
    pub ended: Option<Duration>,
    /// How it ended; `None` while it is in flight.
    pub end: Option<CallEnd>,
}

impl CallRecord {
    /// Returns the path of an HTTP request, without its query.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let (_method, target) = self.target.as_deref()?.split_once(' ')?;
        target.split('?').next()
    }
}

/// How a call ended, as the partner saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// The caller got the whole answer.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Whether the partner did what it was asked to do.
        success: bool,
    },
    /// The port was closed. A real server does not see such calls and does not record them.
    ConnectionRefused,
    /// The partner broke the connection.
    ConnectionReset,
    /// The caller left a call that would never have been answered.
    Hung,
    /// The caller left before the answer, or in the middle of its body.
    Dropped,
}

/// The number of calls by how they ended.
///
/// `calls` is the sum of all others except `hanging`. Calls that were in flight during a
/// [`restart`](crate::testing::SimulatedPartner::restart) are an exception: they are only in
/// `in_flight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that reached the partner.
    pub calls: u64,
    /// Calls that began and have not ended.
    pub in_flight: u64,
    /// Calls in flight that will never be answered.
    pub hanging: u64,
    /// Answered, and the partner did what it was asked to do.
    pub succeeded: u64,
    /// Answered with a failure: a status, or `"success": false`.
    pub failed: u64,
    /// Ended by [`CallEnd::ConnectionRefused`].
    pub refused: u64,
    /// Ended by [`CallEnd::ConnectionReset`].
    pub reset: u64,
    /// Ended by [`CallEnd::Hung`].
    pub hung: u64,
    /// Ended by [`CallEnd::Dropped`].
    pub dropped: u64,
}

impl Counts {
    pub(super) fn of(&mut self, end: CallEnd) -> &mut u64 {
        match end {
            CallEnd::Answered { success: true, .. } => &mut self.succeeded,
            CallEnd::Answered { success: false, .. } => &mut self.failed,
            CallEnd::ConnectionRefused => &mut self.refused,
            CallEnd::ConnectionReset => &mut self.reset,
            CallEnd::Hung => &mut self.hung,
            CallEnd::Dropped => &mut self.dropped,
        }
    }
}
