//! A point on the layer's one time line.
//!
//! The machine, the tally and the gate never see a clock: they are given [`Moment`]s, nanoseconds
//! since the layer was built. A `u64` of them lasts 584 years, fits an atomic, and saturates where a
//! `std::time::Instant` would panic.

use std::{fmt, time::Duration};

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

/// A span for people: `30 s`, `1.5 s`, `250 ms`, `7 ns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = if self.0.is_zero() || self.0 >= Duration::from_secs(1) {
            (self.0.as_secs_f64(), "s")
        } else if self.0 >= Duration::from_millis(1) {
            (self.0.as_secs_f64() * 1e3, "ms")
        } else {
            return write!(f, "{} ns", self.0.as_nanos());
        };
        // One decimal at most, and none that says nothing.
        let value = (value * 10.0).round() / 10.0;
        write!(f, "{value} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_as_people_write_it() {
        let shown = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!(shown(30_000), "30 s");
        assert_eq!(shown(1_540), "1.5 s");
        assert_eq!(shown(250), "250 ms");
        assert_eq!(shown(0), "0 s");
        assert_eq!(Span(Duration::from_nanos(1)).to_string(), "1 ns");
    }

    #[test]
    fn a_moment_saturates() {
        assert_eq!(Moment(5).after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment(5).since(Moment(9)), Duration::ZERO);
        assert_eq!(Moment::NEVER.known(), None);
    }
}
