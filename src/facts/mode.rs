//! The mode of a layer, the causes of maintenance, and the two switches.

use std::fmt;

/// What the layer does with a request that is not exempt.
///
/// A circuit breaker has the same three states: closed, open and half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Requests pass, and their outcomes are counted.
    #[doc(alias = "closed")]
    Serving,
    /// Requests are refused, and do not pass the gate.
    #[doc(alias = "open")]
    Maintenance,
    /// A few requests pass as probes, to learn whether the partner has recovered. All others are
    /// refused.
    #[doc(alias = "half-open")]
    Probing,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "serving",
            Self::Maintenance => "maintenance",
            Self::Probing => "probing",
        })
    }
}

/// A cause of maintenance.
///
/// Several causes can be active at once, and the mode is derived from the set. When the first of
/// them ends, the next one takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// An operator engaged maintenance. This cause takes precedence over a trip.
    #[doc(alias = "isolated")]
    #[doc(alias = "forced open")]
    Operator,
    /// The partner degraded: a rule of the policy fired, or an operator called
    /// [`trip`](crate::MaintenanceHandle::trip). It ends by itself, through `Probing`.
    Tripped,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Tripped => "tripped",
        })
    }
}

/// The two switches of a layer.
///
/// They are independent of the causes.
///
/// While one of them is on, the rules are evaluated but do not act. Instead of a trip they open a
/// *shadow* episode, which refuses nothing. With both on, the layer behaves as with bypass alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Switches {
    /// No rule begins maintenance. The commands of an operator still do, and an episode that a
    /// command began runs its course: a probe that fails, or a ramp that trips, returns it to
    /// `Maintenance`.
    pub dry_run: bool,
    /// Nothing is refused, not even under a hold. A hold takes effect again when the bypass ends.
    pub bypass: bool,
}

impl Switches {
    /// Returns whether the rules of the policy act: whether both switches are off.
    #[must_use]
    pub fn armed(self) -> bool {
        !self.dry_run && !self.bypass
    }
}
