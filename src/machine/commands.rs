//! The commands of operators, and what each of them changes (R19, R20, R23).

use std::{sync::Arc, time::Duration};

use super::{
    Machine, State,
    causes::{Held, Passing, Trip},
    probing::Probing,
    signature::Signature,
    trip_rules::evidence,
};
use crate::{
    base::moment::Moment,
    counting::{counts::Counts, window::Tally},
    error::CommandError,
    facts::{audit::Action, event::EventKind, evidence::Rule, mode::Switches},
    policy::{changes::PolicyChange, rules::Rules},
};

/// A command of an operator, with the data that the machine needs for it.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Engage(Engagement),
    Release,
    ReleaseVerified,
    Trip,
    ProbeNow,
    Clear,
    Reset,
    DryRun,
    Arm,
    Bypass,
    EndBypass,
    ReplacePolicy(Box<Rules>),
    ReplaceExemptions,
}

/// The properties of a hold to engage.
#[derive(Debug, Clone)]
pub(crate) struct Engagement {
    pub(crate) expiry: Option<Duration>,
    pub(crate) passing: Passing,
    pub(crate) message: Option<Arc<str>>,
}

impl Command {
    /// Returns the verb that the audit trail shows.
    pub(crate) fn action(&self) -> Action {
        match self {
            Self::Engage(_) => Action::Engage,
            Self::Release => Action::Release,
            Self::ReleaseVerified => Action::ReleaseVerified,
            Self::Trip => Action::Trip,
            Self::ProbeNow => Action::ProbeNow,
            Self::Clear => Action::Clear,
            Self::Reset => Action::Reset,
            Self::DryRun => Action::DryRun,
            Self::Arm => Action::Arm,
            Self::Bypass => Action::Bypass,
            Self::EndBypass => Action::EndBypass,
            Self::ReplacePolicy(_) => Action::ReplacePolicy,
            Self::ReplaceExemptions => Action::ReplaceExemptions,
        }
    }
}

impl Machine {
    /// Carries out a command. Returns whether it changed anything.
    pub(crate) fn command(
        &mut self,
        command: Command,
        by: &Signature,
    ) -> Result<bool, CommandError> {
        let at = self.now;
        let switches = self.switches;
        let dry_run = |dry_run| Switches {
            dry_run,
            ..switches
        };
        let bypass = |bypass| Switches { bypass, ..switches };
        match command {
            Command::Engage(engagement) => Ok(self.engage(engagement, by, at)),
            Command::Release => self.release(at),
            Command::ReleaseVerified => self.release_verified(by, at),
            Command::Trip => self.trip_by_command(by, at),
            Command::ProbeNow => self.probe_now(at),
            Command::Clear => Ok(self.clear(at)),
            Command::Reset => Ok(self.reset(at)),
            Command::DryRun => Ok(self.switch(dry_run(true), at)),
            Command::Arm => Ok(self.switch(dry_run(false), at)),
            Command::Bypass => Ok(self.switch(bypass(true), at)),
            Command::EndBypass => Ok(self.switch(bypass(false), at)),
            Command::ReplacePolicy(rules) => Ok(self.replace_policy(*rules, at)),
            Command::ReplaceExemptions => Ok(self.exemptions_replaced(at)),
        }
    }

    /// Returns what `command` would change in the policy, for the audit trail.
    pub(crate) fn policy_changes(&self, command: &Command) -> Arc<[PolicyChange]> {
        match command {
            Command::ReplacePolicy(rules) => self.rules.policy.changes(&rules.policy).into(),
            _ => Arc::default(),
        }
    }

    fn engage(&mut self, engagement: Engagement, by: &Signature, at: Moment) -> bool {
        if self.causes.operator.is_some() && mutant!("the first hold stays") {
            return true;
        }
        let Engagement {
            expiry,
            passing,
            message,
        } = engagement;
        let expiry = expiry.filter(|_| !mutant!("a hold never expires"));
        let until = expiry.map_or(Moment::NEVER, |span| at.after(span));
        self.causes.operator = Some(Held {
            by: by.clone(),
            since: at,
            until,
            passing,
            message,
        });
        self.tell(
            at,
            EventKind::HoldEngaged {
                actor: by.actor.clone(),
                reason: by.reason.clone(),
                until: until.known().map(|until| self.wall.at(until)),
                read_only: passing == Passing::Reads,
            },
        );
        self.reconcile(at);
        true
    }

