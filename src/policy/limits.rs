//! The settings of the rules that have two numbers.

use std::time::Duration;

use crate::policy::rate::Rate;

/// The slow-call rule: a call is slow if it took strictly longer than `longer_than`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SlowCalls {
    pub(crate) longer_than: Duration,
    pub(crate) rate: Rate,
}

/// The rule of calls given up: at least `calls` callers left, each having waited longer than
/// `after`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GivenUp {
    pub(crate) calls: u64,
    pub(crate) after: Duration,
}

/// The rule of calls given up, as it is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum GivenUpSetting {
    ByDefault,
    On { calls: u32, after: Duration },
    Off,
}

impl GivenUpSetting {
    /// The least number of calls by default: fewer may be customers that changed their minds.
    const CALLS: u32 = 10;
    const AFTER: Duration = Duration::from_secs(1);

    /// Returns the number of calls and how long each waited at least; `None` if the rule is off.
    pub(crate) fn numbers(self, min_calls: u32) -> Option<(u32, Duration)> {
        match self {
            Self::ByDefault => Some((min_calls.max(Self::CALLS), Self::AFTER)),
            Self::On { calls, after } => Some((calls, after)),
            Self::Off => None,
        }
    }

    pub(crate) fn rule(self, min_calls: u32) -> Option<GivenUp> {
        let (calls, after) = self.numbers(min_calls)?;
        Some(GivenUp {
            calls: calls.into(),
            after,
        })
    }

    pub(crate) fn calls(self) -> Option<u32> {
        match self {
            Self::On { calls, .. } => Some(calls),
            Self::ByDefault | Self::Off => None,
        }
    }
}
