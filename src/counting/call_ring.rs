//! A count window: three bits for each call.

use super::counts::{Counts, Landing, WaitLength, count, count_if};

/// The last `size` outcomes, three bits each: failed, slow, given up.
#[derive(Debug, Clone)]
pub(crate) struct CallRing {
    bits: Vec<u64>,
    size: u32,
    next: u32,
    held: u32,
    counts: Counts,
}

const FAILED: u64 = 0b001;
const SLOW: u64 = 0b010;
/// Given up beyond the slow limit: no success, and no failure.
const DROPPED: u64 = 0b100;
const BITS: u32 = 3;
const SLOTS_PER_WORD: u32 = u64::BITS / BITS;

impl CallRing {
    pub(super) fn new(size: u32) -> Self {
        let words = size.div_ceil(SLOTS_PER_WORD);
        Self {
            bits: vec![0; words as usize],
            size,
            next: 0,
            held: 0,
            counts: Counts::default(),
        }
    }

    pub(super) fn record(&mut self, landing: Landing) {
        match landing {
            Landing::Success { slow } => {
                self.judge(slot(slow, SLOW));
                self.hear();
            }
            Landing::Failure { slow } => {
                self.judge(FAILED | slot(slow, SLOW));
                self.hear();
            }
            Landing::Hung { slow, wait } => {
                self.judge(FAILED | slot(slow, SLOW));
                self.counts.add_wait(wait);
            }
            Landing::Abandoned { slow, wait } => {
                if slow {
                    self.judge(SLOW | DROPPED);
                }
                self.counts.add_wait(wait);
                if wait.length == WaitLength::None {
                    return;
                }
            }
            Landing::Neutral { code } => {
                self.hear();
                count(&mut self.counts.neutral);
                self.counts.neutral_code = code;
            }
            Landing::Ours => count(&mut self.counts.ours),
            Landing::RefusedWithin => count(&mut self.counts.refused_within),
        }
        // Calls that their callers left take no slot by that alone, yet what the partner sent
        // before a whole window of them is out of sight.
        let left = self.counts.given_up.saturating_add(self.counts.left_early);
        if left >= self.size {
            self.counts.answered = false;
        }
    }

    /// Notes that something came from the partner: the calls given up before it prove nothing any
    /// more.
    pub(super) fn hear(&mut self) {
        self.counts.given_up = 0;
        self.counts.left_early = 0;
        self.counts.longest_wait = 0;
        self.counts.answered = true;
    }

    /// Records an outcome in place of the oldest.
    fn judge(&mut self, new: u64) {
        let left = self.swap(new);
        let counts = &mut self.counts;
        if self.held == self.size && !mutant!("what is pushed out of the window counts") {
            counts.failed -= u32::from(left & FAILED != 0);
            counts.slow -= u32::from(left & SLOW != 0);
            counts.slow_drops -= u32::from(left & DROPPED != 0);
        } else {
            self.held += 1;
        }
        count_if(new & FAILED != 0, &mut counts.failed);
        count_if(new & SLOW != 0, &mut counts.slow);
        count_if(new & DROPPED != 0, &mut counts.slow_drops);
        counts.successes = u64::from(self.held - counts.failed - counts.slow_drops);
        counts.run = match (new & FAILED != 0, new & DROPPED != 0) {
            (true, _) => counts.run.saturating_add(1),
            (false, true) => counts.run,
            (false, false) => 0,
        };
        // Failures of a run may have left the window.
        counts.run = counts.run.min(counts.failed);
        counts.neutral = 0;
        counts.neutral_code = 0;
        counts.ours = 0;
        counts.refused_within = 0;
    }

    /// Puts `new` where the oldest outcome stands and returns what stood there.
    fn swap(&mut self, new: u64) -> u64 {
        const SLOT: u64 = (1 << BITS) - 1;
        let word = &mut self.bits[(self.next / SLOTS_PER_WORD) as usize];
        let shift = (self.next % SLOTS_PER_WORD) * BITS;
        let left = (*word >> shift) & SLOT;
        *word = (*word & !(SLOT << shift)) | (new << shift);
        self.next = (self.next + 1) % self.size;
        left
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn clear(&mut self) {
        self.bits.fill(0);
        self.next = 0;
        self.held = 0;
        self.counts = Counts::default();
    }
}

fn slot(is_so: bool, bit: u64) -> u64 {
    if is_so { bit } else { 0 }
}
