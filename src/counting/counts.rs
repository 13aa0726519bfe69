//! What lands in a window, and what a window holds.

/// What lands in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The partner answered as it should.
    Success { slow: bool },
    /// The partner failed.
    Failure { slow: bool },
    /// The caller left after nothing had come from the partner for the hang limit: a failure, and a
    /// drop.
    Hung { slow: bool },
    /// The call came to an end that gives no evidence.
    Neutral,
    /// The caller left before anything came from the partner.
    Abandoned,
}

/// What a window holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Successes and failures.
    pub(crate) total: u64,
    pub(crate) failed: u64,
    pub(crate) slow: u64,
    /// Failures in a row, counted back from the newest outcome to the edge of the window.
    pub(crate) run: u64,
    /// Calls whose caller left.
    pub(crate) abandoned: u64,
    /// Calls that came to an end of their own, neutral ones included.
    pub(crate) completed: u64,
}

impl Counts {
    /// Counts on without ever forgetting.
    pub(crate) fn add(&mut self, landing: Landing) {
        match landing {
            Landing::Success { slow } => {
                self.total += 1;
                self.slow += u64::from(slow);
                self.run = 0;
                self.completed += 1;
            }
            Landing::Failure { slow } => {
                self.total += 1;
                self.failed += 1;
                self.slow += u64::from(slow);
                self.run += 1;
                self.completed += 1;
            }
            Landing::Hung { slow } => {
                self.total += 1;
                self.failed += 1;
                self.slow += u64::from(slow);
                self.run += 1;
                self.abandoned += 1;
            }
            Landing::Neutral => {
                self.completed += 1;
                self.total += u64::from(mutant!("a neutral call counts as a success"));
            }
            Landing::Abandoned => self.abandoned += 1,
        }
    }
}
