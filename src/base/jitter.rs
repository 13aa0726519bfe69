//! Random variation of durations, from a generator that can be seeded.
//!
//! Replicas that wait for the same base duration would otherwise call the partner at the same
//! instant.

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher, RandomState},
    time::Duration,
};

use tower::util::rng::{HasherRng, Rng};

/// The seed of tower's generator. The same seed gives the same sequence.
#[derive(Debug, Clone)]
pub(crate) struct Seed(u64);

impl BuildHasher for Seed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

pub(crate) type Seeded = HasherRng<Seed>;

/// Builds a generator with `seed`, or with a random seed for `None`.
pub(crate) fn seeded(seed: Option<u64>) -> Seeded {
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0_u64));
    HasherRng::with_hasher(Seed(seed))
}

/// Lengthens or shortens `span` by a random part, at most `share` of it.
pub(crate) fn jittered(span: Duration, share: f64, random: &mut Seeded) -> Duration {
    scaled(span, 1.0 + share * (2.0 * random.next_f64() - 1.0))
}

/// Multiplies `span` by `factor`. A product that does not fit is [`Duration::MAX`].
pub(crate) fn scaled(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}
