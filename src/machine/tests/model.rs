//! A second, naive implementation of the state model.
//!
//! Causes are `Option`s, timers are numbers, and windows are lists that keep every outcome. The
//! model shares no logic with the machine. Where the two differ, one of them is wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::super::{Asker, Ending};
use crate::{
    base::moment::Moment,
    counting::{
        counts::{Counts, Landing, Wait, WaitLength},
        window_naive::Naive,
    },
    error::CommandError,
    facts::{
        event::{Event, EventKind},
        evidence::Rule,
        mode::{Cause, Mode},
        outcome::{Origin, Outcome, Verdict},
        status::CallCounts,
    },
    policy::{Policy, rate::Rate, rules::Rules, window::Window},
};

/// Later than every other time.
pub(super) const NEVER: u64 = u64::MAX;
pub(super) const SECOND: u64 = 1_000_000_000;
const MILLION: u128 = 1_000_000;

/// The numbers of a policy, in nanoseconds and parts per million.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numbers {
    pub(super) window: Window,
    pub(super) min_calls: u32,
    pub(super) rate: Option<u32>,
    pub(super) run: Option<u32>,
    pub(super) slow: Option<(u64, u32)>,
    /// How many calls, and how long each waited at least.
    pub(super) given_up: Option<(u32, u64)>,
    pub(super) hang_limit: u64,
    pub(super) wait: u64,
    pub(super) factor: u32,
    pub(super) longest: u64,
    pub(super) probes: u32,
    pub(super) needed: u32,
    pub(super) lease: u64,
    /// How long a slot rests.
    pub(super) rest: u64,
    pub(super) ramp: Option<(u64, u32)>,
}

impl Numbers {
    pub(super) fn rules(&self) -> Rules {
        let rate = |millionths: u32| Rate::ratio(f64::from(millionths) / 1e6).expect("in range");
        let mut policy = Policy::new(self.window, Rate::HALF)
            .without_failure_rate()
            .without_consecutive_failures()
            .with_min_calls(self.min_calls)
            .with_hang_limit(Duration::from_nanos(self.hang_limit))
            .with_wait(Duration::from_nanos(self.wait))
            .with_wait_growing(f64::from(self.factor), Duration::from_nanos(self.longest))
            .with_jitter(0.0)
            .with_probes(self.probes)
            .with_successes_needed(self.needed)
            .with_lease(Duration::from_nanos(self.lease))
            .with_ping_every(Duration::from_nanos(self.rest));
        if let Some(threshold) = self.rate {
            policy = policy.with_failure_rate(rate(threshold));
        }
        if let Some(run) = self.run {
            policy = policy.with_consecutive_failures(run);
        }
        if let Some((longer_than, threshold)) = self.slow {
            policy = policy.with_slow_calls(Duration::from_nanos(longer_than), rate(threshold));
        }
        policy = match self.given_up {
            Some((calls, after)) => policy.with_given_up(calls, Duration::from_nanos(after)),
            None => policy.without_given_up(),
        };
        if let Some((duration, start)) = self.ramp {
            policy = policy
                .with_ramp(Duration::from_nanos(duration))
                .with_ramp_start(rate(start));
        }
        policy.rules().expect("generated to be valid")
    }

    /// Returns the rules that fire on `held`: those that `landed` is judged by, or all for `None`.
    fn fires(&self, held: Counts, landed: Option<Landing>) -> Vec<Fired> {
        // Whether a failure, a slow call, and a call given up landed.
        let (failed, slow, given_up) = match landed {
            None => (true, true, true),
            Some(Landing::Failure { .. }) => (true, true, false),
            Some(Landing::Hung { .. }) => (true, true, true),
            Some(Landing::Success { slow }) => (false, slow, false),
            Some(Landing::Abandoned { slow, wait }) => (false, slow, has_waited(wait)),
            Some(Landing::Neutral { .. } | Landing::Ours | Landing::RefusedWithin) => {
                (false, false, false)
            }
        };
        let total = held.successes + u64::from(held.failed) + u64::from(held.slow_drops);
        let reaches = |part: u32, threshold: u32| {
            total >= u64::from(self.min_calls)
                && u128::from(part) * MILLION >= u128::from(total) * u128::from(threshold)
        };
        let silent = held.given_up > 0 && !held.answered;
        let fires = [
            (
                Fired::Rate,
                failed && self.rate.is_some_and(|rate| reaches(held.failed, rate)),
            ),
            (
                Fired::Run,
                failed && self.run.is_some_and(|run| held.run >= run),
            ),
            (
                Fired::Slow,
                slow && self.slow.is_some_and(|(_, rate)| reaches(held.slow, rate)),
            ),
            (
                Fired::GivenUp,
                given_up && silent && self.given_up.is_some_and(|(n, _)| held.given_up >= n),
            ),
        ];
        let fired = fires.into_iter().filter(|(_, fires)| *fires);
        fired.map(|(rule, _)| rule).collect()
    }
}

fn has_waited(wait: Wait) -> bool {
    wait.length != WaitLength::None
}

/// The rule behind a trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fired {
    Rate,
    Run,
    Slow,
    GivenUp,
    ProbeFailed,
    ProbeHung,
    PartnerAsked,
    PartnerLimits,
    Command,
}

