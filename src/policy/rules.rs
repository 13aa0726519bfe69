//! A policy as the machine keeps it.

use std::time::Duration;

use crate::policy::{rate::Rate, window::Window};

/// A checked policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub(crate) window: Window,
    pub(crate) min_calls: u64,
    pub(crate) failure_rate: Option<Rate>,
    pub(crate) consecutive: Option<u64>,
    pub(crate) slow_calls: Option<SlowCalls>,
    pub(crate) abandoned_all: bool,
    pub(crate) hang_limit: Duration,
    pub(crate) wait: Duration,
    pub(crate) wait_factor: f64,
    pub(crate) longest_wait: Duration,
    pub(crate) jitter: f64,
    pub(crate) trials: Trials,
    pub(crate) ping_every: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SlowCalls {
    pub(crate) longer_than: Duration,
    pub(crate) rate: Rate,
}

/// The numbers one stretch of `Probing` begins and ends with (R20).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trials {
    pub(crate) probes: u32,
    pub(crate) needed: u32,
    pub(crate) lease: Duration,
    pub(crate) ramp: Option<Ramp>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) duration: Duration,
    pub(crate) start: Rate,
}