    fn release(&mut self, at: Moment) -> Result<bool, CommandError> {
        self.end_hold(at)?;
        if mutant!("a release ends the trip beneath the hold") {
            self.causes.tripped = None;
        }
        self.reconcile(at);
        Ok(true)
    }

    /// Ends the hold and leaves a trip whose wait is over: the one beneath the hold, or else a new
    /// one.
    fn release_verified(&mut self, by: &Signature, at: Moment) -> Result<bool, CommandError> {
        self.needs_no_bypass()?;
        self.end_hold(at)?;
        let wait = self.rules.wait;
        let trip = self.causes.tripped.get_or_insert_with(|| {
            Box::new(Trip {
                by: by.clone(),
                evidence: evidence(Rule::Command, Counts::default(), None),
                since: at,
                until: at,
                wait,
                proof: None,
            })
        });
        trip.until = trip.until.min(at);
        self.reconcile(at);
        Ok(true)
    }

    fn trip_by_command(&mut self, by: &Signature, at: Moment) -> Result<bool, CommandError> {
        self.needs_no_bypass()?;
        let evidence = self.evidence(Rule::Command, None, at);
        // A wait that is running starts again with the same length: the partner has not failed
        // again.
        let trip = self.causes.tripped.as_ref();
        let running = trip.filter(|trip| at < trip.until).map(|trip| trip.wait);
        self.forget_old_trips(at);
        let wait = running.unwrap_or_else(|| self.backoff.next(&self.rules, at));
        self.trip_for(by.clone(), evidence, wait, at);
        Ok(true)
    }

    fn probe_now(&mut self, at: Moment) -> Result<bool, CommandError> {
        let Some(trip) = &mut self.causes.tripped else {
            return Err(CommandError::NotTripped);
        };
        let was_waiting = at < trip.until;
        if !mutant!("probe_now does not end the wait") {
            trip.until = trip.until.min(at);
        }
        self.reconcile(at);
        Ok(was_waiting)
    }

    fn clear(&mut self, at: Moment) -> bool {
        let held = self.end_hold(at).is_ok();
        let tripped = self.causes.tripped.take().is_some();
        self.backoff.start_anew();
        self.backoff.partner_is_back();
        self.reconcile(at);
        held || tripped
    }

    /// [`clear`](Self::clear), then in every mode empties the window and begins a new era.
    fn reset(&mut self, at: Moment) -> bool {
        self.clear(at);
        if !mutant!("a reset begins no era") {
            self.era += 1;
        }
        self.tell(at, EventKind::WindowReset);
        self.end_shadow(at);
        self.cut_probes_off();
        match &mut self.state {
            State::Serving(_) if mutant!("reset does not empty the window") => {}
            State::Serving(serving) => serving.clear(),
            State::Maintenance { frozen, .. } => *frozen = Counts::default(),
            // After `clear` no cause is left that leads to `Probing`. A further cause could: then
            // the probes start again.
            State::Probing(probing) => {
                **probing = Probing::begin(probing.trials, self.rules.wait, None, at);
            }
        }
        true
    }

    /// Sets both switches. Rules that do not act leave no trip in force.
    fn switch(&mut self, switches: Switches, at: Moment) -> bool {
        if self.switches == switches {
            return false;
        }
        self.switches = switches;
        self.tell(at, EventKind::Switched { switches });
        if switches.armed() {
            self.end_shadow(at);
        } else {
            self.causes.tripped = None;
        }
        self.reconcile(at);
        true
    }

    fn replace_policy(&mut self, rules: Rules, at: Moment) -> bool {
        let changes = self.rules.policy.changes(&rules.policy);
        if mutant!("a new policy is not taken up") {
            return false;
        }
        if changes.is_empty() {
            // It acts as the old one. What it leaves to other settings may differ.
            self.rules = rules;
            return false;
        }
        let reshaped =
            self.rules.window != rules.window || mutant!("every new policy empties the window");
        self.rules = rules;
        if let State::Serving(serving) = &mut self.state
            && reshaped
            && !mutant!("a new window keeps its old shape")
        {
            serving.window = Tally::new(self.rules.window);
        }
        let changes = changes.into();
        self.tell(at, EventKind::PolicyReplaced { changes });
        // With the new thresholds, or with an empty window, perhaps no rule would trip.
        self.end_shadow_if_over(at);
        true
    }

    fn exemptions_replaced(&mut self, at: Moment) -> bool {
        self.tell(at, EventKind::ExemptionsReplaced);
        true
    }

    fn end_hold(&mut self, at: Moment) -> Result<(), CommandError> {
        if self.causes.operator.take().is_none() && !mutant!("a release needs no hold") {
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
}
