//! Counting outcomes: the sliding window that the failure rate is read from.
//!
//! Counting is a seam of its own. The machine only ever asks a [`Tally`] for [`Counts`] and tells it
//! to forget; how the counts are kept is nobody else's business. Successes come in two ways: one by one, under the
//! lock, and by the bucket from the [`lanes`], where they were counted without it. Cost and memory are flat in
//! traffic: a time window is a ring of buckets, a count window two bits a call.
//!
//! Both windows really slide. A bucket leaves when its *start* is a whole window old, so that
//! nothing older than the window is ever counted; what is counted is at most one bucket short of it.

use crate::{
    base::moment::{Moment, nanos},
    counting::lanes,
    policy::window::Window,
};

/// What lands in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The partner answered as it should.
    Success { slow: bool },
    /// The partner failed.
    Failure { slow: bool },
    /// The caller left after nothing had come from the partner for the hang limit: a failure, and a drop.
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
            Landing::Neutral => self.completed += 1,
            Landing::Abandoned => self.abandoned += 1,
        }
    }
}

/// A sliding window of outcomes.
#[derive(Debug, Clone)]
pub(crate) enum Tally {
    Calls(CallRing),
    Time(TimeRing),
}

impl Tally {
    pub(crate) fn new(window: Window) -> Self {
        match window {
            Window::Calls(size) => Self::Calls(CallRing::new(size)),
            Window::Time { length, buckets } => Self::Time(TimeRing::new(nanos(length), buckets)),
        }
    }

    /// Records what landed at `at`; `at` never goes back.
    pub(crate) fn record(&mut self, landing: Landing, at: Moment) {
        match self {
            Self::Calls(ring) => ring.record(landing),
            Self::Time(ring) => ring.record(landing, at),
        }
    }

    /// Adds successes that landed in the bucket with this number, before the newest failure there is.
    pub(crate) fn add_successes(&mut self, index: u64, successes: u64) {
        if let Self::Time(ring) = self {
            ring.add_successes(index, successes);
        }
    }

    /// How wide a bucket is, in nanoseconds, if successes may be added to one by its number.
    pub(crate) fn width(&self) -> Option<u64> {
        match self {
            Self::Calls(_) => None,
            Self::Time(ring) => {
                let fits = ring.ring.len() <= lanes::SLOTS && ring.width >= lanes::NARROWEST;
                fits.then_some(ring.width)
            }
        }
    }

    /// What the window holds at `at`.
    pub(crate) fn counts(&self, at: Moment) -> Counts {
        match self {
            Self::Calls(ring) => ring.counts(),
            Self::Time(ring) => ring.counts(at),
        }
    }

    /// When the window will next let something go without anybody calling; `None` if never.
    pub(crate) fn next_departure(&self, at: Moment) -> Option<Moment> {
        match self {
            Self::Calls(_) => None,
            Self::Time(ring) => ring.next_departure(at),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Calls(ring) => ring.clear(),
            Self::Time(ring) => ring.clear(),
        }
    }
}

/// The last `size` outcomes, two bits each: failed, slow.
#[derive(Debug, Clone)]
pub(crate) struct CallRing {
    bits: Vec<u64>,
    size: u64,
    next: u64,
    total: u64,
    failed: u64,
    slow: u64,
    run: u64,
    abandoned: u64,
    since_completed: u64,
    completed: u64,
}

const FAILED: u64 = 0b01;
const SLOW: u64 = 0b10;
const SLOTS_PER_WORD: u64 = 32;

impl CallRing {
    fn new(size: u32) -> Self {
        let size = u64::from(size);
        let words = size.div_ceil(SLOTS_PER_WORD);
        Self {
            bits: vec![0; usize::try_from(words).expect("a u32 of slots fits a usize of words")],
            size,
            next: 0,
            total: 0,
            failed: 0,
            slow: 0,
            run: 0,
            abandoned: 0,
            since_completed: 0,
            completed: 0,
        }
    }

    fn record(&mut self, landing: Landing) {
        let slot = match landing {
            Landing::Success { slow } => u64::from(slow) * SLOW,
            Landing::Failure { slow } | Landing::Hung { slow } => FAILED | (u64::from(slow) * SLOW),
            Landing::Neutral => {
                self.complete();
                return;
            }
            Landing::Abandoned => {
                self.abandon();
                return;
            }
        };
        if let Landing::Hung { .. } = landing {
            self.abandon();
        } else {
            self.complete();
        }
        let left = self.swap(slot);
        if self.total == self.size {
            self.failed -= left & FAILED;
            self.slow -= left >> 1;
        } else {
            self.total += 1;
        }
        self.failed += slot & FAILED;
        self.slow += slot >> 1;
        self.run = if slot & FAILED == 0 {
            0
        } else {
            (self.run + 1).min(self.size)
        };
    }

