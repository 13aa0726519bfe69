//! The coarse clock: what the kernel noted at its last tick, which costs a fifth of a look at the exact time.

use std::time::Duration;

use crate::moment::Moment;

/// Reads the kernel's coarse monotonic clock, `CLOCK_MONOTONIC_COARSE`, in place of tokio's.
///
/// It is as exact as the kernel's tick: it stands still for [`resolution`](Self::resolution), 4 ms on most kernels (1
/// to 10 ms), and lags by at most as much. So a window's bucket, a wait, a lease and a slow call's limit may be off by
/// one tick, which is 0.07 % of the default bucket. Waits and leases are never cut short by more than
/// that, and whoever sleeps to a deadline sleeps one tick longer.
///
/// It does not follow tokio's paused clock: tests on paused time leave it out. Where there is no such clock (it
/// is Linux's and Android's) tokio's is read.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{CoarseClock, MaintenanceLayer};
///
/// let layer = MaintenanceLayer::builder("zuora").clock(CoarseClock::new()).build()?;
/// assert!(CoarseClock::resolution() <= Duration::from_millis(10));
/// # let _ = layer;
/// # Ok::<(), tower_maintenance::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CoarseClock;

impl CoarseClock {
    /// The kernel's coarse clock.
    #[must_use]
    pub fn new() -> Self {
        Self
    }

    /// How long it stands still at a time. Zero where there is no such clock, and tokio's is read.
    #[must_use]
    pub fn resolution() -> Duration {
        platform::resolution()
    }
}

/// A reading of the clock, in nanoseconds since some origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading(u64);

impl Reading {
    /// `None` where there is no such clock.
    pub(super) fn now() -> Option<Self> {
        platform::now().map(Self)
    }

    /// The present moment on a time line that began with this reading.
    #[inline]
    pub(super) fn moment(self) -> Moment {
        let now = platform::now().unwrap_or(self.0);
        Moment(now.saturating_sub(self.0))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod platform {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

    #[inline]
    fn nanos(time: Timespec) -> u64 {
        // Since the machine started: neither part is negative, and both fit for 584 years.
        (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64)
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "other platforms have no such clock"
    )]
    #[inline]
    pub(super) fn now() -> Option<u64> {
        Some(nanos(clock_gettime(ClockId::MonotonicCoarse)))
    }

    pub(super) fn resolution() -> Duration {
        Duration::from_nanos(nanos(clock_getres(ClockId::MonotonicCoarse)))
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod platform {
    use std::time::Duration;

    pub(super) fn now() -> Option<u64> {
        None
    }

    pub(super) fn resolution() -> Duration {
        Duration::ZERO
    }
}
