//! A machine with many cores, as far as cache lines go: who has which line, and who waits for it.
//!
//! Each core makes calls, each call a list of [`Access`]es. A line that a core wrote is its own: it reads and writes it at the
//! cost of a hit. Another core's access fetches it, one at a time, at the cost of a transfer; what is only read, all cores
//! have. A core keeps as many lines as its private cache holds; what fell out comes back at the cost of a miss.
//!
//! Not in it: a processor overlaps the misses of one call and the next, here they follow one another, so that lists of many lines
//! (a sweep over all lanes) come out too dear, at worst by what the processor overlaps, some ten lines. A lock's waiters spin, none sleeps. All
//! pairs of cores are equally far from each other.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

/// What an access costs, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Reading or writing a line that the core has.
    pub(crate) hit: f64,
    /// A read-modify-write of such a line.
    pub(crate) update: f64,
    /// Fetching a line that another core wrote.
    pub(crate) transfer: f64,
    /// Fetching a line that fell out of the core's own cache, or that others only read.
    pub(crate) miss: f64,
    /// How many lines a core's own cache holds.
    pub(crate) lines: usize,
}

impl Costs {
    /// What another core wrote: from its cache if it can still be there, as it can if it was lately in ours.
    fn fetch(&self, had: bool) -> f64 {
        if had {
            self.transfer
        } else {
            self.transfer.max(self.miss)
        }
    }
}

/// The number of a cache line.
pub(crate) type Line = usize;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    /// Nobody else has a part in it.
    Work(f64),
    Read(Line),
    Write(Line),
    Update(Line),
    Lock(Line),
    Unlock(Line),
}

/// Who has a line.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Whose write was the last, if nobody has read it since.
    owner: Option<u8>,
    /// Who has it, one bit a core.
    by: u128,
    /// Until when it is on its way.
    busy: f64,
}

#[derive(Debug, Default)]
struct Lock {
    is_taken: bool,
    waiting: VecDeque<usize>,
}

struct Core {
    now: f64,
    /// The lines in its cache, each at the one place it can be at.
    cache: Vec<Line>,
    /// The accesses of the present call, the next one last.
    rest: Vec<Access>,
    calls: usize,
    measured_from: f64,
}

pub(crate) struct Machine {
    costs: Costs,
    lines: Vec<Held>,
    locks: HashMap<Line, Lock>,
    cores: Vec<Core>,
}

const NOTHING: Line = usize::MAX;

impl Machine {
    pub(crate) fn new(costs: Costs, cores: usize, lines: usize) -> Self {
        let core = || Core {
            now: 0.0,
            cache: vec![NOTHING; costs.lines],
            rest: Vec::new(),
            calls: 0,
            measured_from: 0.0,
        };
        Self {
            costs,
            lines: vec![Held::default(); lines],
            locks: HashMap::new(),
            cores: (0..cores).map(|_| core()).collect(),
        }
    }

    /// Each core makes so many calls, and as many before that to warm up; `list` says what the `n`th of a core does, the
    /// first access last. The mean nanoseconds of one call.
    pub(crate) fn run(
        &mut self,
        warm: usize,
        calls: usize,
        mut list: impl FnMut(usize, usize, &mut Vec<Access>),
    ) -> f64 {
        // By time in picoseconds, which order as integers.
        let key = |now: f64, core: usize| Reverse(((now * 1e3) as u64, core));
        let mut next: BinaryHeap<_> = (0..self.cores.len()).map(|core| key(0.0, core)).collect();
        while let Some(Reverse((_, core))) = next.pop() {
            if self.cores[core].rest.is_empty() {
                let this = &mut self.cores[core];
                if this.calls == warm {
                    this.measured_from = this.now;
                }
                if this.calls == warm + calls {
                    continue;
                }
                list(core, this.calls, &mut this.rest);
                this.calls += 1;
            }
            let Some(access) = self.cores[core].rest.pop() else {
                continue;
            };
            match access {
                Access::Work(ns) => self.cores[core].now += ns,
                Access::Read(line) => self.read(core, line),
                Access::Write(line) => self.write(core, line, self.costs.hit),
                Access::Update(line) => self.write(core, line, self.costs.update),
                Access::Lock(line) => {
                    self.write(core, line, self.costs.update);
                    let lock = self.locks.entry(line).or_default();
                    if lock.is_taken {
                        lock.waiting.push_back(core);
                        continue;
                    }
                    lock.is_taken = true;
                }
                Access::Unlock(line) => {
                    self.write(core, line, self.costs.update);
                    let released = self.cores[core].now;
                    let lock = self.locks.entry(line).or_default();
                    match lock.waiting.pop_front() {
                        None => lock.is_taken = false,
                        Some(waiter) => {
                            let since = self.cores[waiter].now.max(released);
                            self.cores[waiter].now = since;
                            self.write(waiter, line, self.costs.update);
                            next.push(key(self.cores[waiter].now, waiter));
                        }
                    }
                }
            }
            next.push(key(self.cores[core].now, core));
        }
        let of = |core: &Core| (core.now - core.measured_from) / calls as f64;
        self.cores.iter().map(of).sum::<f64>() / self.cores.len() as f64
    }