impl From<Rule> for Fired {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::FailureRate { .. } => Self::Rate,
            Rule::ConsecutiveFailures { .. } => Self::Run,
            Rule::SlowCalls { .. } => Self::Slow,
            Rule::GivenUp { .. } => Self::GivenUp,
            Rule::ProbeFailed => Self::ProbeFailed,
            Rule::ProbeHung { .. } => Self::ProbeHung,
            Rule::PartnerAsked { .. } => Self::PartnerAsked,
            Rule::PartnerLimits { .. } => Self::PartnerLimits,
            Rule::Command => Self::Command,
        }
    }
}

/// An expected event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    Mode(Mode, Mode),
    /// A trip by one of these rules: the design does not say which rule is named if several fire.
    Tripped(Vec<Fired>, u64),
    HoldEngaged(Option<SystemTime>),
    HoldEnded {
        expired: bool,
    },
    EpisodeBegan(u64, Cause),
    Recovered(u64, u64),
    /// How many callers gave up, and the longest wait in milliseconds.
    CallersGaveUp(u64, u64),
    WaitingForProbe,
    /// How many probes ended, and the last code.
    WithoutEvidence(u64, Option<u16>),
    RampBegan(u64),
    WouldHaveTripped(Vec<Fired>, u64),
    ShadowEnded,
    Switched {
        dry_run: bool,
        bypass: bool,
    },
    PolicyReplaced,
    WindowReset,
}

