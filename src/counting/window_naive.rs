//! The window by its definition: a list that forgets nothing, read anew each time. For tests.

use super::counts::{Counts, Landing};
use crate::{base::moment::Moment, policy::window::Window};

/// Everything that ever landed, read by the definition of the window.
#[derive(Debug, Clone)]
pub(crate) struct Naive {
    pub(crate) window: Window,
    pub(crate) landed: Vec<(Moment, Landing)>,
}

impl Naive {
    /// When what landed at `at` leaves: its bucket's start, a whole window later.
    fn leaves(&self, at: Moment) -> Option<u128> {
        let Window::Time { length, buckets } = self.window else {
            return None;
        };
        let width = length.as_nanos() / u128::from(buckets);
        let at = u128::from(at.0);
        Some(at - at % width + length.as_nanos())
    }

    pub(crate) fn counts(&self, now: Moment) -> Counts {
        let is_outcome = |landing: &Landing| {
            matches!(
                landing,
                Landing::Success { .. } | Landing::Failure { .. } | Landing::Hung { .. }
            )
        };
        let is_drop =
            |landing: &Landing| matches!(landing, Landing::Abandoned | Landing::Hung { .. });
        let live: Vec<Landing> = match self.window {
            // Of the calls that end, each counts.
            Window::Calls(_) => self.landed.iter().map(|(_, landing)| *landing).collect(),
            Window::Time { .. } => self
                .landed
                .iter()
                .filter(|(at, _)| self.leaves(*at) > Some(u128::from(now.0)))
                .map(|(_, landing)| *landing)
                .collect(),
        };
        let last = match self.window {
            Window::Calls(size) => size as usize,
            Window::Time { .. } => usize::MAX,
        };
        let outcomes = || live.iter().rev().filter(|l| is_outcome(l)).take(last);
        let endings = || live.iter().rev().take(last);
        let count = |test: fn(&Landing) -> bool| outcomes().filter(|l| test(l)).count() as u64;
        Counts {
            total: count(|_| true),
            failed: count(|l| matches!(l, Landing::Failure { .. } | Landing::Hung { .. })),
            slow: count(|l| {
                matches!(
                    l,
                    Landing::Success { slow: true }
                        | Landing::Failure { slow: true }
                        | Landing::Hung { slow: true }
                )
            }),
            run: outcomes()
                .take_while(|l| !matches!(l, Landing::Success { .. }))
                .count() as u64,
            abandoned: endings().filter(|l| is_drop(l)).count() as u64,
            completed: endings().filter(|l| !is_drop(l)).count() as u64,
        }
    }

    pub(crate) fn next_departure(&self, now: Moment) -> Option<u128> {
        let now = u128::from(now.0);
        self.landed
            .iter()
            .filter_map(|(at, _)| self.leaves(*at))
            .filter(|leaves| *leaves > now)
            .min()
    }
}

/// What the drops are counted for: at least so many, and none that completed (R6).
pub(crate) fn all_abandoned(counts: Counts, least: u64) -> bool {
    counts.abandoned >= least && counts.completed == 0
}
