//! A time window: a ring of buckets. This is where a window slides.

use super::{
    counts::{Counts, Landing},
    lanes,
};
use crate::base::moment::Moment;

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
    pub(super) fn new(length: u64, buckets: u32) -> Self {
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

    pub(super) fn record(&mut self, landing: Landing, at: Moment) {
        self.bucket(at.0 / self.width).counts.add(landing);
    }

    pub(super) fn add_successes(&mut self, index: u64, successes: u64) {
        // Unless a later bucket has taken its place: then it has left the window.
        if self.ring[self.slot(index)].index <= index {
            let counts = &mut self.bucket(index).counts;
            counts.successes += successes;
            counts.answered |= successes > 0;
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

    /// Notes that something came from the partner in the bucket with this number.
    pub(super) fn hear(&mut self, index: u64) {
        if self.ring[self.slot(index)].index <= index {
            self.bucket(index).counts.answered = true;
        }
    }

    pub(super) fn counts(&self, at: Moment) -> Counts {
        let mut counts = Counts::default();
        let mut unbroken = true;
        for Bucket { counts: bucket, .. } in self.live(at) {
            counts.add_all_but_run(bucket);
            // The run goes on into the bucket before, if no success in this one broke it.
            if unbroken {
                counts.run = counts.run.saturating_add(bucket.run);
                unbroken = bucket.successes == 0 && !mutant!("a run ends with its bucket");
            }
        }
        counts
    }

    /// How wide a bucket is, in nanoseconds.
    pub(super) fn width(&self) -> u64 {
        self.width
    }

    /// How wide a bucket is, in nanoseconds, if successes may be added to one by its number.
    pub(super) fn lane_width(&self) -> Option<u64> {
        let fits = self.ring.len() <= lanes::SLOTS && self.width >= lanes::NARROWEST;
        fits.then_some(self.width)
    }

    /// The buckets that still belong to the window, newest first.
    fn live(&self, at: Moment) -> impl Iterator<Item = &Bucket> {
        let newest = at.0 / self.width;
        (0..self.ring.len() as u64)
            .map_while(move |back| newest.checked_sub(back))
            .take_while(move |index| {
                self.leaves(*index) > at.0 || mutant!("no outcome leaves the window")
            })
            .filter_map(move |index| {
                let bucket = &self.ring[self.slot(index)];
                (bucket.index == index && !bucket.is_empty()).then_some(bucket)
            })
    }

    pub(super) fn next_departure(&self, at: Moment) -> Option<Moment> {
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

    pub(super) fn clear(&mut self) {
        self.ring.fill(Bucket::default());
    }
}
