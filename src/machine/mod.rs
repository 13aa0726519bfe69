//! The state machine. It takes every decision about the mode, and it is pure.
//!
//! Why it is pure: the beginning and the end of maintenance cost money, so the decisions must be
//! reproducible and comparable with a model. Time comes in as [`Moment`]s and changes go out as
//! [`Event`] values. The machine contains no clock, atomic, runtime, log or closure of a user, and
//! it cannot fail.
//!
//! How it works: the mode is derived from the set of [`Causes`] and from bypass. Commands and trips
//! change these and then call [`Machine::reconcile`], the only function that moves from one
//! [`State`] to another. Each move begins an era. [`Machine::tick`] advances time: it applies all
//! deadlines that have passed, in order, each at the moment at which it was due. The caller of
//! every other method ticks first.

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
    probing::{Probing, Stage},
    serving::Serving,
    word::{MAX_GENERATION, era_bits},
};
pub(crate) use self::{
    calls::{Asker, Ending, Role},
    causes::Passing,
    commands::{Command, Engagement},
    episodes::Traffic,
    probing::{Slot, Waits},
    signature::{Signature, check_text},
};
use crate::{
    base::{
        clock::WallAnchor,
        moment::{Moment, nanos},
    },
    counting::{
        counts::Counts,
        landed::{Landed, Open as OpenLanes},
        window::Tally,
    },
    facts::{
        event::{Event, EventKind},
        mode::{Mode, Switches},
        status::CallCounts,
        totals::Totals,
    },
    policy::rules::Rules,
};

/// The mode, with the data that only this mode needs.
#[derive(Debug)]
enum State {
    Serving(Serving),
    Maintenance {
        /// The counts of the window at the beginning of the mode.
        frozen: Counts,
        passing: Passing,
    },
    /// Boxed: a layer that serves is smaller without it.
    Probing(Box<Probing>),
}

