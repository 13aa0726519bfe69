//! Counting without the lock: what every call writes, on a cache line of its own core.
//!
//! Most calls in `Serving` end well, and a success is never judged (R9). So it need not meet the machine: it is
//! counted in a *lane*, and whoever next takes the lock drains the lanes into the window before anything is
//! judged or shown. Nothing is lost and nothing is counted in another era: a success that got into a lane did
//! so before the drain that found it, and one that comes too late finds the lane closed and takes the lock.
//!
//! Lanes are open while a success changes nothing but a number: in `Serving`, in a time window, after no
//! failure that it would end the run of, without a shadow that it might end. Calls that failed, were slow, or bear a
//! wish of the partner's always take the lock.
//!
//! # Orderings
//!
//! *Who writes*: any call, by compare-exchange on one slot; whoever holds the machine's lock opens, closes and drains.
//!
//! A slot carries the version of the opening it belongs to, and all that a success changes is in that one word: a
//! call that read an older version, or that slept meanwhile, fails its compare-exchange. So the slots need no more than Relaxed
//! among themselves. `version` is written last when lanes open (Release) and read first (Acquire): who sees it sees
//! the width, the limit, and the gate's word that were published before it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering as StdOrdering};

use crate::{
    moment::Moment,
    sync::{AtomicU64, Ordering},
};

/// How many buckets a window may touch to be counted in lanes; one with more is counted under the lock.
pub(crate) const SLOTS: usize = 16;

const COUNT_BITS: u32 = 24;
const INDEX_BITS: u32 = 28;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const INDEX: u64 = (1 << INDEX_BITS) - 1;
/// A slot that takes nothing. No count gets so far: the one before sends its caller to the lock.
const CLOSED: u64 = COUNT;

/// What a slot says: in which opening, for which bucket, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    /// In this opening, and nothing yet.
    fn empty(version: u64) -> Self {
        Self(version << (COUNT_BITS + INDEX_BITS))
    }

    fn count(self) -> u64 {
        self.0 & COUNT
    }

    fn index(self) -> u64 {
        (self.0 >> COUNT_BITS) & INDEX
    }

    /// One more for the bucket; `None` if this slot cannot take it.
    fn one_more(self, version: u64, index: u64) -> Option<Self> {
        let opening = |slot: Self| slot.0 >> (COUNT_BITS + INDEX_BITS);
        let is_open = opening(self) == opening(Self::empty(version));
        let is_free = self.count() == 0 || self.index() == index;
        let fits = self.count() + 1 < CLOSED;
        (is_open && is_free && fits)
            .then(|| Self(Self::empty(version).0 | index << COUNT_BITS | (self.count() + 1)))
    }
}

/// On a cache line of its own, and its neighbour: processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    slots: [AtomicU64; SLOTS],
    admitted: AtomicU64,
    refused: AtomicU64,
    exempt: AtomicU64,
    reads: AtomicU64,
}

/// What one lane counts besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    Admitted,
    Refused,
    Exempt,
    Reads,
}

/// While lanes are open: what a success must know of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) era: u32,
    /// How wide a bucket is, in nanoseconds.
    pub(crate) width: u64,
    /// How long a call may take that is not slow, in nanoseconds.
    pub(crate) slow_limit: u64,
}

/// The lanes of one layer.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Numbers the openings from 1 on; 0 while the lanes are closed.
    version: AtomicU64,
    era: AtomicU64,
    width: AtomicU64,
    slow_limit: AtomicU64,
    /// The openings so far; only whoever holds the lock looks.
    openings: AtomicU64,
    lanes: Box<[Lane]>,
}

impl Lanes {
    /// Closed.
    pub(crate) fn new() -> Self {
        let lane = || Lane {
            slots: std::array::from_fn(|_| AtomicU64::new(CLOSED)),
            admitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            exempt: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        };
        Self {
            version: AtomicU64::new(0),
            era: AtomicU64::new(0),
            width: AtomicU64::new(1),
            slow_limit: AtomicU64::new(0),
            openings: AtomicU64::new(0),
            lanes: (0..how_many()).map(|_| lane()).collect(),
        }
    }

    fn here(&self) -> &Lane {
        // A power of two: a mask would do, and the compiler knows no more than we tell.
        &self.lanes[thread() & (self.lanes.len() - 1)]
    }

    pub(crate) fn count(&self, counter: Counter) {
        let lane = self.here();
        let counter = match counter {
            Counter::Admitted => &lane.admitted,
            Counter::Refused => &lane.refused,
            Counter::Exempt => &lane.exempt,
            Counter::Reads => &lane.reads,
        };
        // Relaxed: they are only ever read as totals.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self, counter: Counter) -> u64 {
        let of = |lane: &Lane| match counter {
            Counter::Admitted => lane.admitted.load(Ordering::Relaxed),
            Counter::Refused => lane.refused.load(Ordering::Relaxed),
            Counter::Exempt => lane.exempt.load(Ordering::Relaxed),
            Counter::Reads => lane.reads.load(Ordering::Relaxed),
        };
        self.lanes.iter().map(of).sum()
    }

