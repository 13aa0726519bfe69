//! Time and allocations of a call.

use std::time::Duration;

use crate::{
    alloc,
    cases::{CALLS_BEFORE, Case, Entry, Passes},
    subject::{Cost, Subject},
};

/// The effort of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Runs over all cases, each with subjects of its own. The median of the runs counts.
    pub(crate) runs: usize,
    /// Rounds over the subjects of a case in one run. The median of the rounds counts.
    pub(crate) rounds: usize,
    /// The time for which one subject is measured in one round.
    pub(crate) slice: Duration,
    /// Rounds with one thread and with two in one run.
    pub(crate) thread_rounds: usize,
    /// The number of calls whose instructions are counted.
    pub(crate) instructions: u64,
    /// The largest number of calls before those.
    pub(crate) most_before: u64,
    /// Whether instructions are counted in a build with fat LTO too.
    pub(crate) lto: bool,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        runs: 5,
        rounds: 61,
        slice: Duration::from_millis(2),
        thread_rounds: 60,
        instructions: 5_000,
        most_before: u64::MAX,
        lto: true,
    };
    pub(crate) const QUICK: Self = Self {
        runs: 1,
        rounds: 41,
        slice: Duration::from_micros(500),
        thread_rounds: 40,
        instructions: 1_000,
        most_before: 12_000,
        lto: false,
    };
}

/// The largest number of calls measured in a run where a call grows with those before it. It is a
/// fifth of the window.
pub(crate) const MOST_THAT_GROW: u64 = CALLS_BEFORE / 5;

/// The cost of one call in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallCost {
    pub(crate) ns: f64,
    pub(crate) allocations: f64,
}

/// The CPU time of this thread, kernel time included. Unlike wall time it stands still while
/// another process has the processor. Without Linux it is wall time.
fn thread_time() -> Duration {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};

        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("a thread's CPU time is not negative")
    }
    #[cfg(not(target_os = "linux"))]
    {
        use std::{sync::OnceLock, time::Instant};

        static BASE: OnceLock<Instant> = OnceLock::new();
        BASE.get_or_init(Instant::now).elapsed()
    }
}

fn run(name: &str, subject: &mut dyn Subject, passes: Passes, calls: u64) -> Duration {
    let begin = thread_time();
    let passed = subject.run(calls);
    let took = thread_time() - begin;
    check(name, passes, calls, passed);
    took
}

/// Panics if a subject did not answer as it is measured: it has tripped or recovered meanwhile.
pub(crate) fn check(name: &str, passes: Passes, calls: u64, passed: u64) {
    let expected = match passes {
        Passes::All => calls,
        Passes::None => 0,
    };
    assert_eq!(
        passed, expected,
        "{name}: the number of good calls that passed, of {calls}"
    );
}

/// The number of calls that take about as long as `slice`.
pub(crate) fn calls_in(
    name: &str,
    subject: &mut dyn Subject,
    passes: Passes,
    slice: Duration,
) -> u64 {
    let mut calls = 16;
    loop {
        let took = run(name, subject, passes, calls);
        if took >= slice / 4 {
            let ratio = slice.as_secs_f64() / took.as_secs_f64();
            return ((calls as f64 * ratio) as u64).max(1);
        }
        calls *= 2;
    }
}

pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// A subject that is measured beside the others of its case.
struct Measured<'c> {
    entry: &'c Entry,
    subject: Box<dyn Subject>,
    /// Calls in each round.
    calls: u64,
    /// Nanoseconds per call of each round.
    samples: Vec<f64>,
}

impl<'c> Measured<'c> {
    fn new(entry: &'c Entry, mut subject: Box<dyn Subject>, effort: Effort) -> Self {
        run(entry.name, &mut *subject, entry.passes, entry.calls_before);
        let calls = match entry.cost {
            Cost::Flat => calls_in(entry.name, &mut *subject, entry.passes, effort.slice),
            Cost::Grows => (MOST_THAT_GROW / effort.rounds as u64).max(1),
        };
        Self {
            entry,
            subject,
            calls,
            samples: Vec::new(),
        }
    }

    fn round(&mut self) {
        let (entry, calls) = (self.entry, self.calls);
        let took = run(entry.name, &mut *self.subject, entry.passes, calls);
        self.samples.push(took.as_secs_f64() * 1e9 / calls as f64);
    }

    fn cost(mut self) -> CallCost {
        let (entry, calls) = (self.entry, 1_000);
        let before = alloc::allocations();
        check(entry.name, entry.passes, calls, self.subject.run(calls));
        let allocations = (alloc::allocations() - before) as f64 / calls as f64;
        CallCost {
            ns: median(self.samples),
            allocations,
        }
    }
}

/// One run over a case. Its subjects are measured in turns, so that other load on the machine hits
/// all of them alike.
pub(crate) fn calls(case: &Case, effort: Effort) -> Result<Vec<CallCost>, String> {
    let proven = case.entries.iter().map(Entry::proven);
    let proven = proven.collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for (entry, mut subject) in case.entries.iter().zip(proven) {
        entry.recover(&mut *subject)?;
        all.push(Measured::new(entry, subject, effort));
    }
    let number = all.len();
    for round in 0..effort.rounds {
        for turn in 0..number {
            all[(round + turn) % number].round();
        }
    }
    Ok(all.into_iter().map(Measured::cost).collect())
}
