//! What the caches of the HTTP wing read of a layer, without the lock.

use crate::operator::handle::MaintenanceHandle;

impl MaintenanceHandle {
    /// Returns the generation after transitions that are due are applied.
    ///
    /// It takes no lock while no deadline has passed. Otherwise it only tries the lock (R3): if the
    /// lock is held, the holder is moving the state at this moment, and either generation is
    /// correct.
    pub(crate) fn generation_now(&self) -> u64 {
        self.shared().generation_now()
    }

    /// Whether `generation` is the time at which this process started, so that no recovery raised
    /// it.
    pub(crate) fn is_own_start(&self, generation: u64) -> bool {
        self.shared().is_own_start(generation)
    }

    /// Returns the URLs that a recovery signal carries.
    pub(crate) fn cache_urls(&self) -> &[String] {
        self.shared().urls()
    }
}
