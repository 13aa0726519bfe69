//! The machine by its rules, and against a naive model of the design.

mod model;
mod promises;

use proptest::{prelude::*, test_runner::TestCaseError};

use self::model::{Call, Model, NEVER, Numbers, SECOND, Stretch};
use super::*;
use crate::{
    error::CommandError,
    facts::outcome::{Outcome, Verdict},
    policy::window::Window,
};

// ---- what happens ---------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Advance(Span),
    /// Somebody whose clock stands earlier looks.
    LookBack,
    Admit(Asker),
    Settle(prop::sample::Index, Ending),
    /// For so long at most, and whether reads pass.
    Engage(Option<u64>, bool),
    Release,
    ReleaseVerified,
    Trip,
    ProbeNow,
    Clear,
    Reset,
    Switch {
        dry_run: bool,
        bypass: bool,
    },
    Replace(Box<Numbers>),
    /// The same policy with other thresholds: the window keeps its shape.
    Retune {
        min_calls: u32,
        rate: Option<u32>,
        wait: u64,
    },
    PingBegan,
    PingEnded,
    WallReads(i64),
}

/// How far time goes.
#[derive(Debug, Clone, Copy)]
enum Span {
    Nanos(u64),
    /// To the next deadline, so many nanoseconds before or after it.
    Due(i64),
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = u64> {
    range.prop_map(|seconds| seconds * SECOND)
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        2 => Just(Span::Nanos(0)),
        1 => (1_u64..=3).prop_map(Span::Nanos),
        4 => seconds(1..=4).prop_map(Span::Nanos),
        1 => seconds(5..=40).prop_map(Span::Nanos),
        1 => (0_u64..=5_000).prop_map(|millis| Span::Nanos(millis * 1_000_000)),
        4 => (-1_i64..=1).prop_map(Span::Due),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1_u32..=6).prop_map(Window::Calls),
        (1_u64..=20, 0_u64..=3, 1_u32..=4).prop_map(|(seconds, nanos, buckets)| Window::Time {
            length: Duration::new(seconds, nanos as u32),
            buckets,
        }),
    ]
}

fn share() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(1),
        Just(250_000),
        Just(500_000),
        Just(666_667),
        Just(1_000_000)
    ]
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let rules = (
        window(),
        1_u32..=4,
        prop::option::weighted(0.7, share()),
        prop::option::weighted(0.5, 1_u32..=4),
        prop::option::weighted(0.3, (seconds(1..=3), share())),
        prop::bool::weighted(0.3),
        seconds(1..=6),
    );
    let rest = (
        seconds(1..=10),
        1_u32..=3,
        1_u64..=6,
        1_u32..=3,
        1_u32..=4,
        seconds(1..=15),
        prop::option::weighted(0.4, (seconds(1..=10), share())),
    );
    (rules, rest).prop_map(|(rules, rest)| {
        let (window, min_calls, rate, run, slow, abandoned_all, hang_limit) = rules;
        let (wait, factor, longest, probes, needed, lease, ramp) = rest;
        let at_most = |n: u32| match window {
            Window::Calls(size) => n.min(size),
            Window::Time { .. } => n,
        };
        let silent = rate.is_none() && run.is_none() && slow.is_none() && !abandoned_all;
        Numbers {
            window,
            min_calls: at_most(min_calls),
            rate: if silent { Some(500_000) } else { rate },
            run: run.map(at_most),
            slow,
            abandoned_all,
            hang_limit,
            wait,
            factor,
            longest: wait * longest,
            probes,
            needed,
            lease,
            ramp,
        }
    })
}

