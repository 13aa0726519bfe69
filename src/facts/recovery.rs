//! The recovery signal: what to drop, and since which generation.
//!
//! A *newest value*, not a queue: a cache that missed three recoveries need only hear of the last.

use std::{sync::Arc, time::SystemTime};

/// Serving is back: whatever was cached before belongs to an older generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheBust {
    /// The new generation: larger than any before, over restarts too.
    pub generation: u64,
    /// The episode that ended.
    pub episode: u64,
    /// When serving returned.
    pub at: SystemTime,
    /// The cache tags (surrogate keys) that the layer was built with.
    pub tags: Arc<[String]>,
    /// The URLs that the layer was built with.
    pub urls: Arc<[String]>,
}

/// The newest of what listeners wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bulletin {
    pub(crate) recovery: Option<Arc<CacheBust>>,
}

impl Bulletin {
    /// Takes over a recovery, unless a later mover was faster.
    pub(crate) fn update(&mut self, recovery: Option<Arc<CacheBust>>) {
        let Some(recovery) = recovery else { return };
        if self
            .recovery
            .as_ref()
            .is_none_or(|known| known.generation < recovery.generation)
        {
            self.recovery = Some(recovery);
        }
    }
}
