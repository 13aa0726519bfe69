//! Two threads on one layer against one thread, by wall clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cases::{CALLS_BEFORE, Passes, bare},
    measure::{Effort, MOST_THAT_GROW, calls_in, check, median},
    ours::{LONG, ours},
    partner::{AtOnce, Partner, SecondPoll},
    peers::peers,
    proof::trip,
    subject::{Breaker, Cost, Subject},
};

/// The largest number of rounds where a call grows with those before it.
const MOST_ROUNDS_THAT_GROW: usize = 24;
/// The time for which one thread works in a round. It is short, so that some rounds get both
/// processors throughout.
const SLICE: Duration = Duration::from_micros(500);
/// One round in this number counts: those in which both threads ran together longest.
const BEST_OF: usize = 10;
/// The least number of rounds that count.
const FEWEST: usize = 5;

/// Wall time per call with one thread and with two on one layer. The calls of both threads count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threads {
    pub(crate) one: f64,
    pub(crate) two: f64,
    /// The largest share of a round in which only one of two threads ran, in the rounds that count.
    /// It is near 0 where the machine had two processors to spare. Elsewhere the times say little.
    pub(crate) alone: f64,
}

impl Threads {
    /// How many times the work of one thread two do in the same time.
    pub(crate) fn speedup(self) -> f64 {
        self.one / self.two
    }
}

/// The subjects of one state, measured.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: &'static str,
    pub(crate) subjects: Vec<(&'static str, Threads)>,
}

/// One run over all subjects in three states: admitted and waited for, admitted at once, refused.
pub(crate) fn run(effort: Effort) -> Result<Vec<State>, String> {
    let mut states = [
        ("waiting", serving::<SecondPoll>(effort)),
        ("admitted", serving::<AtOnce>(effort)),
        ("refused", refusing(effort)?),
    ];
    for _ in 0..effort.thread_rounds {
        for (_, pairs) in &mut states {
            pairs.iter_mut().for_each(Pair::round);
        }
    }
    let states = states.into_iter().map(|(name, pairs)| State {
        name,
        subjects: pairs.into_iter().map(Pair::best).collect(),
    });
    Ok(states.collect())
}

/// All breakers. `tower::load_shed` is left out, because its threads share no state.
fn breakers<P: Partner>() -> impl Iterator<Item = Breaker> {
    [ours::<P>()].into_iter().chain(peers::<P>())
}

fn serving<P: Partner>(effort: Effort) -> Vec<Pair> {
    let subjects = [bare::<P>()].into_iter().chain(breakers::<P>());
    let pair = |breaker: Breaker| {
        let mut serves = (breaker.build)(LONG);
        serves.run(CALLS_BEFORE);
        Pair::new(breaker, serves, Passes::All, effort)
    };
    subjects.map(pair).collect()
}

fn refusing(effort: Effort) -> Result<Vec<Pair>, String> {
    let pair = |breaker: Breaker| {
        let mut refuses = (breaker.build)(LONG);
        trip(breaker.name, &mut *refuses)?;
        Ok(Pair::new(breaker, refuses, Passes::None, effort))
    };
    breakers::<AtOnce>().map(pair).collect()
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

/// Nanoseconds per call, and the share of the time in which only one thread ran.
#[derive(Debug, Default)]
struct Samples(Vec<(f64, f64)>);

impl Samples {
    fn push(&mut self, wall: Wall, calls: u64) {
        let per_call = wall.took.as_secs_f64() * 1e9 / calls as f64;
        self.0.push((per_call, wall.alone));
    }

    /// The median of the rounds that count, and the largest share among them.
    fn best(mut self) -> (f64, f64) {
        self.0.sort_by(|one, other| one.1.total_cmp(&other.1));
        self.0.truncate((self.0.len() / BEST_OF).max(FEWEST));
        let alone = self.0.last().map_or(0.0, |(_, alone)| *alone);
        (median(self.0.into_iter().map(|(ns, _)| ns)), alone)
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
                calls_in(name, &mut *service, passes, SLICE),
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

    fn best(self) -> (&'static str, Threads) {
        let ((one, _), (two, alone)) = (self.one.best(), self.two.best());
        (self.name, Threads { one, two, alone })
    }
}

/// One round of some threads.
#[derive(Debug, Clone, Copy)]
struct Wall {
    /// From the start of the first thread to the end of the last.
    took: Duration,
    /// The share of the time in which not all of them ran: one waited for a processor, had not yet
    /// started, or had ended.
    alone: f64,
}

impl Wall {
    fn of(threads: &[Stretch]) -> Self {
        let begins = || threads.iter().map(|thread| thread.begin);
        let ends = || threads.iter().map(|thread| thread.end);
        let (Some(first), Some(all_began)) = (begins().min(), begins().max()) else {
            unreachable!("a round has threads");
        };
        let (Some(one_ended), Some(last)) = (ends().min(), ends().max()) else {
            unreachable!("a round has threads");
        };
        let took = last - first;
        let together = one_ended.saturating_duration_since(all_began);
        let apart = 1.0 - together.as_secs_f64() / took.as_secs_f64();
        let waited = threads.iter().map(Stretch::share_waited);
        Self {
            took,
            alone: waited.fold(apart, f64::max),
        }
    }
}

/// The calls of one thread in a round.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    begin: Instant,
    end: Instant,
    /// The time for which the thread waited for a processor meanwhile.
    waited: Duration,
}

impl Stretch {
    fn share_waited(&self) -> f64 {
        self.waited.as_secs_f64() / (self.end - self.begin).as_secs_f64()
    }
}

/// The time for which this thread has waited for a processor since it began, without the waits for
/// locks. Only Linux reports it; elsewhere it is zero.
fn waited_for_a_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = stat.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    waited.map_or(Duration::ZERO, Duration::from_nanos)
}

/// The largest age of the sign of life of a thread that is running now.
const FRESH: Duration = Duration::from_micros(5);
/// The time for which threads wait until the machine runs all of them at once.
const MEETING: Duration = Duration::from_millis(20);

/// Waits until all threads are running, each on a processor of its own. A barrier would not do: a
/// thread that is woken from one often runs on the waker's processor.
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

/// Makes the calls of one thread of a round, and returns how many passed.
fn stretch(service: &mut dyn Subject, calls: u64, meet: impl FnOnce()) -> (Stretch, u64) {
    // Sets up what a thread needs once.
    service.run_beside_others(0);
    meet();
    let waited = waited_for_a_processor();
    let begin = Instant::now();
    let passed = service.run_beside_others(calls);
    let end = Instant::now();
    let waited = waited_for_a_processor().saturating_sub(waited);
    (Stretch { begin, end, waited }, passed)
}

fn wall(name: &str, services: &mut [Box<dyn Subject>], passes: Passes, calls: u64) -> Wall {
    let signs: &Vec<_> = &services.iter().map(|_| AtomicU64::new(0)).collect();
    let base = Instant::now();
    let stretches: Vec<_> = thread::scope(|scope| {
        let threads = services.iter_mut().enumerate().map(|(me, service)| {
            scope.spawn(move || stretch(&mut **service, calls, || meet(base, signs, me)))
        });
        // All are started before one is waited for.
        let threads: Vec<_> = threads.collect();
        let threads = threads.into_iter().map(thread::ScopedJoinHandle::join);
        threads
            .map(|stretch| stretch.expect("a subject does not panic"))
            .collect()
    });
    for (_, passed) in &stretches {
        check(name, passes, calls, *passed);
    }
    let stretches: Vec<_> = stretches.into_iter().map(|(stretch, _)| stretch).collect();
    Wall::of(&stretches)
}
