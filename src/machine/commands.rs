//! What operators want, and what it changes (R19, R20, R23).

use std::{sync::Arc, time::Duration};

use super::{
    Machine, State,
    causes::{Held, Passing, Trip},
    probing::Probing,
};
use crate::{
    base::moment::Moment,
    counting::window::{Counts, Tally},
    error::CommandError,
    facts::{
        event::EventKind,
        evidence::{Evidence, Rule},
    },
    policy::rules::Rules,
};

/// What an operator wants.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Engage {
        expiry: Option<Duration>,
        passing: Passing,
        message: Option<Arc<str>>,
    },
    Release,
    ReleaseVerified,
    Trip,
    ProbeNow,
    Clear,
    Reset,
    DryRun(bool),
    Bypass(bool),
    ReplacePolicy(Box<Rules>),
    ReplaceExemptions,
}

impl Machine {
    /// Does what an operator wants; says whether that changed anything.
    pub(crate) fn command(
        &mut self,
        command: Command,
        actor: &Arc<str>,
        reason: &Arc<str>,
    ) -> Result<bool, CommandError> {
        let at = self.now;
        match command {
            Command::Engage {
                expiry,
                passing,
                message,
            } => {
                let until = expiry.map_or(Moment::NEVER, |span| at.after(span));
                let shown = until.known().map(|until| self.wall.at(until));
                self.causes.operator = Some(Held {
                    actor: actor.clone(),
                    reason: reason.clone(),
                    since: at,
                    until,
                    passing,
                    message,
                });
                self.tell(
                    at,
                    EventKind::HoldEngaged {
                        actor: actor.clone(),
                        reason: reason.clone(),
                        until: shown,
                        read_only: passing == Passing::Reads,
                    },
                );
                self.reconcile(at);
                Ok(true)
            }
            Command::Release => {
                self.end_hold(at)?;
                self.reconcile(at);
                Ok(true)
            }
            Command::ReleaseVerified => {
                self.needs_no_bypass()?;
                self.end_hold(at)?;
                let trip = self.causes.tripped.get_or_insert_with(|| {
                    let evidence = Evidence {
                        rule: Rule::Command,
                        total: 0,
                        failed: 0,
                        last_code: None,
                    };
                    Trip {
                        actor: actor.clone(),
                        reason: reason.clone(),
                        evidence,
                        since: at,
                        until: at,
                        wait: self.rules.wait,
                    }
                });
                trip.until = trip.until.min(at);
                self.reconcile(at);
                Ok(true)
            }
            Command::Trip => {
                self.needs_no_bypass()?;
                let counts = self.live_counts(at);
                let evidence = Evidence {
                    rule: Rule::Command,
                    total: counts.total,
                    failed: counts.failed,
                    last_code: None,
                };
                // A running wait is begun again, not grown: the partner has not failed once more.
                let running = self
                    .causes
                    .tripped
                    .as_ref()
                    .filter(|trip| at < trip.until)
                    .map(|trip| trip.wait);
                self.forget_old_trips(at);
                let wait = running.unwrap_or_else(|| self.backoff.next(&self.rules, at));
                self.trip_for(actor.clone(), reason.clone(), evidence, wait, at);
                Ok(true)
            }
            Command::ProbeNow => {
                let Some(trip) = &mut self.causes.tripped else {
                    return Err(CommandError::NotTripped);
                };
                let running = at < trip.until;
                trip.until = trip.until.min(at);
                self.reconcile(at);
                Ok(running)
            }
            Command::Clear => Ok(self.clear(at)),
            Command::Reset => {
                self.clear(at);
                self.begin_anew(at);
                Ok(true)
            }
            Command::DryRun(on) => {
                let changed = std::mem::replace(&mut self.switches.dry_run, on) != on;
                Ok(changed && self.switched(at))
            }
            Command::Bypass(on) => {
                let changed = std::mem::replace(&mut self.switches.bypass, on) != on;
                Ok(changed && self.switched(at))
            }
            Command::ReplacePolicy(rules) => Ok(self.replace_policy(*rules, at)),
            Command::ReplaceExemptions => {
                self.tell(at, EventKind::ExemptionsReplaced);
                Ok(true)
            }
        }
    }

    fn end_hold(&mut self, at: Moment) -> Result<(), CommandError> {
        if self.causes.operator.take().is_none() {
            return Err(CommandError::NotHeld);
        }
        self.tell(at, EventKind::HoldEnded { expired: false });
        Ok(())
    }

    fn needs_no_bypass(&self) -> Result<(), CommandError> {
        if self.switches.bypass {
            Err(CommandError::Bypassed)
        } else {
            Ok(())
        }
    }

    fn clear(&mut self, at: Moment) -> bool {
        let held = self.end_hold(at).is_ok();
        let tripped = self.causes.tripped.take().is_some();
        self.backoff.start_anew();
        self.backoff.partner_is_back();
        self.reconcile(at);
        held || tripped
    }

    /// Empties the window and begins a new era, in whatever mode.
    fn begin_anew(&mut self, at: Moment) {
        self.era += 1;
        self.tell(at, EventKind::WindowReset);
        self.end_shadow(at);
        match &mut self.state {
            State::Serving(serving) => {
                serving.window.clear();
                serving.last_code = None;
            }
            State::Maintenance { frozen, .. } => *frozen = Counts::default(),
            // `clear` came before: nothing is left to probe for. A later cause may hold; then the probes begin anew.
            State::Probing(probing) => {
                *probing = Probing::begin(probing.trials, self.rules.wait, at);
            }
        }
    }

    /// Either switch, on or off: rules that may not act leave no trip behind.
    fn switched(&mut self, at: Moment) -> bool {
        self.tell(
            at,
            EventKind::Switched {
                switches: self.switches,
            },
        );
        if self.switches.armed() {
            self.end_shadow(at);
        } else {
            self.causes.tripped = None;
        }
        self.reconcile(at);
        true
    }

    fn replace_policy(&mut self, rules: Rules, at: Moment) -> bool {
        if self.rules == rules {
            return false;
        }
        let reshaped = self.rules.window != rules.window;
        self.rules = rules;
        if let State::Serving(serving) = &mut self.state
            && reshaped
        {
            serving.window = Tally::new(self.rules.window);
        }
        self.tell(at, EventKind::PolicyReplaced);
        // Under the new thresholds, or with an empty window, no rule may trip any more.
        self.end_shadow_if_over(at);
        true
    }
}
