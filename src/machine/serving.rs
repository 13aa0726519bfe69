//! The data of `Serving`: the window, and the shadow episode under dry run or bypass.

use std::time::Duration;

use super::trip_rules::{judge, would_trip};
use crate::{
    base::moment::Moment,
    counting::{
        counts::{Landing, WaitLength},
        window::Tally,
    },
    facts::evidence::Evidence,
    policy::rules::Rules,
};

#[derive(Debug)]
pub(super) struct Serving {
    pub(super) window: Tally,
    /// The code of the last failure.
    pub(super) last_code: Option<u16>,
    /// Boxed: few layers have one.
    pub(super) shadow: Option<Box<Shadow>>,
    /// Whether the warning of calls given up was given. There is one an era.
    warned: bool,
}

/// A shadow episode: a trip that dry run or bypass kept from taking effect.
#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) since: Moment,
    pub(super) evidence: Evidence,
    pub(super) wait: Duration,
    until: Moment,
    /// When time alone may end it: at the end of its wait, and then whenever outcomes leave the
    /// window.
    look_at: Moment,
}

impl Serving {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            window: Tally::new(rules.window),
            last_code: None,
            shadow: None,
            warned: false,
        }
    }

    /// Returns when time alone changes something.
    pub(super) fn next_deadline(&self) -> Moment {
        let shadow = self.shadow.as_ref();
        shadow.map_or(Moment::NEVER, |shadow| shadow.look_at)
    }

    /// Records an outcome. Returns the evidence if a rule fires on it.
    pub(super) fn record(
        &mut self,
        landing: Landing,
        code: Option<u16>,
        rules: &Rules,
        at: Moment,
    ) -> Option<Evidence> {
        if let Landing::Failure { .. } | Landing::Hung { .. } = landing {
            self.last_code = code;
        }
        self.window.record(landing, at);
        judge(rules, &self.window, landing, self.last_code, at)
    }

    /// Notes that something came from the partner, in the bucket with this number. Calls given up
    /// are then no reason to trip, so a shadow episode whose wait is over may end at `now`.
    pub(super) fn hear(&mut self, index: u64, now: Moment) {
        self.window.hear(index);
        if let Some(shadow) = &mut self.shadow {
            shadow.look_at = shadow.look_at.min(shadow.until.max(now));
        }
    }

    /// Forgets all outcomes. The shadow episode stays.
    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.last_code = None;
        self.warned = false;
    }

    /// Returns how many calls were given up and the longest wait among them, if callers give up,
    /// nothing comes from the partner, and that was not yet said in this era.
    pub(super) fn new_worry(
        &mut self,
        landing: Landing,
        rules: &Rules,
        at: Moment,
    ) -> Option<(u64, Duration)> {
        let is_wait = match landing {
            Landing::Hung { wait, .. } | Landing::Abandoned { wait, .. } => {
                wait.length != WaitLength::None
            }
            _ => false,
        };
        if self.warned || !is_wait || mutant!("calls given up are no warning") {
            return None;
        }
        let counts = self.window.counts(at);
        let calls = u64::from(counts.given_up) + u64::from(counts.left_early);
        if counts.answered || calls < worrying(rules) {
            return None;
        }
        self.warned = true;
        let longest_wait = Duration::from_millis(counts.longest_wait.into());
        Some((calls, longest_wait))
    }

    pub(super) fn begin_shadow(&mut self, evidence: Evidence, wait: Duration, at: Moment) {
        let until = at.after(wait);
        self.shadow = Some(Box::new(Shadow {
            since: at,
            evidence,
            wait,
            until,
            look_at: until,
        }));
    }

    /// Ends the shadow episode if its wait is over and no rule would trip. Returns whether it
    /// ended.
    pub(super) fn end_shadow_if_over(&mut self, rules: &Rules, at: Moment) -> bool {
        let Some(shadow) = &mut self.shadow else {
            return false;
        };
        if at < shadow.until {
            return false;
        }
        if would_trip(rules, &self.window, at) {
            shadow.look_at = self.window.next_departure(at).unwrap_or(Moment::NEVER);
            return false;
        }
        self.shadow = None;
        true
    }
}

/// Returns from how many calls given up on there is a warning: a run as long as that of failures
/// that trips, or as many as the rule of calls given up wants.
fn worrying(rules: &Rules) -> u64 {
    let by_rule = rules.given_up.map_or(rules.min_calls, |rule| rule.calls);
    rules.consecutive.map_or(by_rule, |run| run.min(by_rule))
}
