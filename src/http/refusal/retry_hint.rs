//! How long a refusal asks its client to wait.

use std::time::Duration;

use crate::facts::{mode::Mode, refused::Refused};

/// The middle of the hints under a hold without expiry, whose end is unknown.
const UNKNOWN_END: Duration = Duration::from_secs(30);
/// The middle of the hints while the partner is probed: it may recover at any moment.
const WHILE_PROBING: Duration = Duration::from_secs(5);

/// Returns the shortest and the longest time that a refusal asks its client to wait.
///
/// Where the end is known these are half of the time that is left and the whole of it; elsewhere
/// they lie around a guess. The hint is drawn between them, so that clients that were refused in
/// one second do not return in one second. It is never past a known end.
pub(crate) fn delays(refused: &Refused, longest: Duration) -> (Duration, Duration) {
    let guess = |middle: Duration| (middle / 2, middle * 3 / 2);
    let (least, most) = match (refused.retry_after(), refused.mode()) {
        (Some(left), _) => {
            let most = left.min(longest);
            (most / 2, most)
        }
        (None, Mode::Probing) => guess(WHILE_PROBING),
        (None, Mode::Maintenance | Mode::Serving) => guess(UNKNOWN_END),
    };
    let most = most.min(longest);
    (least.min(most), most)
}

/// Returns one of the [`delays`] in whole seconds, by a `draw` from 0 to 1.
///
/// It is at least one second: a client that is told "0" asks again at once.
pub(super) fn retry_after(refused: &Refused, longest: Duration, draw: f64) -> u64 {
    let (least, most) = delays(refused, longest);
    let most = most.as_secs().max(1);
    let least = least.as_secs().clamp(1, most);
    least + (draw * (most - least + 1) as f64) as u64
}
