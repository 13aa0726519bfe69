//! A point on the layer's one time line.
//!
//! The machine, the tally and the gate never see a clock: they are given [`Moment`]s, nanoseconds
//! since the layer was built. A `u64` of them lasts 584 years, fits an atomic, and saturates where a
//! `std::time::Instant` would panic.

use std::time::Duration;

/// Nanoseconds since the layer was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    /// When the layer was built.
    pub(crate) const ORIGIN: Self = Self(0);
    /// Later than everything: a deadline that is not there.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// This moment plus `span`; a span that does not fit gives [`Moment::NEVER`].
    #[inline]
    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment itself, unless it is [`Moment::NEVER`].
    #[inline]
    pub(crate) fn known(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }
}

/// `span` in nanoseconds; one longer than 584 years saturates.
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
