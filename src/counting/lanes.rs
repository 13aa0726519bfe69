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
//! A slot carries the version of the opening it belongs to (its low 12 bits: a call would have to sleep through 4,096 openings), and all that a success changes is in that one word: a
//! call that read an older version, or that slept meanwhile, fails its compare-exchange. So the slots need no more than Relaxed
//! among themselves. `version` is written last when lanes open (Release) and read first (Acquire): who sees it sees
//! the width, the limit, and the gate's word that were published before it.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64 as StdAtomicU64, Ordering as StdOrdering},
    },
};

use tokio::time::Instant;

use crate::base::{
    clock::Clock,
    loom_or_std::{AtomicU64, Ordering},
    moment::Moment,
    spare,
};

/// How many buckets a window may touch to be counted in lanes; one with more is counted under the lock.
pub(crate) const SLOTS: usize = if cfg!(maintenance_loom) { 4 } else { 16 };
/// How narrow a bucket may be, in nanoseconds. A slot knows a bucket's number by its low 32 bits: at this width a
/// success would have to lie in its lane for 24 days, with nobody taking the lock, to be taken for an older one.
pub(crate) const NARROWEST: u64 = 1_000_000;

const COUNT_BITS: u32 = 20;
const INDEX_BITS: u32 = 32;
const VERSION_BITS: u32 = 12;
const VERSION: u64 = (1 << VERSION_BITS) - 1;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const INDEX: u64 = (1 << INDEX_BITS) - 1;
/// A slot that takes nothing. No count gets so far: the one before sends its caller to the lock.
const CLOSED: u64 = COUNT;

/// What a slot says: in which opening, for which bucket, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(u64);

impl Slot {
    /// In this opening, and nothing yet.
    #[inline]
    fn empty(version: u64) -> Self {
        Self(version << (COUNT_BITS + INDEX_BITS))
    }

    fn count(self) -> u64 {
        self.0 & COUNT
    }

    fn index(self) -> u64 {
        (self.0 >> COUNT_BITS) & INDEX
    }

    /// For this bucket, and nothing yet.
    #[inline]
    fn of(version: u64, index: u64) -> Self {
        Self(Self::empty(version).0 | (index & INDEX) << COUNT_BITS)
    }

    /// One more for the bucket; `None` if this slot cannot take it.
    #[inline]
    fn one_more(self, version: u64, index: u64) -> Option<Self> {
        let opening = |slot: Self| slot.0 >> (COUNT_BITS + INDEX_BITS);
        let is_open = opening(self) == opening(Self::empty(version));
        let is_free = self.count() == 0 || self.index() == index;
        let fits = self.count() + 1 < CLOSED;
        (is_open && is_free && fits).then(|| Self(Self::of(version, index).0 + self.count() + 1))
    }
}

/// On a cache line of its own, and its neighbour: processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    slots: [AtomicU64; SLOTS],
    /// By [`Counter`], those of the one thread that owns the lane: it needs no read-modify-write, a store will do.
    /// The standard library's under loom too: no promise rests on these.
    owned: [StdAtomicU64; COUNTERS],
    /// Those of all other threads that share the lane.
    shared: [StdAtomicU64; COUNTERS],
}

/// What one lane counts besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    Admitted,
    Refused,
    Exempt,
    Reads,
}

const COUNTERS: usize = 4;

/// Numbers the openings of all layers, from 1 on: what a thread knows of a bucket is of one opening of one layer.
static OPENINGS: StdAtomicU64 = StdAtomicU64::new(1);

/// What a thread knows of the bucket that it last counted in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket<L> {
    version: u64,
    era: u32,
    /// The slot before anything is counted in it.
    base: u64,
    /// Where it ends. Where it begins need not be known: a thread's clock does not go back; if it does all the same (in
    /// another runtime, whose paused clock stands earlier), what lands belongs to the latest, as the machine has it too.
    to: L,
}

/// What a clock shows: an instant, which need not be put on the time line to be compared, or a moment on it.
pub(crate) trait Look: Copy + PartialOrd {
    fn bucket(here: &spare::Here) -> &Cell<Option<Bucket<Self>>>;
    fn moment(self, clock: &Clock) -> Moment;
    fn at(moment: Moment, clock: &Clock) -> Option<Self>;
}

impl Look for Instant {
    #[inline]
    fn bucket(here: &spare::Here) -> &Cell<Option<Bucket<Self>>> {
        &here.bucket_by_instants
    }