fn asker() -> impl Strategy<Value = Asker> {
    prop_oneof![
        5 => Just(Asker::Eligible),
        2 => Just(Asker::Ineligible),
        1 => Just(Asker::Barred),
        1 => Just(Asker::Ping),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Neutral),
    ];
    let code = prop_oneof![
        3 => Just(None),
        1 => prop::sample::select(&[200_u16, 429, 500, 503]).prop_map(Some),
    ];
    let retry_after = prop_oneof![
        5 => Just(None),
        1 => (0_u64..=20).prop_map(|seconds| Some(Duration::from_secs(seconds))),
        1 => Just(Some(Duration::MAX)),
    ];
    // Up to, exactly at, and beyond what is slow or hangs.
    let took = || {
        (0_u64..=6, 0_u64..=2).prop_map(|(seconds, nanos)| {
            Duration::from_nanos((seconds * SECOND + nanos).saturating_sub(1))
        })
    };
    prop_oneof![
        5 => (outcome, code, retry_after, took()).prop_map(|(outcome, code, retry_after, took)| {
            let mut verdict = Verdict::from(outcome);
            verdict.code = code;
            verdict.retry_after = retry_after;
            Ending::Judged { verdict, took }
        }),
        2 => took().prop_map(|quiet| Ending::Dropped { quiet }),
    ]
}

fn engage(expiry: Option<u64>, reads: bool) -> Command {
    Command::Engage {
        expiry: expiry.map(Duration::from_nanos),
        passing: if reads {
            Passing::Reads
        } else {
            Passing::Nothing
        },
        message: None,
    }
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        30 => span().prop_map(Step::Advance),
        1 => Just(Step::LookBack),
        24 => asker().prop_map(Step::Admit),
        30 => (index(), ending()).prop_map(|(index, ending)| Step::Settle(index, ending)),
        3 => (prop::option::of(seconds(0..=10)), any::<bool>())
            .prop_map(|(expiry, reads)| Step::Engage(expiry, reads)),
        1 => Just(Step::Engage(Some(NEVER), false)),
        2 => Just(Step::Release),
        2 => Just(Step::ReleaseVerified),
        2 => Just(Step::Trip),
        2 => Just(Step::ProbeNow),
        1 => Just(Step::Clear),
        1 => Just(Step::Reset),
        3 => (any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(dry_run, bypass)| Step::Switch { dry_run, bypass }),
        1 => numbers().prop_map(|numbers| Step::Replace(Box::new(numbers))),
        1 => (1_u32..=4, prop::option::of(share()), seconds(1..=10)).prop_map(
            |(min_calls, rate, wait)| Step::Retune { min_calls, rate, wait }
        ),
        1 => Just(Step::PingBegan),
        1 => Just(Step::PingEnded),
        1 => (-3_600_000_000_000_i64..=3_600_000_000_000).prop_map(Step::WallReads),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..100)
}

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789)
}

fn birth(numbers: &Numbers, generation: Option<u64>) -> Machine {
    Machine::new(Birth {
        partner: "zuora".into(),
        rules: numbers.rules(),
        wall: WallAnchor::so_that(Moment::ORIGIN, wall()),
        generation,
        seed: Some(7),
        switches: Switches::default(),
    })
}

// ---- side by side ---------------------------------------------------------------------------------

/// The machine and its model, and the calls under way in both.
struct Pair {
    machine: Machine,
    model: Model,
    calls: Vec<(Role, u32, Call)>,
    eras: (u64, u64),
    generation: u64,
    events: Vec<Event>,
}