    /// Counts a success of `era` at `now` that took `took` nanoseconds; says no if it must take the lock.
    pub(crate) fn land(&self, era: u32, took: u64, now: Moment) -> bool {
        // Acquire: pairs with the Release in `open`. The rest was written before it.
        let version = self.version.load(Ordering::Acquire);
        if version == 0
            || self.era.load(Ordering::Relaxed) != u64::from(era)
            || took > self.slow_limit.load(Ordering::Relaxed)
        {
            return false;
        }
        let index = now.0 / self.width.load(Ordering::Relaxed);
        let slot = &self.here().slots[index as usize % SLOTS];
        let mut seen = Slot(slot.load(Ordering::Relaxed));
        while let Some(more) = seen.one_more(version, index & INDEX) {
            let swapped =
                slot.compare_exchange_weak(seen.0, more.0, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return true,
                Err(changed) => seen = Slot(changed),
            }
        }
        false
    }

    /// Whether the lanes stand as they should.
    pub(crate) fn stand_while_locked(&self, wanted: Option<Open>) -> bool {
        let open = self.version.load(Ordering::Relaxed) != 0;
        match wanted {
            None => !open,
            Some(Open {
                era,
                width,
                slow_limit,
            }) => {
                open && self.era.load(Ordering::Relaxed) == u64::from(era)
                    && self.width.load(Ordering::Relaxed) == width
                    && self.slow_limit.load(Ordering::Relaxed) == slow_limit
            }
        }
    }

    /// Takes out what has landed.
    pub(crate) fn drain_while_locked(&self, mut landed: impl FnMut(Landed)) {
        let version = self.version.load(Ordering::Relaxed);
        if version != 0 {
            self.sweep(Slot::empty(version), &mut landed);
        }
    }

    /// Closes the lanes, and takes out what has landed meanwhile.
    pub(crate) fn close_while_locked(&self, mut landed: impl FnMut(Landed)) {
        if self.version.load(Ordering::Relaxed) != 0 {
            self.version.store(0, Ordering::Relaxed);
            self.sweep(Slot(CLOSED), &mut landed);
        }
    }

    /// Opens closed lanes, after the gate's word has been published.
    pub(crate) fn open_while_locked(&self, open: Open) {
        let version = self.openings.load(Ordering::Relaxed) + 1;
        self.openings.store(version, Ordering::Relaxed);
        for slot in self.lanes.iter().flat_map(|lane| &lane.slots) {
            slot.store(Slot::empty(version).0, Ordering::Relaxed);
        }
        self.era.store(u64::from(open.era), Ordering::Relaxed);
        self.width.store(open.width, Ordering::Relaxed);
        self.slow_limit.store(open.slow_limit, Ordering::Relaxed);
        // Release: pairs with the Acquire in `land`.
        self.version.store(version, Ordering::Release);
    }

    fn sweep(&self, leave: Slot, landed: &mut impl FnMut(Landed)) {
        let era = self.era.load(Ordering::Relaxed) as u32;
        let width = self.width.load(Ordering::Relaxed);
        for slot in self.lanes.iter().flat_map(|lane| &lane.slots) {
            let seen = slot.load(Ordering::Relaxed);
            if seen == leave.0 {
                continue;
            }
            let taken = Slot(slot.swap(leave.0, Ordering::Relaxed));
            if taken.count() > 0 && taken.count() != CLOSED {
                landed(Landed {
                    era,
                    width,
                    low: taken.index(),
                    successes: taken.count(),
                });
            }
        }
    }
}

/// Successes of one bucket that were counted without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Landed {
    pub(crate) era: u32,
    pub(crate) width: u64,
    /// The low bits of the bucket's number.
    low: u64,
    pub(crate) successes: u64,
}

impl Landed {
    /// The number of the bucket: of those with these low bits the nearest to `now`.
    pub(crate) fn index(&self, now: u64) -> u64 {
        let behind = (now & INDEX).wrapping_sub(self.low) & INDEX;
        // Ahead by a little: whoever landed it looked at the clock later.
        if behind > INDEX / 2 {
            now.saturating_add((INDEX + 1) - behind)
        } else {
            now.saturating_sub(behind)
        }
    }
}

/// As many as there are cores, rounded up to a power of two, and 64 at most.
pub(crate) fn how_many() -> usize {
    if cfg!(maintenance_loom) {
        return 1;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.next_power_of_two().min(64)
}

/// A number for this thread; threads that begin one after the other have different ones.
pub(crate) fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.with(Cell::get);
    if mine != usize::MAX {
        return mine;
    }
    let mine = NEXT.fetch_add(1, StdOrdering::Relaxed) & (usize::MAX >> 1);
    MINE.with(|cell| cell.set(mine));
    mine
}
