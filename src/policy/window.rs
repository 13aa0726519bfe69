//! Over what the failure rate is read.

use std::{fmt, time::Duration};

use crate::base::moment::Span;

/// Over what the failure rate is read: the last calls, or the calls of the last minute.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::Window;
///
/// assert_eq!(Window::time(Duration::from_secs(60)), Window::time(Duration::from_secs(60)).in_buckets(10));
/// assert_ne!(Window::calls(100), Window::calls(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// The last so many outcomes, at most ten million; they count however old they are.
    Calls(u32),
    /// The outcomes of the last `length`, kept in `buckets`.
    #[non_exhaustive]
    Time {
        /// How far back the window reaches.
        length: Duration,
        /// In how many steps it slides, 1 to 3600. A bucket leaves when its start is `length` old,
        /// so an outcome counts for between `length - length / buckets` and `length`.
        buckets: u32,
    },
}

impl Window {
    /// The last `size` outcomes.
    #[must_use]
    pub const fn calls(size: u32) -> Self {
        Self::Calls(size)
    }

    /// The outcomes of the last `length`, sliding in ten steps.
    #[must_use]
    pub const fn time(length: Duration) -> Self {
        Self::Time {
            length,
            buckets: 10,
        }
    }

    /// The same time window sliding in `buckets` steps. A window of calls slides by the call, and stays as it is.
    #[must_use]
    pub const fn in_buckets(self, buckets: u32) -> Self {
        match self {
            Self::Calls(_) => self,
            Self::Time { length, .. } => Self::Time { length, buckets },
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(size) => write!(f, "the last {size} calls"),
            Self::Time { length, .. } => write!(f, "{}", Span(*length)),
        }
    }
}
