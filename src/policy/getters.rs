//! What a policy says, setting by setting.

use std::time::Duration;

use crate::policy::{Policy, rate::Rate, window::Window};

/// Each getter has the name of the setting without `with_`. What a setting leaves to others is
/// filled in: [`given_up`](Policy::given_up), [`wait_growing`](Policy::wait_growing).
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{MaintenanceLayer, Policy, Rate};
///
/// let policy = Policy::default().with_min_calls(20);
/// let layer = MaintenanceLayer::builder("zuora").policy(policy.clone()).build()?;
/// let in_force = layer.handle().policy();
/// assert_eq!(in_force, policy);
/// assert_eq!(in_force.min_calls(), 20);
/// assert_eq!(in_force.failure_rate(), Some(Rate::HALF));
/// assert_eq!(in_force.given_up(), Some((20, Duration::from_secs(1))));
/// # Ok::<(), tower_maintenance::BuildError>(())
/// ```
impl Policy {
    /// Returns the [window](Self::with_window).
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// Returns [how many outcomes](Self::with_min_calls) the window must hold before a rate is
    /// judged.
    #[must_use]
    pub fn min_calls(&self) -> u32 {
        self.min_calls
    }

    /// Returns the [share of failed calls](Self::with_failure_rate) that trips; `None` if the rule
    /// is off.
    #[must_use]
    pub fn failure_rate(&self) -> Option<Rate> {
        self.failure_rate
    }

    /// Returns the [number of failures in a row](Self::with_consecutive_failures) that trips;
    /// `None` if the rule is off.
    #[must_use]
    pub fn consecutive_failures(&self) -> Option<u32> {
        self.consecutive
    }

    /// Returns [how long a call takes](Self::with_slow_calls) that is just not slow, and the share
    /// of slow calls that trips; `None` if the rule is off.
    #[must_use]
    pub fn slow_calls(&self) -> Option<(Duration, Rate)> {
        self.slow_calls.map(|slow| (slow.longer_than, slow.rate))
    }

    /// Returns [how many calls given up](Self::with_given_up) trip, and how long each has waited at
    /// least; `None` if the rule is off.
    #[must_use]
    pub fn given_up(&self) -> Option<(u32, Duration)> {
        self.given_up.numbers(self.min_calls)
    }

    /// Returns [how long the partner must be silent](Self::with_hang_limit) for a dropped call to
    /// count as a failure.
    #[must_use]
    pub fn hang_limit(&self) -> Duration {
        self.hang_limit
    }

    /// Returns the [base wait](Self::with_wait).
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns the [factor by which the wait grows](Self::with_wait_growing), and the longest wait.
    #[must_use]
    pub fn wait_growing(&self) -> (f64, Duration) {
        (self.wait_factor, self.longest_wait())
    }

    /// Returns the longest wait: by default 5 min, or the base wait if that is longer.
    pub(super) fn longest_wait(&self) -> Duration {
        let by_default = || self.wait.max(Duration::from_secs(300));
        self.longest_wait.unwrap_or_else(by_default)
    }

    /// Returns the [share](Self::with_jitter) by which each wait is lengthened or shortened at
    /// random.
    #[must_use]
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// Returns [how many probes](Self::with_probes) may be under way at once.
    #[must_use]
    pub fn probes(&self) -> u32 {
        self.probes
    }

    /// Returns [how many probes must succeed](Self::with_successes_needed) in a row.
    #[must_use]
    pub fn successes_needed(&self) -> u32 {
        self.successes_needed
    }

    /// Returns [how long a probe may take](Self::with_lease).
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns [how long traffic grows](Self::with_ramp); `None` if the ramp is off.
    #[must_use]
    pub fn ramp(&self) -> Option<Duration> {
        self.ramp
    }

    /// Returns the [share of calls](Self::with_ramp_start) that a ramp starts with.
    #[must_use]
    pub fn ramp_start(&self) -> Rate {
        self.ramp_start
    }

    /// Returns the [time between two checks](Self::with_ping_every) of a synthetic ping.
    #[must_use]
    pub fn ping_every(&self) -> Duration {
        self.ping_every
    }
}
