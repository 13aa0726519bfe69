//! The state machine: pure, clock-free, and the only place that decides.
//!
//! Why pure: whether maintenance begins or ends is worth money, so it must be possible to replay and
//! to model. Time comes in as [`Moment`]s, what happened goes out as [`Event`] values; there is no
//! clock, atomic, runtime, log or user's closure in here, and no failure.
//!
//! How: a set of [`Causes`] is all that anybody may change. [`Machine::reconcile`] derives the mode
//! from it and is the only place that moves from one [`State`] to another; each move begins an era.
//! [`Machine::tick`] moves time: what fell due is applied in order, each at the moment it fell due,
//! however late somebody looks. Every entry point ticks first.

mod backoff;
mod calls;
mod causes;
mod commands;
mod episodes;
mod probing;
mod report;
mod serving;
mod signature;
mod trip_rules;
mod trips;
pub(crate) mod word;

use std::{sync::Arc, time::SystemTime};

use self::{
    backoff::Backoff,
    causes::Causes,
    episodes::Episodes,
    probing::Probing,
    serving::Serving,
    word::{MAX_GENERATION, era_bits},
};
pub(crate) use self::{
    calls::{Asker, Ending, Role},
    causes::Passing,
    commands::{Command, Engagement},
    episodes::Traffic,
    probing::Slot,
    signature::{Signature, check_text},
};
use crate::{
    base::{
        clock::WallAnchor,
        moment::{Moment, nanos},
    },
    counting::{
        lanes::{Landed, Open as OpenLanes},
        window::Counts,
    },
    facts::{
        event::{Event, EventKind},
        mode::{Mode, Switches},
        status::CallCounts,
    },
    policy::rules::Rules,
};

/// What one mode needs; a deadline without maintenance cannot be written.
#[derive(Debug)]
enum State {
    Serving(Serving),
    /// With what the window held when it was left.
    Maintenance {
        frozen: Counts,
        passing: Passing,
    },
    Probing(Probing),
}

/// Who began a machine, and with what.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) partner: Arc<str>,
    pub(crate) rules: Rules,
    pub(crate) wall: WallAnchor,
    pub(crate) generation: Option<u64>,
    pub(crate) seed: Option<u64>,
    pub(crate) switches: Switches,
}

/// The state of one layer.
#[derive(Debug)]
pub(crate) struct Machine {
    partner: Arc<str>,
    rules: Rules,
    wall: WallAnchor,
    /// The latest moment seen: time never goes back.
    now: Moment,
    switches: Switches,
    causes: Causes,
    state: State,
    /// When the mode began.
    since: Moment,
    era: u64,
    generation: u64,
    backoff: Backoff,
    episodes: Episodes,
    pings: u32,
    calls: CallCounts,
    traffic: Traffic,
    /// What had passed by when the mode began.
    entry: Traffic,
    events: Vec<Event>,
    told: u64,
}

impl Machine {
    pub(crate) fn new(birth: Birth) -> Self {
        let Birth {
            partner,
            rules,
            wall,
            generation,
            seed,
            switches,
        } = birth;
        let generation =
            generation.unwrap_or_else(|| wall.millis(Moment::ORIGIN).min(MAX_GENERATION));
        Self {
            partner,
            state: State::Serving(Serving::new(&rules)),
            rules,
            wall,
            now: Moment::ORIGIN,
            switches,
            causes: Causes::default(),
            since: Moment::ORIGIN,
            era: 1,
            generation,
            backoff: Backoff::new(seed),
            episodes: Episodes::default(),
            pings: 0,
            calls: CallCounts::default(),
            traffic: Traffic::default(),
            entry: Traffic::default(),
            events: Vec::new(),
            told: 0,
        }
    }

    // ---- time -------------------------------------------------------------------------------

    /// Takes note of what passed by, and applies everything that fell due up to `now`, in order (R11).
    pub(crate) fn tick(&mut self, now: Moment, traffic: Traffic) {
        self.traffic = traffic;
        let now = now.max(self.now);
        loop {
            let due = self.next_deadline();
            if due > now || due == Moment::NEVER {
                break;
            }
            self.now = due;
            self.fall_due(due);
        }
        self.now = now;
    }

    /// When time alone will change something; [`Moment::NEVER`] if it will not.
    pub(crate) fn next_deadline(&self) -> Moment {
        let held = self.causes.operator.as_ref();
        let tripped = self.causes.tripped.as_ref();
        let state = match &self.state {
            State::Serving(serving) => serving.next_deadline(),
            // Beneath a hold the wait runs on, but its end changes nothing.
            State::Maintenance { .. } if held.is_some() => Moment::NEVER,
            State::Maintenance { .. } => tripped.map_or(Moment::NEVER, |trip| trip.until),
            State::Probing(probing) => probing.next_deadline(),
        };
        held.map_or(Moment::NEVER, |held| held.until).min(state)
    }

    fn fall_due(&mut self, at: Moment) {
        let held = self.causes.operator.as_ref();
        if held.is_some_and(|held| held.until <= at) {
            self.causes.operator = None;
            self.tell(at, EventKind::HoldEnded { expired: true });
            self.reconcile(at);
            return;
        }
        match self.state {
            State::Serving(_) => self.end_shadow_if_over(at),
            State::Maintenance { .. } => self.reconcile(at),
            State::Probing(_) => self.probing_falls_due(at),
        }
    }

