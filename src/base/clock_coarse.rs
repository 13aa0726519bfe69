//! The coarse clock: the time of the kernel's last tick. Reading it takes less time than reading
//! the exact clock (`cargo run --release -p peers`, `admitted_coarse` beside `admitted`).

use std::time::Duration;

use coarsetime::Instant;

use crate::base::moment::Moment;

/// Reads the coarse clock of the operating system in place of tokio's: on Linux
/// `CLOCK_MONOTONIC_COARSE`.
///
/// It shows the time of the kernel's last tick: on Linux it lags by 4 ms on most kernels (1 to 10
/// ms), on Windows by 16 ms, which is [`MAX_LAG`](Self::MAX_LAG). So buckets, waits, leases,
/// `hang_limit` and the limit of a slow call may be off by one tick, 0.3 % of a default bucket at
/// worst; and a task that sleeps to a deadline sleeps longer by that much.
///
/// It does not follow tokio's paused clock: tests on paused time leave it out.
///
/// ```
/// use tower_maintenance::{CoarseClock, MaintenanceLayer};
///
/// let layer = MaintenanceLayer::builder("zuora").clock(CoarseClock::new()).build()?;
/// # let _ = layer;
/// # Ok::<(), tower_maintenance::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CoarseClock;

impl CoarseClock {
    /// By how much it lags at most, on any platform.
    pub const MAX_LAG: Duration = Duration::from_millis(16);

    /// The operating system's coarse clock.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

/// Where a time line began, on the coarse clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin(Instant);

impl Origin {
    pub(crate) fn now() -> Self {
        Self(Instant::now_without_cache_update())
    }

    #[inline]
    pub(crate) fn moment(self) -> Moment {
        // Not `now`, which writes a line that all cores share.
        let since = Instant::now_without_cache_update().duration_since(self.0);
        Moment(since.as_nanos())
    }
}
