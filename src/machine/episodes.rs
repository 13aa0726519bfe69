//! Episodes: from leaving `Serving` to returning to it.

use std::time::SystemTime;

use super::{Machine, Traffic, word::MAX_GENERATION};
use crate::{
    base::moment::Moment,
    facts::{
        episode::Episode,
        event::EventKind,
        mode::{Cause, Mode},
    },
};

/// How many mode changes an episode's timeline shows.
pub(super) const TIMELINE_ROWS: usize = 64;

#[derive(Debug)]
pub(super) struct Open {
    pub(super) episode: Episode,
    before: Traffic,
}

impl Machine {
    pub(super) fn begin_episode(&mut self, at: Moment) {
        let Some(cause) = self.causes.first() else {
            return;
        };
        self.episodes += 1;
        let id = self.episodes;
        let episode = Episode {
            id,
            causes: Vec::new(),
            began: self.wall.at(at),
            ended: None,
            generation: None,
            evidence: None,
            refused: 0,
            exempt: 0,
            probes: 0,
            timeline: Vec::new(),
            timeline_cut: 0,
        };
        self.episode = Some(Open {
            episode,
            before: self.traffic,
        });
        self.tell(at, EventKind::EpisodeBegan { episode: id, cause });
    }

    /// Adds to the episode what holds now.
    pub(super) fn note_causes(&mut self) {
        let Some(Open { episode, .. }) = &mut self.episode else {
            return;
        };
        let held = self.causes.operator.as_ref().map(|_| Cause::Operator);
        let tripped = self.causes.tripped.as_ref().map(|_| Cause::Tripped);
        for cause in held.into_iter().chain(tripped) {
            if !episode.causes.contains(&cause) {
                episode.causes.push(cause);
            }
        }
        if episode.evidence.is_none() {
            episode.evidence = self.causes.tripped.as_ref().map(|trip| trip.evidence);
        }
    }

    pub(super) fn end_episode(&mut self, at: Moment) {
        let Some(open) = self.episode.take() else {
            return;
        };
        // A wall clock that stepped back, or stands still, does not take the generation with it (R17).
        let generation = self
            .wall
            .millis(at)
            .max(self.generation + 1)
            .min(MAX_GENERATION);
        self.generation = generation;
        let mut episode = open.so_far(self.traffic);
        episode.ended = Some(self.wall.at(at));
        episode.generation = Some(generation);
        self.tell(
            at,
            EventKind::Recovered {
                episode: episode.id,
                generation,
            },
        );
        self.ended.push(episode);
    }
}

impl Open {
    pub(super) fn note_mode(&mut self, at: SystemTime, mode: Mode) {
        if self.episode.timeline.len() < TIMELINE_ROWS {
            self.episode.timeline.push((at, mode));
        } else {
            self.episode.timeline_cut += 1;
        }
    }

    /// The episode with what has passed by until now.
    pub(super) fn so_far(&self, traffic: Traffic) -> Episode {
        Episode {
            refused: traffic.refused.saturating_sub(self.before.refused),
            exempt: traffic.exempt.saturating_sub(self.before.exempt),
            ..self.episode.clone()
        }
    }
}
