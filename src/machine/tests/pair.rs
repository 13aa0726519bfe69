//! A machine beside its model. Each step is done to both, and then both are compared.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestCaseError};

use super::{
    super::{Asker, Command, Ending, Machine, Role, Slot, Traffic, word::Op, word::era_bits},
    birth,
    model::{Call, Model, NEVER, Numbers, Part, ProbeEnd, Stretch},
    steps::{Span, Step, bypass_or_end, dry_run_or_arm, signature},
    wall,
};
use crate::{
    base::moment::Moment,
    error::CommandError,
    facts::{
        event::{Event, EventKind},
        evidence::Rule,
        mode::{Cause, Mode},
        status::{CallCounts, ProbingReport, Status},
    },
    policy::window::Window,
};

type Checked = Result<(), TestCaseError>;

/// The machine and its model, and the calls under way in both.
pub(super) struct Pair {
    machine: Machine,
    model: Model,
    calls: Vec<(Running, Call)>,
    /// The eras of the machine and of the model after the last step.
    eras: (u64, u64),
    generation: u64,
    pub(super) events: Vec<Event>,
    /// How many calls ended.
    ended: u64,
}

/// A call under way.
pub(super) struct Running {
    pub(super) role: Role,
    pub(super) era: u32,
    /// Since when its caller waits for the partner.
    pub(super) waits: Option<u64>,
}

/// Tells the machine which probes' callers wait.
pub(super) fn waits<'c>(
    calls: impl Iterator<Item = &'c Running> + Clone,
) -> impl Fn(u32, Slot, Moment) -> bool {
    move |era, slot, at| {
        let mut calls = calls.clone();
        calls.any(|call| {
            let since = call.waits.map(Moment);
            (call.era, call.role) == (era, Role::Probe(slot)) && since.is_some_and(|at_| at_ <= at)
        })
    }
}

impl Pair {
    pub(super) fn new(numbers: &Numbers, generation: Option<u64>) -> Self {
        let machine = birth(numbers, generation);
        let model = Model::new(numbers.clone(), wall(), generation);
        Self {
            eras: (machine.era(), model.era),
            generation: machine.generation(),
            machine,
            model,
            calls: Vec::new(),
            events: Vec::new(),
            ended: 0,
        }
    }

    // ---- steps ------------------------------------------------------------------------------

    pub(super) fn take(&mut self, step: &Step) -> Checked {
        self.advance(step);
        match step {
            Step::Advance(_) | Step::LookBack => {}
            Step::Admit(asker) => self.admit(*asker)?,
            Step::TurnWait(index) => self.turn_wait(*index),
            Step::Hear(ago) => self.hear(*ago)?,
            Step::Settle(index, ending) => self.settle(*index, *ending),
            Step::PingBegan => {
                self.machine.ping_began();
                self.model.pings += 1;
            }
            Step::PingEnded => {
                self.machine.ping_ended();
                self.model.pings = self.model.pings.saturating_sub(1);
            }
            Step::WallReads(by) => {
                self.model.step_wall(*by);
                let now = self.model.wall(self.model.now);
                self.machine.wall_clock_reads(now);
            }
            Step::Engage(expiry, reads) => {
                self.command_of(step, |model| model.engage(*expiry, *reads))?;
            }
            Step::Release => self.command_of(step, Model::release)?,
            Step::ReleaseVerified => self.command_of(step, Model::release_verified)?,
            Step::Trip => self.command_of(step, Model::trip_by_command)?,
            Step::ProbeNow => self.command_of(step, Model::probe_now)?,
            Step::Clear => self.command_of(step, Model::clear)?,
            Step::Reset => self.command_of(step, Model::reset)?,
            Step::Switch { dry_run, bypass } => self.switch(*dry_run, *bypass)?,
            Step::Replace(numbers) => self.replace(Numbers::clone(numbers))?,
            Step::Retune {
                min_calls,
                rate,
                wait,
            } => self.retune(*min_calls, *rate, *wait)?,
        }
        self.compare()
    }

    /// Advances time in both to the moment of `step`.
    fn advance(&mut self, step: &Step) {
        let to = match *step {
            Step::Advance(Span::Nanos(nanos)) => self.model.now.saturating_add(nanos),
            Step::Advance(Span::Due(off)) => match self.model.next_due() {
                NEVER => self.model.now,
                due => due.saturating_add_signed(off).max(self.model.now),
            },
            _ => self.model.now,
        };
        self.model.advance(to);
        let look = match step {
            Step::LookBack => to / 2,
            _ => to,
        };
        self.look(Moment(look));
    }

