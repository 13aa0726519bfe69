//! Time and allocations of a call; bytes of a layer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    alloc,
    cases::{CALLS_BEFORE, Case, Entry, Passes},
    ours::{LONG, NAME, OURS, SHAPES},
    peers::PEERS,
    proof::trip,
    subject::{Breaker, Cost, Partner, Subject, Tower},
};

/// How much time is spent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds over the subjects of a case; the median counts.
    pub(crate) rounds: usize,
    /// How long one subject is measured in one round.
    pub(crate) slice: Duration,
    /// Rounds with one thread and with two.
    pub(crate) thread_rounds: usize,
    /// Calls whose instructions are counted.
    pub(crate) instructions: u64,
    /// The most calls that go before those.
    pub(crate) most_before: u64,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 301,
        slice: Duration::from_millis(2),
        thread_rounds: 200,
        instructions: 5_000,
        most_before: u64::MAX,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 41,
        slice: Duration::from_micros(500),
        thread_rounds: 40,
        instructions: 1_000,
        most_before: 12_000,
    };
}

/// Where a call grows with those before it, no more than so many are measured: a fifth of the window.
const MOST_THAT_GROW: u64 = CALLS_BEFORE / 5;
/// With threads, where each round is of few calls then.
const MOST_ROUNDS_THAT_GROW: usize = 24;
/// How long one thread works in a round of two: not long, so that some rounds get both processors throughout.
const THREAD_SLICE: Duration = Duration::from_micros(500);

/// What one call costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallCost {
    pub(crate) ns: f64,
    pub(crate) allocations: f64,
}

fn run(name: &str, subject: &mut dyn Subject, passes: Passes, calls: u64) -> Duration {
    let begin = Instant::now();
    let passed = subject.run(calls);
    let took = begin.elapsed();
    check(name, passes, calls, passed);
    took
}

/// A subject that changes its mind under way is not what was to be measured.
fn check(name: &str, passes: Passes, calls: u64, passed: u64) {
    let expected = match passes {
        Passes::All => calls,
        Passes::None => 0,
    };
    assert_eq!(
        passed, expected,
        "{name}: of {calls} good calls so many passed"
    );
}

/// How many calls take about so long.
fn calls_in(name: &str, subject: &mut dyn Subject, passes: Passes, slice: Duration) -> u64 {
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

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// All subjects of a case in turns, so that whatever else the machine does hits all of them alike.
pub(crate) fn calls(case: &Case, effort: Effort) -> Result<Vec<CallCost>, String> {
    let mut subjects = Vec::new();
    for entry in &case.entries {
        let mut subject = entry.proven()?;
        run(entry.name, &mut *subject, entry.passes, entry.calls_before);
        let calls = match entry.cost {
            Cost::Flat => calls_in(entry.name, &mut *subject, entry.passes, effort.slice),
            Cost::Grows => (MOST_THAT_GROW / effort.rounds as u64).max(1),
        };
        subjects.push((entry, subject, calls, Vec::new()));
    }
    let number = subjects.len();
    for round in 0..effort.rounds {
        for turn in 0..number {
            let (entry, subject, calls, samples) = &mut subjects[(round + turn) % number];
            let took = run(entry.name, &mut **subject, entry.passes, *calls);
            samples.push(took.as_secs_f64() * 1e9 / *calls as f64);
        }
    }
    let cost = |(entry, mut subject, _, samples): (&Entry, Box<dyn Subject>, u64, Vec<f64>)| {
        let calls = 1_000;
        let before = alloc::allocations();
        check(entry.name, entry.passes, calls, subject.run(calls));
        let allocations = (alloc::allocations() - before) as f64 / calls as f64;
        CallCost {
            ns: median(samples),
            allocations,
        }
    };
    Ok(subjects.into_iter().map(cost).collect())
}

// ---- two threads --------------------------------------------------------------------------------

/// Wall time per call with one thread and with two on one layer; the calls of both threads count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threads {
    pub(crate) one: f64,
    pub(crate) two: f64,
    /// The largest share of its time in which only one of two threads ran, in the rounds that count: near 0
    /// where the machine had two processors to spare; where not, this says little of the subject.
    pub(crate) alone: f64,
}

/// One round in so many counts: those whose threads were together longest.
const BEST_OF: usize = 10;
/// But no fewer than these.
const FEWEST: usize = 5;

