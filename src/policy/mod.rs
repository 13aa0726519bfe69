//! When to enter maintenance, how long to wait, what proves a recovery: a plain value, checked once.
//!
//! A [`Policy`] is written freely with `with_*` and checked where it is put to use, by
//! [`Builder::build`](crate::Builder::build) and
//! [`MaintenanceHandle::replace_policy`](crate::MaintenanceHandle::replace_policy): several fields
//! only make sense together. Every refusal names the field, the value and what would be allowed.

pub(crate) mod error;
pub(crate) mod rate;
pub(crate) mod rules;
pub(crate) mod window;

use std::time::Duration;

use crate::{
    base::moment::{Span, nanos},
    policy::{
        error::PolicyError,
        rate::Rate,
        rules::{Ramp, Rules, SlowCalls, Trials},
        window::Window,
    },
};

/// The policy of one layer: when it trips, how long it waits, what brings it back.
///
/// The defaults, and why:
///
/// | what | default | why |
/// |---|---|---|
/// | window | 60 s in 10 buckets | long enough to see a trend, short enough to forget a bad minute |
/// | failure rate | 50 % of at least 10 calls | half of the customers failing is an outage, two of three calls are not |
/// | consecutive failures | 5 | billing traffic is thin at night: a rate alone would never judge |
/// | slow calls | off | what is slow differs from partner to partner |
/// | hang limit | 5 s | a call given up after less may be an impatient customer |
/// | wait | 30 s, doubling to 5 min, +-20 % | long enough to let the partner breathe; spread so that replicas do not probe together |
/// | probes | one at a time, 3 successes in a row, lease 30 s | a partner that is barely back is not helped by a crowd |
/// | ramp | off | full traffic returns at once |
/// | ping | every 1 s in `Probing` | three pings prove a recovery in three seconds |
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
    abandoned_all: bool,
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
    /// The default policy with this window and this failure rate.
    #[must_use]
    pub fn new(window: Window, failure_rate: Rate) -> Self {
        Self {
            window,
            min_calls: 10,
            failure_rate: Some(failure_rate),
            consecutive: Some(5),
            slow_calls: None,
            abandoned_all: false,
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

    /// Replaces the window. Default: 60 s in 10 buckets.
    #[must_use]
    pub fn with_window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// How many outcomes the window must hold before a rate is judged, 1 or more, and no more than a
    /// window of calls can hold. Default: 10.
    #[must_use]
    pub fn with_min_calls(self, min_calls: u32) -> Self {
        Self { min_calls, ..self }
    }

    /// Trips when this share of the calls in the window failed. Default: 50 %.
    #[must_use]
    pub fn with_failure_rate(self, rate: Rate) -> Self {
        Self {
            failure_rate: Some(rate),
            ..self
        }
    }

    /// Never trips by the failure rate. Another rule must be on.
    #[must_use]
    pub fn without_failure_rate(self) -> Self {
        Self {
            failure_rate: None,
            ..self
        }
    }

    /// Trips at so many failures in a row within the window, whatever the rate. Default: 5.
    #[must_use]
    pub fn with_consecutive_failures(self, failures: u32) -> Self {
        Self {
            consecutive: Some(failures),
            ..self
        }
    }

    /// Never trips by a run of failures. Another rule must be on.
    #[must_use]
    pub fn without_consecutive_failures(self) -> Self {
        Self {
            consecutive: None,
            ..self
        }
    }

    /// Trips when this share of the calls in the window took strictly longer than `longer_than`. Default: off.
    #[must_use]
    pub fn with_slow_calls(self, longer_than: Duration, rate: Rate) -> Self {
        Self {
            slow_calls: Some(SlowCalls { longer_than, rate }),
            ..self
        }
    }

    /// Takes it for evidence when at least `min_calls` calls in the window were abandoned by their
    /// callers and none came to an end. Default: off, because customers who leave prove little.
    #[must_use]
    pub fn with_abandoned_all(self) -> Self {
        Self {
            abandoned_all: true,
            ..self
        }
    }

    /// A call that is dropped counts as a failure if nothing had come from the partner for this long.
    /// Default: 5 s.
    ///
    /// **It must be at most your outer timeout**: a timeout drops the call, and a hanging partner is
    /// only noticed if the call was then quiet for `hang_limit`.
    ///
    /// The body of an HTTP answer (feature `http`) is not waited for longer either: when its reader has waited this long for
    /// the next frame, the call has failed, though nobody drops it.
    #[must_use]
    pub fn with_hang_limit(self, hang_limit: Duration) -> Self {
        Self { hang_limit, ..self }
    }

    /// How long maintenance lasts before the first probe, counted from the trip. Default: 30 s.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// By what the wait grows with every trip that does not find `Serving` at least one base wait
    /// old, and up to how much. Default: doubling up to 5 min (or the base wait where that is longer).
    #[must_use]
    pub fn with_wait_growing(self, factor: f64, longest: Duration) -> Self {
        Self {
            wait_factor: factor,
            longest_wait: Some(longest),
            ..self
        }
    }

    /// The share by which a wait is lengthened or shortened at random, 0 to less than 1; applied
    /// after the cap. Default: 0.2, that is +-20 %.
    #[must_use]
    pub fn with_jitter(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// How many probes may be under way at once, 1 to 10 000. Default: 1.
    #[must_use]
    pub fn with_probes(self, at_once: u32) -> Self {
        Self {
            probes: at_once,
            ..self
        }
    }

    /// How many probes in a row must succeed, 1 to 10 000. Default: 3.
    #[must_use]
    pub fn with_successes_needed(self, needed: u32) -> Self {
        Self {
            successes_needed: needed,
            ..self
        }
    }

    /// How long a probe may take before it counts as failed. Default: 30 s.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// After the last needed success lets traffic grow over `duration`, from 10 % to all. Default: off.
    ///
    /// Meanwhile the mode stays `Probing`; `Serving`, and the signal to caches, come at its end.
    #[must_use]
    pub fn with_ramp(self, duration: Duration) -> Self {
        Self {
            ramp: Some(duration),
            ..self
        }
    }

    /// The share of calls that a ramp begins with. Default: 10 %.
    #[must_use]
    pub fn with_ramp_start(self, start: Rate) -> Self {
        Self {
            ramp_start: start,
            ..self
        }
    }

    /// How often a synthetic ping runs in `Probing`. Default: 1 s.
    #[must_use]
    pub fn with_ping_every(self, every: Duration) -> Self {
        Self {
            ping_every: every,
            ..self
        }
    }

    /// Whether the policy makes sense: the check that building and replacing run.
    ///
    /// # Errors
    ///
    /// Names the first field that does not, its value, and what would be allowed.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.rules().map(drop)
    }

    /// The policy as the machine keeps it: checked, and filled up.
    pub(crate) fn rules(&self) -> Result<Rules, PolicyError> {
        match self.window {
            Window::Calls(size) => {
                within("window", u64::from(size), 1..=10_000_000, "calls")?;
                self.fits("min_calls", self.min_calls, size)?;
                if let Some(run) = self.consecutive {
                    self.fits("consecutive_failures", run, size)?;
                }
            }
            Window::Time { length, buckets } => {
                positive("window", length)?;
                within("window buckets", u64::from(buckets), 1..=3600, "buckets")?;
                if nanos(length) < u64::from(buckets) {
                    return Err(PolicyError::new(
                        "window",
                        Span(length).to_string(),
                        "at least a nanosecond a bucket",
                    ));
                }
                within(
                    "min_calls",
                    u64::from(self.min_calls),
                    1..=u64::from(u32::MAX),
                    "calls",
                )?;
                if let Some(run) = self.consecutive {
                    within(
                        "consecutive_failures",
                        u64::from(run),
                        1..=u64::from(u32::MAX),
                        "failures",
                    )?;
                }
            }
        }
        if self.failure_rate.is_none()
            && self.consecutive.is_none()
            && self.slow_calls.is_none()
            && !self.abandoned_all
        {
            return Err(PolicyError::new(
                "rules",
                "all off".into(),
                "at least one of failure_rate, consecutive_failures, slow_calls, abandoned_all on",
            ));
        }
        if let Some(slow) = self.slow_calls {
            positive("slow_calls", slow.longer_than)?;
        }
        positive("hang_limit", self.hang_limit)?;
        positive("wait", self.wait)?;
        positive("lease", self.lease)?;
        positive("ping_every", self.ping_every)?;
        if let Some(ramp) = self.ramp {
            positive("ramp", ramp)?;
        }
        // Written so that NaN fails, here and below.
        if !(self.wait_factor >= 1.0 && self.wait_factor.is_finite()) {
            return Err(PolicyError::new(
                "wait factor",
                self.wait_factor.to_string(),
                "1 or more, and finite",
            ));
        }
        let longest_wait = self
            .longest_wait
            .unwrap_or_else(|| self.wait.max(Duration::from_secs(300)));
        if longest_wait < self.wait {
            return Err(PolicyError::new(
                "longest wait",
                Span(longest_wait).to_string(),
                format!("at least the wait, {}", Span(self.wait)),
            ));
        }
        if !(self.jitter >= 0.0 && self.jitter < 1.0) {
            return Err(PolicyError::new(
                "jitter",
                self.jitter.to_string(),
                "0 to less than 1",
            ));
        }
        within("probes", u64::from(self.probes), 1..=10_000, "probes")?;
        within(
            "successes_needed",
            u64::from(self.successes_needed),
            1..=10_000,
            "successes",
        )?;
        Ok(Rules {
            window: self.window,
            min_calls: u64::from(self.min_calls),
            failure_rate: self.failure_rate,
            consecutive: self.consecutive.map(u64::from),
            slow_calls: self.slow_calls,
            abandoned_all: self.abandoned_all,
            hang_limit: self.hang_limit,
            wait: self.wait,
            wait_factor: self.wait_factor,
            longest_wait,
            jitter: self.jitter,
            trials: Trials {
                probes: self.probes,
                needed: self.successes_needed,
                lease: self.lease,
                ramp: self.ramp.map(|duration| Ramp {
                    duration,
                    start: self.ramp_start,
                }),
            },
            ping_every: self.ping_every,
        })
    }

    /// Refuses what a window of `size` calls could never hold.
    fn fits(&self, field: &'static str, value: u32, size: u32) -> Result<(), PolicyError> {
        if (1..=size).contains(&value) {
            return Ok(());
        }
        Err(PolicyError::new(
            field,
            value.to_string(),
            format!("1 to {size}, the size of the window"),
        ))
    }
}

fn positive(field: &'static str, span: Duration) -> Result<(), PolicyError> {
    if span.is_zero() {
        return Err(PolicyError::new(
            field,
            "0 s".into(),
            "any time longer than 0",
        ));
    }
    Ok(())
}

fn within(
    field: &'static str,
    value: u64,
    allowed: std::ops::RangeInclusive<u64>,
    unit: &str,
) -> Result<(), PolicyError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = allowed.into_inner();
    Err(PolicyError::new(
        field,
        value.to_string(),
        format!("{least} to {most} {unit}"),
    ))
}