    fn look(&mut self, now: Moment) {
        let calls = self.calls.iter().map(|(running, _)| running);
        let traffic = Traffic::default();
        self.machine.tick(now, traffic, &waits(calls));
    }

    fn admit(&mut self, asker: Asker) -> Checked {
        let era = era_bits(self.machine.era());
        let (role, call) = (self.machine.admit(asker), self.model.admit(asker));
        prop_assert_eq!(role.is_some(), call.is_some(), "admitted");
        if let (Some(role), Some(call)) = (role, call) {
            let waits = None;
            self.calls.push((Running { role, era, waits }, call));
        }
        Ok(())
    }

    fn settle(&mut self, index: prop::sample::Index, ending: Ending) {
        if self.calls.is_empty() {
            return;
        }
        let (running, call) = self.calls.swap_remove(index.index(self.calls.len()));
        self.machine.settle(running.role, running.era, ending);
        self.ended += 1;
        self.model.settle(call, ending);
    }

    /// The caller of a probe begins to wait, or something comes for it.
    fn turn_wait(&mut self, index: prop::sample::Index) {
        let probes = self.calls.iter_mut();
        let mut probes: Vec<_> = probes
            .filter(|(_, call)| call.part == Part::Probe)
            .collect();
        if probes.is_empty() {
            return;
        }
        let index = index.index(probes.len());
        let (running, call) = &mut *probes[index];
        running.waits = match running.waits {
            Some(_) => None,
            None => Some(self.model.now),
        };
        self.model.turn_wait(*call);
    }

    /// Something came from the partner `ago`, which the machine learns by the number of its bucket.
    fn hear(&mut self, ago: u64) -> Checked {
        let at = self.model.now.saturating_sub(ago);
        let width = self.machine.bucket_width();
        prop_assert_eq!(width.map(u128::from), self.model.width());
        let now = Moment(self.model.now);
        self.machine.heard(width.map_or(0, |width| at / width), now);
        self.look(now);
        self.model.hear(at);
        Ok(())
    }

    fn switch(&mut self, dry_run: bool, bypass: bool) -> Checked {
        let bypass_before = self.model.bypass;
        self.command(dry_run_or_arm(dry_run), |model| {
            model.switch(dry_run, bypass_before)
        })?;
        self.compare()?;
        self.command(bypass_or_end(bypass), |model| model.switch(dry_run, bypass))
    }

    /// Replaces thresholds and waits, but not the window.
    fn retune(&mut self, min_calls: u32, rate: Option<u32>, wait: u64) -> Checked {
        let mut numbers = self.model.numbers.clone();
        numbers.min_calls = match numbers.window {
            Window::Calls(size) => min_calls.min(size),
            Window::Time { .. } => min_calls,
        };
        numbers.rate = rate.or(numbers.rate);
        numbers.longest = numbers.longest / numbers.wait * wait;
        numbers.wait = wait;
        self.replace(numbers)
    }

    fn replace(&mut self, numbers: Numbers) -> Checked {
        let command = Command::ReplacePolicy(Box::new(numbers.rules()));
        self.command(command, |model| model.replace(numbers))
    }

    fn command_of(
        &mut self,
        step: &Step,
        expected: impl FnOnce(&mut Model) -> Result<bool, CommandError>,
    ) -> Checked {
        let command = step.command().expect("the step is a command");
        self.command(command, expected)
    }

    fn command(
        &mut self,
        command: Command,
        expected: impl FnOnce(&mut Model) -> Result<bool, CommandError>,
    ) -> Checked {
        let answer = self.machine.command(command, &signature());
        prop_assert_eq!(answer, expected(&mut self.model));
        Ok(())
    }

    // ---- comparing --------------------------------------------------------------------------

    fn compare(&mut self) -> Checked {
        self.compare_events()?;
        self.compare_gate()?;
        self.compare_eras()?;
        let status = self.machine.status();
        self.compare_causes(&status)?;
        self.compare_counts(&status)?;
        self.compare_totals(&status)?;
        match status.probing {
            Some(probing) => self.compare_probing(probing),
            None => {
                prop_assert_ne!(self.model.mode(), Mode::Probing);
                Ok(())
            }
        }
    }

