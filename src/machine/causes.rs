//! Who holds maintenance, and the mode that follows.

use std::{sync::Arc, time::Duration};

use crate::{
    base::moment::Moment,
    facts::{
        evidence::Evidence,
        mode::{Cause, Mode},
    },
};

/// An operator's hold as the machine keeps it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) actor: Arc<str>,
    pub(crate) reason: Arc<str>,
    pub(crate) since: Moment,
    /// [`Moment::NEVER`] for a hold without expiry.
    pub(crate) until: Moment,
    pub(crate) passing: Passing,
    /// What customers are told.
    pub(crate) message: Option<Arc<str>>,
}

/// What passes under a hold that is not exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    Nothing,
    Reads,
}

/// A trip and its wait.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trip {
    pub(crate) actor: Arc<str>,
    pub(crate) reason: Arc<str>,
    pub(crate) evidence: Evidence,
    pub(crate) since: Moment,
    /// When the wait is over; beneath a hold it runs on unseen.
    pub(crate) until: Moment,
    /// How long the wait is, also the patience of `Probing`.
    pub(crate) wait: Duration,
}

/// The set of causes. The mode is derived from it, and from nothing else.
///
/// A later cause (a planned window, a fleet's verdict) is one more field here, read in `mode` and `until`.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    pub(crate) operator: Option<Held>,
    pub(crate) tripped: Option<Trip>,
}

impl Causes {
    /// The mode at `at`, bypass left aside.
    pub(crate) fn mode(&self, at: Moment) -> Mode {
        match (&self.operator, &self.tripped) {
            (Some(_), _) => Mode::Maintenance,
            (None, Some(trip)) if at < trip.until => Mode::Maintenance,
            (None, Some(_)) => Mode::Probing,
            (None, None) => Mode::Serving,
        }
    }

    /// What passes while they keep the gate shut. An operator beats what is automatic: who lets reads pass
    /// over a trip knows of it.
    pub(crate) fn passing(&self) -> Passing {
        let held = self.operator.as_ref();
        held.map_or(Passing::Nothing, |held| held.passing)
    }

    /// The cause to name: an operator beats what is automatic.
    pub(crate) fn first(&self) -> Option<Cause> {
        if self.operator.is_some() {
            return Some(Cause::Operator);
        }
        self.tripped.as_ref().map(|_| Cause::Tripped)
    }

    /// When maintenance will be over, where somebody said so: at the expiry of a hold with nothing beneath. The
    /// end of a trip's wait is no such end, the partner has to prove itself first.
    pub(crate) fn promised_end(&self) -> Moment {
        match (&self.operator, &self.tripped) {
            (Some(held), None) => held.until,
            (_, Some(_)) | (None, None) => Moment::NEVER,
        }
    }

    /// When the last cause that keeps the gate shut will have ended; [`Moment::NEVER`] if nobody knows.
    pub(crate) fn known_end(&self) -> Moment {
        let held = self.operator.as_ref().map(|held| held.until);
        let wait = self.tripped.as_ref().map(|trip| trip.until);
        held.max(wait).unwrap_or(Moment::NEVER)
    }
}
