//! Random steps: the calls, commands and passages of time that the property tests draw.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{Asker, Command, Ending, Engagement, Passing, Signature},
    model::{NEVER, Numbers, SECOND},
};
use crate::{
    facts::outcome::{Origin, Outcome, Verdict},
    policy::window::Window,
};

#[derive(Debug, Clone)]
pub(super) enum Step {
    Advance(Span),
    /// A tick at a moment in the past: two threads may read the clock in one order and tick in the
    /// other.
    LookBack,
    Admit(Asker),
    /// The caller of a probe begins to wait for the partner, or something comes for it.
    TurnWait(prop::sample::Index),
    /// Something came from the partner so many nanoseconds ago, on a call that goes on.
    Hear(u64),
    Settle(prop::sample::Index, Ending),
    /// The expiry in nanoseconds, and whether reads pass.
    Engage(Option<u64>, bool),
    Release,
    ReleaseVerified,
    Trip,
    ProbeNow,
    Clear,
    Reset,
    Switch {
        dry_run: bool,
        bypass: bool,
    },
    Replace(Box<Numbers>),
    /// Replaces the policy by one with other thresholds and the same window.
    Retune {
        min_calls: u32,
        rate: Option<u32>,
        wait: u64,
    },
    PingBegan,
    PingEnded,
    WallReads(i64),
}

/// How far time advances.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span {
    Nanos(u64),
    /// To the next deadline plus this many nanoseconds.
    Due(i64),
}

impl Step {
    /// Returns the command of this step, if it is one. A [`Step::Switch`] has two: this is the
    /// first.
    pub(super) fn command(&self) -> Option<Command> {
        Some(match self {
            Self::Engage(expiry, reads) => engage(*expiry, *reads),
            Self::Release => Command::Release,
            Self::ReleaseVerified => Command::ReleaseVerified,
            Self::Trip => Command::Trip,
            Self::ProbeNow => Command::ProbeNow,
            Self::Clear => Command::Clear,
            Self::Reset => Command::Reset,
            Self::Switch { dry_run, .. } => dry_run_or_arm(*dry_run),
            Self::Replace(numbers) => Command::ReplacePolicy(Box::new(numbers.rules())),
            Self::Advance(_)
            | Self::LookBack
            | Self::Admit(_)
            | Self::TurnWait(_)
            | Self::Hear(_)
            | Self::Settle(..)
            | Self::Retune { .. }
            | Self::PingBegan
            | Self::PingEnded
            | Self::WallReads(_) => return None,
        })
    }
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = u64> {
    range.prop_map(|seconds| seconds * SECOND)
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        2 => Just(Span::Nanos(0)),
        1 => (1_u64..=3).prop_map(Span::Nanos),
        4 => seconds(1..=4).prop_map(Span::Nanos),
        1 => seconds(5..=40).prop_map(Span::Nanos),
        1 => (0_u64..=5_000).prop_map(|millis| Span::Nanos(millis * 1_000_000)),
        4 => (-1_i64..=1).prop_map(Span::Due),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1_u32..=6).prop_map(Window::Calls),
        (1_u64..=20, 0_u64..=3, 1_u32..=4).prop_map(|(seconds, nanos, buckets)| Window::Time {
            length: Duration::new(seconds, nanos as u32),
            buckets,
        }),
    ]
}

fn share() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(1),
        Just(250_000),
        Just(500_000),
        Just(666_667),
        Just(1_000_000)
    ]
}

pub(super) fn numbers() -> impl Strategy<Value = Numbers> {
    let rules = (
        window(),
        1_u32..=4,
        prop::option::weighted(0.7, share()),
        prop::option::weighted(0.5, 1_u32..=4),
        prop::option::weighted(0.3, (seconds(1..=3), share())),
        // Few calls and short waits, so that it fires often.
        prop::option::weighted(0.6, (1_u32..=5, seconds(0..=2))),
        seconds(1..=6),
    );
    let rest = (
        seconds(1..=10),
        1_u32..=3,
        1_u64..=6,
        1_u32..=3,
        1_u32..=4,
        seconds(1..=15),
        seconds(1..=6),
        prop::option::weighted(0.4, (seconds(1..=10), share())),
    );
    (rules, rest).prop_map(|(rules, rest)| {
        let (window, min_calls, rate, run, slow, given_up, hang_limit) = rules;
        let (wait, factor, longest, probes, needed, lease, rest, ramp) = rest;
        let at_most = |n: u32| match window {
            Window::Calls(size) => n.min(size),
            Window::Time { .. } => n,
        };
        let silent = rate.is_none() && run.is_none() && slow.is_none() && given_up.is_none();
        Numbers {
            window,
            min_calls: at_most(min_calls),
            rate: if silent { Some(500_000) } else { rate },
            run: run.map(at_most),
            slow,
            given_up,
            hang_limit,
            wait,
            factor,
            longest: wait * longest,
            probes,
            needed,
            lease,
            rest,
            ramp,
        }
    })
}

fn asker() -> impl Strategy<Value = Asker> {
    prop_oneof![
        5 => Just(Asker::Eligible),
        2 => Just(Asker::Ineligible),
        1 => Just(Asker::Barred),
        1 => Just(Asker::Ping),
    ]
}

/// How long a call took: one nanosecond below, exactly on and one above a whole second, because the
/// limits are whole seconds.
fn took() -> impl Strategy<Value = Duration> {
    (0_u64..=6, 0_u64..=2).prop_map(|(seconds, nanos)| {
        Duration::from_nanos((seconds * SECOND + nanos).saturating_sub(1))
    })
}

