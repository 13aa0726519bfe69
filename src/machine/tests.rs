//! The machine's promises one by one, and the machine against a naive model of the design.

mod model;
mod pair;
mod promises;
mod steps;

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestCaseError};

use self::{
    model::{Numbers, SECOND},
    pair::{Pair, Running, waits},
    steps::{Span, Step, engage, numbers, signature, steps},
};
use super::*;
use crate::{
    error::CommandError,
    facts::outcome::{Origin, Outcome, Verdict},
    policy::window::Window,
};

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

/// Checks all events of a machine: their numbers, their order, and one recovery per episode.
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
    // The recovery is told when the mode is `Serving` again, not later.
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
        let mut calls: Vec<Running> = Vec::new();
        let mut now = 0_u64;
        let mut looks = looks.iter().cycle();
        for step in &steps {
            let to = match *step {
                Step::Advance(Span::Nanos(nanos)) => now + nanos,
                // Far enough to pass several deadlines at once.
                Step::Advance(Span::Due(off)) => now + 40 * SECOND + off.unsigned_abs(),
                _ => now,
            };
            // `often` also ticks in between, and at every deadline.
            let mut look = now;
            while look < to {
                let by = (to - now) / 7 + 1;
                look = (look + by * looks.next().expect("it is a cycle") / 1_000 + 1).min(to);
                let due = often.next_deadline().0;
                let at = if due > now && due < look { due } else { look };
                often.tick(Moment(at), Traffic::default(), &waits(calls.iter()));
            }
            now = to;
            let mut both = [&mut seldom, &mut often];
            let answers = both.each_mut().map(|machine| {
                machine.tick(Moment(now), Traffic::default(), &waits(calls.iter()));
                on_its_own(machine, step, &calls, now)
            });
            prop_assert_eq!(&answers[0], &answers[1]);
            match answers[0] {
                Answer::Admitted(role, era) => {
                    calls.push(Running { role, era, waits: None });
                }
                Answer::TurnedWait(index) => {
                    let waits = &mut calls[index].waits;
                    *waits = if waits.is_some() { None } else { Some(now) };
                }
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
    TurnedWait(usize),
    Other,
}

/// Does `step` to a machine alone.
fn on_its_own(machine: &mut Machine, step: &Step, calls: &[Running], now: u64) -> Answer {
    match step {
        Step::Admit(asker) => {
            let era = era_bits(machine.era());
            let role = machine.admit(*asker);
            return role.map_or(Answer::Other, |role| Answer::Admitted(role, era));
        }
        Step::Settle(index, ending) if !calls.is_empty() => {
            let index = index.index(calls.len());
            machine.settle(calls[index].role, calls[index].era, *ending);
            return Answer::Settled(index);
        }
        Step::TurnWait(index) if !calls.is_empty() => {
            return Answer::TurnedWait(index.index(calls.len()));
        }
        Step::Hear(ago) => {
            let at = now.saturating_sub(*ago);
            let width = machine.bucket_width();
            machine.heard(width.map_or(0, |width| at / width), Moment(now));
        }
        Step::PingBegan => machine.ping_began(),
        Step::PingEnded => machine.ping_ended(),
        _ => {
            if let Some(command) = step.command() {
                // An error is ignored: if only one machine returns it, their states differ.
                let _ = machine.command(command, &signature());
            }
        }
    }
    Answer::Other
}
