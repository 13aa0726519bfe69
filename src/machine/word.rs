//! The word that the gate publishes: an operation, the era and the generation in 64 bits.

/// What the gate does with a request that is not exempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Lets the request pass.
    Serve = 0,
    /// Lets the request pass until the deadline; after it, asks the machine.
    ServeUntil = 1,
    /// Asks the machine.
    Ask = 2,
    /// Refuses the request until the deadline; after it, asks the machine.
    Refuse = 3,
}

const GENERATION_BITS: u32 = 42;
const ERA_BITS: u32 = 20;

/// The largest generation that fits the word: as milliseconds since the Unix epoch, it is in the
/// year 2109.
pub(crate) const MAX_GENERATION: u64 = (1 << GENERATION_BITS) - 1;

/// Returns the low 20 bits of an era, which the word and the tickets carry.
///
/// A call is mistaken for one of a later era only if it outlasts a multiple of 1 048 576 eras.
#[inline]
pub(crate) fn era_bits(era: u64) -> u32 {
    (era & ((1 << ERA_BITS) - 1)) as u32
}

/// One value of the gate.
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
