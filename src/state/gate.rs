//! The published word: what the gate does, in which era, at which generation.
//!
//! The lock around the machine owns the state; this is its published copy, written in one place
//! ([`Gate::publish_while_locked`]) so that serving and refusing need no lock.
//!
//! # Orderings
//!
//! *Writers*: the holder of the machine's lock, so there is one writer at a time.
//! *Readers*: every call.
//!
//! `deadline` is written before `word` (Release) and read after it (Acquire): a reader that sees a
//! word sees the deadline that was published with it, or a later one. If the word were stored
//! Relaxed, a request of `Class::Read` could see a new hold with the old deadline, "never", and
//! still pass after the hold is over, until another caller looks. A *later* deadline with an older
//! word is harmless: a caller that finds a deadline passed asks the machine, which knows. A refusal
//! reads its deadline from the notice.
//!
//! *Why not stronger*: nothing orders the gate against a second atomic; one word carries all that
//! must be seen together. The notice that refusals show is published before the word by an atomic
//! pointer of its own. A reader may find it newer than the word, but never older.

use crate::{
    base::{
        loom_or_std::{AtomicU64, Ordering},
        moment::Moment,
    },
    machine::word::Word,
};

/// The word and the next deadline. Aligned to have cache lines of their own: every call reads them,
/// and the fields beside them are written.
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
        // Acquire: pairs with the Release in `publish_while_locked`, so that `deadline` is at least
        // as new.
        let order = if mutant!("the word is read Relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::Acquire
        };
        Word(self.word.load(order))
    }

    /// Returns the next deadline. The caller reads it after the word.
    #[inline]
    pub(crate) fn deadline(&self) -> Moment {
        // Relaxed: ordered by the Acquire of the word that was read before.
        Moment(self.deadline.load(Ordering::Relaxed))
    }

    /// Publishes what the machine decided. A plain store is enough, because the lock makes the
    /// caller the only writer.
    pub(crate) fn publish_while_locked(&self, word: Word, deadline: Moment) {
        if mutant!("the word is published before its deadline") {
            self.word.store(word.0, Ordering::Release);
        }
        self.deadline.store(deadline.0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `read`.
        let order = if mutant!("the word is stored Relaxed") {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        self.word.store(word.0, order);
    }
}
