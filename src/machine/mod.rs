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
mod causes;
mod probing;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) use self::probing::Slot;
use self::{
    backoff::Backoff,
    causes::{Causes, Held, Trip},
    probing::{Probing, Stage},
};
use crate::{
    clock::WallAnchor,
    episode::Episode,
    error::CommandError,
    event::{Event, EventKind, Evidence, Rule},
    gate::{self, Op},
    mode::{Cause, Mode, Switches},
    moment::Moment,
    policy::Rules,
    snapshot::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
    tally::{Counts, Landing, Tally},
    verdict::{Outcome, Verdict},
};

/// How many mode changes an episode's timeline shows.
const TIMELINE_ROWS: usize = 64;

/// What one mode needs; a deadline without maintenance cannot be written.
#[derive(Debug)]
enum State {
    Serving(Serving),
    /// With what the window held when it was left.
    Maintenance {
        frozen: Counts,
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

/// What a call may do in `Probing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A customer's call that may probe.
    Eligible,
    /// A customer's call that may not.
    Ineligible,
    /// A synthetic ping.
    Ping,
}

/// What an admitted call is to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Counts in the window of `Serving`.
    Plain,
    /// Holds a slot.
    Probe(Slot),
    /// Counts in the window of the ramp.
    Ramp,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    /// With a verdict, after so long.
    Judged { verdict: Verdict, took: Duration },
    /// Dropped after nothing had come from the partner for so long (R6).
    Dropped { quiet: Duration },
}

/// What an operator wants.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Engage { expiry: Option<Duration> },
    Release,
    ReleaseVerified,
    Trip,
    ProbeNow,
    Clear,
    Reset,
    DryRun(bool),
    Bypass(bool),
    ReplacePolicy(Box<Rules>),
    ReplaceExemptions,
}

/// What passed by without the lock: counted outside, read here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
    pub(crate) exempt: u64,
}

#[derive(Debug)]
struct Open {
    episode: Episode,
    before: Traffic,
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
            generation.unwrap_or_else(|| wall.millis(Moment::ORIGIN).min(gate::MAX_GENERATION));
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
            State::Serving(serving) => {
                if serving.end_shadow_if_over(&self.rules, at) {
                    self.tell(at, EventKind::ShadowEnded);
                }
            }
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

    // ---- the request path -------------------------------------------------------------------

    /// Asks for admission around calls to the partner, at a moment that was ticked to.
    pub(crate) fn admit(&mut self, asker: Asker) -> Option<Role> {
        let now = self.now;
        let pinged = self.pings > 0;
        match &mut self.state {
            State::Serving(_) => Some(Role::Plain),
            State::Maintenance { .. } => None,
            State::Probing(probing) => match &mut probing.stage {
                // Every call takes part in a ramp, whether it may probe or not (R15).
                Stage::Ramp(climb) => climb.draw(now).then_some(Role::Ramp),
                Stage::Trials(_) => {
                    let may = match asker {
                        Asker::Eligible => !pinged,
                        Asker::Ineligible => false,
                        Asker::Ping => true,
                    };
                    let slot = if may {
                        probing.take_slot(now)?
                    } else {
                        return None;
                    };
                    if let Some(open) = &mut self.episode {
                        open.episode.probes += 1;
                    }
                    Some(Role::Probe(slot))
                }
            },
        }
    }

    /// Whether the gate before one's own routes lets a request through; it never takes a slot (R13).
    pub(crate) fn lets_through(&self, asker: Asker) -> bool {
        match &self.state {
            State::Serving(_) => true,
            State::Maintenance { .. } => false,
            State::Probing(probing) => match &probing.stage {
                Stage::Ramp(_) => true,
                Stage::Trials(_) => asker == Asker::Eligible && self.pings == 0,
            },
        }
    }

    /// Ends a call that was admitted in `era`; the ticket guarantees that this happens once (R5).
    pub(crate) fn settle(&mut self, role: Role, era: u32, ending: Ending) {
        let at = self.now;
        let landing = self.landing(ending);
        match landing {
            Landing::Success { .. } => self.calls.succeeded += 1,
            Landing::Failure { .. } => self.calls.failed += 1,
            Landing::Neutral => self.calls.neutral += 1,
            Landing::Abandoned => self.calls.abandoned += 1,
        }
        // A late answer says nothing about a later era (R8).
        if era != gate::era_bits(self.era) {
            self.calls.late += 1;
            return;
        }
        let verdict = match ending {
            Ending::Judged { verdict, .. } => verdict,
            Ending::Dropped { .. } => Outcome::Neutral.into(),
        };
        match role {
            Role::Plain => self.settle_plain(landing, verdict, at),
            Role::Probe(slot) => self.settle_probe(slot, landing, verdict, at),
            Role::Ramp => self.settle_ramp(landing, verdict, at),
        }
    }

