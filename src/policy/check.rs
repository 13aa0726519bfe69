//! The checks of a policy, and the rules that a valid policy stands for.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use crate::{
    base::{moment::nanos, span::Span},
    policy::{
        Policy,
        error::PolicyError,
        limits::GivenUpSetting,
        rules::{Ramp, Rules, Trials},
        window::Window,
    },
};

impl Policy {
    /// Checks the policy as [`Builder::build`](crate::Builder::build) and
    /// [`MaintenanceHandle::replace_policy`](crate::MaintenanceHandle::replace_policy) do.
    ///
    /// # Errors
    ///
    /// Returns the first field that is invalid, its value, and what is allowed.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.rules().map(drop)
    }

    /// Checks the policy and fills in the defaults that depend on other fields.
    pub(crate) fn rules(&self) -> Result<Rules, PolicyError> {
        self.check_window()?;
        self.check_that_a_rule_is_on()?;
        self.check_spans()?;
        let longest_wait = self.check_waits()?;
        let trials = self.check_trials()?;
        Ok(Rules {
            policy: Arc::new(self.clone()),
            window: self.window,
            min_calls: self.min_calls.into(),
            failure_rate: self.failure_rate,
            consecutive: self.consecutive.map(u64::from),
            slow_calls: self.slow_calls,
            given_up: self.given_up.rule(self.min_calls),
            hang_limit: self.hang_limit,
            wait: self.wait,
            wait_factor: self.wait_factor,
            longest_wait,
            jitter: self.jitter,
            trials,
            ping_every: self.ping_every,
        })
    }

    /// Checks the window, and that it can hold the counts of the rules.
    fn check_window(&self) -> Result<(), PolicyError> {
        match self.window {
            Window::Calls(size) => {
                within("window", size, 1..=10_000_000, " calls")?;
                let of = ", the size of the window";
                within("min_calls", self.min_calls, 1..=size, of)?;
                within_if("consecutive_failures", self.consecutive, 1..=size, of)?;
            }
            Window::Time { length, buckets } => {
                positive("window", length)?;
                within("window.buckets", buckets, 1..=3600, " buckets")?;
                if nanos(length) < u64::from(buckets) {
                    return Err(PolicyError::new(
                        "window",
                        Span(length).to_string(),
                        "at least one nanosecond per bucket",
                    ));
                }
                within("min_calls", self.min_calls, 1..=u32::MAX, " calls")?;
                within_if(
                    "consecutive_failures",
                    self.consecutive,
                    1..=u32::MAX,
                    " failures",
                )?;
            }
        }
        within_if(
            "given_up.calls",
            self.given_up.calls(),
            1..=u32::MAX,
            " calls",
        )
    }

    /// Checks that at least one rule is on.
    fn check_that_a_rule_is_on(&self) -> Result<(), PolicyError> {
        if self.failure_rate.is_some()
            || self.consecutive.is_some()
            || self.slow_calls.is_some()
            || self.given_up != GivenUpSetting::Off
            || mutant!("all rules may be off")
        {
            return Ok(());
        }
        Err(PolicyError::new(
            "rules",
            "all off",
            "at least one of failure_rate, consecutive_failures, slow_calls, given_up on",
        ))
    }

    /// Checks that no duration is zero.
    fn check_spans(&self) -> Result<(), PolicyError> {
        positive_if(
            "slow_calls.longer_than",
            self.slow_calls.map(|slow| slow.longer_than),
        )?;
        positive("hang_limit", self.hang_limit)?;
        positive("wait", self.wait)?;
        positive("lease", self.lease)?;
        positive("ping_every", self.ping_every)?;
        positive_if("ramp", self.ramp)
    }

    /// Checks the growth and the jitter of the waits. Returns the longest wait.
    fn check_waits(&self) -> Result<Duration, PolicyError> {
        // The condition is negated as a whole, so that NaN is rejected. The same holds for the
        // jitter.
        if !(self.wait_factor >= 1.0 && self.wait_factor.is_finite()) {
            return Err(PolicyError::new(
                "wait_growing.factor",
                self.wait_factor.to_string(),
                "1 or more, and finite",
            ));
        }
        let longest_wait = self.longest_wait();
        if longest_wait < self.wait {
            return Err(PolicyError::new(
                "wait_growing.longest",
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
        Ok(longest_wait)
    }

    /// Checks the numbers of `Probing`.
    fn check_trials(&self) -> Result<Trials, PolicyError> {
        within("probes", self.probes, 1..=10_000, " probes")?;
        within(
            "successes_needed",
            self.successes_needed,
            1..=10_000,
            " successes",
        )?;
        Ok(Trials {
            probes: self.probes,
            needed: self.successes_needed,
            lease: self.lease,
            rest: self.ping_every,
            ramp: self.ramp.map(|duration| Ramp {
                duration,
                start: self.ramp_start,
            }),
        })
    }
}

fn positive(field: &'static str, span: Duration) -> Result<(), PolicyError> {
    if span.is_zero() && !mutant!("a duration may be zero") {
        return Err(PolicyError::new(field, "0 s", "any time longer than 0"));
    }
    Ok(())
}

fn positive_if(field: &'static str, span: Option<Duration>) -> Result<(), PolicyError> {
    span.map_or(Ok(()), |span| positive(field, span))
}

/// Checks that `value` is in the range `allowed`. `of` follows the range in the error.
fn within(
    field: &'static str,
    value: u32,
    allowed: RangeInclusive<u32>,
    of: &str,
) -> Result<(), PolicyError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = allowed.into_inner();
    Err(PolicyError::new(
        field,
        value.to_string(),
        format!("{least} to {most}{of}"),
    ))
}

fn within_if(
    field: &'static str,
    value: Option<u32>,
    allowed: RangeInclusive<u32>,
    of: &str,
) -> Result<(), PolicyError> {
    value.map_or(Ok(()), |value| within(field, value, allowed, of))
}