    #[inline]
    fn moment(self, clock: &Clock) -> Moment {
        clock.moment(self)
    }

    fn at(moment: Moment, clock: &Clock) -> Option<Self> {
        clock.instant(moment)
    }
}

impl Look for Moment {
    #[inline]
    fn bucket(here: &spare::Here) -> &Cell<Option<Bucket<Self>>> {
        &here.bucket_by_moments
    }

    #[inline]
    fn moment(self, _: &Clock) -> Self {
        self
    }

    fn at(moment: Self, _: &Clock) -> Option<Self> {
        Some(moment)
    }
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
    /// Names the opening, unlike any other of any layer; 0 while the lanes are closed.
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
            owned: [const { StdAtomicU64::new(0) }; COUNTERS],
            shared: [const { StdAtomicU64::new(0) }; COUNTERS],
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

    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        self.count_by(spare::number(), counter);
    }

    /// Counts one for the thread with this number, which is the caller's.
    #[inline]
    pub(crate) fn count_by(&self, number: usize, counter: Counter) {
        // Relaxed: they are only ever read as totals.
        match self.lanes.get(number) {
            Some(lane) => {
                // Nobody else stores here: a number is one living thread's, and given on under a lock.
                let counter = &lane.owned[counter as usize];
                counter.store(counter.load(StdOrdering::Relaxed) + 1, StdOrdering::Relaxed);
            }
            None => self.count_shared(number, counter),
        }
    }

    #[inline(never)]
    fn count_shared(&self, number: usize, counter: Counter) {
        let lane = mine(&self.lanes, number);
        lane.shared[counter as usize].fetch_add(1, StdOrdering::Relaxed);
    }

    pub(crate) fn total(&self, counter: Counter) -> u64 {
        let of = |counters: &[StdAtomicU64]| counters[counter as usize].load(StdOrdering::Relaxed);
        self.lanes
            .iter()
            .map(|lane| of(&lane.owned) + of(&lane.shared))
            .sum()
    }

    /// Counts a success of `era` at `now` that took `took` nanoseconds; says no if it must take the lock.
    pub(crate) fn land(&self, era: u32, took: u64, now: Moment) -> bool {
        self.open_for(era, took)
            .is_some_and(|(version, width)| self.add(version, now.0 / width))
    }

    /// [`land`](Self::land) for a call that was answered at once, and took no time: it costs a look at the clock and
    /// at what this thread knows of the present bucket.
    #[inline(always)]
    pub(crate) fn land_at_once<L: Look>(&self, era: u32, look: L, clock: &Clock) -> bool {
        // Acquire: pairs with the Release in `open_while_locked`, as in `open_for`.
        let version = self.version.load(Ordering::Acquire);
        if let Some((number, Some(bucket))) =
            spare::with(|here| (here.number(), L::bucket(here).get()))
            && bucket.version == version
            && bucket.era == era
            && look < bucket.to
        {
            let slot = self.slot(number, bucket.base >> COUNT_BITS);
            let seen = slot.load(Ordering::Relaxed);
            // One more of the same: then that is all there is to it.
            if seen.wrapping_sub(bucket.base) < CLOSED - 1 {
                let swapped = slot.compare_exchange_weak(
                    seen,
                    seen + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if swapped.is_ok() {
                    return true;
                }
            }
        }
        self.land_in_new_bucket(era, look, clock)
    }

    #[cold]
    #[inline(never)]
    fn land_in_new_bucket<L: Look>(&self, era: u32, look: L, clock: &Clock) -> bool {
        let Some((version, width)) = self.open_for(era, 0) else {
            return false;
        };
        let index = look.moment(clock).0 / width;
        let to = Moment(index.saturating_add(1).saturating_mul(width));
        if let Some(to) = L::at(to, clock) {
            let base = Slot::of(version, index).0;
            let bucket = Bucket {
                version,
                era,
                base,
                to,
            };
            spare::with(|here| L::bucket(here).set(Some(bucket)));
        }
        self.add(version, index)
    }

    /// The version and the width of a bucket, if a success that took so long may be counted in lanes.
    #[inline]
    fn open_for(&self, era: u32, took: u64) -> Option<(u64, u64)> {
        // Acquire: pairs with the Release in `open_while_locked`. The rest was written before it.
        let version = self.version.load(Ordering::Acquire);
        let open = version != 0
            && self.era.load(Ordering::Relaxed) == u64::from(era)
            && took <= self.slow_limit.load(Ordering::Relaxed);
        open.then(|| (version, self.width.load(Ordering::Relaxed)))
    }

    /// Counts one in the bucket; says no if the slot cannot take it.
    fn add(&self, version: u64, index: u64) -> bool {
        let slot = self.slot(spare::number(), index);
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

    /// Where this thread counts what ends in the bucket.
    #[inline]
    fn slot(&self, number: usize, index: u64) -> &AtomicU64 {
        let lane = match self.lanes.get(number) {
            Some(lane) => lane,
            None => mine(&self.lanes, number),
        };
        &lane.slots[index as usize % SLOTS]
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
        // The slots know it by its low bits, which number this layer's openings.
        let opening = self.openings.load(Ordering::Relaxed) + 1;
        self.openings.store(opening, Ordering::Relaxed);
        let others = OPENINGS.fetch_add(1, StdOrdering::Relaxed);
        let version = others << VERSION_BITS | opening & VERSION;
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
    /// The number of the bucket, if `then` is that of the last drain: of those with these low bits the first since. One
    /// that is older nevertheless, by a clock that stands earlier, counts as landed then, as all that goes backwards does.
    pub(crate) fn index(&self, then: u64) -> u64 {
        let ahead = self.low.wrapping_sub(then) & INDEX;
        if ahead <= INDEX / 2 {
            then.saturating_add(ahead)
        } else {
            then
        }
    }
}

/// One for each core, up to 64, and one more: runtimes have a thread for each core, and the one that starts them calls too.
pub(crate) fn how_many() -> usize {
    if cfg!(maintenance_loom) {
        return 1;
    }
    // Asked once: the answer comes from the file system where cores are rationed, and takes longer than all the rest.
    static LANES: OnceLock<usize> = OnceLock::new();
    *LANES.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.min(64) + 1
    })
}

