//! Counting without the lock: each core writes a cache line of its own.
//!
//! Most calls in `Serving` succeed, and a success is never judged (R9). So a success does not need
//! the machine. It is counted in a *lane*, and the next lock holder drains the lanes into the
//! window before it judges or shows anything. Nothing is lost, and nothing counts in another era: a
//! success that got into a lane did so before the drain that found it, and a success that comes too
//! late finds the lane closed and takes the lock.
//!
//! Lanes are open while a success changes only a count: in `Serving`, in a time window, while it
//! would end no run of failures and no shadow. Calls that failed, were slow, or carry the partner's
//! `Retry-After` take the lock.
//!
//! # Orderings
//!
//! *Writers*: every call, by compare-exchange on one slot; the lock holder opens, closes and
//! drains.
//!
//! A slot carries the low 12 bits of its opening's version (a call would have to sleep through
//! 4,096 openings to mistake one for another), and all that a success changes is in that one word:
//! a call that read an older version, or that slept meanwhile, fails its compare-exchange. So the
//! slots need no more than Relaxed among themselves. `version` is stored last when lanes open
//! (Release) and loaded first (Acquire): a call that loads it sees the width, the limit, and the
//! gate's word that were published before it.

use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU64 as StdAtomicU64, Ordering as StdOrdering},
    },
};

use super::{
    landed::{Landed, Open},
    slot::{self, CLOSED, COUNT_BITS, INDEX, Slot},
};
use crate::base::{
    clock::{Clock, Reading},
    loom_or_std::{AtomicU64, Ordering},
    moment::Moment,
    thread_number,
};

/// The most buckets that a window counted in lanes may touch. A window with more buckets is counted
/// under the lock.
pub(crate) const SLOTS: usize = if cfg!(maintenance_loom) { 4 } else { 16 };
/// The narrowest bucket, in nanoseconds. A slot knows a bucket's number by its low 32 bits. At this
/// width a success is taken for an older one only after 24 days in its lane, if no caller takes the
/// lock in all that time.
pub(crate) const NARROWEST: u64 = 1_000_000;

/// Aligned to a pair of cache lines, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    slots: [AtomicU64; SLOTS],
    /// The counts of the one thread that owns the lane, by [`Counter`]. The owner stores them, and
    /// needs no read-modify-write. They are the standard library's atomics under loom too, because
    /// no promise depends on them.
    owned: [StdAtomicU64; COUNTERS],
    /// The counts of all other threads that share the lane.
    shared: [StdAtomicU64; COUNTERS],
}

impl Lane {
    /// Counts for the thread that owns the lane. A number belongs to one living thread and passes
    /// on under a lock, so this thread is the only writer.
    #[inline]
    fn count_owned(&self, counter: Counter) {
        let counter = &self.owned[counter as usize];
        counter.store(counter.load(StdOrdering::Relaxed) + 1, StdOrdering::Relaxed);
    }
}

/// What a lane counts besides successes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    Admitted,
    Refused,
    Exempt,
    Reads,
}

const COUNTERS: usize = 4;

/// Numbers the openings of all layers, from 1 on, so that a memo fits one opening of one layer.
static OPENINGS: StdAtomicU64 = StdAtomicU64::new(1);

thread_local! {
    static MEMO: Cell<Option<Memo>> = const { Cell::new(None) };
}

/// Where this thread counted its last success. The next success of the same bucket needs no
/// division and no thread number.
#[derive(Debug, Clone, Copy)]
struct Memo {
    version: u64,
    era: u32,
    lane: u32,
    /// The slot before anything is counted in it.
    base: u64,
    /// When the bucket ends. Its start is not needed, because a thread's clock does not go back. If
    /// it does (another runtime's paused clock is behind), the success counts in the latest bucket,
    /// as in the machine.
    end: Reading,
}

/// The lanes of one layer.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The number of the opening, unique among all layers; 0 while the lanes are closed.
    version: AtomicU64,
    era: AtomicU64,
    width: AtomicU64,
    slow_limit: AtomicU64,
    /// Whether the time of each call that lands is told.
    is_timed: bool,
    /// The number of openings so far. Only the lock holder reads it.
    openings: AtomicU64,
    lanes: Box<[Lane]>,
}

