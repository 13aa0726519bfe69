//! One slot of a lane: opening, bucket and count in one word.

pub(super) const COUNT_BITS: u32 = 20;
const INDEX_BITS: u32 = 32;
const VERSION_BITS: u32 = 12;
const VERSION: u64 = (1 << VERSION_BITS) - 1;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// The bits of a bucket's number that a slot keeps.
pub(super) const INDEX: u64 = (1 << INDEX_BITS) - 1;
/// The count of a slot that takes nothing. The largest real count is one less, and sends its caller
/// to the lock.
pub(super) const CLOSED: u64 = COUNT;

/// Returns the version of a layer's opening; `of_all` numbers the openings of all layers,
/// `of_layer` those of this one.
pub(super) fn version(of_all: u64, of_layer: u64) -> u64 {
    of_all << VERSION_BITS | of_layer & VERSION
}

/// The opening that a slot belongs to, the bucket it counts for, and the number of its successes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

impl Slot {
    pub(super) const TAKES_NOTHING: Self = Self(CLOSED);

    /// Makes a slot of this opening that counts for no bucket yet.
    #[inline]
    pub(super) fn empty(version: u64) -> Self {
        Self(version << (COUNT_BITS + INDEX_BITS))
    }

    /// Makes a slot of this opening that counts for the bucket `index` and holds nothing yet.
    #[inline]
    pub(super) fn of(version: u64, index: u64) -> Self {
        Self(Self::empty(version).0 | (index & INDEX) << COUNT_BITS)
    }

    pub(super) fn count(self) -> u64 {
        self.0 & COUNT
    }

    /// Returns the low bits of the bucket's number.
    pub(super) fn index(self) -> u64 {
        (self.0 >> COUNT_BITS) & INDEX
    }

    /// Returns the slot with one more success of the bucket; `None` if this slot cannot take it.
    #[inline]
    pub(super) fn one_more(self, version: u64, index: u64) -> Option<Self> {
        let opening = |slot: Self| slot.0 >> (COUNT_BITS + INDEX_BITS);
        let is_open = opening(self) == opening(Self::empty(version))
            || mutant!("a slot takes the success of another opening");
        let is_free = self.count() == 0 || self.index() == index;
        let fits = self.count() + 1 < CLOSED;
        (is_open && is_free && fits).then(|| Self(Self::of(version, index).0 + self.count() + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_slot_sends_its_caller_to_the_lock() {
        let full = Slot(Slot::empty(1).0 | (CLOSED - 1));
        assert_eq!(full.one_more(1, 0), None);
        assert_eq!(Slot::TAKES_NOTHING.one_more(1, 0), None);
        assert_eq!(Slot::TAKES_NOTHING.one_more(1 << 12, 0), None);
        assert_eq!(Slot::empty(2).one_more(1, 0), None, "of another opening");
    }
}