/// Of things that there is one of for each lane, the one of this thread.
#[inline]
pub(crate) fn here<T>(each: &[T]) -> &T {
    mine(each, spare::number())
}

/// The one of the thread with this number.
#[inline]
fn mine<T>(each: &[T], number: usize) -> &T {
    &each[number % each.len()]
}

#[cfg(all(test, not(maintenance_loom)))]
mod tests {
    use std::{collections::BTreeMap, sync::atomic::AtomicBool, thread};

    use proptest::prelude::*;

    use super::*;
    use crate::base::property_cases::cases;

    fn open(era: u32, width: u64) -> Open {
        Open {
            era,
            width,
            slow_limit: 100,
        }
    }

    /// What was drained, by era and bucket; `now` is the number of the present bucket.
    type Drained = BTreeMap<(u32, u64), u64>;

    fn note(drained: &mut Drained, now: u64) -> impl FnMut(Landed) {
        move |landed| {
            *drained.entry((landed.era, landed.index(now))).or_default() += landed.successes;
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Advance(u64),
        Land { era: u32, took: u64 },
        Drain,
        Close,
        Open { era: u32, width: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..40).prop_map(Step::Advance),
            // All of them together stay below what the low bits of a bucket tell.
            1 => (0_u64..1 << 23).prop_map(Step::Advance),
            20 => (0_u32..3, 99_u64..=101).prop_map(|(era, took)| Step::Land { era, took }),
            2 => Just(Step::Drain),
            1 => Just(Step::Close),
            2 => (0_u32..3, 1_u64..30).prop_map(|(era, width)| Step::Open { era, width }),
        ]
    }

    proptest! {
        #![proptest_config(cases(256))]

        /// Nothing is lost, nothing is counted twice, and nothing in another bucket or era.
        #[test]
        fn what_lands_is_drained_once_where_it_landed(steps in prop::collection::vec(step(), 0..200)) {
            let lanes = Lanes::new();
            // `drained_at`: when whoever holds the lock last looked.
            let (mut now, mut drained_at, mut opened) = (0_u64, 0_u64, None::<Open>);
            let (mut landed, mut drained) = (Drained::new(), Drained::new());
            for step in steps {
                let bucket = move |at: u64| opened.map_or(0, |open| at / open.width);
                let then = bucket(drained_at);
                match step {
                    Step::Advance(by) => now += by,
                    Step::Land { era, took } => {
                        let took_it = lanes.land(era, took, Moment(now));
                        if took_it {
                            *landed.entry((era, bucket(now))).or_default() += 1;
                        }
                        let may = opened.is_some_and(|open| open.era == era) && took <= 100;
                        prop_assert!(may || !took_it, "it landed where it must not");
                        if may && !took_it {
                            // Its slot holds another bucket's: whoever takes the lock frees it.
                            lanes.drain_while_locked(note(&mut drained, then));
                            drained_at = now;
                            prop_assert!(lanes.land(era, took, Moment(now)));
                            *landed.entry((era, bucket(now))).or_default() += 1;
                        }
                    }
                    Step::Drain => lanes.drain_while_locked(note(&mut drained, then)),
                    Step::Close => {
                        lanes.close_while_locked(note(&mut drained, then));
                        opened = None;
                    }
                    Step::Open { era, width } => {
                        lanes.close_while_locked(note(&mut drained, then));
                        lanes.open_while_locked(open(era, width));
                        opened = Some(open(era, width));
                    }
                }
                prop_assert!(lanes.stand_while_locked(opened));
                // A width that changes makes other buckets of the same number: forget what is done with.
                if !matches!(step, Step::Advance(_) | Step::Land { .. }) {
                    drained_at = now;
                    prop_assert_eq!(&drained, &landed);
                }
            }
            lanes.close_while_locked(note(&mut drained, opened.map_or(0, |open| drained_at / open.width)));
            prop_assert_eq!(drained, landed);
        }
    }