    fn landing(&self, ending: Ending) -> Landing {
        let slow = |took: Duration| {
            self.rules
                .slow_calls
                .is_some_and(|slow| took > slow.longer_than)
        };
        match ending {
            Ending::Judged { verdict, took } => match verdict.outcome {
                Outcome::Success => Landing::Success { slow: slow(took) },
                Outcome::Failure => Landing::Failure { slow: slow(took) },
                Outcome::Neutral => Landing::Neutral,
            },
            Ending::Dropped { quiet } if quiet >= self.rules.hang_limit => {
                Landing::Failure { slow: slow(quiet) }
            }
            Ending::Dropped { .. } => Landing::Abandoned,
        }
    }

    fn settle_plain(&mut self, landing: Landing, verdict: Verdict, at: Moment) {
        self.heed_retry_after(verdict, at);
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if let Landing::Failure { .. } = landing {
            serving.last_code = verdict.code;
        }
        serving.window.record(landing, at);
        let last_code = serving.last_code;
        if let Some(evidence) = judge(&self.rules, &serving.window, landing, last_code, at) {
            if self.switches.armed() {
                self.trip(evidence, None, at);
                return;
            }
            if serving.shadow.is_none() {
                let wait = self.backoff.preview(&self.rules, at);
                let until = at.after(wait);
                serving.shadow = Some(Shadow {
                    since: at,
                    evidence,
                    wait,
                    until,
                    look_at: until,
                });
                self.tell(at, EventKind::WouldHaveTripped { evidence, wait });
                return;
            }
        }
        if serving.end_shadow_if_over(&self.rules, at) {
            self.tell(at, EventKind::ShadowEnded);
        }
    }

