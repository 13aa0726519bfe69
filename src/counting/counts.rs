//! What lands in a window, and what a window holds.

/// What lands in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The partner answered as it should.
    Success { slow: bool },
    /// The partner failed.
    Failure { slow: bool },
    /// The caller left after it had waited for the partner for the hang limit: a failure, and a
    /// call given up.
    Hung { slow: bool, wait: Wait },
    /// The partner answered, and the answer gives no evidence. `code` is 0 if it has none.
    Neutral { code: u16 },
    /// The call ended by an error of this process: it says nothing about the partner.
    Ours,
    /// The call was refused by a layer of this crate further in: it says nothing about the partner.
    RefusedWithin,
    /// The caller left before there was evidence. A slow one had waited beyond the slow limit.
    Abandoned { slow: bool, wait: Wait },
}

/// How long a caller had waited for the partner when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) length: WaitLength,
    pub(crate) millis: u32,
}

impl Wait {
    pub(crate) const NONE: Self = Self {
        length: WaitLength::None,
        millis: 0,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitLength {
    /// The caller did not wait for the partner.
    None,
    /// The caller waited, but not long enough for the rule of calls given up.
    Short,
    /// The caller waited long enough for the rule of calls given up.
    Long,
}

/// What a window holds at one moment.
///
/// In a window of calls, which a call without a verdict does not move, the numbers of those calls
/// are counted since the last call with a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) successes: u64,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
    /// Failures in a row, counted back from the newest outcome to the edge of the window.
    pub(crate) run: u32,
    /// Calls that were given up beyond the slow limit: they are among `slow` and in the total.
    pub(crate) slow_drops: u32,
    /// Calls whose callers left after a long wait, those that hung included.
    pub(crate) given_up: u32,
    /// Calls whose callers left after a short wait.
    pub(crate) left_early: u32,
    /// The longest of these waits, in milliseconds.
    pub(crate) longest_wait: u32,
    /// Answers without evidence.
    pub(crate) neutral: u32,
    /// The code of the last of them; 0 if it had none.
    pub(crate) neutral_code: u16,
    /// Errors of this process.
    pub(crate) ours: u32,
    /// Calls refused by a layer further in.
    pub(crate) refused_within: u32,
    /// Whether anything came from the partner: an answer of any verdict, headers, or a frame.
    pub(crate) answered: bool,
}

impl Counts {
    /// Returns the number of calls that the rates are computed from.
    pub(crate) fn total(&self) -> u64 {
        self.successes + u64::from(self.failed) + u64::from(self.slow_drops)
    }

    /// Counts on without ever forgetting.
    pub(crate) fn add(&mut self, landing: Landing) {
        match landing {
            Landing::Success { slow } => {
                self.successes += 1;
                count_if(slow, &mut self.slow);
                self.run = 0;
                self.answered = true;
            }
            Landing::Failure { slow } => {
                self.add_failure(slow);
                self.answered = true;
            }
            Landing::Hung { slow, wait } => {
                self.add_failure(slow);
                self.add_wait(wait);
            }
            Landing::Neutral { code } => {
                count(&mut self.neutral);
                self.neutral_code = code;
                self.answered = true;
                self.successes += u64::from(mutant!("a neutral call counts as a success"));
            }
            Landing::Ours => count(&mut self.ours),
            Landing::RefusedWithin => count(&mut self.refused_within),
            Landing::Abandoned { slow, wait } => {
                count_if(slow, &mut self.slow_drops);
                count_if(slow, &mut self.slow);
                self.add_wait(wait);
            }
        }
    }

    fn add_failure(&mut self, slow: bool) {
        count(&mut self.failed);
        count_if(slow, &mut self.slow);
        count(&mut self.run);
    }

    pub(super) fn add_wait(&mut self, wait: Wait) {
        match wait.length {
            WaitLength::None => return,
            WaitLength::Short => count(&mut self.left_early),
            WaitLength::Long => count(&mut self.given_up),
        }
        self.longest_wait = self.longest_wait.max(wait.millis);
    }

    /// Adds what an earlier stretch of the window holds, except its run.
    pub(super) fn add_all_but_run(&mut self, other: &Self) {
        if self.neutral == 0 {
            self.neutral_code = other.neutral_code;
        }
        self.successes += other.successes;
        let numbers = [
            (&mut self.failed, other.failed),
            (&mut self.slow, other.slow),
            (&mut self.slow_drops, other.slow_drops),
            (&mut self.given_up, other.given_up),
            (&mut self.left_early, other.left_early),
            (&mut self.neutral, other.neutral),
            (&mut self.ours, other.ours),
            (&mut self.refused_within, other.refused_within),
        ];
        for (number, more) in numbers {
            *number = number.saturating_add(more);
        }
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.answered |= other.answered;
    }
}

/// Saturating: a window of days may hold more calls than the number can say.
pub(super) fn count(number: &mut u32) {
    *number = number.saturating_add(1);
}

pub(super) fn count_if(is_one: bool, number: &mut u32) {
    *number = number.saturating_add(u32::from(is_one));
}
