//! One stretch of maintenance, from leaving `Serving` to returning to it.

use std::time::SystemTime;

use crate::facts::{
    evidence::Evidence,
    mode::{Cause, Mode},
};

/// From leaving `Serving` to returning to it: what began it, what happened, what it cost.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Episode {
    /// Numbers the episodes of one layer from 1 on.
    pub id: u64,
    /// Every cause that held at some time, in the order of appearance.
    pub causes: Vec<Cause>,
    /// When `Serving` was left.
    pub began: SystemTime,
    /// When it returned; `None` while the episode lasts.
    pub ended: Option<SystemTime>,
    /// The generation of its recovery; `None` while the episode lasts.
    pub generation: Option<u64>,
    /// What the first trip was decided on, if it tripped.
    pub evidence: Option<Evidence>,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that passed because they are exempt.
    pub exempt: u64,
    /// Probes let through.
    pub probes: u64,
    /// The modes it went through and when they began: the first 64, and how many came after.
    pub timeline: Vec<(SystemTime, Mode)>,
    /// How many mode changes the timeline does not show.
    pub timeline_cut: u64,
}
