//! Chance that can be seeded, and what it is for: so that not everybody comes at the same instant.

use std::{
    hash::{BuildHasher, DefaultHasher, Hasher, RandomState},
    time::Duration,
};

use tower::util::rng::{HasherRng, Rng};

/// Seeds tower's generator: the same seed gives the same numbers.
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

/// A generator with this seed; without one, with a seed of its own.
pub(crate) fn seeded(seed: Option<u64>) -> Seeded {
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0_u64));
    HasherRng::with_hasher(Seed(seed))
}

/// `span`, longer or shorter by up to `share` of it.
pub(crate) fn jittered(span: Duration, share: f64, random: &mut Seeded) -> Duration {
    scaled(span, 1.0 + share * (2.0 * random.next_f64() - 1.0))
}

/// `span` times `factor`; what does not fit is as long as can be.
pub(crate) fn scaled(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}
