//! The last events, commands and episodes, in bounded memory.
//!
//! Subscribers pull events from one ordered log, instead of a channel per subscriber. The holder of
//! the machine's lock writes the log, so all subscribers see the same order. The writer pays one
//! wake-up, for one subscriber as for ten thousand.

use std::collections::VecDeque;

use crate::facts::{
    audit::{Action, AuditEntry},
    episode::Episode,
    event::Event,
};

/// The numbers of events, commands and episodes that are kept.
const EVENTS: usize = 512;
const COMMANDS: usize = 256;
const EPISODES: usize = 64;

/// The last events, commands and episodes of one layer.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    events: VecDeque<Event>,
    commands: VecDeque<AuditEntry>,
    episodes: VecDeque<Episode>,
    /// The number of commands so far.
    commanded: u64,
    /// Whether a command has replaced the policy or the exemptions.
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

    /// Numbers `entry` and keeps it.
    pub(crate) fn write_command(&mut self, mut entry: AuditEntry) {
        self.commanded += 1;
        self.replaced |= matches!(
            entry.action,
            Action::ReplacePolicy | Action::ReplaceExemptions
        );
        entry.number = self.commanded;
        push_bounded(&mut self.commands, entry, COMMANDS);
    }

    /// Tells whether a command has replaced the policy or the exemptions of the builder.
    pub(crate) fn has_replaced(&self) -> bool {
        self.replaced
    }

    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.commands.iter().cloned().collect()
    }

    pub(crate) fn episodes(&self) -> Vec<Episode> {
        self.episodes.iter().cloned().collect()
    }

    /// Returns the number of the next event.
    pub(crate) fn next_number(&self) -> u64 {
        self.events.back().map_or(1, |event| event.number + 1)
    }

    /// Returns the event with this number, or the oldest that is kept if that one is gone.
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
