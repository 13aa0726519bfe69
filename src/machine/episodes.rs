//! The episodes: periods from leaving `Serving` to the return to it.

use std::time::SystemTime;

use super::causes::Causes;
use crate::facts::{episode::Episode, mode::Mode};

/// How many mode changes the timeline of an episode keeps.
pub(super) const TIMELINE_ROWS: usize = 64;

/// The requests that passed or were refused without the lock. The caller of `tick` counts them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) exempt: u64,
    /// Reads that passed under a read-only hold.
    pub(crate) reads: u64,
}

/// The episode under way, and those that ended since the last [`take_ended`](Self::take_ended).
#[derive(Debug, Default)]
pub(super) struct Episodes {
    /// Boxed: a layer that serves is smaller without it.
    open: Option<Box<Open>>,
    /// The number of episodes so far.
    begun: u64,
    ended: Vec<Episode>,
}

#[derive(Debug)]
struct Open {
    episode: Episode,
    /// The traffic at its beginning.
    before: Traffic,
}

impl Episodes {
    /// Begins an episode. Returns its number.
    pub(super) fn begin(&mut self, at: SystemTime, traffic: Traffic) -> u64 {
        self.begun += 1;
        let episode = Episode {
            id: self.begun,
            causes: Vec::new(),
            began: at,
            ended: None,
            generation: None,
            evidence: None,
            refused: 0,
            exempt: 0,
            probes: 0,
            timeline: Vec::new(),
            timeline_cut: 0,
        };
        self.open = Some(Box::new(Open {
            episode,
            before: traffic,
        }));
        self.begun
    }

    /// Adds the active causes to the episode.
    pub(super) fn note_causes(&mut self, causes: &Causes) {
        let Some(open) = &mut self.open else {
            return;
        };
        let episode = &mut open.episode;
        for cause in causes.kinds() {
            if !episode.causes.contains(&cause) {
                episode.causes.push(cause);
            }
        }
        if episode.evidence.is_none() {
            episode.evidence = causes.tripped.as_ref().map(|trip| trip.evidence);
        }
    }

    pub(super) fn note_mode(&mut self, at: SystemTime, mode: Mode) {
        let Some(open) = &mut self.open else {
            return;
        };
        let episode = &mut open.episode;
        if episode.timeline.len() < TIMELINE_ROWS {
            episode.timeline.push((at, mode));
        } else {
            episode.timeline_cut += 1;
        }
    }

    pub(super) fn note_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.episode.probes += 1;
        }
    }

    /// Ends the episode under way. Returns its number.
    pub(super) fn end(&mut self, at: SystemTime, generation: u64, traffic: Traffic) -> Option<u64> {
        let episode = self.open.take()?.so_far(traffic);
        let id = episode.id;
        self.ended.push(Episode {
            ended: Some(at),
            generation: Some(generation),
            ..episode
        });
        Some(id)
    }

    /// Returns the episode under way, with the traffic up to now.
    pub(super) fn so_far(&self, traffic: Traffic) -> Option<Episode> {
        self.open.as_ref().map(|open| open.so_far(traffic))
    }

    /// Returns the number of the episode under way.
    pub(super) fn number(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.episode.id)
    }

    /// Returns the number of episodes so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Returns when the episode under way began.
    pub(super) fn began(&self) -> Option<SystemTime> {
        self.open.as_ref().map(|open| open.episode.began)
    }

    /// Returns the episodes that ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Episode> {
        std::mem::take(&mut self.ended)
    }
}

impl Open {
    fn so_far(&self, traffic: Traffic) -> Episode {
        Episode {
            refused: traffic.refused.saturating_sub(self.before.refused),
            exempt: traffic.exempt.saturating_sub(self.before.exempt),
            ..self.episode.clone()
        }
    }
}