    /// A call came to its own end: the drops before it prove nothing any more.
    fn complete(&mut self) {
        self.abandoned = 0;
        self.since_completed = 0;
        self.completed = 1;
    }

    fn abandon(&mut self) {
        self.abandoned = self.abandoned.saturating_add(1).min(self.size);
        self.since_completed = self.since_completed.saturating_add(1);
    }

    /// Puts `slot` where the oldest outcome stands and returns what stood there.
    fn swap(&mut self, slot: u64) -> u64 {
        let word = usize::try_from(self.next / SLOTS_PER_WORD).expect("as in `new`");
        let shift = (self.next % SLOTS_PER_WORD) * 2;
        let left = (self.bits[word] >> shift) & 0b11;
        self.bits[word] = (self.bits[word] & !(0b11 << shift)) | (slot << shift);
        self.next = (self.next + 1) % self.size;
        left
    }

    fn counts(&self) -> Counts {
        Counts {
            total: self.total,
            failed: self.failed,
            slow: self.slow,
            run: self.run,
            abandoned: self.abandoned,
            // Drops take no slot, yet a completed call is out of sight once a whole window of them came after it.
            completed: if self.since_completed >= self.size {
                0
            } else {
                self.completed
            },
        }
    }

    fn clear(&mut self) {
        let bits = std::mem::take(&mut self.bits);
        *self = Self {
            bits,
            size: self.size,
            next: 0,
            total: 0,
            failed: 0,
            slow: 0,
            run: 0,
            abandoned: 0,
            since_completed: 0,
            completed: 0,
        };
        self.bits.fill(0);
    }
}

/// A ring of buckets over the last `length` nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct TimeRing {
    length: u64,
    width: u64,
    ring: Vec<Bucket>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Which stretch of time this is, counted in widths from the origin; ring slots are reused.
    index: u64,
    counts: Counts,
}

impl Bucket {
    fn is_empty(&self) -> bool {
        self.counts == Counts::default()
    }
}

impl TimeRing {
    fn new(length: u64, buckets: u32) -> Self {
        let width = (length / u64::from(buckets)).max(1);
        // As many as can be live at once: a window whose edges fall inside buckets touches one more
        // than it is long, and one more again where the width does not divide the length.
        let live = usize::try_from(length / width)
            .unwrap_or(usize::MAX)
            .saturating_add(2);
        Self {
            length,
            width,
            ring: vec![Bucket::default(); live],
        }
    }

    fn record(&mut self, landing: Landing, at: Moment) {
        self.bucket(at.0 / self.width).counts.add(landing);
    }

    fn add_successes(&mut self, index: u64, successes: u64) {
        // Unless a later bucket has taken its place: then it has left the window.
        if self.ring[self.slot(index)].index <= index {
            let counts = &mut self.bucket(index).counts;
            counts.total += successes;
            counts.completed += successes;
        }
    }

    /// The bucket of this stretch, which begins empty.
    fn bucket(&mut self, index: u64) -> &mut Bucket {
        let slot = self.slot(index);
        let bucket = &mut self.ring[slot];
        if bucket.index != index {
            *bucket = Bucket {
                index,
                ..Bucket::default()
            };
        }
        bucket
    }

    fn counts(&self, at: Moment) -> Counts {
        let mut counts = Counts::default();
        let mut unbroken = true;
        for Bucket { counts: bucket, .. } in self.live(at) {
            counts.total += bucket.total;
            counts.failed += bucket.failed;
            counts.slow += bucket.slow;
            counts.abandoned += bucket.abandoned;
            counts.completed += bucket.completed;
            // The run goes on into the bucket before, if nothing in this one broke it.
            if unbroken {
                counts.run += bucket.run;
                unbroken = bucket.run == bucket.total;
            }
        }
        counts
    }

    /// The buckets that still belong to the window, newest first.
    fn live(&self, at: Moment) -> impl Iterator<Item = &Bucket> {
        let newest = at.0 / self.width;
        (0..self.ring.len() as u64)
            .map_while(move |back| newest.checked_sub(back))
            .take_while(move |index| self.leaves(*index) > at.0)
            .filter_map(move |index| {
                let bucket = &self.ring[self.slot(index)];
                (bucket.index == index && !bucket.is_empty()).then_some(bucket)
            })
    }

    fn next_departure(&self, at: Moment) -> Option<Moment> {
        let oldest = self.live(at).last()?;
        Some(Moment(self.leaves(oldest.index)))
    }

    /// When the bucket's start is a whole window old.
    fn leaves(&self, index: u64) -> u64 {
        (index * self.width).saturating_add(self.length)
    }

    fn slot(&self, index: u64) -> usize {
        usize::try_from(index % self.ring.len() as u64).expect("smaller than the ring's length")
    }

    fn clear(&mut self) {
        self.ring.fill(Bucket::default());
    }
}