/// The arguments of [`Machine::new`].
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
    wall_stepped: bool,
    /// The latest moment of all ticks: time never goes back.
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
    /// The sums up to the last change. Boxed, and `None` up to the first change: a layer that has
    /// only served is smaller without it.
    past: Option<Box<Totals>>,
    traffic: Traffic,
    /// The traffic at the beginning of the mode.
    entry: Traffic,
    events: Vec<Event>,
    /// The number of events so far.
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
        // Of a clock that cannot be used, the first generation is 1 (R17).
        let generation =
            generation.unwrap_or_else(|| by_wall_clock(wall, Moment::ORIGIN).unwrap_or(1));
        Self {
            partner,
            state: State::Serving(Serving::new(&rules)),
            rules,
            wall,
            wall_stepped: false,
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
            past: None,
            traffic: Traffic::default(),
            entry: Traffic::default(),
            events: Vec::new(),
            told: 0,
        }
    }

    // ---- time -------------------------------------------------------------------------------

    /// Notes the traffic, and applies all deadlines up to `now` in order (R11).
    pub(crate) fn tick(&mut self, now: Moment, traffic: Traffic, waits: Waits<'_>) {
        self.traffic = traffic;
        let now = now.max(self.now);
        loop {
            let due = self.next_deadline();
            if due > now || due == Moment::NEVER || mutant!("time alone changes nothing") {
                break;
            }
            self.now = due;
            let at = if mutant!("a deadline bears the time of the look") {
                now
            } else {
                due
            };
            self.fall_due(at, waits);
        }
        self.now = now;
    }

    /// Returns when time alone changes something; [`Moment::NEVER`] if it does not.
    pub(crate) fn next_deadline(&self) -> Moment {
        let held = self.causes.operator.as_ref();
        let tripped = self.causes.tripped.as_ref();
        let state = match &self.state {
            State::Serving(serving) => serving.next_deadline(),
            // Beneath a hold the wait continues, but its end changes nothing.
            State::Maintenance { .. } if held.is_some() => Moment::NEVER,
            State::Maintenance { .. } => tripped.map_or(Moment::NEVER, |trip| trip.until),
            State::Probing(probing) => probing.next_deadline(),
        };
        held.map_or(Moment::NEVER, |held| held.until).min(state)
    }

    fn fall_due(&mut self, at: Moment, waits: Waits<'_>) {
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
            State::Probing(_) => self.probing_falls_due(at, waits),
        }
    }

    /// Returns how successes may be counted without the lock; `None` while a success changes more
    /// than a count.
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

    /// Takes successes over that were counted without the lock. They go into the window that they
    /// were counted for, if it still exists (R8).
    pub(crate) fn landed(&mut self, landed: Landed) {
        self.calls.succeeded += landed.successes;
        let now = self.now;
        let era = era_bits(self.era);
        if let State::Serving(serving) = &mut self.state
            && (era == landed.era || mutant!("a success in a lane counts in every era"))
            && serving.window.width() == Some(landed.width)
        {
            let index = landed.index(now.0 / landed.width);
            serving.window.add_successes(index, landed.successes);
        }
    }

    /// Returns how wide the buckets are in which signs of life count; `None` for a window of calls.
    pub(crate) fn bucket_width(&self) -> Option<u64> {
        self.window()?.bucket_width()
    }

    /// Notes that something came from the partner, in the bucket with this number. What follows
    /// falls due at `now`.
    pub(crate) fn heard(&mut self, index: u64, now: Moment) {
        match &mut self.state {
            State::Serving(serving) => serving.hear(index, now),
            State::Probing(probing) => {
                if let Stage::Ramp(climb) = &mut probing.stage {
                    climb.tally.hear(index);
                }
            }
            State::Maintenance { .. } => {}
        }
    }

    /// Returns the window that calls land in; `None` in `Maintenance` and during trials.
    fn window(&self) -> Option<&Tally> {
        match &self.state {
            State::Serving(serving) => Some(&serving.window),
            State::Probing(probing) => match &probing.stage {
                Stage::Ramp(climb) => Some(&climb.tally),
                Stage::Trials(_) => None,
            },
            State::Maintenance { .. } => None,
        }
    }

    // ---- entering and leaving ---------------------------------------------------------------

    /// Returns the mode that follows from the causes and from bypass.
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

    /// Moves to the mode that follows from the causes, if it is a different one. Only this function
    /// changes the mode.
    fn reconcile(&mut self, at: Moment) {
        let (from, to) = (self.mode(), self.derived(at));
        if from == to {
            self.episodes.note_causes(&self.causes);
            self.note_passing();
            return;
        }
        let counts = self.live_counts(at);
        let lasted = at.since(self.since);
        self.past().time_in.add(from, lasted);
        self.cut_probes_off();
        if from == Mode::Serving {
            if self.causes.operator.is_some() {
                // A trip beneath the hold follows the `Serving` that ends here.
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
                let tripped = self.causes.tripped.as_mut();
                let (patience, proof) = tripped.map_or((self.rules.wait, None), |trip| {
                    (trip.wait, trip.proof.take())
                });
                let probing = Probing::begin(self.rules.trials, patience, proof, at);
                State::Probing(Box::new(probing))
            }
        };
        self.since = at;
        self.entry = self.traffic;
        if !mutant!("a change of mode begins no era") {
            self.era += 1;
        }
        self.episodes.note_causes(&self.causes);
        self.episodes.note_mode(self.wall.at(at), to);
        self.tell(at, EventKind::ModeChanged { from, to });
        if to == Mode::Serving
            || (from == Mode::Probing && mutant!("the end of probing is a recovery"))
        {
            self.end_episode(at);
        }
    }

    /// Returns the sums to add to.
    fn past(&mut self) -> &mut Totals {
        self.past.get_or_insert_default()
    }

    /// Counts the probes that are under way as cut off, because `Probing` ends.
    fn cut_probes_off(&mut self) {
        if let State::Probing(probing) = &self.state
            && let Stage::Trials(slots) = &probing.stage
        {
            let under_way = slots.in_flight();
            self.past().probes.cut_off += u64::from(under_way);
        }
    }

    /// Begins a new era if a hold starts or stops to let reads pass. So a read that waits for the
    /// inner service is decided again under the new hold.
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
        // The generation grows even if the wall clock stepped back, stands still, or cannot be used
        // (R17).
        let by_clock = by_wall_clock(self.wall, at).unwrap_or(0);
        let least = if mutant!("the generation is the wall clock") {
            0
        } else {
            self.generation + 1
        };
        let generation = by_clock.max(least).min(MAX_GENERATION);
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

    // ---- pings, wall clock, events ----------------------------------------------------------

    /// Notes a synthetic ping. While one is alive, requests of customers do not probe.
    pub(crate) fn ping_began(&mut self) {
        self.pings = self.pings.saturating_add(1);
    }

    pub(crate) fn ping_ended(&mut self) {
        self.pings = self.pings.saturating_sub(1);
    }

    pub(crate) fn wall_clock_reads(&mut self, wall: SystemTime) {
        if !mutant!("a step of the wall clock is ignored") {
            self.wall = WallAnchor::so_that(self.now, wall);
        }
        self.wall_stepped = true;
    }

    /// Returns whether the wall clock was set since the last call: what shows wall times is
    /// published anew.
    pub(crate) fn take_wall_stepped(&mut self) -> bool {
        std::mem::take(&mut self.wall_stepped)
    }

    /// Returns the counts to show: live in `Serving` and `Probing`, frozen in `Maintenance`.
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

/// Returns the generation that the wall clock gives; `None` if the clock cannot be used: it stands
/// at the epoch or before, or beyond what a generation can say (the year 2109).
pub(crate) fn by_wall_clock(wall: WallAnchor, at: Moment) -> Option<u64> {
    wall.millis(at)
        .filter(|millis| (1..=MAX_GENERATION).contains(millis) || mutant!("any clock is used"))
}

#[cfg(test)]
mod tests;