    fn compare_events(&mut self) -> Checked {
        let events = self.machine.take_events();
        let told = self.model.take_told();
        let same = events.len() == told.len()
            && events
                .iter()
                .zip(&told)
                .all(|(event, (at, told))| event.at == *at && told.is(event));
        prop_assert!(same, "events {events:#?}\nexpected {told:#?}");
        self.events.extend(events);
        Ok(())
    }

    fn compare_gate(&self) -> Checked {
        let (machine, model) = (&self.machine, &self.model);
        prop_assert_eq!(machine.mode(), model.mode());
        prop_assert_eq!(machine.next_deadline().0, model.next_due(), "next deadline");
        let op = match (model.mode(), model.next_due()) {
            (Mode::Serving, NEVER) => Op::Serve,
            (Mode::Serving, _) => Op::ServeUntil,
            (Mode::Maintenance, _) => Op::Refuse,
            (Mode::Probing, _) => Op::Ask,
        };
        prop_assert_eq!(machine.op(), op);
        for asker in [Asker::Eligible, Asker::Ineligible, Asker::Barred] {
            prop_assert_eq!(machine.lets_through(asker), model.lets_through(asker));
        }
        Ok(())
    }

    /// Compares where eras end. The model may number them differently.
    fn compare_eras(&mut self) -> Checked {
        let (machine, model) = (&self.machine, &self.model);
        let eras = std::mem::replace(&mut self.eras, (machine.era(), model.era));
        prop_assert!(machine.era() >= eras.0, "an era came back");
        prop_assert_eq!(machine.era() > eras.0, model.era > eras.1, "a new era");
        let generation = std::mem::replace(&mut self.generation, machine.generation());
        prop_assert!(
            machine.generation() >= generation,
            "the generation went back"
        );
        prop_assert_eq!(machine.generation(), model.generation);
        Ok(())
    }

    fn compare_causes(&self, status: &Status) -> Checked {
        let model = &self.model;
        prop_assert_eq!(status.read_only, model.reads_pass);
        prop_assert_eq!(status.since, model.wall(model.since));
        prop_assert_eq!(
            status.retry_after,
            model.retry_after().map(Duration::from_nanos)
        );
        let causes = status.causes.iter().map(|cause| (cause.cause, cause.until));
        let until = |until: u64| (until != NEVER).then(|| model.wall(until));
        let held = model.hold.map(|at| (Cause::Operator, until(at)));
        let tripped = model.trip.as_ref();
        let tripped = tripped.map(|trip| (Cause::Tripped, until(trip.until)));
        prop_assert_eq!(
            causes.collect::<Vec<_>>(),
            held.into_iter().chain(tripped).collect::<Vec<_>>()
        );
        let episode = status.episode.as_ref().map(|episode| episode.id);
        prop_assert_eq!(episode, model.episode);
        prop_assert_eq!(status.pings, model.pings);
        Ok(())
    }

    fn compare_counts(&self, status: &Status) -> Checked {
        let (window, held) = (status.window, self.model.counts());
        prop_assert_eq!(
            (
                window.total,
                window.succeeded,
                window.failed,
                window.slow,
                window.consecutive_failures
            ),
            (
                held.successes + u64::from(held.failed) + u64::from(held.slow_drops),
                held.successes,
                held.failed.into(),
                held.slow.into(),
                held.run.into()
            )
        );
        prop_assert_eq!(
            (window.given_up, window.longest_wait),
            (
                u64::from(held.given_up + held.left_early),
                Duration::from_millis(held.longest_wait.into())
            )
        );
        prop_assert_eq!(
            (window.neutral, window.ours, window.refused_within),
            (
                held.neutral.into(),
                held.ours.into(),
                held.refused_within.into()
            )
        );
        let code = (held.neutral_code != 0).then_some(held.neutral_code);
        prop_assert_eq!(window.last_neutral_code, code);
        let calls = CallCounts {
            admitted: 0,
            ..status.calls
        };
        prop_assert_eq!(calls, self.model.calls);
        let shadow = status.shadow.map(|shadow| shadow.wait);
        let expected = match &self.model.stretch {
            Stretch::Serving { shadow, .. } => shadow.as_ref(),
            _ => None,
        };
        let expected = expected.map(|shadow| Duration::from_nanos(shadow.wait));
        prop_assert_eq!(shadow, expected, "shadow");
        Ok(())
    }

