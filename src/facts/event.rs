//! What happened: events for whoever listens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::facts::{
    evidence::Evidence,
    mode::{Cause, Mode, Switches},
};

/// Something that happened to the layer's state, at the instant it fell due.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Numbers the events of one layer from 1 on, without gaps.
    pub number: u64,
    /// When it fell due, however late somebody looked.
    pub at: SystemTime,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The mode changed. Comes after the event that says why.
    #[non_exhaustive]
    ModeChanged {
        /// The mode that ended.
        from: Mode,
        /// The mode that began.
        to: Mode,
    },
    /// The layer tripped.
    #[non_exhaustive]
    Tripped {
        /// What it tripped on.
        evidence: Evidence,
        /// How long until the first probe.
        wait: Duration,
    },
    /// An operator's hold began, or replaced the one before.
    #[non_exhaustive]
    HoldEngaged {
        /// Who.
        actor: Arc<str>,
        /// Why.
        reason: Arc<str>,
        /// Until when at most.
        until: Option<SystemTime>,
        /// Whether reads pass.
        read_only: bool,
    },
    /// The operator's hold ended.
    #[non_exhaustive]
    HoldEnded {
        /// Whether by itself.
        expired: bool,
    },
    /// `Serving` was left: an episode began.
    #[non_exhaustive]
    EpisodeBegan {
        /// The episode's number, from 1 on.
        episode: u64,
        /// What began it.
        cause: Cause,
    },
    /// `Serving` is back: the episode ended. Once per episode.
    #[non_exhaustive]
    Recovered {
        /// The episode that ended.
        episode: u64,
        /// The new generation.
        generation: u64,
    },
    /// A whole wait passed in `Probing` without a request that may probe.
    WaitingForProbe,
    /// The probes succeeded; traffic grows for `duration` before it is let through whole.
    #[non_exhaustive]
    RampBegan {
        /// How long until all of it passes.
        duration: Duration,
    },
    /// A rule would have tripped, but for dry run or bypass.
    #[non_exhaustive]
    WouldHaveTripped {
        /// What it would have tripped on.
        evidence: Evidence,
        /// How long it would have waited.
        wait: Duration,
    },
    /// The shadow of an episode that dry run or bypass kept from being real ended.
    ShadowEnded,
    /// Dry run or bypass was switched.
    #[non_exhaustive]
    Switched {
        /// How they stand now.
        switches: Switches,
    },
    /// The policy was replaced.
    PolicyReplaced,
    /// The exemptions were replaced.
    ExemptionsReplaced,
    /// The window was emptied by `reset`.
    WindowReset,
}
