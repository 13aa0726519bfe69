//! The rules that trip: which one fires on the contents of a window (R9).

use crate::{
    base::moment::Moment,
    counting::{
        counts::{Counts, Landing},
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
    abandoned: bool,
}

impl Kinds {
    const ALL: Self = Self {
        failures: true,
        slow: true,
        abandoned: true,
    };

    /// The kinds that `landed` can make fire. A good answer makes none fire, so that a success
    /// never trips the layer (R9).
    fn of(landed: Landing) -> Option<Self> {
        let none = Self {
            failures: false,
            slow: false,
            abandoned: false,
        };
        match landed {
            Landing::Success { .. } if mutant!("a good answer can trip") => Some(Self::ALL),
            Landing::Success { slow: true } if mutant!("a slow success is a good answer") => None,
            Landing::Success { slow: false } | Landing::Neutral => None,
            Landing::Success { slow: true } => Some(Self { slow: true, ..none }),
            Landing::Failure { .. } => Some(Self {
                abandoned: false,
                ..Self::ALL
            }),
            // A call that hung was dropped as well: it may complete `min_calls` abandoned calls.
            Landing::Hung { .. } => Some(Self::ALL),
            Landing::Abandoned => Some(Self {
                abandoned: true,
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
        total: counts.total,
        failed: counts.failed,
        last_code,
    }
}

/// Whether any rule would fire on the contents of the window.
pub(super) fn would_trip(rules: &Rules, window: &Tally, at: Moment) -> bool {
    fired(rules, window.counts(at), Kinds::ALL).is_some()
}

/// Returns the first rule of these kinds that fires on `counts`.
fn fired(rules: &Rules, counts: Counts, kinds: Kinds) -> Option<Rule> {
    let enough = counts.total >= rules.min_calls || mutant!("min_calls is ignored");
    if kinds.failures {
        if let Some(threshold) = rules.failure_rate
            && enough
            && threshold.is_reached(counts.failed, counts.total)
        {
            return Some(Rule::FailureRate {
                threshold,
                window: rules.window,
            });
        }
        if rules.consecutive.is_some_and(|run| counts.run >= run) && !mutant!("runs are not judged")
        {
            return Some(Rule::ConsecutiveFailures { run: counts.run });
        }
    }
    if kinds.slow
        && let Some(limit) = rules.slow_calls
        && enough
        && limit.rate.is_reached(counts.slow, counts.total)
    {
        return Some(Rule::SlowCalls {
            slow: counts.slow,
            longer_than: limit.longer_than,
            threshold: limit.rate,
        });
    }
    let all_left =
        rules.abandoned_all && counts.abandoned >= rules.min_calls && counts.completed == 0;
    (kinds.abandoned && all_left).then_some(Rule::AbandonedAll {
        abandoned: counts.abandoned,
    })
}