    /// Notes that the core has the line, and says whether it had.
    fn caches(&mut self, core: usize, line: Line) -> bool {
        let cache = &mut self.cores[core].cache;
        // Spread, as a cache with several places for each line would.
        let place = line.wrapping_mul(0x9E37_79B9_7F4A_7C15) % cache.len();
        std::mem::replace(&mut cache[place], line) == line
    }

    fn read(&mut self, core: usize, line: Line) {
        let had = self.caches(core, line);
        let held = &mut self.lines[line];
        let now = &mut self.cores[core].now;
        match held.owner {
            Some(owner) if usize::from(owner) != core => {
                *now = now.max(held.busy) + self.costs.fetch(had);
                held.busy = *now;
                held.owner = None;
            }
            _ if had && held.by & 1 << core != 0 => *now += self.costs.hit,
            _ => *now += self.costs.miss,
        }
        held.by |= 1 << core;
    }

    fn write(&mut self, core: usize, line: Line, cost: f64) {
        let had = self.caches(core, line);
        let held = &mut self.lines[line];
        let now = &mut self.cores[core].now;
        let others = held.by & !(1 << core) != 0;
        if others {
            *now = now.max(held.busy) + self.costs.fetch(had);
        } else if !had || held.by == 0 {
            *now += self.costs.miss;
        }
        *now += cost;
        if others {
            held.busy = *now;
        }
        held.owner = Some(core as u8);
        held.by = 1 << core;
    }
}

/// The model's own promises, told before it is used: by hand they are easy to count.
pub(crate) fn check() {
    let costs = Costs {
        hit: 1.0,
        update: 5.0,
        transfer: 20.0,
        miss: 50.0,
        lines: 64,
    };
    let run = |cores, lines, list: &dyn Fn(usize) -> Vec<Access>| {
        Machine::new(costs, cores, lines).run(100, 1_000, |core, _, rest| rest.extend(list(core)))
    };
    let close = |ns: f64, expected: f64| {
        assert!(
            (ns / expected - 1.0).abs() < 0.03,
            "{ns} ns in the model, not {expected}"
        );
    };
    // One's own line costs a hit, however many cores there are.
    close(run(1, 8, &|_| vec![Access::Update(0)]), 5.0);
    close(run(8, 8, &|core| vec![Access::Update(core)]), 5.0);
    close(run(8, 8, &|_| vec![Access::Read(0)]), 1.0);
    // One line for all is a queue: each waits for all others.
    close(run(2, 8, &|_| vec![Access::Update(0)]), 2.0 * 25.0);
    close(run(8, 8, &|_| vec![Access::Update(0)]), 8.0 * 25.0);
    // More lines than the cache holds are misses.
    let mut turn = 0;
    let ns = Machine::new(costs, 1, 10_000).run(10_000, 10_000, |_, _, rest| {
        turn = (turn + 1) % 10_000;
        rest.push(Access::Read(turn));
    });
    assert!(ns > 49.0, "{ns} ns by turns");
    // Under a lock, one at a time.
    let locked = run(4, 8, &|_| {
        vec![Access::Unlock(0), Access::Work(100.0), Access::Lock(0)]
    });
    assert!(locked > 4.0 * 100.0, "{locked} ns");
}