fn dropped() -> impl Strategy<Value = Ending> {
    let before = prop_oneof![2 => Just(Duration::ZERO), 1 => took()];
    (took(), before).prop_map(|(wait, before)| Ending::Dropped {
        wait: Some(wait).filter(|wait| !wait.is_zero()),
        took: before + wait,
    })
}

/// An answer. `success`, `failure` and `neutral` are the odds of each outcome.
fn judged(success: u32, failure: u32, neutral: u32) -> impl Strategy<Value = Ending> {
    let outcome = prop_oneof![
        success => Just(Outcome::Success),
        failure => Just(Outcome::Failure),
        neutral => Just(Outcome::Neutral),
    ];
    let code = prop_oneof![
        3 => Just(None),
        1 => prop::sample::select(&[200_u16, 401, 429, 500, 503]).prop_map(Some),
    ];
    let origin = prop_oneof![
        8 => Just(Origin::Partner),
        1 => Just(Origin::Ourselves),
        1 => Just(Origin::RefusedWithin),
    ];
    let retry_after = prop_oneof![
        10 => Just(None),
        2 => (0_u64..=20).prop_map(|seconds| Some(Duration::from_secs(seconds))),
        1 => Just(Some(Duration::MAX)),
    ];
    (outcome, code, retry_after, origin, took()).prop_map(
        |(outcome, code, retry_after, origin, took)| {
            let mut verdict = Verdict::from(outcome);
            verdict.code = code;
            verdict.retry_after = retry_after;
            verdict.origin = origin;
            Ending::Judged { verdict, took }
        },
    )
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        10 => judged(3, 3, 1),
        1 => Just(Ending::Unjudged),
        6 => dropped(),
    ]
}

pub(super) fn dry_run_or_arm(dry_run: bool) -> Command {
    if dry_run {
        Command::DryRun
    } else {
        Command::Arm
    }
}

pub(super) fn bypass_or_end(bypass: bool) -> Command {
    if bypass {
        Command::Bypass
    } else {
        Command::EndBypass
    }
}

pub(super) fn signature() -> Signature {
    Signature::new("on-call", "ticket 4711").expect("a valid signature")
}

pub(super) fn engage(expiry: Option<u64>, reads: bool) -> Command {
    Command::Engage(Engagement {
        expiry: expiry.map(Duration::from_nanos),
        passing: if reads {
            Passing::Reads
        } else {
            Passing::Nothing
        },
        message: None,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        30 => span().prop_map(Step::Advance),
        1 => Just(Step::LookBack),
        24 => asker().prop_map(Step::Admit),
        8 => index().prop_map(Step::TurnWait),
        1 => prop_oneof![Just(0), 1..=10 * SECOND].prop_map(Step::Hear),
        30 => (index(), ending()).prop_map(|(index, ending)| Step::Settle(index, ending)),
        3 => (prop::option::of(seconds(0..=10)), any::<bool>())
            .prop_map(|(expiry, reads)| Step::Engage(expiry, reads)),
        1 => Just(Step::Engage(Some(NEVER), false)),
        2 => Just(Step::Release),
        2 => Just(Step::ReleaseVerified),
        2 => Just(Step::Trip),
        2 => Just(Step::ProbeNow),
        1 => Just(Step::Clear),
        1 => Just(Step::Reset),
        3 => (any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(dry_run, bypass)| Step::Switch { dry_run, bypass }),
        1 => numbers().prop_map(|numbers| Step::Replace(Box::new(numbers))),
        1 => (1_u32..=4, prop::option::of(share()), seconds(1..=10)).prop_map(
            |(min_calls, rate, wait)| Step::Retune { min_calls, rate, wait }
        ),
        1 => Just(Step::PingBegan),
        1 => Just(Step::PingEnded),
        1 => (-3_600_000_000_000_i64..=3_600_000_000_000).prop_map(Step::WallReads),
    ]
}

fn settle(ending: impl Strategy<Value = Ending>) -> impl Strategy<Value = Step> {
    (any::<prop::sample::Index>(), ending).prop_map(|(index, ending)| Step::Settle(index, ending))
}

/// A period of `Probing` in which mostly probes come and go.
fn trials() -> impl Strategy<Value = Vec<Step>> {
    let probe = prop_oneof![
        12 => judged(3, 0, 4),
        1 => judged(0, 1, 0),
        1 => Just(Ending::Unjudged),
        3 => dropped(),
    ];
    let index = any::<prop::sample::Index>;
    let step = prop_oneof![
        12 => prop_oneof![seconds(0..=2).prop_map(Span::Nanos), (-1_i64..=1).prop_map(Span::Due)]
            .prop_map(Step::Advance),
        20 => prop_oneof![4 => Just(Asker::Eligible), 1 => Just(Asker::Ping)]
            .prop_map(Step::Admit),
        5 => index().prop_map(Step::TurnWait),
        18 => settle(probe),
        1 => Just(Step::ProbeNow),
        1 => step(),
    ];
    prop::collection::vec(step, 1..80).prop_map(|steps| {
        let begin = [Step::Trip, Step::ProbeNow];
        begin.into_iter().chain(steps).collect()
    })
}

/// A partner from which seldom anything comes, and whose callers give up.
fn silence() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => seconds(0..=3).prop_map(|nanos| Step::Advance(Span::Nanos(nanos))),
        10 => Just(Step::Admit(Asker::Eligible)),
        10 => settle(dropped()),
        1 => settle(ending()),
        1 => prop_oneof![Just(0), 1..=10 * SECOND].prop_map(Step::Hear),
        1 => step(),
    ];
    prop::collection::vec(step, 1..60)
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        3 => prop::collection::vec(step(), 1..100),
        2 => trials(),
        1 => silence(),
    ]
}
