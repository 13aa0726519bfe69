//! What is remembered: the last events, commands and episodes, bounded.
//!
//! Events are *pulled* from one ordered log instead of pushed into a channel per subscriber: the
//! lock that decides also writes the log, so that everybody sees the same order, and ten thousand
//! subscribers cost the mover nothing but one wake-up.

use std::collections::VecDeque;

use crate::facts::{
    audit::{Action, AuditEntry},
    episode::Episode,
    event::Event,
};

const EVENTS: usize = 512;
const COMMANDS: usize = 256;
const EPISODES: usize = 64;

/// The last of everything.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    events: VecDeque<Event>,
    commands: VecDeque<AuditEntry>,
    episodes: VecDeque<Episode>,
    commanded: u64,
    /// Whether a command has replaced what the layer was built with.
    replaced: bool,
}

impl Journal {
    pub(crate) fn write(&mut self, events: &[Event], ended: Vec<Episode>) {
        for event in events {
            push_bounded(&mut self.events, event.clone(), EVENTS);
        }
        for episode in ended {
            push_bounded(&mut self.episodes, episode, EPISODES);
        }
    }

    pub(crate) fn write_command(&mut self, mut entry: AuditEntry) {
        self.commanded += 1;
        self.replaced |= matches!(
            entry.action,
            Action::ReplacePolicy | Action::ReplaceExemptions
        );
        entry.number = self.commanded;
        push_bounded(&mut self.commands, entry, COMMANDS);
    }

    /// Whether policy and exemptions may be others than the layer was built with.
    pub(crate) fn has_replaced(&self) -> bool {
        self.replaced
    }

    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.commands.iter().cloned().collect()
    }

    pub(crate) fn episodes(&self) -> Vec<Episode> {
        self.episodes.iter().cloned().collect()
    }

    /// The number the next event will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.events.back().map_or(1, |event| event.number + 1)
    }

    /// The event with this number, or the oldest that is left after it.
    pub(crate) fn event(&self, number: u64) -> Option<&Event> {
        let oldest = self.events.front()?.number;
        let index = usize::try_from(number.saturating_sub(oldest)).ok()?;
        self.events.get(index)
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}
