//! The rules that trip: which one fires on the contents of a window (R9).

use std::time::Duration;

use crate::{
    base::moment::Moment,
    counting::{
        counts::{Counts, Landing, WaitLength},
        window::Tally,
    },
    facts::evidence::{Evidence, Rule},
    policy::rules::Rules,
};

/// The kinds of rules to evaluate.
#[derive(Clone, Copy)]
struct Kinds {
    failures: bool,
    slow: bool,
    given_up: bool,
}

impl Kinds {
    const ALL: Self = Self {
        failures: true,
        slow: true,
        given_up: true,
    };

    /// The kinds that `landed` can make fire. A good answer makes none fire, so that a success
    /// never trips the layer (R9).
    fn of(landed: Landing) -> Option<Self> {
        let none = Self {
            failures: false,
            slow: false,
            given_up: false,
        };
        match landed {
            Landing::Success { .. } if mutant!("a good answer can trip") => Some(Self::ALL),
            Landing::Success { slow: true } if mutant!("a slow success is a good answer") => None,
            Landing::Success { slow: false }
            | Landing::Neutral { .. }
            | Landing::Ours
            | Landing::RefusedWithin => None,
            Landing::Success { slow: true } => Some(Self { slow: true, ..none }),
            Landing::Failure { .. } => Some(Self {
                given_up: false,
                ..Self::ALL
            }),
            // A call that hung was given up as well.
            Landing::Hung { .. } => Some(Self::ALL),
            // A caller that leaves without a wait gave nothing up.
            Landing::Abandoned { slow, wait } => Some(Self {
                slow,
                given_up: wait.length != WaitLength::None,
                ..none
            }),
        }
    }
}

/// Returns the evidence if a rule fires on the window right after `landed` was recorded.
pub(super) fn judge(
    rules: &Rules,
    window: &Tally,
    landed: Landing,
    last_code: Option<u16>,
    at: Moment,
) -> Option<Evidence> {
    let kinds = Kinds::of(landed)?;
    let counts = window.counts(at);
    let rule = fired(rules, counts, kinds)?;
    Some(evidence(rule, counts, last_code))
}

/// Combines a rule with the counts that it fired on.
pub(super) fn evidence(rule: Rule, counts: Counts, last_code: Option<u16>) -> Evidence {
    Evidence {
        rule,
        total: counts.total(),
        failed: counts.failed.into(),
        last_code,
    }
}

/// Whether any rule would fire on the contents of the window.
pub(super) fn would_trip(rules: &Rules, window: &Tally, at: Moment) -> bool {
    fired(rules, window.counts(at), Kinds::ALL).is_some()
}

/// Returns the first rule of these kinds that fires on `counts`.
fn fired(rules: &Rules, counts: Counts, kinds: Kinds) -> Option<Rule> {
    let enough = counts.total() >= rules.min_calls || mutant!("min_calls is ignored");
    if kinds.failures {
        if let Some(threshold) = rules.failure_rate
            && enough
            && threshold.is_reached(counts.failed.into(), counts.total())
        {
            return Some(Rule::FailureRate {
                threshold,
                window: rules.window,
            });
        }
        if rules
            .consecutive
            .is_some_and(|run| u64::from(counts.run) >= run)
            && !mutant!("runs are not judged")
        {
            return Some(Rule::ConsecutiveFailures {
                run: counts.run.into(),
            });
        }
    }
    if kinds.slow
        && let Some(limit) = rules.slow_calls
        && enough
        && limit.rate.is_reached(counts.slow.into(), counts.total())
    {
        return Some(Rule::SlowCalls {
            slow: counts.slow.into(),
            longer_than: limit.longer_than,
            threshold: limit.rate,
        });
    }
    if kinds.given_up
        && let Some(rule) = rules.given_up
        && (!counts.answered || mutant!("an answer does not speak against calls given up"))
        && !mutant!("calls given up are not judged")
        && u64::from(counts.given_up) >= rule.calls
    {
        return Some(Rule::GivenUp {
            calls: counts.given_up.into(),
            longest_wait: Duration::from_millis(counts.longest_wait.into()),
        });
    }
    None
}
