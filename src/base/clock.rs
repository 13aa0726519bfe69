//! The one source of time (R21).
//!
//! All time comes from `tokio::time::Instant`, so that a paused tokio clock drives every wait,
//! window and lease. The coarse clock can take its place. Wall time is an anchor plus this clock:
//! it is for display and for generations, and does not follow a system clock that steps.
//!
//! A call keeps a [`Reading`], which is the clock's own value. Only the machine needs a [`Moment`]:
//! the subtraction that turns an instant into one costs 27 of a call's instructions each time
//! (`cargo run --release -p peers`, `waiting`), and two readings compare without it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

#[cfg(feature = "coarse-clock")]
use crate::base::clock_coarse::{self as coarse, CoarseClock};
use crate::base::moment::{Moment, nanos};

/// Reads the time line of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    origin: Instant,
    hands: Hands,
}

/// The part of a clock that is read. A refusal keeps it, without the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hands {
    /// Where the line began on the coarse clock, if the layer reads that one.
    #[cfg(feature = "coarse-clock")]
    coarse: Option<coarse::Origin>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a clock"
)]
impl Hands {
    const OF_TOKIO: Self = Self {
        #[cfg(feature = "coarse-clock")]
        coarse: None,
    };

    /// Reads the clock.
    #[cfg(not(maintenance_loom))]
    #[inline]
    pub(crate) fn read(self) -> Reading {
        #[cfg(feature = "coarse-clock")]
        if let Some(origin) = self.coarse {
            return Reading::Line(origin.moment());
        }
        if mutant!("time is that of the system") {
            return Reading::Tokio(Instant::from_std(std::time::Instant::now()));
        }
        Reading::Tokio(Instant::now())
    }

    /// Under loom time stands where the model put it, so that every run of the model is the same.
    #[cfg(maintenance_loom)]
    pub(crate) fn read(self) -> Reading {
        Reading::Line(STANDS_AT.get())
    }
}

/// What a layer's clock showed. All readings of one layer are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Of tokio's clock.
    Tokio(Instant),
    /// Of a clock that shows the time line itself: the coarse one, and the one that loom models
    /// set.
    Line(Moment),
}

impl Reading {
    /// Tells whether the clock showed this before it showed `other`.
    #[inline]
    pub(crate) fn is_before(self, other: Self) -> bool {
        match (self, other) {
            (Self::Tokio(this), Self::Tokio(other)) => this < other,
            (Self::Line(this), Self::Line(other)) => this < other,
            (Self::Tokio(_), Self::Line(_)) | (Self::Line(_), Self::Tokio(_)) => false,
        }
    }

    /// Returns the nanoseconds since `earlier`; 0 if `earlier` is later.
    pub(crate) fn nanos_since(self, earlier: Self) -> u64 {
        match (self, earlier) {
            (Self::Tokio(now), Self::Tokio(then)) => nanos(now.saturating_duration_since(then)),
            (Self::Line(now), Self::Line(then)) => now.0.saturating_sub(then.0),
            (Self::Tokio(_), Self::Line(_)) | (Self::Line(_), Self::Tokio(_)) => {
                unreachable!("all readings of one layer are of one kind")
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads a clock"
)]
impl Clock {
    /// Starts a time line now, on tokio's clock. Works outside a runtime too.
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
            hands: Hands::OF_TOKIO,
        }
    }

    /// Starts a time line now, on the coarse clock.
    #[cfg(feature = "coarse-clock")]
    pub(crate) fn start_coarse() -> Self {
        Self {
            hands: Hands {
                coarse: Some(coarse::Origin::now()),
            },
            ..Self::start()
        }
    }

    /// Returns the part that is read.
    pub(crate) fn hands(&self) -> Hands {
        self.hands
    }

    /// Reads the clock.
    #[inline]
    pub(crate) fn read(&self) -> Reading {
        self.hands.read()
    }

    /// Reads the clock as a moment of the time line.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.moment(self.read())
    }

    /// Returns the moment of the time line at which `reading` was taken.
    #[inline]
    pub(crate) fn moment(&self, reading: Reading) -> Moment {
        match reading {
            // Saturating: a layer that was built in one runtime may be used in another whose paused
            // clock is behind. The machine clamps what goes backwards.
            Reading::Tokio(instant) => {
                Moment::ORIGIN.after(instant.saturating_duration_since(self.origin))
            }
            Reading::Line(moment) => moment,
        }
    }

    /// Returns what this clock shows at `moment`; `None` if the clock never gets there.
    pub(crate) fn reading(&self, moment: Moment) -> Option<Reading> {
        #[cfg(feature = "coarse-clock")]
        if self.hands.coarse.is_some() {
            return Some(Reading::Line(moment));
        }
        if cfg!(maintenance_loom) {
            return Some(Reading::Line(moment));
        }
        self.instant(moment).map(Reading::Tokio)
    }

    /// Returns where `moment` lies on tokio's clock; `None` if that clock never gets there.
    fn instant(&self, moment: Moment) -> Option<Instant> {
        let moment = moment.known()?;
        self.origin.checked_add(Duration::from_nanos(moment.0))
    }

    /// Returns until when a task sleeps on tokio's clock so that this clock then shows `moment`;
    /// `None` if `moment` is too far away for a sleep.
    pub(crate) fn seen_at(&self, moment: Moment) -> Option<Instant> {
        let at = self.instant(moment)?;
        #[cfg(feature = "coarse-clock")]
        if self.hands.coarse.is_some() {
            // The coarse clock lags: a task that sleeps to the exact instant would read a time
            // before it. Should the clock lag more than `MAX_LAG`, the task looks again every
            // millisecond.
            let soon = Instant::now() + Duration::from_millis(1);
            return Some(at.checked_add(CoarseClock::MAX_LAG)?.max(soon));
        }
        Some(at)
    }

    #[cfg(all(test, maintenance_loom))]
    pub(crate) fn stand_at(moment: Moment) {
        STANDS_AT.set(moment);
    }

    /// Reads the system's wall clock: once per layer, and for a partner's date that comes without a
    /// `Date` header.
    pub(crate) fn wall() -> SystemTime {
        SystemTime::now()
    }
}

#[cfg(maintenance_loom)]
thread_local! {
    /// Per OS thread: all threads of one model run on one OS thread in turn, and other models run
    /// on others.
    static STANDS_AT: std::cell::Cell<Moment> = const { std::cell::Cell::new(Moment::ORIGIN) };
}

/// Wall time at the origin of a time line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallAnchor(SystemTime);

impl WallAnchor {
    /// Returns the anchor under which `now` reads `wall`.
    pub(crate) fn so_that(now: Moment, wall: SystemTime) -> Self {
        let since_origin = now.since(Moment::ORIGIN);
        Self(wall.checked_sub(since_origin).unwrap_or(UNIX_EPOCH))
    }

    pub(crate) fn at(self, moment: Moment) -> SystemTime {
        let since_origin = moment.since(Moment::ORIGIN);
        self.0.checked_add(since_origin).unwrap_or(self.0)
    }

    /// Returns milliseconds since the Unix epoch; `None` for a wall clock that stands before it, or
    /// that cannot be counted.
    pub(crate) fn millis(self, moment: Moment) -> Option<u64> {
        let since_epoch = self.at(moment).duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since_epoch.as_millis()).ok()
    }
}