/// What one subject does with two threads, while it admits and while it refuses.
#[derive(Debug)]
pub(crate) struct TwoThreads {
    pub(crate) name: &'static str,
    pub(crate) admitted: Threads,
    pub(crate) refused: Option<Threads>,
}

pub(crate) fn two_threads(effort: Effort) -> Result<Vec<TwoThreads>, String> {
    let bare = Breaker {
        name: "bare",
        build: |_| Box::new(Tower(Partner)),
        cost: Cost::Flat,
    };
    let mut all = Vec::new();
    // Without `tower::load_shed`, which shares nothing between threads.
    for breaker in [bare, OURS].into_iter().chain(PEERS) {
        let mut admits = (breaker.build)(LONG);
        admits.run(CALLS_BEFORE);
        let admits = Pair::new(breaker, admits, Passes::All, effort);
        let refuses = if breaker.name == bare.name {
            None
        } else {
            let mut refuses = (breaker.build)(LONG);
            trip(breaker.name, &mut *refuses)?;
            Some(Pair::new(breaker, refuses, Passes::None, effort))
        };
        all.push((breaker.name, admits, refuses));
    }
    for _ in 0..effort.thread_rounds {
        for (_, admits, refuses) in &mut all {
            admits.round();
            if let Some(refuses) = refuses {
                refuses.round();
            }
        }
    }
    let two_threads = all.into_iter().map(|(name, admits, refuses)| TwoThreads {
        name,
        admitted: admits.best(),
        refused: refuses.map(Pair::best),
    });
    Ok(two_threads.collect())
}

/// Two services of one layer.
struct Pair {
    name: &'static str,
    services: [Box<dyn Subject>; 2],
    passes: Passes,
    calls: u64,
    rounds: usize,
    one: Samples,
    two: Samples,
}

/// Nanoseconds a call, and the share of waiting.
#[derive(Debug, Default)]
struct Samples(Vec<(f64, f64)>);

impl Samples {
    fn push(&mut self, wall: Wall, calls: u64) {
        let per_call = wall.took.as_secs_f64() * 1e9 / calls as f64;
        self.0.push((per_call, wall.alone));
    }

    /// The median of the rounds that count, and the largest share in which only one thread ran in one of them.
    fn best(mut self) -> (f64, f64) {
        self.0.sort_by(|one, other| one.1.total_cmp(&other.1));
        self.0.truncate((self.0.len() / BEST_OF).max(FEWEST));
        let alone = self.0.last().map_or(0.0, |(_, alone)| *alone);
        (
            median(self.0.into_iter().map(|(ns, _)| ns).collect()),
            alone,
        )
    }
}

impl Pair {
    fn new(
        breaker: Breaker,
        mut service: Box<dyn Subject>,
        passes: Passes,
        effort: Effort,
    ) -> Self {
        let name = breaker.name;
        let (rounds, calls) = match breaker.cost {
            Cost::Grows if passes == Passes::All => {
                let rounds = effort.thread_rounds.min(MOST_ROUNDS_THAT_GROW);
                (rounds, MOST_THAT_GROW / (3 * rounds as u64))
            }
            Cost::Flat | Cost::Grows => (
                effort.thread_rounds,
                calls_in(name, &mut *service, passes, THREAD_SLICE),
            ),
        };
        Self {
            name,
            services: [service.another(), service],
            passes,
            calls,
            rounds,
            one: Samples::default(),
            two: Samples::default(),
        }
    }

    fn round(&mut self) {
        if self.one.0.len() == self.rounds {
            return;
        }
        let (name, passes, calls) = (self.name, self.passes, self.calls);
        let one = wall(name, &mut self.services[..1], passes, calls);
        let two = wall(name, &mut self.services, passes, calls);
        self.one.push(one, calls);
        self.two.push(two, 2 * calls);
    }

    fn best(self) -> Threads {
        let ((one, _), (two, alone)) = (self.one.best(), self.two.best());
        Threads { one, two, alone }
    }
}

/// What threads did together.
#[derive(Debug, Clone, Copy)]
struct Wall {
    /// From the start of the first to the end of the last.
    took: Duration,
    /// The share of the time in which not all of them ran: one waited for a processor, was not yet there, or had ended.
    alone: f64,
}

