//! A count window: two bits for each call.

use super::counts::{Counts, Landing};

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
    pub(super) fn new(size: u32) -> Self {
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

    pub(super) fn record(&mut self, landing: Landing) {
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
        if self.total == self.size && !mutant!("what is pushed out of the window counts") {
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

    pub(super) fn counts(&self) -> Counts {
        Counts {
            total: self.total,
            failed: self.failed,
            slow: self.slow,
            run: self.run,
            abandoned: self.abandoned,
            // Drops take no slot, yet a completed call is out of sight once a whole window of them
            // came after it.
            completed: if self.since_completed >= self.size {
                0
            } else {
                self.completed
            },
        }
    }

    pub(super) fn clear(&mut self) {
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
