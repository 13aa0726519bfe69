//! The window: the outcomes that the failure rate is computed from.

use std::{fmt, time::Duration};

use crate::base::span::Span;

/// The outcomes that the failure rate is computed from: those of the last calls, or of a period.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::Window;
///
/// let minute = Window::time(Duration::from_secs(60));
/// assert_eq!(minute, minute.in_buckets(10));
/// assert_ne!(Window::calls(100), Window::calls(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// The last outcomes, 1 to 10 000 000 of them. They count until newer ones replace them.
    Calls(u32),
    /// The outcomes of the last `length`, grouped in `buckets`.
    #[non_exhaustive]
    Time {
        /// How far back the window reaches. At least one nanosecond per bucket.
        length: Duration,
        /// The number of steps in which the window slides, 1 to 3600. A bucket leaves when its
        /// start is `length` old, so an outcome counts for between `length - length / buckets` and
        /// `length`.
        buckets: u32,
    },
}

impl Window {
    /// Builds a window of the last `size` outcomes.
    #[must_use]
    pub const fn calls(size: u32) -> Self {
        Self::Calls(size)
    }

    /// Builds a window of the last `length`.
    ///
    /// It slides in ten steps, so an outcome counts for at least nine tenths of `length`.
    #[must_use]
    pub const fn time(length: Duration) -> Self {
        Self::Time {
            length,
            buckets: 10,
        }
    }

    /// Sets the number of steps of a time window.
    ///
    /// A window of calls stays unchanged, because it slides with each call.
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
