//! The checked policy that the machine uses.

use std::{sync::Arc, time::Duration};

use crate::policy::{
    Policy,
    limits::{GivenUp, SlowCalls},
    rate::Rate,
    window::Window,
};

/// A policy after [`Policy::rules`](crate::Policy) checked it. The fields are those of the policy.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The policy as it was given. It is shared, because each key of a keyed layer has rules.
    pub(crate) policy: Arc<Policy>,
    pub(crate) window: Window,
    pub(crate) min_calls: u64,
    pub(crate) failure_rate: Option<Rate>,
    pub(crate) consecutive: Option<u64>,
    pub(crate) slow_calls: Option<SlowCalls>,
    pub(crate) given_up: Option<GivenUp>,
    pub(crate) hang_limit: Duration,
    pub(crate) wait: Duration,
    pub(crate) wait_factor: f64,
    pub(crate) longest_wait: Duration,
    pub(crate) jitter: f64,
    pub(crate) trials: Trials,
    pub(crate) ping_every: Duration,
}

/// The numbers of one period of `Probing`. A policy that is replaced meanwhile does not change them
/// (R20).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trials {
    pub(crate) probes: u32,
    pub(crate) needed: u32,
    pub(crate) lease: Duration,
    /// How long a slot rests after the partner's second answer in a row that proves nothing.
    pub(crate) rest: Duration,
    pub(crate) ramp: Option<Ramp>,
}

/// The ramp: over `duration` the share of calls that pass grows from `start` to all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) duration: Duration,
    pub(crate) start: Rate,
}
