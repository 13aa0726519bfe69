//! The proof that a subject works: it is shown to trip and to recover before it is measured.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    partner::{BAD, GOOD},
    subject::{Answer, Subject},
};

/// This number of failing calls trips every configuration here: the largest window is of 100 calls.
const MOST_FAILURES: u32 = 200;
/// The probes are among them: no configuration asks for more than 4.
const GOOD_IN_A_ROW: u32 = 20;
/// The time between the trip and the first probe, where recovery is shown.
const WAIT: Duration = Duration::from_millis(200);
/// Far longer than any recovery takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Trips a subject, and shows that it then refuses what the partner would answer.
pub(crate) fn trip(name: &str, subject: &mut dyn Subject) -> Result<(), String> {
    subject.partner_is_ready(false);
    let tripped = (0..MOST_FAILURES).any(|_| subject.answer(BAD) == Answer::Refused);
    if !tripped {
        return Err(format!(
            "{name} does not trip: it let {MOST_FAILURES} failing calls in a row through"
        ));
    }
    match subject.answer(GOOD) {
        Answer::Refused => Ok(()),
        answer => Err(format!(
            "{name} does not stay tripped: the call after a refusal is {answer:?}, not Refused"
        )),
    }
}

/// Waits until a subject that was tripped lets calls through again.
pub(crate) fn recover(name: &str, subject: &mut dyn Subject) -> Result<(), String> {
    recover_within(PATIENCE, name, subject)
}

fn recover_within(patience: Duration, name: &str, subject: &mut dyn Subject) -> Result<(), String> {
    subject.partner_is_ready(true);
    let begin = Instant::now();
    while begin.elapsed() < patience {
        if (0..GOOD_IN_A_ROW).all(|_| subject.answer(GOOD) == Answer::Passed) {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    Err(format!(
        "{name} does not recover: {patience:?} after its trip, with a wait of {WAIT:?}, it still refuses good calls"
    ))
}

/// Builds a subject and shows that it passes calls, trips and refuses; it recovers after a while.
pub(crate) fn tripped(
    name: &str,
    build: impl Fn(Duration) -> Box<dyn Subject>,
) -> Result<Box<dyn Subject>, String> {
    let mut subject = build(WAIT);
    if subject.answer(GOOD) != Answer::Passed {
        return Err(format!("{name} does not let the first call through"));
    }
    trip(name, &mut *subject)?;
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cases::breakers, cold::InTurn, subject::Caller};

    /// All are tripped, and then all recover.
    fn trip_and_recover(subjects: impl Iterator<Item = (&'static str, Box<dyn Subject>)>) {
        for (name, mut subject) in subjects.collect::<Vec<_>>() {
            recover(name, &mut *subject).expect(name);
        }
    }

    #[test]
    fn every_breaker_trips_and_recovers() {
        trip_and_recover(breakers().into_iter().map(|breaker| {
            let subject = tripped(breaker.name, breaker.build);
            (breaker.name, subject.expect(breaker.name))
        }));
    }

    #[test]
    fn breakers_in_turn_trip_and_recover_each() {
        trip_and_recover(breakers().into_iter().map(|breaker| {
            let subject = tripped(breaker.name, |wait| InTurn::boxed(|| (breaker.build)(wait)));
            (breaker.name, subject.expect(breaker.name))
        }));
    }

    /// Refuses from the call of this number on.
    #[derive(Clone)]
    struct RefusesFrom(u32);

    impl Caller for RefusesFrom {
        fn call(&mut self, request: u64) -> Answer {
            self.0 = self.0.saturating_sub(1);
            match (self.0, request) {
                (0, _) => Answer::Refused,
                (_, GOOD) => Answer::Passed,
                _ => Answer::Failed,
            }
        }
    }

    #[test]
    fn a_subject_that_never_trips_is_not_measured() {
        let never = tripped("never", |_| Box::new(RefusesFrom(u32::MAX)));
        assert_eq!(
            never.map(drop),
            Err("never does not trip: it let 200 failing calls in a row through".into())
        );
    }

    #[test]
    fn a_subject_that_never_recovers_is_not_measured() {
        let mut subject = RefusesFrom(5);
        trip("for ever", &mut subject).expect("it trips");
        let error = recover_within(Duration::from_millis(20), "for ever", &mut subject);
        let error = error.expect_err("it refuses every call");
        assert!(
            error.starts_with("for ever does not recover: 20ms after its trip"),
            "{error}"
        );
    }
}