    fn compare_totals(&self, status: &Status) -> Checked {
        let (totals, model) = (status.totals, &self.model);
        for (mode, lasted) in totals.time_in.by_mode() {
            let expected = Duration::from_nanos(model.time_in(mode));
            prop_assert_eq!(lasted, expected, "time in {}", mode);
        }
        prop_assert_eq!(totals.episodes, model.episodes());
        // The model has checked the events.
        let fired = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Tripped { evidence, .. } => Some(rule_name(evidence.rule)),
            _ => None,
        });
        let fired: Vec<_> = fired.collect();
        for (rule, trips) in totals.trips.by_rule() {
            let expected = fired.iter().filter(|fired| **fired == rule).count();
            prop_assert_eq!(trips, expected as u64, "trips by {}", rule);
        }
        prop_assert_eq!(totals.trips.sum(), fired.len() as u64);
        let ended = |end| model.probes.values().filter(|it| **it == end).count() as u64;
        let probes = totals.probes;
        prop_assert_eq!(
            (probes.started, probes.in_flight()),
            (model.probes.len() as u64, ended(None))
        );
        prop_assert_eq!(
            (probes.succeeded, probes.failed),
            (
                ended(Some(ProbeEnd::Succeeded)),
                ended(Some(ProbeEnd::Failed))
            )
        );
        prop_assert_eq!(
            (probes.without_evidence, probes.cut_off),
            (
                ended(Some(ProbeEnd::WithoutEvidence)),
                ended(Some(ProbeEnd::CutOff))
            )
        );
        let shown = status.probing.map_or(0, |probing| probing.in_flight);
        prop_assert_eq!(probes.in_flight(), u64::from(shown));
        let ended: u64 = status.calls.by_outcome().map(|(_, calls)| calls).sum();
        prop_assert_eq!(ended, self.ended, "each call has one outcome");
        Ok(())
    }

    fn compare_probing(&self, shown: ProbingReport) -> Checked {
        match &self.model.stretch {
            Stretch::Serving { .. } | Stretch::Maintenance { .. } => {
                prop_assert!(false, "it is not probing, but shows {shown:?}");
            }
            Stretch::Trials(trials) => {
                let in_flight = trials.leases.len() as u32;
                prop_assert_eq!(shown.in_flight, in_flight);
                prop_assert_eq!(
                    (shown.successes, shown.needed),
                    (trials.successes, trials.needed)
                );
                let resting = trials.resting(self.model.now);
                prop_assert_eq!(shown.resting, resting);
                prop_assert!(in_flight + resting <= trials.probes);
                prop_assert!(in_flight + trials.successes <= trials.needed);
                let at_once = trials.probes.min(trials.needed - trials.successes);
                let free = at_once.saturating_sub(in_flight + resting);
                prop_assert_eq!(shown.free, free);
                prop_assert_eq!(shown.without_evidence, trials.without_evidence);
                let last_code = trials.answers.last().copied().flatten();
                prop_assert_eq!(shown.last_code, last_code);
                prop_assert_eq!(shown.waiting_for_probe, self.model.is_waiting());
                prop_assert_eq!(shown.ramp_share, None);
            }
            Stretch::Ramp(ramp) => {
                prop_assert_eq!((shown.in_flight, shown.free), (0, 0));
                prop_assert_eq!((shown.successes, shown.needed), (ramp.needed, ramp.needed));
                let (part, whole) = ramp.share(self.model.now);
                let share = shown.ramp_share.expect("it is a ramp");
                prop_assert!((share - part as f64 / whole as f64).abs() < 1e-9);
            }
        }
        Ok(())
    }
}

/// The name of a rule in the sums.
fn rule_name(rule: Rule) -> &'static str {
    match rule {
        Rule::FailureRate { .. } => "failure_rate",
        Rule::ConsecutiveFailures { .. } => "consecutive_failures",
        Rule::SlowCalls { .. } => "slow_calls",
        Rule::GivenUp { .. } => "given_up",
        Rule::ProbeFailed => "probe_failed",
        Rule::ProbeHung { .. } => "probe_hung",
        Rule::PartnerAsked { .. } => "partner_asked",
        Rule::PartnerLimits { .. } => "partner_limits",
        Rule::Command => "command",
    }
}
