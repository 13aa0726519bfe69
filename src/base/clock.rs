//! The one source of time (R21).
//!
//! Everything is measured on `tokio::time::Instant`, so that a paused tokio clock drives every wait,
//! window and lease. Wall time is an anchor plus this clock: it is for display and for generations,
//! and does not follow a system clock that steps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::moment::Moment;

#[cfg(feature = "coarse-clock")]
use crate::base::clock_coarse::{self as coarse, CoarseClock};

/// Reads the time line of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
    /// Where the line began on the coarse clock, if that is the one to be read.
    #[cfg(feature = "coarse-clock")]
    coarse: Option<coarse::Origin>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a clock"
)]
impl Clock {
    /// Starts a time line now, on tokio's clock. Works outside a runtime too.
    pub(crate) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            #[cfg(feature = "coarse-clock")]
            coarse: None,
        }
    }

    /// Starts a time line now, on the coarse clock.
    #[cfg(feature = "coarse-clock")]
    pub(crate) fn start_coarse() -> Self {
        Self {
            coarse: Some(coarse::Origin::now()),
            ..Self::start()
        }
    }

    #[cfg(not(maintenance_loom))]
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        #[cfg(feature = "coarse-clock")]
        if let Some(origin) = self.coarse {
            return origin.moment();
        }
        self.moment(tokio::time::Instant::now())
    }

    /// Under loom time stands where the model put it, so that every run of the model is the same.
    #[cfg(maintenance_loom)]
    pub(crate) fn now(&self) -> Moment {
        STANDS_AT.get()
    }

    /// Looks at tokio's clock, unless another is the one to be read. An instant is cheaper to have than the moment
    /// that it is, and often enough.
    #[inline]
    pub(crate) fn look(&self) -> Option<tokio::time::Instant> {
        if cfg!(maintenance_loom) {
            return None;
        }
        #[cfg(feature = "coarse-clock")]
        if self.coarse.is_some() {
            return None;
        }
        Some(tokio::time::Instant::now())
    }

    /// Where on the time line `instant` lies.
    #[inline]
    pub(crate) fn moment(&self, instant: tokio::time::Instant) -> Moment {
        // Saturating: a layer built in one runtime may be looked at from another whose paused clock
        // stands earlier. The machine clamps what goes backwards.
        Moment::ORIGIN.after(instant.saturating_duration_since(self.origin))
    }

    /// Where `moment` lies on tokio's clock; `None` if it is further away than that reaches.
    pub(crate) fn instant(&self, moment: Moment) -> Option<tokio::time::Instant> {
        let moment = moment.known()?;
        self.origin.checked_add(Duration::from_nanos(moment.0))
    }

    /// When on tokio's clock whoever reads this one sees that `moment` has come; `None` if it is too far away to be slept for.
    pub(crate) fn seen_at(&self, moment: Moment) -> Option<tokio::time::Instant> {
        let at = self.instant(moment)?;
        #[cfg(feature = "coarse-clock")]
        if self.coarse.is_some() {
            // It lags: whoever slept until the exact instant would find that it is not there yet. Should it lag more than
            // it ever does, they look again every millisecond.
            let soon = tokio::time::Instant::now() + Duration::from_millis(1);
            return Some(at.checked_add(CoarseClock::MAX_LAG)?.max(soon));
        }
        Some(at)
    }

    #[cfg(all(test, maintenance_loom))]
    pub(crate) fn stand_at(moment: Moment) {
        STANDS_AT.set(moment);
    }

    /// The wall clock of this process: read once per layer, and for a partner's date that comes without its
    /// own `Date`.
    pub(crate) fn wall() -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(maintenance_loom)]
thread_local! {
    /// Of this thread: all of a model's threads run on it in turn, those of other models do not.
    static STANDS_AT: std::cell::Cell<Moment> = const { std::cell::Cell::new(Moment::ORIGIN) };
}

/// Wall time at the origin of a time line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallAnchor(SystemTime);

impl WallAnchor {
    /// The anchor under which `now` reads `wall`.
    pub(crate) fn so_that(now: Moment, wall: SystemTime) -> Self {
        let since_origin = now.since(Moment::ORIGIN);
        Self(wall.checked_sub(since_origin).unwrap_or(UNIX_EPOCH))
    }

    pub(crate) fn at(self, moment: Moment) -> SystemTime {
        let since_origin = moment.since(Moment::ORIGIN);
        self.0.checked_add(since_origin).unwrap_or(self.0)
    }

    /// Milliseconds since the Unix epoch; 0 for a wall clock that stands before it.
    pub(crate) fn millis(self, moment: Moment) -> u64 {
        let since_epoch = self.at(moment).duration_since(UNIX_EPOCH);
        since_epoch.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }
}