impl Lanes {
    /// Makes closed lanes. `is_timed` tells whether [`land`](Self::land) tells the time of a call.
    pub(crate) fn new(is_timed: bool) -> Self {
        let lane = || Lane {
            slots: std::array::from_fn(|_| AtomicU64::new(Slot::TAKES_NOTHING.0)),
            owned: [const { StdAtomicU64::new(0) }; COUNTERS],
            shared: [const { StdAtomicU64::new(0) }; COUNTERS],
        };
        Self {
            version: AtomicU64::new(0),
            era: AtomicU64::new(0),
            width: AtomicU64::new(1),
            slow_limit: AtomicU64::new(0),
            is_timed,
            openings: AtomicU64::new(0),
            lanes: (0..how_many()).map(|_| lane()).collect(),
        }
    }

    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        // Relaxed: counters are only ever read as totals.
        match self.lanes.get(thread_number::known()) {
            Some(lane) => lane.count_owned(counter),
            None => self.count_anew(counter),
        }
    }

    /// Counts for a thread that has no number yet, or that owns no lane.
    #[cold]
    #[inline(never)]
    fn count_anew(&self, counter: Counter) {
        let number = thread_number::number();
        match self.lanes.get(number) {
            Some(lane) => lane.count_owned(counter),
            None => {
                let lane = &self.lanes[number % self.lanes.len()];
                lane.shared[counter as usize].fetch_add(1, StdOrdering::Relaxed);
            }
        }
    }

    pub(crate) fn total(&self, counter: Counter) -> u64 {
        let of = |counters: &[StdAtomicU64]| counters[counter as usize].load(StdOrdering::Relaxed);
        self.lanes
            .iter()
            .map(|lane| of(&lane.owned) + of(&lane.shared))
            .sum()
    }

    /// Counts a success of `era` at `now`; returns `false` if it must take the lock.
    ///
    /// `took` returns how long the call was, in nanoseconds. It runs only under a slow-call rule,
    /// or where times are told. There no call uses the memo: the subtraction costs 27 instructions
    /// (`cargo run --release -p peers`, `waiting`). `landed` gets that time of a success that is
    /// counted, where times are told.
    #[inline(always)]
    pub(crate) fn land(
        &self,
        era: u32,
        now: Reading,
        clock: &Clock,
        took: impl Fn() -> u64,
        landed: impl Fn(u64),
    ) -> bool {
        // Acquire: pairs with the Release in `open_while_locked`, as in `land_without_memo`.
        let version = self.version.load(Ordering::Acquire);
        if let Some(memo) = MEMO.get()
            && memo.version == version
            && memo.era == era
            && now.is_before(memo.end)
            && let Some(lane) = self.lanes.get(memo.lane as usize)
        {
            let slot = &lane.slots[(memo.base >> COUNT_BITS) as usize % SLOTS];
            let seen = slot.load(Ordering::Relaxed);
            // In a slot of the same opening and bucket the difference is the count. A full slot
            // takes no more.
            if seen.wrapping_sub(memo.base) < CLOSED - 1
                && slot
                    .compare_exchange_weak(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return true;
            }
        }
        self.land_without_memo(era, now, clock, took, landed)
    }

    /// Lands by the opening's era, width and limit, and makes the next memo.
    #[cold]
    #[inline(never)]
    fn land_without_memo(
        &self,
        era: u32,
        now: Reading,
        clock: &Clock,
        took: impl Fn() -> u64,
        landed: impl Fn(u64),
    ) -> bool {
        // Acquire: pairs with the Release in `open_while_locked`. The rest was written before it.
        let version = self.version.load(Ordering::Acquire);
        let slow_limit = self.slow_limit.load(Ordering::Relaxed);
        let is_open = version != 0 && self.era.load(Ordering::Relaxed) == u64::from(era);
        let judges_slow = slow_limit != u64::MAX;
        if !is_open || (judges_slow && took() > slow_limit) {
            return false;
        }
        let width = self.width.load(Ordering::Relaxed);
        let index = clock.moment(now).0 / width;
        let lane = thread_number::number() % self.lanes.len();
        let end = Moment(index.saturating_add(1).saturating_mul(width));
        let end = clock
            .reading(end)
            .filter(|_| !judges_slow && !self.is_timed);
        MEMO.set(end.map(|end| Memo {
            version,
            era,
            // There are 65 lanes at most.
            lane: lane as u32,
            base: Slot::of(version, index).0,
            end,
        }));
        let is_counted = self.add(version, lane, index);
        if is_counted && self.is_timed {
            landed(took());
        }
        is_counted
    }

    /// Counts one success in the bucket; returns `false` if the slot cannot take it.
    fn add(&self, version: u64, lane: usize, index: u64) -> bool {
        let slot = &self.lanes[lane].slots[index as usize % SLOTS];
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

    /// Tells whether the lanes are open or closed as `wanted` says.
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
            self.sweep(Slot::TAKES_NOTHING, &mut landed);
        }
    }

    /// Opens closed lanes, after the gate's word has been published.
    pub(crate) fn open_while_locked(&self, open: Open) {
        let opening = self.openings.load(Ordering::Relaxed) + 1;
        self.openings.store(opening, Ordering::Relaxed);
        let version = slot::version(OPENINGS.fetch_add(1, StdOrdering::Relaxed), opening);
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
            if slot.load(Ordering::Relaxed) == leave.0 {
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

/// Returns the number of lanes of a layer: one per core, at most 64, and one more. A runtime has a
/// worker per core, and the thread that starts the runtime calls too.
pub(crate) fn how_many() -> usize {
    if cfg!(maintenance_loom) {
        return 1;
    }
    // Cached: under a CPU quota `available_parallelism` reads the file system, which takes longer
    // than building a layer.
    static LANES: OnceLock<usize> = OnceLock::new();
    *LANES.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.min(64) + 1
    })
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

    /// Lands a success at `now`, on the path that calls take.
    fn land(lanes: &Lanes, clock: &Clock, era: u32, took: u64, now: u64) -> bool {
        let now = clock.reading(Moment(now)).expect("it is not far");
        lanes.land(era, now, clock, || took, |_| ())
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
            let (lanes, clock) = (Lanes::new(false), Clock::start());
            // `drained_at`: when the lanes were last drained.
            let (mut now, mut drained_at, mut opened) = (0_u64, 0_u64, None::<Open>);
            let (mut landed, mut drained) = (Drained::new(), Drained::new());
            for step in steps {
                let bucket = move |at: u64| opened.map_or(0, |open| at / open.width);
                let then = bucket(drained_at);
                match step {
                    Step::Advance(by) => now += by,
                    Step::Land { era, took } => {
                        let took_it = land(&lanes, &clock, era, took, now);
                        if took_it {
                            *landed.entry((era, bucket(now))).or_default() += 1;
                        }
                        let may = opened.is_some_and(|open| open.era == era) && took <= 100;
                        prop_assert!(may || !took_it, "it landed where it must not");
                        if may && !took_it {
                            // Its slot holds another bucket's successes: the next drain frees it.
                            lanes.drain_while_locked(note(&mut drained, then));
                            drained_at = now;
                            prop_assert!(land(&lanes, &clock, era, took, now));
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
                // With another width the same number means another bucket, so the next drain
                // counts from this moment.
                if !matches!(step, Step::Advance(_) | Step::Land { .. }) {
                    drained_at = now;
                    prop_assert_eq!(&drained, &landed);
                }
            }
            lanes.close_while_locked(note(&mut drained, opened.map_or(0, |open| drained_at / open.width)));
            prop_assert_eq!(drained, landed);
        }
    }

    /// Lands successes of three eras until `done`; returns how many were taken, by era.
    fn land_until(lanes: &Lanes, clock: &Clock, done: &AtomicBool, seen: &StdAtomicU64) -> ByEra {
        let mut landed = ByEra::new();
        let calls = (0_u64..).take_while(|_| !done.load(StdOrdering::Relaxed));
        for call in calls {
            let era = (call % 3) as u32;
            if land(lanes, clock, era, 0, call % 200) {
                seen.fetch_add(1, StdOrdering::Relaxed);
                *landed.entry(era).or_default() += 1;
            }
        }
        landed
    }

    type ByEra = BTreeMap<u32, u64>;

    fn sum(each: impl Iterator<Item = (u32, u64)>) -> ByEra {
        let mut sums = ByEra::new();
        for (era, successes) in each {
            *sums.entry(era).or_default() += successes;
        }
        sums
    }

    /// Threads land while another drains, closes and opens: every success that was taken is
    /// drained, in its era.
    #[test]
    fn nothing_is_lost_among_threads() {
        let (lanes, clock) = (Lanes::new(false), Clock::start());
        let (done, seen) = (AtomicBool::new(false), StdAtomicU64::new(0));
        lanes.open_while_locked(open(0, 10));
        let mut drained = Drained::new();
        let landed: Vec<ByEra> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| land_until(&lanes, &clock, &done, &seen)))
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
        let drained = drained.into_iter().map(|((era, _), n)| (era, n));
        assert_eq!(sum(drained), sum(landed.into_iter().flatten()));
    }

    #[test]
    fn a_thread_for_each_core_and_the_one_that_starts_them_own_a_lane() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // By their numbers, the smallest first.
        assert!(how_many() > cores.min(64));
    }
}
