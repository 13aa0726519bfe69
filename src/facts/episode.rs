//! An episode: one period outside `Serving`.

use std::time::SystemTime;

use crate::facts::{
    evidence::Evidence,
    mode::{Cause, Mode},
};

/// One period from leaving `Serving` to the return to it.
///
/// [`MaintenanceHandle::episodes`](crate::MaintenanceHandle::episodes) returns the last 64 that
/// ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Episode {
    /// The number of the episode. Episodes of one layer are numbered from 1 without gaps.
    pub id: u64,
    /// Every cause that was active during the episode, in the order in which they appeared.
    pub causes: Vec<Cause>,
    /// When `Serving` was left.
    pub began: SystemTime,
    /// When the mode returned to `Serving`; `None` while the episode lasts.
    pub ended: Option<SystemTime>,
    /// The generation that the recovery began; `None` while the episode lasts.
    pub generation: Option<u64>,
    /// The evidence of the first trip; `None` if the layer did not trip.
    pub evidence: Option<Evidence>,
    /// The number of requests that were refused.
    pub refused: u64,
    /// The number of requests that passed because they are exempt.
    pub exempt: u64,
    /// The number of probes that were let through.
    pub probes: u64,
    /// The modes and when each began. The first 64 are kept, because memory is bounded.
    pub timeline: Vec<(SystemTime, Mode)>,
    /// The number of mode changes that came after the 64 of the timeline.
    pub timeline_cut: u64,
}
