//! A model of a machine with many cores: which core has which cache line, and which core waits for
//! it.
//!
//! Each core makes calls, and each call is a list of [`Access`]es. A core owns a line that it
//! wrote, and reads and writes it at the cost of a hit. An access of another core fetches the line,
//! one core at a time, at the cost of a transfer. All cores can have a line that is only read. A
//! core keeps as many lines as its private cache holds. A line that was evicted comes back at the
//! cost of a miss.
//!
//! The model leaves out:
//!
//! - A processor overlaps the misses of one call and the next. Here they follow one another, so
//!   long lists (a sweep over all lanes) cost too much, by at most some ten lines.
//! - Cores that wait for a lock spin. None sleeps.
//! - All pairs of cores are equally far from each other.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

/// The cost of an access, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Reading or writing a line that the core has.
    pub(crate) hit: f64,
    /// A read-modify-write of such a line.
    pub(crate) update: f64,
    /// Fetching a line that another core wrote.
    pub(crate) transfer: f64,
    /// Fetching a line that the core's own cache has evicted, or that other cores only read.
    pub(crate) miss: f64,
    /// The number of lines that a core's own cache holds.
    pub(crate) lines: usize,
}

impl Costs {
    /// Fetching a line that another core wrote. It can still be in that core's cache only if it was
    /// lately in ours.
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
    /// Work on no shared line, in nanoseconds.
    Work(f64),
    Read(Line),
    Write(Line),
    Update(Line),
    Lock(Line),
    Unlock(Line),
}

/// The cores that have a line.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// The core that wrote it last, if no other core has read it since.
    owner: Option<u8>,
    /// The cores that have it, one bit per core.
    by: u128,
    /// The instant at which its transfer ends.
    busy: f64,
}

#[derive(Debug, Default)]
struct Lock {
    is_taken: bool,
    waiting: VecDeque<usize>,
}

struct Core {
    now: f64,
    /// The lines in its cache. The cache is direct-mapped.
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

    /// Returns the mean nanoseconds of one call. Each core makes `warm` calls to warm up, and
    /// `calls` that count. `list` appends the accesses of a core's `n`th call, the first access
    /// last.
    pub(crate) fn run(
        &mut self,
        warm: usize,
        calls: usize,
        mut list: impl FnMut(usize, usize, &mut Vec<Access>),
    ) -> f64 {
        // Ordered by time in picoseconds, because integers have a total order.
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
            for runs in self.access(core, access).into_iter().flatten() {
                next.push(key(self.cores[runs].now, runs));
            }
        }
        let of = |core: &Core| (core.now - core.measured_from) / calls as f64;
        self.cores.iter().map(of).sum::<f64>() / self.cores.len() as f64
    }

    /// Makes one access, and returns the cores that run on: the core itself unless it waits for a
    /// lock, and the core that it lets into one.
    fn access(&mut self, core: usize, access: Access) -> [Option<usize>; 2] {
        let mut let_in = None;
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
                    return [None, None];
                }
                lock.is_taken = true;
            }
            Access::Unlock(line) => {
                self.write(core, line, self.costs.update);
                let_in = self.unlock(core, line);
            }
        }
        [let_in, Some(core)]
    }

    /// Gives the lock to the core that has waited longest, if one waits.
    fn unlock(&mut self, core: usize, line: Line) -> Option<usize> {
        let released = self.cores[core].now;
        let lock = self.locks.entry(line).or_default();
        let waiter = lock.waiting.pop_front();
        match waiter {
            None => lock.is_taken = false,
            Some(waiter) => {
                let since = self.cores[waiter].now.max(released);
                self.cores[waiter].now = since;
                self.write(waiter, line, self.costs.update);
            }
        }
        waiter
    }

    /// Puts the line into the core's cache, and returns whether it was there.
    fn caches(&mut self, core: usize, line: Line) -> bool {
        let cache = &mut self.cores[core].cache;
        // Hashed, so that neighbouring layers conflict no more than in an associative cache.
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

/// Checks the model on cases that are easy to count by hand.
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
    // A core's own line costs a hit, however many cores there are.
    close(run(1, 8, &|_| vec![Access::Update(0)]), 5.0);
    close(run(8, 8, &|core| vec![Access::Update(core)]), 5.0);
    close(run(8, 8, &|_| vec![Access::Read(0)]), 1.0);
    // One line for all cores is a queue: each core waits for all others.
    close(run(2, 8, &|_| vec![Access::Update(0)]), 2.0 * 25.0);
    close(run(8, 8, &|_| vec![Access::Update(0)]), 8.0 * 25.0);
    // Every access is a miss if a core goes through more lines than its cache holds.
    let mut turn = 0;
    let ns = Machine::new(costs, 1, 10_000).run(10_000, 10_000, |_, _, rest| {
        turn = (turn + 1) % 10_000;
        rest.push(Access::Read(turn));
    });
    assert!(ns > 49.0, "{ns} ns by turns");
    // A lock admits one core at a time.
    let locked = run(4, 8, &|_| {
        vec![Access::Unlock(0), Access::Work(100.0), Access::Lock(0)]
    });
    assert!(locked > 4.0 * 100.0, "{locked} ns");
}
