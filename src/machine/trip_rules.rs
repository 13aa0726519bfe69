//! Which rule fires on what a window holds (R9).

use crate::{
    base::moment::Moment,
    counting::window::{Counts, Landing, Tally},
    facts::evidence::{Evidence, Rule},
    policy::rules::Rules,
};

/// What fires when `landed` has landed in `window`: only what is bad is judged, never a good answer (R9).
pub(super) fn judge(
    rules: &Rules,
    window: &Tally,
    landed: Landing,
    last_code: Option<u16>,
    at: Moment,
) -> Option<Evidence> {
    let (failed, slow, abandoned) = match landed {
        Landing::Success { slow: false } | Landing::Neutral => return None,
        Landing::Success { slow: true } => (false, true, false),
        Landing::Failure { .. } => (true, true, false),
        // A drop all the same: it may be the one that completes `min_calls` of them.
        Landing::Hung { .. } => (true, true, true),
        Landing::Abandoned => (false, false, true),
    };
    let counts = window.counts(at);
    let rule = fired(rules, counts, failed, slow, abandoned)?;
    Some(Evidence {
        rule,
        total: counts.total,
        failed: counts.failed,
        last_code,
    })
}

/// Whether any rule would fire on what the window holds.
pub(super) fn would_trip(rules: &Rules, window: &Tally, at: Moment) -> bool {
    fired(rules, window.counts(at), true, true, true).is_some()
}

/// The first rule that fires on `counts`, of the kinds that are asked for.
fn fired(rules: &Rules, counts: Counts, failed: bool, slow: bool, abandoned: bool) -> Option<Rule> {
    let enough = counts.total >= rules.min_calls;
    if failed {
        if let Some(threshold) = rules.failure_rate
            && enough
            && threshold.is_reached(counts.failed, counts.total)
        {
            return Some(Rule::FailureRate {
                threshold,
                window: rules.window,
            });
        }
        if rules.consecutive.is_some_and(|run| counts.run >= run) {
            return Some(Rule::ConsecutiveFailures { run: counts.run });
        }
    }
    if slow
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
    (abandoned && all_left).then_some(Rule::AbandonedAll {
        abandoned: counts.abandoned,
    })
}
