//! Nothing is measured that does not do its work: every subject is first shown to trip and to recover.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::subject::{Answer, BAD, Breaker, GOOD, Subject};

/// So many failing calls trip every configuration here: the largest window is of 100 calls.
const MOST_FAILURES: u32 = 200;
/// Among them the probes: no configuration asks for more than 4.
const GOOD_IN_A_ROW: u32 = 20;
/// Between the trip and the first probe, where recovery is shown.
const WAIT: Duration = Duration::from_millis(200);
/// Far longer than anything recovers that recovers.
const PATIENCE: Duration = Duration::from_secs(20);

/// Trips a subject, and shows that it then refuses what the partner would answer.
pub(crate) fn trip(name: &str, subject: &mut dyn Subject) -> Result<(), String> {
    subject.partner_is_ready(false);
    let tripped = (0..MOST_FAILURES).any(|_| subject.answer(BAD) == Answer::Refused);
    if !tripped {
        return Err(format!(
            "{name} is no breaker as configured: {MOST_FAILURES} failing calls in a row did not trip it"
        ));
    }
    match subject.answer(GOOD) {
        Answer::Refused => Ok(()),
        answer => Err(format!(
            "{name} does not stay tripped: the call after a refusal {answer:?}, not Refused"
        )),
    }
}

/// Waits until a tripped subject lets calls through again.
fn recover(name: &str, subject: &mut dyn Subject, patience: Duration) -> Result<(), String> {
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

/// The subject, having been shown to pass calls, to trip, to refuse and to recover.
pub(crate) fn tripped_and_recovered(breaker: &Breaker) -> Result<Box<dyn Subject>, String> {
    let name = breaker.name;
    let mut subject = (breaker.build)(WAIT);
    if subject.answer(GOOD) != Answer::Passed {
        return Err(format!("{name} does not let the first call through"));
    }
    trip(name, &mut *subject)?;
    recover(name, &mut *subject, PATIENCE)?;
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cases::breakers,
        subject::{Caller, Cost},
    };

    #[test]
    fn every_breaker_trips_and_recovers() {
        for breaker in breakers() {
            tripped_and_recovered(&breaker)
                .map(drop)
                .expect(breaker.name);
        }
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
    fn what_never_trips_is_not_measured() {
        let never = Breaker {
            name: "never",
            build: |_| Box::new(RefusesFrom(u32::MAX)),
            cost: Cost::Flat,
        };
        let error = tripped_and_recovered(&never).map(drop).unwrap_err();
        assert_eq!(
            error,
            "never is no breaker as configured: 200 failing calls in a row did not trip it"
        );
    }

    #[test]
    fn what_never_recovers_is_not_measured() {
        let mut subject = RefusesFrom(5);
        trip("for ever", &mut subject).expect("it trips");
        let error = recover("for ever", &mut subject, Duration::from_millis(20)).unwrap_err();
        assert!(
            error.starts_with("for ever does not recover: 20ms after its trip"),
            "{error}"
        );
    }
}
