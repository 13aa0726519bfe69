//! The policy: when a layer enters maintenance, how long it waits, and what proves a recovery.
//!
//! A [`Policy`] is a plain value. Its `with_*` methods accept everything, because some fields are
//! valid only together with others. [`Builder::build`](crate::Builder::build) and
//! [`MaintenanceHandle::replace_policy`](crate::MaintenanceHandle::replace_policy) check it as a
//! whole. The error names the field, its value, and what is allowed.

pub(crate) mod changes;
mod check;
#[cfg(feature = "serde")]
mod config;
pub(crate) mod error;
mod getters;
pub(crate) mod limits;
pub(crate) mod rate;
pub(crate) mod rules;
pub(crate) mod window;

use std::time::Duration;

use self::{
    limits::{GivenUpSetting, SlowCalls},
    rate::Rate,
    window::Window,
};

/// The policy of one layer: when it trips, how long it waits, and what ends maintenance.
///
/// | field | default | reason |
/// |---|---|---|
/// | window | 60 s in 10 buckets | shows a trend, and forgets one bad minute |
/// | failure rate | 50 % of at least 10 calls | two failures of three calls are no outage |
/// | consecutive failures | 5 | at night, too few calls come for a rate |
/// | slow calls | off | the limit differs from partner to partner |
/// | calls given up | 10 after over 1 s, none answered | a short time-out must not hide a hang |
/// | hang limit | 5 s | a caller that leaves earlier may only be impatient |
/// | wait | 30 s, doubling to 5 min | gives the partner time to recover |
/// | jitter | 20 % | replicas do not all probe at the same time |
/// | probes | 1 at a time, 3 successes in a row | protects a partner that has just recovered |
/// | lease | 30 s | a hung probe must not block probing |
/// | ramp | off, starts at 10 % | full traffic returns at once |
/// | ping | every 1 s in `Probing` | three pings prove a recovery within three seconds |
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{Policy, Rate, Window};
///
/// let policy = Policy::new(Window::time(Duration::from_secs(30)), Rate::percent(40.0)?)
///     .with_min_calls(20)
///     .with_wait(Duration::from_secs(10))
///     .with_ramp(Duration::from_secs(60));
/// policy.check()?;
///
/// let wrong = Policy::new(Window::calls(10), Rate::HALF).with_min_calls(11).check();
/// assert_eq!(
///     wrong.unwrap_err().to_string(),
///     "min_calls is 11: allowed is 1 to 10, the size of the window",
/// );
/// # Ok::<(), tower_maintenance::PolicyError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    window: Window,
    min_calls: u32,
    failure_rate: Option<Rate>,
    consecutive: Option<u32>,
    slow_calls: Option<SlowCalls>,
    given_up: GivenUpSetting,
    hang_limit: Duration,
    wait: Duration,
    wait_factor: f64,
    longest_wait: Option<Duration>,
    jitter: f64,
    probes: u32,
    successes_needed: u32,
    lease: Duration,
    ramp: Option<Duration>,
    ramp_start: Rate,
    ping_every: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Window::time(Duration::from_secs(60)), Rate::HALF)
    }
}

impl Policy {
    /// Builds the default policy with this window and this failure rate.
    #[must_use]
    pub fn new(window: Window, failure_rate: Rate) -> Self {
        Self {
            window,
            min_calls: 10,
            failure_rate: Some(failure_rate),
            consecutive: Some(5),
            slow_calls: None,
            given_up: GivenUpSetting::ByDefault,
            hang_limit: Duration::from_secs(5),
            wait: Duration::from_secs(30),
            wait_factor: 2.0,
            longest_wait: None,
            jitter: 0.2,
            probes: 1,
            successes_needed: 3,
            lease: Duration::from_secs(30),
            ramp: None,
            ramp_start: Rate::TENTH,
            ping_every: Duration::from_secs(1),
        }
    }

    /// Sets the window.
    ///
    /// Default: 60 s in 10 buckets, which shows a trend and forgets one bad minute.
    #[must_use]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets how many outcomes the window must hold before a rate is judged: at least 1, and at most
    /// the size of a window of calls.
    ///
    /// Default: 10, because two failures of three calls are no outage.
    #[must_use]
    pub fn with_min_calls(self, min_calls: u32) -> Self {
        Self { min_calls, ..self }
    }

    /// Sets the share of failed calls in the window that trips.
    ///
    /// Default: 50 %, because an outage for half of the customers is an outage.
    #[must_use]
    pub fn with_failure_rate(self, rate: Rate) -> Self {
        Self {
            failure_rate: Some(rate),
            ..self
        }
    }

    /// Turns the rule of the failure rate off.
    ///
    /// Another rule must be on.
    #[must_use]
    pub fn without_failure_rate(self) -> Self {
        Self {
            failure_rate: None,
            ..self
        }
    }

    /// Sets the number of failures in a row within the window that trips, at any rate.
    ///
    /// Default: 5, because at night too few calls come for a rate.
    #[must_use]
    pub fn with_consecutive_failures(self, failures: u32) -> Self {
        Self {
            consecutive: Some(failures),
            ..self
        }
    }

    /// Turns the rule of failures in a row off.
    ///
    /// Another rule must be on.
    #[must_use]
    pub fn without_consecutive_failures(self) -> Self {
        Self {
            consecutive: None,
            ..self
        }
    }

