//! Many breakers, called in turn. The cache lines of a breaker, and the state that a thread keeps
//! of its last breaker, are gone when its next call comes.

use crate::{
    partner::GOOD,
    subject::{Answer, Subject},
};

/// How many breakers are called in turn.
pub(crate) const BREAKERS: usize = 1_000;

/// One subject for each partner.
pub(crate) struct InTurn {
    subjects: Vec<Box<dyn Subject>>,
    next: usize,
}

impl InTurn {
    pub(crate) fn boxed(make: impl Fn() -> Box<dyn Subject>) -> Box<dyn Subject> {
        Box::new(Self {
            subjects: (0..BREAKERS).map(|_| make()).collect(),
            next: 0,
        })
    }
}

impl Subject for InTurn {
    /// The answer of all breakers. If they differ, because only some have tripped or recovered, the
    /// answer is `Failed`.
    fn answer(&mut self, request: u64) -> Answer {
        let mut answers = self.subjects.iter_mut().map(|one| one.answer(request));
        let first = answers.next().unwrap_or(Answer::Failed);
        // `count`, because every breaker is called, also after one that differs.
        match answers.filter(|answer| *answer != first).count() {
            0 => first,
            _ => Answer::Failed,
        }
    }

    fn partner_is_ready(&mut self, ready: bool) {
        for subject in &mut self.subjects {
            subject.partner_is_ready(ready);
        }
    }

    fn run(&mut self, calls: u64) -> u64 {
        let mut passed = 0;
        for _ in 0..calls {
            passed += u64::from(self.subjects[self.next].answer(GOOD) == Answer::Passed);
            self.next = (self.next + 1) % BREAKERS;
        }
        passed
    }

    fn run_beside_others(&mut self, calls: u64) -> u64 {
        self.run(calls)
    }

    fn another(&self) -> Box<dyn Subject> {
        unreachable!("breakers called in turn are not shared by threads")
    }
}