/// How long this thread has waited for a processor; for locks is not counted. Only Linux tells.
fn waited_for_a_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = stat.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    waited.map_or(Duration::ZERO, Duration::from_nanos)
}

/// How old a sign of life may be of a thread that is running at this moment.
const FRESH: Duration = Duration::from_micros(5);
/// How long threads wait for each other, that is for the machine to run them at once.
const MEETING: Duration = Duration::from_millis(20);

/// Waits until all threads are running, each on a processor of its own. A barrier would not do: whoever is
/// woken from one often finds itself on the waker's processor.
fn meet(base: Instant, signs: &[AtomicU64], me: usize) {
    let begin = Instant::now();
    let running = |sign: &AtomicU64, now: Duration| {
        let sign = Duration::from_nanos(sign.load(Ordering::Relaxed));
        now.saturating_sub(sign) < FRESH && sign > Duration::ZERO
    };
    while begin.elapsed() < MEETING {
        let now = base.elapsed();
        signs[me].store(now.as_nanos() as u64, Ordering::Relaxed);
        if signs.iter().all(|sign| running(sign, now)) {
            return;
        }
    }
}

fn wall(name: &str, services: &mut [Box<dyn Subject>], passes: Passes, calls: u64) -> Wall {
    let signs: &Vec<_> = &services.iter().map(|_| AtomicU64::new(0)).collect();
    let base = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = services
            .iter_mut()
            .enumerate()
            .map(|(me, service)| {
                scope.spawn(move || {
                    // Whatever is needed once a thread.
                    service.run_beside_others(0);
                    meet(base, signs, me);
                    let waited = waited_for_a_processor();
                    let begin = Instant::now();
                    let passed = service.run_beside_others(calls);
                    let end = Instant::now();
                    check(name, passes, calls, passed);
                    let waited = waited_for_a_processor().saturating_sub(waited);
                    (
                        begin,
                        end,
                        waited.as_secs_f64() / (end - begin).as_secs_f64(),
                    )
                })
            })
            .collect();
        let mut threads = threads.into_iter().map(|thread| {
            thread
                .join()
                .expect("a thread panics only on a wrong answer")
        });
        let (begin, end, waited) = threads.next().expect("there is a thread");
        let (mut begins, mut ends, mut alone) = ((begin, begin), (end, end), waited);
        for (begin, end, waited) in threads {
            begins = (begins.0.min(begin), begins.1.max(begin));
            ends = (ends.0.min(end), ends.1.max(end));
            alone = alone.max(waited);
        }
        let took = ends.1 - begins.0;
        let together = ends.0.saturating_duration_since(begins.1);
        let apart = 1.0 - together.as_secs_f64() / took.as_secs_f64();
        let alone = alone.max(apart);
        Wall { took, alone }
    })
}

// ---- memory -------------------------------------------------------------------------------------

/// What one layer keeps.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) name: &'static str,
    pub(crate) window: &'static str,
    /// Bytes once it is built; a peer's with its service.
    pub(crate) built: i64,
    /// The same after [`Self::calls`].
    pub(crate) filled: i64,
    pub(crate) calls: u64,
}

pub(crate) fn memory() -> Vec<Memory> {
    let mut all = Vec::new();
    // A thread may keep the last layer that it called through: that shall be this one wherever bytes are counted.
    let mut aside = (OURS.build)(LONG);
    for shape in SHAPES {
        let before = alloc::bytes();
        let layer = shape.layer();
        let built = alloc::bytes() - before;
        drop(layer);
        let mut subject = shape.subject();
        all.push(Memory {
            name: NAME,
            window: shape.name,
            built,
            filled: built + growth(&mut *subject, shape.calls, &mut *aside),
            calls: shape.calls,
        });
    }
    for breaker in PEERS {
        let before = alloc::bytes();
        let mut subject = (breaker.build)(LONG);
        let built = alloc::bytes() - before;
        all.push(Memory {
            name: breaker.name,
            window: "as measured",
            built,
            filled: built + growth(&mut *subject, CALLS_BEFORE, &mut *aside),
            calls: CALLS_BEFORE,
        });
    }
    all
}

fn growth(subject: &mut dyn Subject, calls: u64, aside: &mut dyn Subject) -> i64 {
    aside.run(1);
    let before = alloc::bytes();
    subject.run(calls);
    aside.run(1);
    alloc::bytes() - before
}
