//! What `Serving` keeps: the window, and the shadow of an episode that is not real.

use std::time::Duration;

use super::trip_rules::{judge, would_trip};
use crate::{
    base::moment::Moment,
    counting::window::{Landing, Tally},
    facts::evidence::Evidence,
    policy::rules::Rules,
};

#[derive(Debug)]
pub(super) struct Serving {
    pub(super) window: Tally,
    /// The code of the last failure.
    pub(super) last_code: Option<u16>,
    pub(super) shadow: Option<Shadow>,
}

/// An episode that dry run or bypass kept from being real.
#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) since: Moment,
    pub(super) evidence: Evidence,
    pub(super) wait: Duration,
    until: Moment,
    /// When it may end without anybody calling: the end of its wait, then whenever the window lets go.
    look_at: Moment,
}

impl Serving {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            window: Tally::new(rules.window),
            last_code: None,
            shadow: None,
        }
    }

    /// When time alone will change something here.
    pub(super) fn next_deadline(&self) -> Moment {
        let shadow = self.shadow.as_ref();
        shadow.map_or(Moment::NEVER, |shadow| shadow.look_at)
    }

    /// Counts what landed; returns the evidence if a rule fires on it.
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

    /// Forgets every outcome; the shadow stays.
    pub(super) fn clear(&mut self) {
        self.window.clear();
        self.last_code = None;
    }

    pub(super) fn begin_shadow(&mut self, evidence: Evidence, wait: Duration, at: Moment) {
        let until = at.after(wait);
        self.shadow = Some(Shadow {
            since: at,
            evidence,
            wait,
            until,
            look_at: until,
        });
    }

    /// Ends the shadow if its wait is over and no rule would trip; says whether it did.
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
