//! The published word: what the gate does, in which era, at which generation.
//!
//! The lock around the machine owns the state; this is its published copy, written in one place
//! ([`Gate::publish_while_locked`]) so that serving and refusing need no lock.
//!
//! # Orderings
//!
//! *Who writes*: whoever holds the machine's lock, so there is one writer at a time.
//! *Who reads*: every call.
//!
//! `deadline` is written before `word` (Release) and read after it (Acquire): a reader that sees a
//! word sees the deadline that was published with it, or a later one. Were the word stored Relaxed,
//! a refusal could read a new word beside the old deadline, "never", and go on refusing after the
//! wait is over for as long as nobody else looks. A *later* deadline beside an older word is
//! harmless: whoever finds a deadline passed asks the machine, which knows.
//!
//! *Why not stronger*: nothing orders the gate against a second atomic; one word carries all that
//! must be seen together. The notice that refusals show is published before the word by an atomic
//! pointer of its own, and is only ever too new.

use crate::base::{
    loom_or_std::{AtomicU64, Ordering},
    moment::Moment,
};

/// What the gate does with a request that is not exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Lets it through.
    Serve = 0,
    /// Lets it through until the deadline; then the machine is asked.
    ServeUntil = 1,
    /// Asks the machine.
    Ask = 2,
    /// Refuses it until the deadline; then the machine is asked.
    Refuse = 3,
}

const GENERATION_BITS: u32 = 42;
const ERA_BITS: u32 = 20;

/// The largest generation that fits the word: in milliseconds since the Unix epoch, the year 2109.
pub(crate) const MAX_GENERATION: u64 = (1 << GENERATION_BITS) - 1;

/// The part of an era that the word and the tickets bear. A call would have to outlast a million
/// mode changes to be taken for one of a later era.
#[inline]
pub(crate) fn era_bits(era: u64) -> u32 {
    (era & ((1 << ERA_BITS) - 1)) as u32
}

/// A reading of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) fn new(op: Op, era: u64, generation: u64) -> Self {
        let op = op as u64;
        let era = u64::from(era_bits(era));
        Self(
            op << (GENERATION_BITS + ERA_BITS)
                | era << GENERATION_BITS
                | generation.min(MAX_GENERATION),
        )
    }

    #[inline]
    pub(crate) fn op(self) -> Op {
        match self.0 >> (GENERATION_BITS + ERA_BITS) {
            0 => Op::Serve,
            1 => Op::ServeUntil,
            2 => Op::Ask,
            _ => Op::Refuse,
        }
    }

    #[inline]
    pub(crate) fn era(self) -> u32 {
        era_bits(self.0 >> GENERATION_BITS)
    }

    pub(crate) fn generation(self) -> u64 {
        self.0 & MAX_GENERATION
    }
}

/// The word and the next deadline, on a line of their own: every call reads them, and what lies beside them is written.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Gate {
    word: AtomicU64,
    deadline: AtomicU64,
}

impl Gate {
    pub(crate) fn new(word: Word) -> Self {
        Self {
            word: AtomicU64::new(word.0),
            deadline: AtomicU64::new(Moment::NEVER.0),
        }
    }

    #[inline]
    pub(crate) fn read(&self) -> Word {
        // Acquire: pairs with the Release in `publish_while_locked`, so that `deadline` is at least as new.
        Word(self.word.load(Ordering::Acquire))
    }

    /// The next deadline; to be read after the word that sent the caller here.
    #[inline]
    pub(crate) fn deadline(&self) -> Moment {
        // Relaxed: ordered by the Acquire of the word that was read before.
        Moment(self.deadline.load(Ordering::Relaxed))
    }

    /// Publishes what the machine decided. A plain store will do: the lock makes the caller the only writer.
    pub(crate) fn publish_while_locked(&self, word: Word, deadline: Moment) {
        self.deadline.store(deadline.0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `read`.
        self.word.store(word.0, Ordering::Release);
    }
}
