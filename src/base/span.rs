//! A duration as text for people.

use std::{fmt, time::Duration};

/// Shows a duration in one unit: `30 s`, `1.5 s`, `250 ms`, `7 ns`.
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
        // Rounded to one decimal. The formatter leaves a trailing `.0` out.
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
}