impl Told {
    /// Whether `event` is the expected one.
    pub(super) fn is(&self, event: &Event) -> bool {
        let nanos = |span: &Duration| crate::base::moment::nanos(*span);
        match (self, &event.kind) {
            (Self::Mode(a, b), EventKind::ModeChanged { from, to }) => (a, b) == (from, to),
            (Self::Tripped(fired, expected), EventKind::Tripped { evidence, wait })
            | (
                Self::WouldHaveTripped(fired, expected),
                EventKind::WouldHaveTripped { evidence, wait },
            ) => fired.contains(&evidence.rule.into()) && *expected == nanos(wait),
            (Self::HoldEngaged(expected), EventKind::HoldEngaged { until, .. }) => {
                expected == until
            }
            (Self::HoldEnded { expired: a }, EventKind::HoldEnded { expired: b }) => a == b,
            (Self::EpisodeBegan(id, by), EventKind::EpisodeBegan { episode, cause }) => {
                (id, by) == (episode, cause)
            }
            (
                Self::Recovered(id, expected),
                EventKind::Recovered {
                    episode,
                    generation,
                },
            ) => (id, expected) == (episode, generation),
            (Self::RampBegan(expected), EventKind::RampBegan { duration }) => {
                *expected == nanos(duration)
            }
            (Self::Switched { dry_run, bypass }, EventKind::Switched { switches }) => {
                (*dry_run, *bypass) == (switches.dry_run, switches.bypass)
            }
            (
                Self::CallersGaveUp(expected, longest),
                EventKind::CallersGaveUp {
                    calls,
                    longest_wait,
                    ..
                },
            ) => expected == calls && Duration::from_millis(*longest) == *longest_wait,
            (
                Self::WithoutEvidence(a, b),
                EventKind::ProbingWithoutEvidence { ended, last_code },
            ) => (a, b) == (ended, last_code),
            (Self::WaitingForProbe, EventKind::WaitingForProbe)
            | (Self::ShadowEnded, EventKind::ShadowEnded)
            | (Self::PolicyReplaced, EventKind::PolicyReplaced { .. })
            | (Self::WindowReset, EventKind::WindowReset) => true,
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Trip {
    pub(super) until: u64,
    pub(super) wait: u64,
    /// What the trials before it proved, if the partner asked for the trip and proved nothing.
    carried: Option<Carried>,
}

#[derive(Debug, Clone)]
struct Carried {
    unproven: (u64, u64),
    answers: Vec<Option<u16>>,
    without_evidence: bool,
}

impl ProbeEnd {
    fn by(landing: Landing) -> Self {
        match landing {
            Landing::Success { .. } => Self::Succeeded,
            Landing::Failure { .. } | Landing::Hung { .. } => Self::Failed,
            _ => Self::WithoutEvidence,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Shadow {
    pub(super) until: u64,
    pub(super) wait: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Trials {
    pub(super) probes: u32,
    pub(super) needed: u32,
    lease: u64,
    rest: u64,
    ramp: Option<(u64, u32)>,
    /// The number of each call that probes, and the end of its lease.
    pub(super) leases: Vec<(usize, u64)>,
    pub(super) successes: u32,
    landed: Naive,
    idle_since: u64,
    patience: u64,
    warned: bool,
    /// The codes of the partner's answers without evidence since the last success.
    pub(super) answers: Vec<Option<u16>>,
    /// How many of them came before these trials.
    earlier: usize,
    /// When each slot that ever rested was free again.
    rests: Vec<u64>,
    /// When the present wait without evidence began, and how many probes ended in it.
    unproven: (u64, u64),
    /// When these trials began.
    entered: u64,
    /// Whether a whole wait has passed without evidence.
    pub(super) without_evidence: bool,
}

impl Trials {
    pub(super) fn resting(&self, now: u64) -> u32 {
        self.rests.iter().filter(|end| **end > now).count() as u32
    }

    /// When it is told that a whole wait passed without evidence.
    fn evidence_due(&self) -> u64 {
        match self.unproven {
            (_, 0) => NEVER,
            (began, _) => began.saturating_add(self.patience).max(self.entered),
        }
    }

    fn warning_due(&self) -> u64 {
        if self.warned || !self.leases.is_empty() {
            return NEVER;
        }
        self.idle_since.saturating_add(self.patience)
    }

    /// A probe succeeded.
    fn proved(&mut self, now: u64) {
        self.successes += 1;
        self.answers.clear();
        self.earlier = 0;
        self.unproven = (now, 0);
        self.without_evidence = false;
    }

    /// A probe ended that held a slot.
    fn gives_back(&mut self, number: usize, now: u64) {
        let before = self.leases.len();
        self.leases.retain(|(probe, _)| *probe != number);
        assert_eq!(self.leases.len() + 1, before, "it held a slot");
        self.idle_since = now;
    }

    /// What a pause carries that the partner asked for; `None` if the answer is evidence.
    fn carried(&self, answer: Option<Verdict>, now: u64) -> Option<Carried> {
        let answer = answer.filter(|verdict| verdict.outcome == Outcome::Neutral)?;
        let mut tried = self.clone();
        tried.proved_nothing(Some(answer.code), now);
        Some(Carried {
            unproven: tried.unproven,
            answers: tried.answers,
            without_evidence: tried.without_evidence,
        })
    }

    /// A probe ended and proved nothing. `answer` is the code of the partner's answer, if the
    /// partner answered.
    fn proved_nothing(&mut self, answer: Option<Option<u16>>, now: u64) {
        let (began, ended) = self.unproven;
        // A whole wait without any probe is not one of probes without evidence.
        let is_stale = ended == 0 && began.saturating_add(self.patience) <= now;
        self.unproven = (if is_stale { now } else { began }, ended + 1);
        if let Some(code) = answer {
            self.answers.push(code);
            if self.answers.len() - self.earlier > 1 {
                let end = now.saturating_add(self.rest);
                self.rests.push(end);
                self.idle_since = end;
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Ramp {
    since: u64,
    duration: u64,
    start: u32,
    asked: u64,
    window: Naive,
    pub(super) needed: u32,
}

impl Ramp {
    /// Returns the share at `now` as part and whole.
    pub(super) fn share(&self, now: u64) -> (u128, u128) {
        let (start, whole) = (u128::from(self.start), u128::from(self.duration));
        let gone = u128::from(now - self.since).min(whole);
        (start * whole + (MILLION - start) * gone, MILLION * whole)
    }
}

/// The mode, with the data that only this mode needs.
#[derive(Debug, Clone)]
pub(super) enum Stretch {
    Serving {
        window: Naive,
        shadow: Option<Shadow>,
        /// Whether it was told in this era that callers give up.
        warned: bool,
    },
    Maintenance {
        frozen: Counts,
    },
    Trials(Trials),
    Ramp(Ramp),
}

/// How an admitted call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Plain,
    Probe,
    Ramp,
}

/// A call under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: usize,
    era: u64,
    pub(super) part: Part,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of the design"
)]
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) numbers: Numbers,
    pub(super) now: u64,
    /// What the wall clock reads minus `now`, in nanoseconds since the epoch.
    anchor: i128,
    /// When the operator's hold expires; `None` without a hold.
    pub(super) hold: Option<u64>,
    /// Whether the hold lets reads pass.
    hold_reads: bool,
    /// Whether reads pass while the gate is shut.
    pub(super) reads_pass: bool,
    pub(super) trip: Option<Trip>,
    pub(super) dry_run: bool,
    pub(super) bypass: bool,
    pub(super) stretch: Stretch,
    pub(super) since: u64,
    pub(super) era: u64,
    pub(super) generation: u64,
    /// The number of trips since the last return to the base wait.
    trips: u32,
    /// The partner asked not to be called before this time.
    not_before: u64,
    pub(super) episode: Option<u64>,
    episodes: u64,
    pub(super) pings: u32,
    pub(super) calls: CallCounts,
    admitted: usize,
    /// The calls whose callers wait for the partner, and since when.
    waiting: Vec<(usize, u64)>,
    /// The probes whose leases ended while their callers did not wait.
    given_back: Vec<usize>,
    told: Vec<(SystemTime, Told)>,
    /// Every mode that ended, and how long it lasted.
    lasted: Vec<(Mode, u64)>,
    /// Every probe by its number, and how it ended.
    pub(super) probes: BTreeMap<usize, Option<ProbeEnd>>,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeEnd {
    Succeeded,
    Failed,
    WithoutEvidence,
    CutOff,
}

impl Model {
    pub(super) fn new(numbers: Numbers, wall: SystemTime, generation: Option<u64>) -> Self {
        let anchor = since_epoch(wall);
        let window = numbers.window;
        Self {
            numbers,
            now: 0,
            anchor,
            hold: None,
            hold_reads: false,
            reads_pass: false,
            trip: None,
            dry_run: false,
            bypass: false,
            stretch: Stretch::serving(window),
            since: 0,
            era: 0,
            generation: generation.unwrap_or_else(|| millis(anchor)),
            trips: 0,
            not_before: 0,
            episode: None,
            episodes: 0,
            pings: 0,
            calls: CallCounts::default(),
            admitted: 0,
            waiting: Vec::new(),
            given_back: Vec::new(),
            told: Vec::new(),
            lasted: Vec::new(),
            probes: BTreeMap::new(),
        }
    }

    /// How long `mode` lasted so far, in all its periods.
    pub(super) fn time_in(&self, mode: Mode) -> u64 {
        let present = (self.mode(), self.now - self.since);
        let periods = self.lasted.iter().chain([&present]);
        let periods = periods.filter(|(other, _)| *other == mode);
        periods.map(|(_, lasted)| lasted).sum()
    }

    /// How many episodes began.
    pub(super) fn episodes(&self) -> u64 {
        self.episodes
    }

    pub(super) fn take_told(&mut self) -> Vec<(SystemTime, Told)> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn wall(&self, at: u64) -> SystemTime {
        let nanos = u128::try_from(self.anchor + i128::from(at)).expect("after the epoch");
        let seconds = Duration::from_secs((nanos / u128::from(SECOND)) as u64);
        UNIX_EPOCH + seconds + Duration::from_nanos((nanos % u128::from(SECOND)) as u64)
    }

    pub(super) fn mode(&self) -> Mode {
        match self.stretch {
            Stretch::Serving { .. } => Mode::Serving,
            Stretch::Maintenance { .. } => Mode::Maintenance,
            Stretch::Trials(_) | Stretch::Ramp(_) => Mode::Probing,
        }
    }

    /// Returns the mode by the table of the state model.
    fn derived(&self) -> Mode {
        match (&self.hold, &self.trip) {
            _ if self.bypass => Mode::Serving,
            (Some(_), _) => Mode::Maintenance,
            (None, Some(trip)) if self.now < trip.until => Mode::Maintenance,
            (None, Some(_)) => Mode::Probing,
            (None, None) => Mode::Serving,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        match &self.stretch {
            Stretch::Serving { window, .. } => window.counts(Moment(self.now)),
            Stretch::Maintenance { frozen } => *frozen,
            Stretch::Trials(trials) => trials.landed.counts(Moment(self.now)),
            Stretch::Ramp(ramp) => ramp.window.counts(Moment(self.now)),
        }
    }

    // ---- time -------------------------------------------------------------------------------

    pub(super) fn next_due(&self) -> u64 {
        let hold = self.hold.unwrap_or(NEVER);
        let other = match &self.stretch {
            Stretch::Serving { shadow: None, .. } => NEVER,
            Stretch::Serving {
                shadow: Some(shadow),
                window,
                ..
            } => {
                if self.now < shadow.until {
                    shadow.until
                } else {
                    // A rule would trip: nothing changes before an outcome leaves the window.
                    let leaves = window.next_departure(Moment(self.now));
                    leaves.map_or(NEVER, |at| u64::try_from(at).unwrap_or(NEVER))
                }
            }
            Stretch::Maintenance { .. } if self.hold.is_some() => NEVER,
            Stretch::Maintenance { .. } => self.trip.as_ref().map_or(NEVER, |trip| trip.until),
            Stretch::Trials(trials) => {
                let lease = trials.leases.iter().map(|(_, end)| *end).min();
                let told = trials.warning_due().min(trials.evidence_due());
                lease.unwrap_or(NEVER).min(told)
            }
            Stretch::Ramp(ramp) => ramp.since.saturating_add(ramp.duration),
        };
        hold.min(other)
    }

    pub(super) fn advance(&mut self, to: u64) {
        loop {
            let due = self.next_due();
            if due == NEVER || due > to {
                break;
            }
            self.now = self.now.max(due);
            self.fall_due();
        }
        self.now = self.now.max(to);
    }

    fn fall_due(&mut self) {
        if self.hold.is_some_and(|until| until <= self.now) {
            self.hold = None;
            self.tell(Told::HoldEnded { expired: true });
            self.settle_mode();
            // Under bypass the hold may expire at the same time at which the shadow is due.
            self.end_shadow_if_over();
            return;
        }
        let now = self.now;
        match &mut self.stretch {
            Stretch::Serving { .. } => self.end_shadow_if_over(),
            Stretch::Maintenance { .. } => self.settle_mode(),
            Stretch::Trials(trials) => {
                let over = trials.leases.iter().position(|(_, end)| *end <= now);
                if let Some(over) = over {
                    let (probe, _) = trials.leases.remove(over);
                    self.lease_ends(probe);
                } else if trials.warning_due() <= now {
                    trials.warned = true;
                    self.tell(Told::WaitingForProbe);
                } else {
                    let (_, ended) = std::mem::replace(&mut trials.unproven, (now, 0));
                    trials.without_evidence = true;
                    let last = trials.answers.last().copied().flatten();
                    self.tell(Told::WithoutEvidence(ended, last));
                }
            }
            Stretch::Ramp(_) => {
                self.trip = None;
                self.settle_mode();
            }
        }
    }

    /// A probe whose caller waits for the partner has failed; any other gives its slot back.
    fn lease_ends(&mut self, probe: usize) {
        let now = self.now;
        let Stretch::Trials(trials) = &mut self.stretch else {
            unreachable!("only trials have leases");
        };
        let waits = |(number, since): &(usize, u64)| *number == probe && *since <= now;
        if self.waiting.iter().any(waits) {
            self.probes.insert(probe, Some(ProbeEnd::Failed));
            let failure = Landing::Failure { slow: false };
            trials.landed.record(failure, Moment(now));
            let wait = self.next_wait();
            self.trip(vec![Fired::ProbeHung], wait);
            return;
        }
        trials.idle_since = now;
        trials.proved_nothing(None, now);
        self.probes.insert(probe, Some(ProbeEnd::WithoutEvidence));
        self.given_back.push(probe);
    }

    fn end_shadow_if_over(&mut self) {
        let Stretch::Serving {
            shadow: Some(shadow),
            window,
            ..
        } = &self.stretch
        else {
            return;
        };
        let held = window.counts(Moment(self.now));
        if self.now >= shadow.until && self.numbers.fires(held, None).is_empty() {
            self.end_shadow();
        }
    }

    fn end_shadow(&mut self) {
        if let Stretch::Serving { shadow, .. } = &mut self.stretch
            && shadow.take().is_some()
        {
            self.tell(Told::ShadowEnded);
        }
    }

    // ---- modes ------------------------------------------------------------------------------

    fn settle_mode(&mut self) {
        let (from, to) = (self.mode(), self.derived());
        let reads = self.hold.is_some() && self.hold_reads;
        let reads = to == Mode::Maintenance && reads;
        let flipped = std::mem::replace(&mut self.reads_pass, reads) != reads;
        if from == to {
            self.era += u64::from(flipped);
            return;
        }
        let frozen = self.counts();
        self.note_end_of(from);
        if from == Mode::Serving {
            self.leave_serving();
        }
        let probes = to == Mode::Probing;
        let trip = self.trip.as_mut().filter(|_| probes);
        let carried = trip.and_then(|trip| trip.carried.take());
        self.stretch = match to {
            Mode::Serving => Stretch::serving(self.numbers.window),
            Mode::Maintenance => Stretch::Maintenance { frozen },
            Mode::Probing => Stretch::Trials(Trials {
                entered: self.now,
                earlier: carried.as_ref().map_or(0, |it| it.answers.len()),
                probes: self.numbers.probes,
                needed: self.numbers.needed,
                lease: self.numbers.lease,
                rest: self.numbers.rest,
                ramp: self.numbers.ramp,
                leases: Vec::new(),
                successes: 0,
                landed: Naive::new(for_ever()),
                idle_since: self.now,
                patience: self.trip.as_ref().map_or(0, |trip| trip.wait),
                warned: false,
                rests: Vec::new(),
                unproven: carried.as_ref().map_or((self.now, 0), |it| it.unproven),
                without_evidence: carried.as_ref().is_some_and(|it| it.without_evidence),
                answers: carried.map_or_else(Vec::new, |it| it.answers),
            }),
        };
        self.since = self.now;
        self.era += 1;
        self.tell(Told::Mode(from, to));
        if to == Mode::Serving {
            let episode = self.episode.take().expect("Serving was left");
            let by_clock = millis(self.anchor + i128::from(self.now));
            self.generation = by_clock.max(self.generation + 1);
            self.tell(Told::Recovered(episode, self.generation));
        }
    }

    fn note_end_of(&mut self, mode: Mode) {
        self.lasted.push((mode, self.now - self.since));
        for end in self.probes.values_mut() {
            end.get_or_insert(ProbeEnd::CutOff);
        }
    }

    fn leave_serving(&mut self) {
        if self.hold.is_some() {
            // A trip beneath the hold follows the `Serving` that ends here.
            self.trips = self.trips_so_far();
        }
        self.end_shadow();
        self.episodes += 1;
        self.episode = Some(self.episodes);
        let cause = if self.hold.is_some() {
            Cause::Operator
        } else {
            Cause::Tripped
        };
        self.tell(Told::EpisodeBegan(self.episodes, cause));
    }

    fn trip(&mut self, fired: Vec<Fired>, wait: u64) {
        let until = self.now.saturating_add(wait);
        self.trip = Some(Trip {
            until,
            wait,
            carried: None,
        });
        self.tell(Told::Tripped(fired, wait));
        self.settle_mode();
    }

    /// Returns the number of trips before one at `now`: 0 if `Serving` has lasted one base wait.
    fn trips_so_far(&self) -> u32 {
        let is_old = self.now - self.since >= self.numbers.wait;
        if self.mode() == Mode::Serving && is_old {
            0
        } else {
            self.trips
        }
    }

    fn wait_after(&self, trips: u32) -> u64 {
        let factor = u64::from(self.numbers.factor);
        let grown = (1..trips).fold(self.numbers.wait, |wait, _| wait.saturating_mul(factor));
        let wait = grown.min(self.numbers.longest);
        wait.max(self.not_before.saturating_sub(self.now))
    }

    fn next_wait(&mut self) -> u64 {
        self.trips = self.trips_so_far() + 1;
        self.wait_after(self.trips)
    }

    // ---- calls ------------------------------------------------------------------------------

    /// Whether a view before routes lets a request pass.
    pub(super) fn lets_through(&self, asker: Asker) -> bool {
        match self.stretch {
            Stretch::Serving { .. } => true,
            Stretch::Ramp(_) => asker != Asker::Barred,
            Stretch::Maintenance { .. } => false,
            Stretch::Trials(_) => asker == Asker::Eligible && self.pings == 0,
        }
    }

    pub(super) fn admit(&mut self, asker: Asker) -> Option<Call> {
        let number = self.admitted;
        let part = match &mut self.stretch {
            Stretch::Serving { .. } => Part::Plain,
            Stretch::Maintenance { .. } => return None,
            Stretch::Ramp(_) if asker == Asker::Barred => return None,
            Stretch::Trials(trials) => {
                let may = match asker {
                    Asker::Eligible => self.pings == 0,
                    Asker::Ineligible | Asker::Barred => false,
                    Asker::Ping => true,
                };
                let in_flight = trials.leases.len() as u32;
                let taken = in_flight + trials.resting(self.now);
                let free = taken < trials.probes && taken + trials.successes < trials.needed;
                if !(may && free) {
                    return None;
                }
                let end = self.now.saturating_add(trials.lease);
                trials.leases.push((number, end));
                Part::Probe
            }
            Stretch::Ramp(ramp) => {
                ramp.asked += 1;
                let (part, whole) = ramp.share(self.now);
                let passed = |calls: u64| u128::from(calls) * part / whole;
                if passed(ramp.asked) == passed(ramp.asked - 1) {
                    return None;
                }
                Part::Ramp
            }
        };
        self.admitted += 1;
        if part == Part::Probe {
            self.probes.insert(number, None);
        }
        Some(Call {
            number,
            era: self.era,
            part,
        })
    }

    /// The caller begins to wait for the partner, or something came for it.
    pub(super) fn turn_wait(&mut self, call: Call) {
        let before = self.waiting.len();
        self.waiting.retain(|(number, _)| *number != call.number);
        if self.waiting.len() == before {
            self.waiting.push((call.number, self.now));
        }
    }

    /// Something came from the partner, on a call that goes on.
    pub(super) fn hear(&mut self, at: u64) {
        match &mut self.stretch {
            Stretch::Serving { window, .. } => {
                window.hear(Moment(at));
                self.end_shadow_if_over();
            }
            Stretch::Ramp(ramp) => ramp.window.hear(Moment(at)),
            Stretch::Maintenance { .. } | Stretch::Trials(_) => {}
        }
    }

    fn landing(&self, ending: Ending) -> Landing {
        let nanos = crate::base::moment::nanos;
        let slow = |took| {
            self.numbers
                .slow
                .is_some_and(|(limit, _)| nanos(took) > limit)
        };
        match ending {
            Ending::Judged { verdict, took } => match (verdict.origin, verdict.outcome) {
                (Origin::Ourselves, _) => Landing::Ours,
                (Origin::RefusedWithin, _) => Landing::RefusedWithin,
                (Origin::Partner, Outcome::Success) => Landing::Success { slow: slow(took) },
                (Origin::Partner, Outcome::Failure) => Landing::Failure { slow: slow(took) },
                (Origin::Partner, Outcome::Neutral) => Landing::Neutral {
                    code: verdict.code.unwrap_or_default(),
                },
            },
            Ending::Unjudged => Landing::Neutral { code: 0 },
            Ending::Dropped { wait, took } => {
                let (waited, slow) = (wait.map_or(0, nanos), slow(took));
                let is_long = |(_, after): (u32, u64)| waited > after || after == 0;
                let length = match wait {
                    None => WaitLength::None,
                    _ if self.numbers.given_up.is_some_and(is_long) => WaitLength::Long,
                    _ => WaitLength::Short,
                };
                let millis = (waited / 1_000_000) as u32;
                let wait = Wait { length, millis };
                if wait.length != WaitLength::None && waited >= self.numbers.hang_limit {
                    Landing::Hung { slow, wait }
                } else {
                    Landing::Abandoned { slow, wait }
                }
            }
        }
    }

    pub(super) fn settle(&mut self, call: Call, ending: Ending) {
        self.waiting.retain(|(number, _)| *number != call.number);
        let landing = self.landing(ending);
        match landing {
            Landing::Success { .. } => self.calls.succeeded += 1,
            Landing::Failure { .. } | Landing::Hung { .. } => self.calls.failed += 1,
            Landing::Neutral { .. } => self.calls.neutral += 1,
            Landing::Ours => self.calls.ours += 1,
            Landing::RefusedWithin => self.calls.refused_within += 1,
            Landing::Abandoned { .. } => self.calls.abandoned += 1,
        }
        if call.era != self.era {
            self.calls.late += 1;
            return;
        }
        let answer = match ending {
            Ending::Judged { verdict, .. } => Some(verdict),
            Ending::Unjudged | Ending::Dropped { .. } => None,
        };
        let answer = answer.filter(|verdict| verdict.origin == Origin::Partner);
        let asked = answer.and_then(|verdict| verdict.retry_after);
        let asked = asked.map_or(0, crate::base::moment::nanos);
        let asked = asked.min(self.numbers.longest);
        match call.part {
            Part::Plain => self.settle_plain(landing, asked),
            Part::Ramp => self.settle_ramp(landing, asked),
            Part::Probe => self.settle_probe(call.number, landing, answer, asked),
        }
    }

    fn partner_asked(&mut self, span: u64) {
        if span > 0 {
            self.not_before = self.not_before.max(self.now.saturating_add(span));
        }
    }

    fn settle_plain(&mut self, landing: Landing, asked: u64) {
        self.partner_asked(asked);
        let now = Moment(self.now);
        let Stretch::Serving { window, shadow, .. } = &mut self.stretch else {
            panic!("a plain call of this era, but not Serving");
        };
        window.record(landing, now);
        let fired = self.numbers.fires(window.counts(now), Some(landing));
        let armed = !self.dry_run && !self.bypass;
        if !fired.is_empty() && armed {
            let wait = self.next_wait();
            self.trip(fired, wait);
            return;
        }
        if fired.is_empty() {
            self.warn_of_calls_given_up(landing);
        } else if shadow.is_none() {
            let wait = self.wait_after(self.trips_so_far() + 1);
            let until = self.now.saturating_add(wait);
            let Stretch::Serving { shadow, .. } = &mut self.stretch else {
                unreachable!("seen above");
            };
            *shadow = Some(Shadow { until, wait });
            self.tell(Told::WouldHaveTripped(fired, wait));
        }
        self.end_shadow_if_over();
    }

    /// Once an era: as many callers left after any wait as would trip if each had failed, or as the
    /// rule of calls given up wants, and nothing came.
    fn warn_of_calls_given_up(&mut self, landing: Landing) {
        let (Landing::Hung { wait, .. } | Landing::Abandoned { wait, .. }) = landing else {
            return;
        };
        let by_rule = self.numbers.given_up.map(|(calls, _)| calls);
        let least = by_rule.unwrap_or(self.numbers.min_calls);
        let least = self.numbers.run.map_or(least, |run| run.min(least));
        let held = self.counts();
        let calls = held.given_up + held.left_early;
        if let Stretch::Serving { warned, .. } = &mut self.stretch
            && has_waited(wait)
            && calls >= least
            && !held.answered
            && !std::mem::replace(warned, true)
        {
            self.tell(Told::CallersGaveUp(calls.into(), held.longest_wait.into()));
        }
    }

    fn settle_probe(
        &mut self,
        number: usize,
        landing: Landing,
        answer: Option<Verdict>,
        asked: u64,
    ) {
        if self.given_back.contains(&number) {
            return;
        }
        let Stretch::Trials(trials) = &mut self.stretch else {
            panic!("a probe of this era, but no trials");
        };
        self.probes.insert(number, Some(ProbeEnd::by(landing)));
        trials.gives_back(number, self.now);
        trials.landed.record(landing, Moment(self.now));
        let code = answer.and_then(|verdict| verdict.code);
        let carried = trials.carried(answer, self.now);
        let failed = answer.is_some_and(|verdict| verdict.outcome != Outcome::Success);
        if failed && asked > 0 && matches!(code, None | Some(429 | 503)) {
            self.trip(vec![Fired::PartnerAsked], asked);
            self.carry(carried);
            return;
        }
        match landing {
            Landing::Success { .. } => {
                trials.proved(self.now);
                if trials.successes == trials.needed {
                    self.proven();
                }
            }
            Landing::Failure { .. } | Landing::Hung { .. } => {
                self.partner_asked(asked);
                let wait = self.next_wait();
                self.trip(vec![Fired::ProbeFailed], wait);
            }
            Landing::Neutral { .. } if code == Some(429) && asked == 0 => {
                let wait = self.trip.as_ref().expect("it probes").wait;
                self.trip(vec![Fired::PartnerLimits], wait);
                self.carry(carried);
            }
            Landing::Neutral { .. }
            | Landing::Ours
            | Landing::RefusedWithin
            | Landing::Abandoned { .. } => {
                trials.proved_nothing(answer.map(|verdict| verdict.code), self.now);
            }
        }
    }

    fn carry(&mut self, carried: Option<Carried>) {
        self.trip.as_mut().expect("it has just tripped").carried = carried;
    }

    /// Ends the trials after the last needed success.
    fn proven(&mut self) {
        self.not_before = 0;
        let Stretch::Trials(trials) = &self.stretch else {
            unreachable!("only trials prove");
        };
        assert!(trials.leases.is_empty(), "R12: nothing is in flight");
        let Some((duration, start)) = trials.ramp else {
            self.trip = None;
            self.settle_mode();
            return;
        };
        self.stretch = Stretch::Ramp(Ramp {
            since: self.now,
            duration,
            start,
            asked: 0,
            window: Naive::new(self.numbers.window),
            needed: trials.needed,
        });
        self.tell(Told::RampBegan(duration));
    }

    fn settle_ramp(&mut self, landing: Landing, asked: u64) {
        self.partner_asked(asked);
        let now = Moment(self.now);
        let Stretch::Ramp(ramp) = &mut self.stretch else {
            panic!("a call of a ramp of this era, but no ramp");
        };
        ramp.window.record(landing, now);
        let fired = self.numbers.fires(ramp.window.counts(now), Some(landing));
        if !fired.is_empty() {
            let wait = self.next_wait();
            self.trip(fired, wait);
        }
    }

    // ---- commands ---------------------------------------------------------------------------

    pub(super) fn engage(
        &mut self,
        expiry: Option<u64>,
        reads: bool,
    ) -> Result<bool, CommandError> {
        let until = expiry.map_or(NEVER, |span| self.now.saturating_add(span));
        self.hold = Some(until);
        self.hold_reads = reads;
        let shown = (until != NEVER).then(|| self.wall(until));
        self.tell(Told::HoldEngaged(shown));
        self.settle_mode();
        Ok(true)
    }

    fn end_hold(&mut self) -> Result<(), CommandError> {
        if self.hold.take().is_none() {
            return Err(CommandError::NotHeld);
        }
        self.tell(Told::HoldEnded { expired: false });
        Ok(())
    }

    pub(super) fn release(&mut self) -> Result<bool, CommandError> {
        self.end_hold()?;
        self.settle_mode();
        Ok(true)
    }

    pub(super) fn release_verified(&mut self) -> Result<bool, CommandError> {
        self.not_bypassed()?;
        self.end_hold()?;
        let now = self.now;
        let wait = self.numbers.wait;
        // A trip beneath the hold stays what it is; only its wait is over.
        let trip = self.trip.get_or_insert(Trip {
            until: now,
            wait,
            carried: None,
        });
        trip.until = trip.until.min(now);
        self.settle_mode();
        Ok(true)
    }

    pub(super) fn trip_by_command(&mut self) -> Result<bool, CommandError> {
        self.not_bypassed()?;
        let running = self.trip.as_ref().filter(|trip| self.now < trip.until);
        let wait = match running {
            Some(trip) => trip.wait,
            None => self.next_wait(),
        };
        self.trip(vec![Fired::Command], wait);
        Ok(true)
    }

    pub(super) fn probe_now(&mut self) -> Result<bool, CommandError> {
        let now = self.now;
        let trip = self.trip.as_mut().ok_or(CommandError::NotTripped)?;
        let was_running = now < trip.until;
        trip.until = trip.until.min(now);
        self.settle_mode();
        Ok(was_running)
    }

    pub(super) fn clear(&mut self) -> Result<bool, CommandError> {
        let held = self.end_hold().is_ok();
        let tripped = self.trip.take().is_some();
        self.trips = 0;
        self.not_before = 0;
        self.settle_mode();
        Ok(held || tripped)
    }

    pub(super) fn reset(&mut self) -> Result<bool, CommandError> {
        self.clear()?;
        self.era += 1;
        self.tell(Told::WindowReset);
        self.end_shadow();
        if let Stretch::Serving { window, warned, .. } = &mut self.stretch {
            window.clear();
            *warned = false;
        }
        Ok(true)
    }

    pub(super) fn switch(&mut self, dry_run: bool, bypass: bool) -> Result<bool, CommandError> {
        if (self.dry_run, self.bypass) == (dry_run, bypass) {
            return Ok(false);
        }
        (self.dry_run, self.bypass) = (dry_run, bypass);
        self.tell(Told::Switched { dry_run, bypass });
        if dry_run || bypass {
            self.trip = None;
        } else {
            self.end_shadow();
        }
        self.settle_mode();
        Ok(true)
    }

    pub(super) fn replace(&mut self, numbers: Numbers) -> Result<bool, CommandError> {
        if numbers == self.numbers {
            return Ok(false);
        }
        if let Stretch::Serving { window, .. } = &mut self.stretch
            && window.window() != numbers.window
        {
            *window = Naive::new(numbers.window);
        }
        self.numbers = numbers;
        self.tell(Told::PolicyReplaced);
        self.end_shadow_if_over();
        Ok(true)
    }

    pub(super) fn step_wall(&mut self, by: i64) {
        self.anchor += i128::from(by);
    }

    fn not_bypassed(&self) -> Result<(), CommandError> {
        if self.bypass {
            Err(CommandError::Bypassed)
        } else {
            Ok(())
        }
    }

    fn tell(&mut self, told: Told) {
        let at = self.wall(self.now);
        self.told.push((at, told));
    }

    // ---- shown values ----------------------------------------------------------------------

    /// Returns how long until a request may pass again, if that is known.
    pub(super) fn retry_after(&self) -> Option<u64> {
        if self.mode() != Mode::Maintenance {
            return None;
        }
        let trip = self.trip.as_ref().map_or(0, |trip| trip.until);
        let last = self.hold.unwrap_or(0).max(trip);
        (last != NEVER).then(|| last - self.now)
    }

    /// The width of the buckets in which signs of life count.
    pub(super) fn width(&self) -> Option<u128> {
        match &self.stretch {
            Stretch::Serving { window, .. } => window.width(),
            Stretch::Ramp(ramp) => ramp.window.width(),
            Stretch::Maintenance { .. } | Stretch::Trials(_) => None,
        }
    }

    /// Whether a whole wait has passed in `Probing` without a request that may probe.
    pub(super) fn is_waiting(&self) -> bool {
        let Stretch::Trials(trials) = &self.stretch else {
            return false;
        };
        trials.leases.is_empty() && self.now >= trials.idle_since.saturating_add(trials.patience)
    }
}

impl Stretch {
    fn serving(window: Window) -> Self {
        Self::Serving {
            window: Naive::new(window),
            shadow: None,
            warned: false,
        }
    }
}

/// A window that forgets nothing.
fn for_ever() -> Window {
    Window::Time {
        length: Duration::MAX,
        buckets: 1,
    }
}

fn since_epoch(wall: SystemTime) -> i128 {
    let since = wall.duration_since(UNIX_EPOCH).expect("after the epoch");
    i128::try_from(since.as_nanos()).expect("before the year 10^21")
}

fn millis(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).expect("after the epoch")
}