    /// How successes may be counted without asking here: only while they change nothing but a number.
    pub(crate) fn lanes(&self) -> Option<OpenLanes> {
        let State::Serving(serving) = &self.state else {
            return None;
        };
        let width = serving.window.width()?;
        if serving.shadow.is_some() || serving.window.counts(self.now).run > 0 {
            return None;
        }
        let slow_calls = self.rules.slow_calls;
        Some(OpenLanes {
            era: era_bits(self.era),
            width,
            slow_limit: slow_calls.map_or(u64::MAX, |slow| nanos(slow.longer_than)),
        })
    }

    /// Takes note of successes that were counted so. They count in the window that they were counted for, if it
    /// is still there (R8).
    pub(crate) fn landed(&mut self, landed: Landed) {
        self.calls.succeeded += landed.successes;
        let now = self.now;
        let era = era_bits(self.era);
        if let State::Serving(serving) = &mut self.state
            && era == landed.era
            && serving.window.width() == Some(landed.width)
        {
            let index = landed.index(now.0 / landed.width);
            serving.window.add_successes(index, landed.successes);
        }
    }

    // ---- entering and leaving ---------------------------------------------------------------

    /// The mode that the causes and the bypass make.
    fn derived(&self, at: Moment) -> Mode {
        if self.switches.bypass {
            Mode::Serving
        } else {
            self.causes.mode(at)
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.state {
            State::Serving(_) => Mode::Serving,
            State::Maintenance { .. } => Mode::Maintenance,
            State::Probing(_) => Mode::Probing,
        }
    }

    /// Moves to the mode that the causes make, if it is another: the only place that changes the state.
    fn reconcile(&mut self, at: Moment) {
        let (from, to) = (self.mode(), self.derived(at));
        if from == to {
            self.episodes.note_causes(&self.causes);
            self.note_passing();
            return;
        }
        let counts = self.live_counts(at);
        if from == Mode::Serving {
            if self.causes.operator.is_some() {
                // A trip beneath the hold finds the `Serving` that was.
                self.forget_old_trips(at);
            }
            self.end_shadow(at);
            self.begin_episode(at);
        }
        self.state = match to {
            Mode::Serving => State::Serving(Serving::new(&self.rules)),
            Mode::Maintenance => State::Maintenance {
                frozen: counts,
                passing: self.causes.passing(),
            },
            Mode::Probing => {
                let tripped = self.causes.tripped.as_ref();
                let patience = tripped.map_or(self.rules.wait, |trip| trip.wait);
                State::Probing(Probing::begin(self.rules.trials, patience, at))
            }
        };
        self.since = at;
        self.entry = self.traffic;
        self.era += 1;
        self.episodes.note_causes(&self.causes);
        self.episodes.note_mode(self.wall.at(at), to);
        self.tell(at, EventKind::ModeChanged { from, to });
        if to == Mode::Serving {
            self.end_episode(at);
        }
    }

    /// What passes changed within maintenance: a new era, so that no read which waits for the partner is let
    /// through on terms that are over.
    fn note_passing(&mut self) {
        let now = self.causes.passing();
        if let State::Maintenance { passing, .. } = &mut self.state
            && *passing != now
        {
            *passing = now;
            self.era += 1;
        }
    }

    fn begin_episode(&mut self, at: Moment) {
        let Some(cause) = self.causes.first() else {
            return;
        };
        let episode = self.episodes.begin(self.wall.at(at), self.traffic);
        self.tell(at, EventKind::EpisodeBegan { episode, cause });
    }

    fn end_episode(&mut self, at: Moment) {
        // A wall clock that stepped back, or stands still, does not take the generation with it (R17).
        let generation = self.wall.millis(at).max(self.generation + 1);
        let generation = generation.min(MAX_GENERATION);
        let wall = self.wall.at(at);
        let Some(episode) = self.episodes.end(wall, generation, self.traffic) else {
            return;
        };
        self.generation = generation;
        self.tell(
            at,
            EventKind::Recovered {
                episode,
                generation,
            },
        );
    }

    // ---- what is told from outside ----------------------------------------------------------

    /// A synthetic ping began: while one lives customers do not probe.
    pub(crate) fn ping_began(&mut self) {
        self.pings = self.pings.saturating_add(1);
    }

    pub(crate) fn ping_ended(&mut self) {
        self.pings = self.pings.saturating_sub(1);
    }

    pub(crate) fn wall_clock_reads(&mut self, wall: SystemTime) {
        self.wall = WallAnchor::so_that(self.now, wall);
    }

    /// The numbers to show: live in `Serving` and `Probing`, frozen in `Maintenance`.
    fn live_counts(&self, at: Moment) -> Counts {
        match &self.state {
            State::Serving(serving) => serving.window.counts(at),
            State::Maintenance { frozen, .. } => *frozen,
            State::Probing(probing) => probing.counts(at),
        }
    }

    fn tell(&mut self, at: Moment, kind: EventKind) {
        self.told += 1;
        self.events.push(Event {
            number: self.told,
            at: self.wall.at(at),
            kind,
        });
    }
}

#[cfg(test)]
mod tests;
