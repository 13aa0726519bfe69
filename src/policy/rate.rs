//! A share of calls, as the thresholds of a policy use it.

use std::fmt;

use crate::policy::error::PolicyError;

/// A share of calls: above 0 and at most 100 %.
///
/// It is kept in parts per million, so that rates compare as integers.
///
/// ```
/// use tower_maintenance::Rate;
///
/// assert_eq!(Rate::percent(50.0)?, Rate::ratio(0.5)?);
/// assert!(Rate::percent(0.0).is_err());
/// assert!(Rate::ratio(f64::NAN).is_err());
/// # Ok::<(), tower_maintenance::PolicyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    per_million: u32,
}

const MILLION: f64 = 1_000_000.0;

impl Rate {
    /// 50 %, the default failure rate: at that point, half of the customers cannot use billing.
    pub const HALF: Self = Self {
        per_million: 500_000,
    };
    pub(crate) const TENTH: Self = Self {
        per_million: 100_000,
    };

    /// Builds a share from a percentage.
    ///
    /// # Errors
    ///
    /// Returns an error if `percent` is 0 or less, above 100, or not a number, or if it rounds to
    /// less than one in a million.
    pub fn percent(percent: f64) -> Result<Self, PolicyError> {
        Self::parts(percent / 100.0).ok_or_else(|| {
            PolicyError::new(
                "rate",
                format!("{percent} %"),
                "above 0 % and at most 100 %",
            )
        })
    }

    /// Builds a share from a ratio.
    ///
    /// # Errors
    ///
    /// Returns an error if `ratio` is 0 or less, above 1, or not a number, or if it rounds to less
    /// than one in a million.
    pub fn ratio(ratio: f64) -> Result<Self, PolicyError> {
        Self::parts(ratio)
            .ok_or_else(|| PolicyError::new("rate", ratio.to_string(), "above 0 and at most 1"))
    }

    fn parts(ratio: f64) -> Option<Self> {
        // The condition is negated as a whole, so that NaN is rejected.
        if !(ratio > 0.0 && (ratio <= 1.0 || mutant!("a rate may exceed the whole"))) {
            return None;
        }
        let per_million = (ratio * MILLION).round() as u32;
        (per_million > 0).then_some(Self { per_million })
    }

    /// Returns the share as a ratio, above 0 and at most 1.
    #[must_use]
    pub fn as_ratio(self) -> f64 {
        f64::from(self.per_million) / MILLION
    }

    pub(crate) fn per_million(self) -> u32 {
        self.per_million
    }

    /// Whether `part` of `total` is this share or more. It is false for a `total` of 0.
    pub(crate) fn is_reached(self, part: u64, total: u64) -> bool {
        total > 0
            && u128::from(part) * 1_000_000
                >= u128::from(total) * u128::from(self.per_million)
                    + u128::from(mutant!("a rate must be exceeded"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.per_million) / 10_000.0)
    }
}
