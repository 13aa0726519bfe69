//! The window by its definition: a list that forgets nothing, read anew each time. For tests.

use super::counts::{Counts, Landing, Wait, WaitLength};
use crate::{base::moment::Moment, policy::window::Window};

/// Everything that ever landed, and every sign of life, read by the definition of the window.
#[derive(Debug, Clone)]
pub(crate) struct Naive {
    window: Window,
    seen: Vec<(Moment, Seen)>,
}

#[derive(Debug, Clone, Copy)]
enum Seen {
    Landed(Landing),
    /// Something came from the partner on a call that goes on.
    SignOfLife,
}

impl Seen {
    /// Whether the call is one of those that the rates are computed from.
    fn is_judged(self) -> bool {
        self.is_success() || self.is_failure() || self.is_slow_drop()
    }

    fn is_success(self) -> bool {
        matches!(self, Self::Landed(Landing::Success { .. }))
    }

    fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Landed(Landing::Failure { .. } | Landing::Hung { .. })
        )
    }

    fn is_slow_drop(self) -> bool {
        matches!(self, Self::Landed(Landing::Abandoned { slow: true, .. }))
    }

    fn is_slow(self) -> bool {
        matches!(
            self,
            Self::Landed(
                Landing::Success { slow: true }
                    | Landing::Failure { slow: true }
                    | Landing::Hung { slow: true, .. }
                    | Landing::Abandoned { slow: true, .. }
            )
        )
    }

    /// Whether something came from the partner.
    fn came(self) -> bool {
        matches!(
            self,
            Self::SignOfLife
                | Self::Landed(
                    Landing::Success { .. } | Landing::Failure { .. } | Landing::Neutral { .. }
                )
        )
    }

    /// The wait of a caller that left.
    fn wait(self) -> Option<Wait> {
        match self {
            Self::Landed(Landing::Hung { wait, .. } | Landing::Abandoned { wait, .. }) => {
                Some(wait).filter(|wait| wait.length != WaitLength::None)
            }
            _ => None,
        }
    }

    fn neutral_code(self) -> Option<u16> {
        match self {
            Self::Landed(Landing::Neutral { code }) => Some(code),
            _ => None,
        }
    }

    /// Whether any number shows it: a caller that left at once and did not wait leaves no trace.
    fn shows(self) -> bool {
        let is_drop = matches!(self, Self::Landed(Landing::Abandoned { slow: false, .. }));
        !is_drop || self.wait().is_some()
    }
}

impl Naive {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            seen: Vec::new(),
        }
    }

    pub(crate) fn window(&self) -> Window {
        self.window
    }

    pub(crate) fn record(&mut self, landing: Landing, at: Moment) {
        self.seen.push((at, Seen::Landed(landing)));
    }

    pub(crate) fn hear(&mut self, at: Moment) {
        self.seen.push((at, Seen::SignOfLife));
    }

    /// Successes that landed in the bucket that begins at `start`, before everything else in it.
    pub(crate) fn add_successes(&mut self, start: Moment, successes: u64) {
        let is_later = |(at, _): &(Moment, Seen)| *at >= start;
        let first = self.seen.iter().position(is_later);
        let first = first.unwrap_or(self.seen.len());
        let success = (start, Seen::Landed(Landing::Success { slow: false }));
        for _ in 0..successes {
            self.seen.insert(first, success);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.seen.clear();
    }

    /// How wide a bucket is; `None` in a window of calls.
    pub(crate) fn width(&self) -> Option<u128> {
        match self.window {
            Window::Time { length, buckets } => Some(length.as_nanos() / u128::from(buckets)),
            Window::Calls(_) => None,
        }
    }

    /// When what came at `at` leaves: its bucket's start, a whole window later.
    fn leaves(&self, at: Moment) -> Option<u128> {
        let Window::Time { length, .. } = self.window else {
            return None;
        };
        let at = u128::from(at.0);
        Some(at - at % self.width()? + length.as_nanos())
    }

    pub(crate) fn counts(&self, now: Moment) -> Counts {
        match self.window {
            Window::Calls(size) => self.counts_of_calls(size),
            Window::Time { .. } => {
                let now = u128::from(now.0);
                let live = self.seen.iter();
                let live = live.filter(|(at, _)| self.leaves(*at) > Some(now));
                let live: Vec<Seen> = live.map(|(_, seen)| *seen).collect();
                count(&live, &live, &live, live.iter().any(|seen| seen.came()))
            }
        }
    }

    /// The last calls that were judged; the calls given up since something last came; and the
    /// others since the last call that was judged.
    fn counts_of_calls(&self, size: u32) -> Counts {
        let size = size as usize;
        let all: Vec<Seen> = self.seen.iter().map(|(_, seen)| *seen).collect();
        let judged: Vec<Seen> = all.iter().copied().filter(|s| s.is_judged()).collect();
        let judged = &judged[judged.len().saturating_sub(size)..];
        let after_last = |test: fn(&Seen) -> bool| {
            let last = all.iter().rposition(test);
            &all[last.map_or(0, |last| last + 1)..]
        };
        let unanswered = after_last(|seen| seen.came());
        let left = unanswered.iter().filter(|seen| seen.wait().is_some());
        // A whole window of callers that left hides what came before it.
        let answered = all.iter().any(|seen| seen.came()) && left.count() < size;
        count(judged, unanswered, after_last(|s| s.is_judged()), answered)
    }

    pub(crate) fn next_departure(&self, now: Moment) -> Option<u128> {
        let now = u128::from(now.0);
        self.seen
            .iter()
            .filter(|(_, seen)| seen.shows())
            .filter_map(|(at, _)| self.leaves(*at))
            .filter(|leaves| *leaves > now)
            .min()
    }
}

fn count(judged: &[Seen], waited: &[Seen], others: &[Seen], answered: bool) -> Counts {
    let of = |list: &[Seen], test: &dyn Fn(&Seen) -> bool| {
        u32::try_from(list.iter().filter(|seen| test(seen)).count()).expect("a short list")
    };
    let landed = |landing| move |seen: &Seen| matches!(seen, Seen::Landed(l) if *l == landing);
    let waits: Vec<Wait> = waited.iter().filter_map(|seen| seen.wait()).collect();
    let as_long = |length| waits.iter().filter(|w| w.length == length).count() as u32;
    let run = judged.iter().rev().take_while(|seen| !seen.is_success());
    let codes: Vec<u16> = others.iter().filter_map(|s| s.neutral_code()).collect();
    Counts {
        successes: u64::from(of(judged, &|seen| seen.is_success())),
        failed: of(judged, &|seen| seen.is_failure()),
        slow: of(judged, &|seen| seen.is_slow()),
        run: run.filter(|seen| seen.is_failure()).count() as u32,
        slow_drops: of(judged, &|seen| seen.is_slow_drop()),
        given_up: as_long(WaitLength::Long),
        left_early: as_long(WaitLength::Short),
        longest_wait: waits.iter().map(|wait| wait.millis).max().unwrap_or(0),
        neutral: codes.len() as u32,
        neutral_code: codes.last().copied().unwrap_or(0),
        ours: of(others, &landed(Landing::Ours)),
        refused_within: of(others, &landed(Landing::RefusedWithin)),
        answered,
    }
}
