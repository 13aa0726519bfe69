//! Events: the changes of a layer's state, in order.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    facts::{
        evidence::Evidence,
        mode::{Cause, Mode, Switches},
    },
    policy::changes::PolicyChange,
};

/// A change of a layer's state.
///
/// [`MaintenanceHandle::events`](crate::MaintenanceHandle::events) subscribes to them. The last 512
/// are kept.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The number of the event. Events of one layer are numbered from 1 without gaps.
    pub number: u64,
    /// When the change was due, even if it was applied later because nothing looked at the layer.
    pub at: SystemTime,
    /// What changed.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The mode changed. The event that explains the change comes before this one.
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
        /// The rule that fired, and the numbers it fired on.
        evidence: Evidence,
        /// How long the layer waits before the first probe.
        wait: Duration,
    },
    /// An operator engaged a hold, or replaced the one before.
    #[non_exhaustive]
    HoldEngaged {
        /// The operator.
        actor: Arc<str>,
        /// Why the hold was engaged.
        reason: Arc<str>,
        /// When the hold expires; `None` for a hold without expiry.
        until: Option<SystemTime>,
        /// Whether the hold lets reads pass.
        read_only: bool,
    },
    /// The operator's hold ended.
    #[non_exhaustive]
    HoldEnded {
        /// Whether it expired; otherwise an operator ended it.
        expired: bool,
    },
    /// The mode left `Serving`: an episode began.
    #[non_exhaustive]
    EpisodeBegan {
        /// The number of the episode, from 1.
        episode: u64,
        /// The cause that began it.
        cause: Cause,
    },
    /// The mode returned to `Serving`: the episode ended. There is one such event per episode.
    #[non_exhaustive]
    Recovered {
        /// The number of the episode that ended.
        episode: u64,
        /// The generation that begins.
        generation: u64,
    },
    /// Callers gave up and nothing came from the partner, but not enough of them waited long enough
    /// for a rule to fire. There is one such event an era.
    #[non_exhaustive]
    CallersGaveUp {
        /// The number of calls in the window that were given up after any wait.
        calls: u64,
        /// The longest wait among them, in whole milliseconds.
        longest_wait: Duration,
        /// The policy's `hang_limit`: a call that is given up after so long a wait has failed.
        hang_limit: Duration,
    },
    /// A whole wait passed in `Probing` without a request that may probe.
    WaitingForProbe,
    /// A whole wait passed in `Probing` in which probes ended and none gave evidence. There is one
    /// such event a wait.
    #[non_exhaustive]
    ProbingWithoutEvidence {
        /// The number of probes that ended in that wait.
        ended: u64,
        /// The code of the partner's last answer that proved nothing.
        last_code: Option<u16>,
    },
    /// The probes succeeded, and a ramp began: the share of calls that pass grows until all do.
    #[non_exhaustive]
    RampBegan {
        /// How long the ramp takes.
        duration: Duration,
    },
    /// A rule fired under dry run or bypass: a shadow episode began instead of a trip.
    #[non_exhaustive]
    WouldHaveTripped {
        /// The rule that fired, and the numbers it fired on.
        evidence: Evidence,
        /// How long the trip would have waited.
        wait: Duration,
    },
    /// The shadow episode ended.
    ShadowEnded,
    /// Dry run or bypass was switched on or off.
    #[non_exhaustive]
    Switched {
        /// Both switches after the change.
        switches: Switches,
    },
    /// An operator replaced the policy.
    #[non_exhaustive]
    PolicyReplaced {
        /// The settings that differ, old and new. There is at least one.
        changes: Arc<[PolicyChange]>,
    },
    /// An operator replaced the exemptions.
    ExemptionsReplaced,
    /// An operator emptied the window with [`reset`](crate::MaintenanceHandle::reset).
    WindowReset,
}
