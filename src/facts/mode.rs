//! What the layer does with requests, and who holds it there.

use std::fmt;

/// What the layer does with a request that is not exempt.
///
/// Elsewhere these are the states of a circuit breaker: closed, open, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Requests pass; outcomes are counted.
    #[doc(alias = "closed")]
    Serving,
    /// Requests are refused, and not processed.
    #[doc(alias = "open")]
    Maintenance,
    /// A few requests pass to learn whether the partner is back; all others are refused.
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

/// Why maintenance holds.
///
/// Several causes may hold at once; the mode follows from the set. Ending one uncovers what lies
/// beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// An operator engaged it: beats everything automatic.
    #[doc(alias = "isolated")]
    #[doc(alias = "forced open")]
    Operator,
    /// The partner degraded: a rule of the policy fired, or somebody called
    /// [`trip`](crate::MaintenanceHandle::trip). Ends by itself, through `Probing`.
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

/// The two switches that stand outside the causes.
///
/// Both let the rules judge without letting them act: what would have tripped opens a *shadow*
/// episode instead. Both on is the same as bypass alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Switches {
    /// No rule begins maintenance; an operator's commands do, and what they began runs its course,
    /// failing probes and a ramp that trips included.
    pub dry_run: bool,
    /// Nothing is refused, holds included; what holds shows again when the bypass ends.
    pub bypass: bool,
}

impl Switches {
    /// Whether the rules of the policy act.
    #[must_use]
    pub fn armed(self) -> bool {
        !self.dry_run && !self.bypass
    }
}
