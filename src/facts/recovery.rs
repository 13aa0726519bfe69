//! The recovery signal: which cached data to drop.
//!
//! It is a newest value and not a queue, because a cache that missed three recoveries needs only
//! the last of them.

use std::{sync::Arc, time::SystemTime};

/// The signal that `Serving` is back, and that data cached before belongs to an older generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheBust {
    /// The new generation. It is larger than every generation before, also across restarts.
    pub generation: u64,
    /// The number of the episode that ended.
    pub episode: u64,
    /// When `Serving` returned.
    pub at: SystemTime,
    /// The cache tags (surrogate keys) that the layer was built with.
    pub tags: Arc<[String]>,
    /// The URLs that the layer was built with.
    pub urls: Arc<[String]>,
}

/// The newest value of everything that listeners wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bulletin {
    pub(crate) recovery: Option<Arc<CacheBust>>,
}

impl Bulletin {
    /// Takes a recovery over, unless another thread has already told a newer one.
    pub(crate) fn update(&mut self, recovery: Option<Arc<CacheBust>>) {
        let Some(recovery) = recovery else { return };
        if self.recovery.as_ref().is_none_or(|known| {
            known.generation < recovery.generation || mutant!("the last to tell has the last word")
        }) {
            self.recovery = Some(recovery);
        }
    }
}