    fn settle_probe(&mut self, slot: Slot, landing: Landing, verdict: Verdict, at: Moment) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        let Stage::Trials(slots) = &mut probing.stage else {
            return;
        };
        // A slot that is not taken any more belongs to a lease that ended: the era would have ended with it.
        if !slots.give_back(slot, at) {
            return;
        }
        let asked = verdict.retry_after.filter(|span| !span.is_zero());
        let asked = asked.filter(|_| {
            verdict.outcome != Outcome::Success && matches!(verdict.code, None | Some(429 | 503))
        });
        match landing {
            Landing::Success { .. } => slots.successes += 1,
            Landing::Failure { .. } | Landing::Neutral | Landing::Abandoned => {}
        }
        let proven = slots.successes >= probing.trials.needed;
        probing.record(landing, at);
        if let Some(retry_after) = asked {
            let evidence =
                self.probe_evidence(Rule::PartnerAsked { retry_after }, verdict.code, at);
            let wait = retry_after.min(self.rules.longest_wait);
            self.trip(evidence, Some(wait), at);
            return;
        }
        match landing {
            Landing::Failure { .. } => {
                self.heed_retry_after(verdict, at);
                let evidence = self.probe_evidence(Rule::ProbeFailed, verdict.code, at);
                self.trip(evidence, None, at);
            }
            Landing::Success { .. } if proven => self.proven(at),
            Landing::Success { .. } | Landing::Neutral | Landing::Abandoned => {}
        }
    }

    /// The last needed success landed; nothing is in flight (R12).
    fn proven(&mut self, at: Moment) {
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        if let Some(ramp) = probing.trials.ramp {
            probing.begin_ramp(ramp, self.rules.window, at);
            self.tell(
                at,
                EventKind::RampBegan {
                    duration: ramp.duration,
                },
            );
            return;
        }
        self.causes.tripped = None;
        self.reconcile(at);
    }

    fn settle_ramp(&mut self, landing: Landing, verdict: Verdict, at: Moment) {
        self.heed_retry_after(verdict, at);
        let State::Probing(probing) = &mut self.state else {
            return;
        };
        probing.record(landing, at);
        let Stage::Ramp(climb) = &probing.stage else {
            return;
        };
        if let Some(evidence) = judge(&self.rules, &climb.tally, landing, verdict.code, at) {
            self.trip(evidence, None, at);
        }
    }

    fn heed_retry_after(&mut self, verdict: Verdict, at: Moment) {
        if let Some(span) = verdict.retry_after {
            self.backoff.partner_asked(span, &self.rules, at);
        }
    }

    fn probe_evidence(&self, rule: Rule, last_code: Option<u16>, at: Moment) -> Evidence {
        let counts = self.live_counts(at);
        Evidence {
            rule,
            total: counts.total,
            failed: counts.failed,
            last_code,
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

    /// Waits start anew once `Serving` has lasted a base wait (R10).
    fn forget_old_trips(&mut self, at: Moment) {
        if matches!(self.state, State::Serving(_)) && at.since(self.since) >= self.rules.wait {
            self.backoff.start_anew();
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
            return;
        }
        let counts = self.live_counts(at);
        if from == Mode::Serving {
            self.forget_old_trips(at);
            self.begin_episode(at);
        }
        self.state = match to {
            Mode::Serving => State::Serving(Serving::new(&self.rules)),
            Mode::Maintenance => State::Maintenance { frozen: counts },
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

    fn begin_episode(&mut self, at: Moment) {
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
    fn note_causes(&mut self) {
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

    fn end_episode(&mut self, at: Moment) {
        self.backoff.partner_is_back();
        let Some(open) = self.episode.take() else {
            return;
        };
        // A wall clock that stepped back, or stands still, does not take the generation with it (R17).
        let generation = self
            .wall
            .millis(at)
            .max(self.generation + 1)
            .min(gate::MAX_GENERATION);
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

    // ---- operators --------------------------------------------------------------------------

    /// Does what an operator wants; says whether that changed anything.
    pub(crate) fn command(
        &mut self,
        command: Command,
        actor: &Arc<str>,
        reason: &Arc<str>,
    ) -> Result<bool, CommandError> {
        let at = self.now;
        match command {
            Command::Engage { expiry } => {
                self.forget_old_trips(at);
                let until = expiry.map_or(Moment::NEVER, |span| at.after(span));
                let shown = until.known().map(|until| self.wall.at(until));
                self.causes.operator = Some(Held {
                    actor: actor.clone(),
                    reason: reason.clone(),
                    since: at,
                    until,
                });
                self.tell(
                    at,
                    EventKind::HoldEngaged {
                        actor: actor.clone(),
                        reason: reason.clone(),
                        until: shown,
                    },
                );
                self.reconcile(at);
                Ok(true)
            }
            Command::Release => {
                self.end_hold(at)?;
                self.reconcile(at);
                Ok(true)
            }
            Command::ReleaseVerified => {
                self.needs_no_bypass()?;
                self.end_hold(at)?;
                let trip = self.causes.tripped.get_or_insert_with(|| {
                    let evidence = Evidence {
                        rule: Rule::Command,
                        total: 0,
                        failed: 0,
                        last_code: None,
                    };
                    Trip {
                        actor: actor.clone(),
                        reason: reason.clone(),
                        evidence,
                        since: at,
                        until: at,
                        wait: self.rules.wait,
                    }
                });
                trip.until = trip.until.min(at);
                self.reconcile(at);
                Ok(true)
            }
            Command::Trip => {
                self.needs_no_bypass()?;
                let counts = self.live_counts(at);
                let evidence = Evidence {
                    rule: Rule::Command,
                    total: counts.total,
                    failed: counts.failed,
                    last_code: None,
                };
                // A running wait is begun again, not grown: the partner has not failed once more.
                let running = self
                    .causes
                    .tripped
                    .as_ref()
                    .filter(|trip| at < trip.until)
                    .map(|trip| trip.wait);
                self.forget_old_trips(at);
                let wait = running.unwrap_or_else(|| self.backoff.next(&self.rules, at));
                self.trip_for(actor.clone(), reason.clone(), evidence, wait, at);
                Ok(true)
            }
            Command::ProbeNow => {
                let Some(trip) = &mut self.causes.tripped else {
                    return Err(CommandError::NotTripped);
                };
                let running = at < trip.until;
                trip.until = trip.until.min(at);
                self.reconcile(at);
                Ok(running)
            }
            Command::Clear => Ok(self.clear(at)),
            Command::Reset => {
                self.clear(at);
                self.begin_anew(at);
                Ok(true)
            }
            Command::DryRun(on) => {
                let changed = std::mem::replace(&mut self.switches.dry_run, on) != on;
                Ok(changed && self.switched(at))
            }
            Command::Bypass(on) => {
                let changed = std::mem::replace(&mut self.switches.bypass, on) != on;
                Ok(changed && self.switched(at))
            }
            Command::ReplacePolicy(rules) => Ok(self.replace_policy(*rules, at)),
            Command::ReplaceExemptions => {
                self.tell(at, EventKind::ExemptionsReplaced);
                Ok(true)
            }
        }
    }

    fn end_hold(&mut self, at: Moment) -> Result<(), CommandError> {
        if self.causes.operator.take().is_none() {
            return Err(CommandError::NotHeld);
        }
        self.tell(at, EventKind::HoldEnded { expired: false });
        Ok(())
    }

    fn needs_no_bypass(&self) -> Result<(), CommandError> {
        if self.switches.bypass {
            Err(CommandError::Bypassed)
        } else {
            Ok(())
        }
    }

    fn clear(&mut self, at: Moment) -> bool {
        let held = self.end_hold(at).is_ok();
        let tripped = self.causes.tripped.take().is_some();
        self.backoff.start_anew();
        self.backoff.partner_is_back();
        self.reconcile(at);
        held || tripped
    }

    /// Empties the window and begins a new era, in whatever mode.
    fn begin_anew(&mut self, at: Moment) {
        self.era += 1;
        self.tell(at, EventKind::WindowReset);
        match &mut self.state {
            State::Serving(serving) => {
                serving.window.clear();
                serving.last_code = None;
                if serving.shadow.take().is_some() {
                    self.tell(at, EventKind::ShadowEnded);
                }
            }
            State::Maintenance { frozen } => *frozen = Counts::default(),
            // `clear` came before: nothing is left to probe for. A later cause may hold; then the probes begin anew.
            State::Probing(probing) => {
                *probing = Probing::begin(probing.trials, self.rules.wait, at);
            }
        }
    }

    /// Either switch, on or off: rules that may not act leave no trip behind.
    fn switched(&mut self, at: Moment) -> bool {
        self.tell(
            at,
            EventKind::Switched {
                switches: self.switches,
            },
        );
        if self.switches.armed() {
            if let State::Serving(serving) = &mut self.state {
                if serving.shadow.take().is_some() {
                    self.tell(at, EventKind::ShadowEnded);
                }
            }
        } else {
            self.causes.tripped = None;
        }
        self.reconcile(at);
        true
    }

    fn replace_policy(&mut self, rules: Rules, at: Moment) -> bool {
        if self.rules == rules {
            return false;
        }
        let reshaped = self.rules.window != rules.window;
        self.rules = rules;
        if let State::Serving(serving) = &mut self.state {
            if reshaped {
                serving.window = Tally::new(self.rules.window);
            }
        }
        self.tell(at, EventKind::PolicyReplaced);
        true
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

    // ---- looking ----------------------------------------------------------------------------

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

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// When and why the gate shut, and until when at least.
    pub(crate) fn notice(&self) -> (Option<Cause>, SystemTime, Moment) {
        let since = self
            .episode
            .as_ref()
            .map_or_else(|| self.wall.at(self.since), |open| open.episode.began);
        let until = match self.state {
            State::Maintenance { .. } => self.causes.known_end(),
            State::Serving(_) | State::Probing(_) => Moment::NEVER,
        };
        (self.causes.first(), since, until)
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

    pub(crate) fn status(&self) -> Status {
        let at = self.now;
        let (_, _, until) = self.notice();
        let counts = self.live_counts(at);
        let shadow = match &self.state {
            State::Serving(serving) => serving.shadow.as_ref(),
            State::Maintenance { .. } | State::Probing(_) => None,
        };
        Status {
            partner: self.partner.clone(),
            at: self.wall.at(at),
            mode: self.mode(),
            since: self.wall.at(self.since),
            causes: self.cause_reports(),
            switches: self.switches,
            generation: self.generation,
            era: self.era,
            retry_after: until.known().map(|until| until.since(at)),
            window: WindowReport::new(counts, &self.rules),
            probing: self.probing_report(at),
            shadow: shadow.map(|shadow| ShadowReport {
                since: self.wall.at(shadow.since),
                evidence: shadow.evidence,
                wait: shadow.wait,
            }),
            evidence: self.causes.tripped.as_ref().map(|trip| trip.evidence),
            calls: CallCounts {
                admitted: self.traffic.admitted,
                refused: self.traffic.refused,
                exempt: self.traffic.exempt,
                ..self.calls
            },
            refused_in_mode: self.traffic.refused.saturating_sub(self.entry.refused),
            episode: self.episode.as_ref().map(|open| open.so_far(self.traffic)),
            pings: self.pings,
        }
    }

    fn cause_reports(&self) -> Vec<CauseReport> {
        let held = self.causes.operator.as_ref().map(|held| CauseReport {
            cause: Cause::Operator,
            actor: held.actor.clone(),
            reason: held.reason.clone(),
            since: self.wall.at(held.since),
            until: held.until.known().map(|until| self.wall.at(until)),
        });
        let tripped = self.causes.tripped.as_ref().map(|trip| CauseReport {
            cause: Cause::Tripped,
            actor: trip.actor.clone(),
            reason: trip.reason.clone(),
            since: self.wall.at(trip.since),
            until: trip.until.known().map(|until| self.wall.at(until)),
        });
        held.into_iter().chain(tripped).collect()
    }

    fn probing_report(&self, at: Moment) -> Option<ProbingReport> {
        let State::Probing(probing) = &self.state else {
            return None;
        };
        let (in_flight, successes, waiting) = match &probing.stage {
            Stage::Trials(slots) => (slots.in_flight(), slots.successes, slots.is_waiting(at)),
            Stage::Ramp(_) => (0, probing.trials.needed, false),
        };
        let share = match &probing.stage {
            Stage::Trials(_) => None,
            Stage::Ramp(climb) => Some(climb.share_as_ratio(at)),
        };
        Some(ProbingReport {
            in_flight,
            successes,
            needed: probing.trials.needed,
            free: probing.free_slots(),
            waiting_for_probe: waiting,
            ramp_share: share,
        })
    }

    /// The numbers to show: live in `Serving` and `Probing`, frozen in `Maintenance`.
    fn live_counts(&self, at: Moment) -> Counts {
        match &self.state {
            State::Serving(serving) => serving.window.counts(at),
            State::Maintenance { frozen } => *frozen,
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

impl Open {
    fn note_mode(&mut self, at: SystemTime, mode: Mode) {
        if self.episode.timeline.len() < TIMELINE_ROWS {
            self.episode.timeline.push((at, mode));
        } else {
            self.episode.timeline_cut += 1;
        }
    }

    /// The episode with what has passed by until now.
    fn so_far(&self, traffic: Traffic) -> Episode {
        Episode {
            refused: traffic.refused.saturating_sub(self.before.refused),
            exempt: traffic.exempt.saturating_sub(self.before.exempt),
            ..self.episode.clone()
        }
    }
}

/// What fires when `landed` has landed in `window`: only what is bad is judged, never a good answer (R9).
fn judge(
    rules: &Rules,
    window: &Tally,
    landed: Landing,
    last_code: Option<u16>,
    at: Moment,
) -> Option<Evidence> {
    let (failed, slow, abandoned) = match landed {
        Landing::Success { slow: false } | Landing::Neutral => return None,
        Landing::Success { slow: true } => (false, true, false),
        Landing::Failure { .. } => (true, true, false),
        Landing::Abandoned => (false, false, true),
    };
    let counts = window.counts(at);
    let rule = fired(rules, counts, failed, slow, abandoned)?;
    Some(Evidence {
        rule,
        total: counts.total,
        failed: counts.failed,
        last_code,
    })
}

/// Whether any rule would fire on what the window holds.
fn would_trip(rules: &Rules, window: &Tally, at: Moment) -> bool {
    fired(rules, window.counts(at), true, true, true).is_some()
}

/// The first rule that fires on `counts`, of the kinds that are asked for.
fn fired(rules: &Rules, counts: Counts, failed: bool, slow: bool, abandoned: bool) -> Option<Rule> {
    let enough = counts.total >= rules.min_calls;
    if failed {
        if let Some(threshold) = rules.failure_rate {
            if enough && threshold.is_reached(counts.failed, counts.total) {
                return Some(Rule::FailureRate {
                    threshold,
                    window: rules.window,
                });
            }
        }
        if rules.consecutive.is_some_and(|run| counts.run >= run) {
            return Some(Rule::ConsecutiveFailures { run: counts.run });
        }
    }
    if slow {
        if let Some(limit) = rules.slow_calls {
            if enough && limit.rate.is_reached(counts.slow, counts.total) {
                return Some(Rule::SlowCalls {
                    slow: counts.slow,
                    longer_than: limit.longer_than,
                    threshold: limit.rate,
                });
            }
        }
    }
    let all_left =
        rules.abandoned_all && counts.abandoned >= rules.min_calls && counts.completed == 0;
    (abandoned && all_left).then_some(Rule::AbandonedAll {
        abandoned: counts.abandoned,
    })
}
