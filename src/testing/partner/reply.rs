//! The decision on a call, by phase, seed and number.

use std::time::Duration;

use crate::testing::script::Phase;

/// What the partner does with a call when its latency is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        success: bool,
        retry_after: Option<Duration>,
    },
    Refuse,
    Reset,
    Hang,
}

impl Reply {
    const GOOD: Self = Self::Answer {
        status: 200,
        success: true,
        retry_after: None,
    };

    const fn bad(status: u16, retry_after: Option<Duration>) -> Self {
        Self::Answer {
            status,
            success: false,
            retry_after,
        }
    }

    /// Decides on call `number`, which begins when the phase has lasted for `into`.
    pub(super) fn decide(phase: Phase, into: Duration, seed: u64, number: u64) -> Self {
        match phase {
            Phase::Failing { share, status } if is_struck(share, seed, number) => {
                Self::bad(status, None)
            }
            Phase::FailingWith200 { share } if is_struck(share, seed, number) => {
                Self::bad(200, None)
            }
            // No division by zero: the check of a phase rejects a period of zero.
            Phase::Flapping { every } if (into.as_nanos() / every.as_nanos()).is_multiple_of(2) => {
                Self::bad(503, None)
            }
            Phase::Healthy
            | Phase::Slow { .. }
            | Phase::Failing { .. }
            | Phase::FailingWith200 { .. }
            | Phase::Flapping { .. } => Self::GOOD,
            Phase::Hanging => Self::Hang,
            Phase::ConnectionRefused => Self::Refuse,
            Phase::ResetMidBody => Self::Reset,
            Phase::RetryAfter { status, after } => Self::bad(status, Some(after)),
        }
    }
}

/// Returns whether call `number` belongs to the `share` of calls that fail.
fn is_struck(share: f64, seed: u64, number: u64) -> bool {
    // The finaliser of SplitMix64, not std's hasher: the same seed must give the same run after an
    // upgrade of Rust. The seed is mixed first, or the runs of seeds 1 and 2 would be the same but
    // shifted.
    const fn mix(z: u64) -> u64 {
        let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    // An f64 holds 53 bits exactly, so a share of 0 fails no call and a share of 1 fails all.
    let drawn = (mix(mix(seed) ^ number) >> 11) as f64 / (1_u64 << 53) as f64;
    drawn < share
}
