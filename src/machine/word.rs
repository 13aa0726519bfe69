//! The word that the gate publishes: what it does, in which era, at which generation.

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
pub(crate) struct Word(pub(crate) u64);

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
