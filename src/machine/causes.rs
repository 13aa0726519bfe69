//! The causes of maintenance, and the mode that is derived from them.

use std::{sync::Arc, time::Duration};

use super::{probing::Proof, signature::Signature};
use crate::{
    base::moment::Moment,
    facts::{
        evidence::Evidence,
        mode::{Cause, Mode},
    },
};

/// An operator's hold that is in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) by: Signature,
    pub(crate) since: Moment,
    /// [`Moment::NEVER`] for a hold without expiry.
    pub(crate) until: Moment,
    pub(crate) passing: Passing,
    /// The message for customers.
    pub(crate) message: Option<Arc<str>>,
}

/// What passes under a hold besides exempt requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    Nothing,
    Reads,
}

/// A trip and its wait.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trip {
    pub(crate) by: Signature,
    pub(crate) evidence: Evidence,
    pub(crate) since: Moment,
    /// When the wait ends. It also ends beneath a hold, where it changes nothing.
    pub(crate) until: Moment,
    /// The length of the wait. In `Probing` it is also how long the machine waits for a probe
    /// before it warns.
    pub(crate) wait: Duration,
    /// What the probes before it proved, if the partner asked for it and gave no evidence.
    pub(crate) proof: Option<Proof>,
}

/// The set of causes. The mode is derived from this set and from bypass.
///
/// A further cause, such as a planned window or the decision of a fleet, becomes a field here, and
/// every method of this type takes it into account.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    pub(crate) operator: Option<Held>,
    /// Boxed: a layer that serves is smaller without it.
    pub(crate) tripped: Option<Box<Trip>>,
}

impl Causes {
    /// Returns the mode at `at`. Bypass is not considered.
    pub(crate) fn mode(&self, at: Moment) -> Mode {
        match (&self.operator, &self.tripped) {
            (Some(_), _) => Mode::Maintenance,
            (None, Some(trip)) if at < trip.until => Mode::Maintenance,
            (None, Some(_)) => Mode::Probing,
            (None, None) => Mode::Serving,
        }
    }

    /// Returns what passes while the gate is shut. A hold takes precedence over a trip,
    /// because an operator can let reads pass although the layer is tripped.
    pub(crate) fn passing(&self) -> Passing {
        let held = self.operator.as_ref();
        held.map_or(Passing::Nothing, |held| held.passing)
    }

    /// Returns the kinds of causes that are active: a hold before a trip.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Cause> + use<> {
        let held = self.operator.as_ref().map(|_| Cause::Operator);
        let tripped = self.tripped.as_ref().map(|_| Cause::Tripped);
        held.into_iter().chain(tripped)
    }

    /// Returns the cause that determines the mode.
    pub(crate) fn first(&self) -> Option<Cause> {
        self.kinds().next()
    }

    /// Returns when maintenance ends: at the expiry of a hold without a trip beneath it. The end of
    /// a trip's wait does not end maintenance, because the partner must pass the probes first.
    pub(crate) fn promised_end(&self) -> Moment {
        match (&self.operator, &self.tripped) {
            (Some(held), None) => held.until,
            (_, Some(_)) | (None, None) => Moment::NEVER,
        }
    }

    /// Returns when the last cause that keeps the gate shut ends; [`Moment::NEVER`] if that is
    /// unknown.
    pub(crate) fn known_end(&self) -> Moment {
        let held = self.operator.as_ref().map(|held| held.until);
        let wait = self.tripped.as_ref().map(|trip| trip.until);
        held.max(wait).unwrap_or(Moment::NEVER)
    }
}