    /// Threads land while somebody drains, closes and opens: every success that was taken is drained, in its era.
    #[test]
    fn nothing_is_lost_among_threads() {
        let lanes = Lanes::new();
        let (done, seen) = (AtomicBool::new(false), StdAtomicU64::new(0));
        lanes.open_while_locked(open(0, 10));
        let mut drained = Drained::new();
        let landed: Vec<BTreeMap<u32, u64>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut landed = BTreeMap::new();
                        for call in 0_u64.. {
                            if done.load(StdOrdering::Relaxed) {
                                break;
                            }
                            let era = (call % 3) as u32;
                            if lanes.land(era, 0, Moment(call % 200)) {
                                seen.fetch_add(1, StdOrdering::Relaxed);
                                *landed.entry(era).or_default() += 1;
                            }
                        }
                        landed
                    })
                })
                .collect();
            // On until enough of them has happened, however late the threads begin.
            let enough = |turn| turn >= 20_000 && seen.load(StdOrdering::Relaxed) >= 1_000;
            for turn in (0_u32..).take_while(|turn| !enough(*turn)) {
                if turn % 3 == 0 {
                    lanes.drain_while_locked(note(&mut drained, 19));
                } else {
                    lanes.close_while_locked(note(&mut drained, 19));
                    lanes.open_while_locked(open(turn % 3, 10));
                }
            }
            done.store(true, StdOrdering::Relaxed);
            let landed = threads.into_iter().map(|thread| thread.join());
            landed
                .collect::<Result<_, _>>()
                .expect("no thread panicked")
        });
        lanes.close_while_locked(note(&mut drained, 19));
        let mut by_era = BTreeMap::<u32, u64>::new();
        for ((era, _), successes) in drained {
            *by_era.entry(era).or_default() += successes;
        }
        let mut taken = BTreeMap::<u32, u64>::new();
        for (era, successes) in landed.into_iter().flatten() {
            *taken.entry(era).or_default() += successes;
        }
        assert_eq!(by_era, taken);
    }

    #[test]
    fn a_full_slot_sends_its_caller_to_the_lock() {
        let full = Slot(Slot::empty(1).0 | (CLOSED - 1));
        assert_eq!(full.one_more(1, 0), None);
        assert_eq!(Slot(CLOSED).one_more(1, 0), None);
        assert_eq!(Slot(CLOSED).one_more(1 << 12, 0), None);
        assert_eq!(Slot::empty(2).one_more(1, 0), None, "of another opening");
    }

    #[test]
    fn a_bucket_is_known_by_its_low_bits() {
        let landed = |low| Landed {
            era: 0,
            width: 1,
            low,
            successes: 1,
        };
        for then in [0, 5, INDEX, INDEX + 1, 3 * INDEX + 7] {
            for later in [0, 1, 17, 1_000_000, INDEX / 2] {
                let index = then + later;
                assert_eq!(landed(index & INDEX).index(then), index, "{later} later");
            }
            for earlier in [1, 17, INDEX / 2] {
                let index = then.wrapping_sub(earlier);
                assert_eq!(landed(index & INDEX).index(then), then, "{earlier} earlier");
            }
        }
    }

    #[test]
    fn a_thread_for_each_core_and_the_one_that_starts_them_own_a_lane() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // By their numbers, the smallest first.
        assert!(how_many() > cores.min(64));
    }
}
