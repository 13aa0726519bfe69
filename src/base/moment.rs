//! A point on the layer's time line.
//!
//! The machine, the window and the gate never read a clock. They are given [`Moment`]s, which count
//! nanoseconds since the layer was built. A `u64` of nanoseconds lasts 584 years and fits an
//! atomic. Its arithmetic saturates where that of `std::time::Instant` would panic.

use std::time::Duration;

/// Nanoseconds since the layer was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// When the layer was built.
    pub(crate) const ORIGIN: Self = Self(0);
    /// Later than every other moment: stands for a deadline that does not exist.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Returns this moment plus `span`. A sum that does not fit is [`Moment::NEVER`].
    #[inline]
    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// Returns the time since `earlier`; zero if `earlier` is the later of the two.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment; `None` for [`Moment::NEVER`].
    #[inline]
    pub(crate) fn known(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }
}

/// Converts `span` to nanoseconds. A span longer than 584 years saturates.
#[inline]
pub(crate) fn nanos(span: Duration) -> u64 {
    let seconds = span.as_secs().checked_mul(1_000_000_000);
    let nanos = seconds.and_then(|nanos| nanos.checked_add(span.subsec_nanos().into()));
    nanos.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_saturates() {
        assert_eq!(Moment(5).after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
        assert_eq!(Moment::NEVER.known(), None);
    }
}