    /// Sets the share of slow calls in the window that trips.
    ///
    /// A call is slow if it took strictly longer than `longer_than`. Default: off, because the
    /// limit differs from partner to partner.
    #[must_use]
    pub fn with_slow_calls(self, longer_than: Duration, rate: Rate) -> Self {
        Self {
            slow_calls: Some(SlowCalls { longer_than, rate }),
            ..self
        }
    }

    /// Trips when at least `calls` calls in the window were given up by their callers, each after
    /// it had waited longer than `after` for the partner, and nothing came from the partner: no
    /// headers, no frame of a body, no answer of any verdict.
    ///
    /// Errors of this process and refusals further in neither count nor speak for the partner. In a
    /// window of calls the calls are counted since something last came.
    ///
    /// Default: the larger of `min_calls` and 10, after 1 s. A time-out around the layer that is
    /// shorter than the [`hang_limit`](Self::with_hang_limit) would hide a hanging partner
    /// otherwise. A second is longer than most callers need to change their minds, and a partner
    /// that answers a single one of them does not trip. `after` may be 0: then every caller that
    /// waited at all counts.
    #[doc(alias = "with_abandoned_all")]
    #[must_use]
    pub fn with_given_up(self, calls: u32, after: Duration) -> Self {
        Self {
            given_up: GivenUpSetting::On { calls, after },
            ..self
        }
    }

    /// Turns the rule of calls given up off.
    ///
    /// Another rule must be on. A warning still names the calls that were given up.
    #[must_use]
    pub fn without_given_up(self) -> Self {
        Self {
            given_up: GivenUpSetting::Off,
            ..self
        }
    }

    /// Sets how long the partner must be silent for a dropped call to count as a failure.
    ///
    /// The time counts while the caller waits: from the first poll that found nothing since the
    /// call began, or since its headers or its last frame came. A reader that does not ask for the
    /// next frame does not wait.
    ///
    /// Default: 5 s, because a caller that leaves earlier may only be impatient.
    ///
    /// **The hang limit should be at most the timeout around the layer.** A timeout drops the call.
    /// Below the hang limit a call that was given up is no failure: then only the rule of
    /// [calls given up](Self::with_given_up) notices a hanging partner, and a warning names both.
    ///
    /// The limit also applies to the body of an HTTP answer (feature `http`): the call fails when
    /// its reader has waited this long for the next frame, even if it is not dropped.
    #[must_use]
    pub fn with_hang_limit(self, hang_limit: Duration) -> Self {
        Self { hang_limit, ..self }
    }

    /// Sets the base wait: the time from the first trip to the first probe.
    ///
    /// Default: 30 s, which gives the partner time to recover.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Sets the factor by which the wait grows on each trip, and the longest wait.
    ///
    /// The growth resets after `Serving` has lasted one base wait.
    ///
    /// The factor is at least 1, and the longest wait is at least the base wait. Default: doubling
    /// up to 5 min, or up to the base wait if that is longer, so that an outage of hours costs few
    /// probes.
    #[must_use]
    pub fn with_wait_growing(self, factor: f64, longest: Duration) -> Self {
        Self {
            wait_factor: factor,
            longest_wait: Some(longest),
            ..self
        }
    }

    /// Sets the share by which each wait is lengthened or shortened at random: 0 to less than 1.
    ///
    /// It is applied after the longest wait. Default: 0.2, so that replicas do not all probe at the
    /// same time.
    #[must_use]
    pub fn with_jitter(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// Sets how many probes may be under way at once: 1 to 10 000.
    ///
    /// Default: 1, to protect a partner that has just recovered.
    #[must_use]
    pub fn with_probes(self, at_once: u32) -> Self {
        Self {
            probes: at_once,
            ..self
        }
    }

    /// Sets how many probes must succeed in a row: 1 to 10 000.
    ///
    /// Default: 3, because one success may be chance.
    #[must_use]
    pub fn with_successes_needed(self, needed: u32) -> Self {
        Self {
            successes_needed: needed,
            ..self
        }
    }

    /// Sets how long a probe may take before it counts as failed.
    ///
    /// Default: 30 s, because a hung probe must not block probing.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Lets traffic grow over `duration` after the last needed success.
    ///
    /// Default: off, so that full traffic returns at once.
    ///
    /// During the ramp the mode is `Probing`. `Serving`, and with it the signal to caches, begins
    /// at its end.
    #[must_use]
    pub fn with_ramp(self, duration: Duration) -> Self {
        Self {
            ramp: Some(duration),
            ..self
        }
    }

    /// Sets the share of calls that a ramp starts with.
    ///
    /// Default: 10 %, because a partner that has just recovered may fail under more. It has an
    /// effect only with a [ramp](Self::with_ramp).
    #[must_use]
    pub fn with_ramp_start(self, start: Rate) -> Self {
        Self {
            ramp_start: start,
            ..self
        }
    }

    /// Sets the time between two checks of a synthetic ping in `Probing`.
    ///
    /// It is also how long a probe's slot rests after the partner's second answer in a row that
    /// proves nothing, a 401 for instance: customers then probe no faster than pings.
    ///
    /// Default: 1 s, so that three pings prove a recovery within three seconds.
    #[must_use]
    pub fn with_ping_every(self, every: Duration) -> Self {
        Self {
            ping_every: every,
            ..self
        }
    }
}