impl Pair {
    fn new(numbers: &Numbers, generation: Option<u64>) -> Self {
        let machine = birth(numbers, generation);
        let model = Model::new(numbers.clone(), wall(), generation);
        Self {
            eras: (machine.era(), model.era),
            generation: machine.generation(),
            machine,
            model,
            calls: Vec::new(),
            events: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let to = match *step {
            Step::Advance(Span::Nanos(nanos)) => self.model.now.saturating_add(nanos),
            Step::Advance(Span::Due(off)) => match self.model.next_due() {
                NEVER => self.model.now,
                due => due.saturating_add_signed(off).max(self.model.now),
            },
            _ => self.model.now,
        };
        self.model.advance(to);
        let look = if matches!(step, Step::LookBack) {
            to / 2
        } else {
            to
        };
        self.machine.tick(Moment(look), Traffic::default());

        let model = &mut self.model;
        match step {
            Step::Advance(_) | Step::LookBack => {}
            Step::Admit(asker) => {
                let era = era_bits(self.machine.era());
                let (role, call) = (self.machine.admit(*asker), model.admit(*asker));
                prop_assert_eq!(role.is_some(), call.is_some(), "admitted");
                if let (Some(role), Some(call)) = (role, call) {
                    self.calls.push((role, era, call));
                }
            }
            Step::Settle(index, ending) => {
                if !self.calls.is_empty() {
                    let (role, era, call) = self.calls.swap_remove(index.index(self.calls.len()));
                    self.machine.settle(role, era, *ending);
                    model.settle(call, *ending);
                }
            }
            Step::PingBegan => {
                self.machine.ping_began();
                model.pings += 1;
            }
            Step::PingEnded => {
                self.machine.ping_ended();
                model.pings = model.pings.saturating_sub(1);
            }
            Step::WallReads(by) => {
                model.step_wall(*by);
                let now = model.wall(model.now);
                self.machine.wall_clock_reads(now);
            }
            Step::Engage(expiry, reads) => {
                let command = engage(*expiry, *reads);
                self.command(command, |model| model.engage(*expiry, *reads))?;
            }
            Step::Release => self.command(Command::Release, Model::release)?,
            Step::ReleaseVerified => {
                self.command(Command::ReleaseVerified, Model::release_verified)?;
            }
            Step::Trip => self.command(Command::Trip, Model::trip_by_command)?,
            Step::ProbeNow => self.command(Command::ProbeNow, Model::probe_now)?,
            Step::Clear => self.command(Command::Clear, Model::clear)?,
            Step::Reset => self.command(Command::Reset, Model::reset)?,
            Step::Switch { dry_run, bypass } => {
                let (dry_run, bypass) = (*dry_run, *bypass);
                let now_bypass = model.bypass;
                self.command(Command::DryRun(dry_run), |model| {
                    model.switch(dry_run, now_bypass)
                })?;
                self.compare()?;
                self.command(Command::Bypass(bypass), |model| {
                    model.switch(dry_run, bypass)
                })?;
            }
            Step::Replace(numbers) => self.replace(Numbers::clone(numbers))?,
            Step::Retune {
                min_calls,
                rate,
                wait,
            } => {
                let mut numbers = model.numbers.clone();
                if let Window::Calls(size) = numbers.window {
                    numbers.min_calls = (*min_calls).min(size);
                } else {
                    numbers.min_calls = *min_calls;
                }
                numbers.rate = rate.or(numbers.rate);
                numbers.longest = numbers.longest / numbers.wait * wait;
                numbers.wait = *wait;
                self.replace(numbers)?;
            }
        }
        self.compare()
    }

    fn replace(&mut self, numbers: Numbers) -> Result<(), TestCaseError> {
        let command = Command::ReplacePolicy(Box::new(numbers.rules()));
        self.command(command, |model| model.replace(numbers))
    }

    fn command(
        &mut self,
        command: Command,
        expected: impl FnOnce(&mut Model) -> Result<bool, CommandError>,
    ) -> Result<(), TestCaseError> {
        let (actor, reason) = ("somebody".into(), "because".into());
        let answer = self.machine.command(command, &actor, &reason);
        prop_assert_eq!(answer, expected(&mut self.model));
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let (machine, model) = (&mut self.machine, &mut self.model);
        let events = machine.take_events();
        let told = model.take_told();
        let same = events.len() == told.len()
            && events
                .iter()
                .zip(&told)
                .all(|(event, (at, told))| event.at == *at && told.is(event));
        prop_assert!(same, "events {events:#?}\nexpected {told:#?}");
        self.events.extend(events);

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

        // The model's eras need not be numbered as the machine's, but they end when those do.
        let (mut eras, generation) = ((machine.era(), model.era), self.generation);
        std::mem::swap(&mut self.eras, &mut eras);
        prop_assert!(machine.era() >= eras.0, "an era came back");
        prop_assert_eq!(machine.era() > eras.0, model.era > eras.1, "a new era");
        prop_assert!(
            machine.generation() >= generation,
            "the generation went back"
        );
        self.generation = machine.generation();
        prop_assert_eq!(machine.generation(), model.generation);

        let status = machine.status();
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
        let episode = status.episode.map(|episode| episode.id);
        prop_assert_eq!(episode, model.episode);
        prop_assert_eq!(status.pings, model.pings);

        let (window, held) = (status.window, model.counts());
        prop_assert_eq!(
            (
                window.total,
                window.failed,
                window.slow,
                window.consecutive_failures
            ),
            (held.total, held.failed, held.slow, held.run)
        );
        let calls = CallCounts {
            admitted: 0,
            ..status.calls
        };
        prop_assert_eq!(calls, model.calls);

        let shadow = status.shadow.map(|shadow| shadow.wait);
        let expected = match &model.stretch {
            Stretch::Serving { shadow, .. } => shadow.as_ref(),
            _ => None,
        };
        let expected = expected.map(|shadow| Duration::from_nanos(shadow.wait));
        prop_assert_eq!(shadow, expected, "shadow");

        let probing = status.probing;
        match &model.stretch {
            Stretch::Serving { .. } | Stretch::Maintenance { .. } => {
                prop_assert_eq!(probing, None);
            }
            Stretch::Trials(trials) => {
                let shown = probing.expect("it is probing");
                let in_flight = trials.leases.len() as u32;
                prop_assert_eq!(shown.in_flight, in_flight);
                prop_assert_eq!(
                    (shown.successes, shown.needed),
                    (trials.successes, trials.needed)
                );
                prop_assert!(in_flight <= trials.probes);
                prop_assert!(in_flight + trials.successes <= trials.needed);
                let free =
                    (trials.probes - in_flight).min(trials.needed - in_flight - trials.successes);
                prop_assert_eq!(shown.free, free);
                prop_assert_eq!(shown.waiting_for_probe, model.is_waiting());
                prop_assert_eq!(shown.ramp_share, None);
            }
            Stretch::Ramp(ramp) => {
                let shown = probing.expect("it is probing");
                prop_assert_eq!((shown.in_flight, shown.free), (0, 0));
                prop_assert_eq!((shown.successes, shown.needed), (ramp.needed, ramp.needed));
                let (part, whole) = ramp.share(model.now);
                let share = shown.ramp_share.expect("it is a ramp");
                prop_assert!((share - part as f64 / whole as f64).abs() < 1e-9);
            }
        }
        Ok(())
    }
}

/// What must hold of all that a machine ever told.
fn in_order(events: &[Event]) -> Result<(), TestCaseError> {
    let (mut mode, mut open, mut ended, mut generation) = (Mode::Serving, None, 0, 0);
    let mut shadow = false;
    for (index, event) in events.iter().enumerate() {
        prop_assert_eq!(event.number, index as u64 + 1);
        match event.kind {
            EventKind::ModeChanged { from, to } => {
                prop_assert_eq!(from, mode);
                prop_assert_ne!(from, to);
                prop_assert!(open.is_some(), "no mode changes outside an episode");
                mode = to;
            }
            EventKind::EpisodeBegan { episode, .. } => {
                prop_assert_eq!((mode, open), (Mode::Serving, None));
                prop_assert_eq!(episode, ended + 1);
                open = Some(episode);
            }
            EventKind::Recovered {
                episode,
                generation: newer,
            } => {
                prop_assert_eq!((mode, open.take()), (Mode::Serving, Some(episode)));
                prop_assert!(newer > generation, "the generation grows at each recovery");
                (ended, generation) = (episode, newer);
            }
            EventKind::WouldHaveTripped { .. } => {
                prop_assert!(!std::mem::replace(&mut shadow, true), "one at a time");
            }
            EventKind::ShadowEnded => {
                prop_assert!(std::mem::replace(&mut shadow, false), "it was open");
            }
            _ => {}
        }
    }
    // Serving again is when the signal fires, not later.
    prop_assert_eq!(open.is_some(), mode != Mode::Serving);
    Ok(())
}

proptest! {
    #![proptest_config(crate::base::property_cases::cases(600))]

    #[test]
    fn the_machine_does_what_the_design_says(
        numbers in numbers(),
        generation in prop::option::of(0_u64..=2_000_000_000_000),
        steps in steps(),
    ) {
        let mut pair = Pair::new(&numbers, generation);
        for step in &steps {
            pair.take(step)?;
        }
        in_order(&pair.events)?;
    }

    #[test]
    fn what_fell_due_does_not_depend_on_who_looked_when(
        numbers in numbers(),
        steps in steps(),
        looks in prop::collection::vec(20_u64..=1_000, 1..50),
    ) {
        let mut seldom = birth(&numbers, None);
        let mut often = birth(&numbers, None);
        let mut calls = Vec::new();
        let mut now = 0_u64;
        let mut looks = looks.iter().cycle();
        for step in &steps {
            let to = match *step {
                Step::Advance(Span::Nanos(nanos)) => now + nanos,
                // Far beyond many deadlines, those in between included.
                Step::Advance(Span::Due(off)) => now + 40 * SECOND + off.unsigned_abs(),
                _ => now,
            };
            // Somebody looks at any time in between, and at every deadline.
            let mut look = now;
            while look < to {
                let by = (to - now) / 7 + 1;
                look = (look + by * looks.next().expect("it is a cycle") / 1_000 + 1).min(to);
                let due = often.next_deadline().0;
                let at = if due > now && due < look { due } else { look };
                often.tick(Moment(at), Traffic::default());
            }
            now = to;
            let mut both = [&mut seldom, &mut often];
            let answers = both.each_mut().map(|machine| {
                machine.tick(Moment(now), Traffic::default());
                on_its_own(machine, step, &calls)
            });
            prop_assert_eq!(&answers[0], &answers[1]);
            match answers[0] {
                Answer::Admitted(role, era) => calls.push((role, era)),
                Answer::Settled(index) => drop(calls.swap_remove(index)),
                Answer::Other => {}
            }
            prop_assert_eq!(seldom.take_events(), often.take_events());
            prop_assert_eq!(seldom.status(), often.status());
            prop_assert_eq!(seldom.next_deadline(), often.next_deadline());
        }
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Admitted(Role, u32),
    Settled(usize),
    Other,
}

/// Does `step` to a machine alone.
fn on_its_own(machine: &mut Machine, step: &Step, calls: &[(Role, u32)]) -> Answer {
    let command = match step {
        Step::Admit(asker) => {
            let era = era_bits(machine.era());
            let role = machine.admit(*asker);
            return role.map_or(Answer::Other, |role| Answer::Admitted(role, era));
        }
        Step::Settle(index, ending) => {
            if calls.is_empty() {
                return Answer::Other;
            }
            let index = index.index(calls.len());
            let (role, era) = calls[index];
            machine.settle(role, era, *ending);
            return Answer::Settled(index);
        }
        Step::PingBegan => {
            machine.ping_began();
            return Answer::Other;
        }
        Step::PingEnded => {
            machine.ping_ended();
            return Answer::Other;
        }
        Step::Advance(_) | Step::LookBack | Step::Retune { .. } | Step::WallReads(_) => {
            return Answer::Other;
        }
        Step::Engage(expiry, reads) => engage(*expiry, *reads),
        Step::Release => Command::Release,
        Step::ReleaseVerified => Command::ReleaseVerified,
        Step::Trip => Command::Trip,
        Step::ProbeNow => Command::ProbeNow,
        Step::Clear => Command::Clear,
        Step::Reset => Command::Reset,
        Step::Switch { dry_run, .. } => Command::DryRun(*dry_run),
        Step::Replace(numbers) => Command::ReplacePolicy(Box::new(numbers.rules())),
    };
    // An error is an answer too: both give the same, or their states differ.
    let _ = machine.command(command, &"somebody".into(), &"because".into());
    Answer::Other
}
