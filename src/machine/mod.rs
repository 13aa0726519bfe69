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
mod trip_rules;
pub(crate) mod word;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use self::{
    backoff::Backoff,
    causes::{Causes, Held, Trip},
    episodes::Open,
    probing::{Probing, Stage},
    trip_rules::would_trip,
    word::{MAX_GENERATION, Op, era_bits},
};
pub(crate) use self::{
    calls::{Asker, Ending, Role},
    causes::Passing,
    commands::Command,
    probing::Slot,
};
use crate::{
    base::{
        clock::WallAnchor,
        moment::{Moment, nanos},
    },
    counting::{
        landed::{Landed, Open as OpenLanes},
        window::{Counts, Landing, Tally},
    },
    facts::{
        episode::Episode,
        event::{Event, EventKind},
        evidence::{Evidence, Rule},
        mode::{Cause, Mode, Switches},
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

#[derive(Debug)]
struct Serving {
    window: Tally,
    /// The code of the last failure.
    last_code: Option<u16>,
    shadow: Option<Shadow>,
}

/// An episode that dry run or bypass kept from being real.
#[derive(Debug)]
struct Shadow {
    since: Moment,
    evidence: Evidence,
    wait: Duration,
    until: Moment,
    /// When it may end without anybody calling: the end of its wait, then whenever the window lets go.
    look_at: Moment,
}

/// What passed by without the lock: counted outside, read here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) exempt: u64,
    /// Reads that passed under a read-only hold.
    pub(crate) reads: u64,
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
    episode: Option<Open>,
    episodes: u64,
    /// Ended episodes that nobody has collected yet.
    ended: Vec<Episode>,
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
            episode: None,
            episodes: 0,
            ended: Vec::new(),
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
        let hold = self
            .causes
            .operator
            .as_ref()
            .map_or(Moment::NEVER, |held| held.until);
        let state = match &self.state {
            State::Serving(serving) => serving
                .shadow
                .as_ref()
                .map_or(Moment::NEVER, |shadow| shadow.look_at),
            // Beneath a hold the wait runs on, but its end changes nothing.
            State::Maintenance { .. } if self.causes.operator.is_some() => Moment::NEVER,
            State::Maintenance { .. } => self
                .causes
                .tripped
                .as_ref()
                .map_or(Moment::NEVER, |trip| trip.until),
            State::Probing(probing) => probing.next_deadline(),
        };
        hold.min(state)
    }

    fn fall_due(&mut self, at: Moment) {
        if self
            .causes
            .operator
            .as_ref()
            .is_some_and(|held| held.until <= at)
        {
            self.causes.operator = None;
            self.tell(at, EventKind::HoldEnded { expired: true });
            self.reconcile(at);
            return;
        }
        match &mut self.state {
            State::Serving(_) => self.end_shadow_if_over(at),
            State::Maintenance { .. } => self.reconcile(at),
            State::Probing(probing) => match &mut probing.stage {
                Stage::Trials(slots) if slots.lease_end() <= at => {
                    let lease = probing.trials.lease;
                    probing.record(Landing::Failure { slow: false }, at);
                    let evidence = self.probe_evidence(Rule::ProbeHung { lease }, None, at);
                    self.trip(evidence, None, at);
                }
                Stage::Trials(slots) => {
                    slots.warned = true;
                    self.tell(at, EventKind::WaitingForProbe);
                }
                Stage::Ramp(_) => {
                    self.causes.tripped = None;
                    self.reconcile(at);
                }
            },
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

    /// Trips on `evidence`; `wait` is given where the partner itself said how long (R14).
    fn trip(&mut self, evidence: Evidence, wait: Option<Duration>, at: Moment) {
        self.forget_old_trips(at);
        let wait = wait.unwrap_or_else(|| self.backoff.next(&self.rules, at));
        let reason = evidence.to_string().into();
        self.trip_for(AUTOMATIC.into(), reason, evidence, wait, at);
    }

    fn trip_for(
        &mut self,
        actor: Arc<str>,
        reason: Arc<str>,
        evidence: Evidence,
        wait: Duration,
        at: Moment,
    ) {
        self.causes.tripped = Some(Trip {
            actor,
            reason,
            evidence,
            since: at,
            until: at.after(wait),
            wait,
        });
        self.tell(at, EventKind::Tripped { evidence, wait });
        self.reconcile(at);
    }

    /// The trips that one at `at` finds behind it: none once `Serving` has lasted a base wait (R10).
    fn trips_before(&self, at: Moment) -> u32 {
        if matches!(self.state, State::Serving(_)) && at.since(self.since) >= self.rules.wait {
            0
        } else {
            self.backoff.trips()
        }
    }

    fn forget_old_trips(&mut self, at: Moment) {
        if self.trips_before(at) == 0 {
            self.backoff.start_anew();
        }
    }

    fn end_shadow_if_over(&mut self, at: Moment) {
        if let State::Serving(serving) = &mut self.state
            && serving.end_shadow_if_over(&self.rules, at)
        {
            self.tell(at, EventKind::ShadowEnded);
        }
    }

    /// Ends the shadow, if there is one, whatever the rules would say.
    fn end_shadow(&mut self, at: Moment) {
        if let State::Serving(serving) = &mut self.state
            && serving.shadow.take().is_some()
        {
            self.tell(at, EventKind::ShadowEnded);
        }
    }

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
            self.note_causes();
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
                let patience = self
                    .causes
                    .tripped
                    .as_ref()
                    .map_or(self.rules.wait, |trip| trip.wait);
                State::Probing(Probing::begin(self.rules.trials, patience, at))
            }
        };
        self.since = at;
        self.entry = self.traffic;
        self.era += 1;
        self.note_causes();
        if let Some(open) = &mut self.episode {
            open.note_mode(self.wall.at(at), to);
        }
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

    // ---- looking, and what else is told

    /// What the gate is to do until the next deadline.
    pub(crate) fn op(&self) -> Op {
        match self.state {
            State::Serving(_) if self.next_deadline() == Moment::NEVER => Op::Serve,
            State::Serving(_) => Op::ServeUntil,
            State::Maintenance { .. } => Op::Refuse,
            State::Probing(_) => Op::Ask,
        }
    }

    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes over the place of another machine, whose generation was `floor` (R17).
    pub(crate) fn generation_at_least(&mut self, floor: u64) {
        self.generation = self.generation.max(floor);
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The cause to name.
    pub(crate) fn first_cause(&self) -> Option<Cause> {
        self.causes.first()
    }

    /// The operator's hold.
    pub(crate) fn held(&self) -> Option<&Held> {
        self.causes.operator.as_ref()
    }

    /// When the gate shut.
    pub(crate) fn shut_since(&self) -> SystemTime {
        self.episode
            .as_ref()
            .map_or_else(|| self.wall.at(self.since), |open| open.episode.began)
    }

    /// Until when the gate stays shut at least; [`Moment::NEVER`] if nobody knows.
    pub(crate) fn known_end(&self) -> Moment {
        match self.state {
            State::Maintenance { .. } => self.causes.known_end(),
            State::Serving(_) | State::Probing(_) => Moment::NEVER,
        }
    }

    /// When maintenance will be over, where somebody said so; [`Moment::NEVER`] otherwise.
    pub(crate) fn promised_end(&self) -> Moment {
        match self.state {
            State::Maintenance { .. } => self.causes.promised_end(),
            State::Serving(_) | State::Probing(_) => Moment::NEVER,
        }
    }

    /// Whether the gate lets reads pass, and nothing else.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(
            self.state,
            State::Maintenance {
                passing: Passing::Reads,
                ..
            }
        )
    }

    pub(crate) fn wall_at(&self, moment: Moment) -> SystemTime {
        self.wall.at(moment)
    }

    /// What happened since this was last asked.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The episodes that ended since this was last asked.
    pub(crate) fn take_ended(&mut self) -> Vec<Episode> {
        std::mem::take(&mut self.ended)
    }

    pub(crate) fn wall_now(&self) -> SystemTime {
        self.wall.at(self.now)
    }

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

/// Who trips when a rule does.
const AUTOMATIC: &str = "tower-maintenance";

impl Serving {
    fn new(rules: &Rules) -> Self {
        Self {
            window: Tally::new(rules.window),
            last_code: None,
            shadow: None,
        }
    }

    /// Ends the shadow if its wait is over and no rule would trip; says whether it did.
    fn end_shadow_if_over(&mut self, rules: &Rules, at: Moment) -> bool {
        let Some(shadow) = &mut self.shadow else {
            return false;
        };
        if at < shadow.until {
            return false;
        }
        if would_trip(rules, &self.window, at) {
            shadow.look_at = self.window.next_departure(at).unwrap_or(Moment::NEVER);
            return false;
        }
        self.shadow = None;
        true
    }
}

#[cfg(test)]
mod tests;
