//! The body of an HTTP answer: judged by whether it comes to its end, and by its beginning where that is asked for.

use bytes::Buf;
use http::HeaderMap;

use super::{answer_prefix::Gathering, measured_body::measured_body, streamed::Reading};
use crate::facts::outcome::{Outcome, Verdict};

measured_body! {
    /// The body of a partner's answer; the call is in flight until it ends. Nothing is held back.
    ///
    /// | the body | the call |
    /// |---|---|
    /// | comes to its end, which trailers are too | what its head, and its beginning where that is judged, said |
    /// | breaks off | failure |
    /// | hangs: its reader has waited `hang_limit` for the next frame | failure, at that moment; the body goes on for its reader, late frames included |
    /// | is dropped before its end | failure if the partner had been silent for at least `hang_limit`, otherwise neutral: a reader who stops early says nothing about the partner |
    ///
    /// Only time in which the reader waits for a frame counts as a hang: a slow reader is not the
    /// partner's fault. `hang_limit` is the policy's at the moment the wait begins.
    ///
    /// # Timers
    ///
    /// The first wait makes a timer of tokio's. Outside a tokio runtime there is none, and a
    /// hang is noticed only when the body is dropped. In a runtime whose time is not enabled it is the same, but
    /// tokio panics when it is asked for a timer: the panic is caught, once a body, and its message reaches the panic
    /// hook. Enable time there (`enable_time`), and certainly where panics abort.
    ///
    /// # Panics
    ///
    /// If the inner body or a judge of bodies panics.
    pub struct Measured<B>, read by Beginning
}

/// What an answer said so far.
pub(super) struct Beginning {
    /// What the call is if the body comes to its end.
    verdict: Verdict,
    /// The beginning of the body, until its judge has spoken.
    gathering: Option<Box<Gathering>>,
}

impl Beginning {
    pub(super) fn new(verdict: Verdict, gathering: Option<Gathering>) -> Self {
        Self {
            verdict,
            gathering: gathering.map(Box::new),
        }
    }

    /// Asks the judge of the body, if there is one that has not spoken.
    fn judged(&mut self, ended: bool) -> Verdict {
        if let Some(gathering) = self.gathering.take() {
            self.verdict = gathering.verdict(ended).unwrap_or(self.verdict);
        }
        self.verdict
    }
}

impl Reading for Beginning {
    fn saw(&mut self, data: &impl Buf) {
        if let Some(gathering) = &mut self.gathering {
            gathering.copy(data);
        }
    }

    fn early(&mut self) -> Option<Verdict> {
        if !self.gathering.as_ref()?.is_full() {
            return None;
        }
        // Only what looks good waits for the rest: no rest makes a failure better.
        Some(self.judged(false)).filter(|verdict| verdict.outcome != Outcome::Success)
    }

    fn ended(mut self, _: Option<&HeaderMap>) -> Verdict {
        self.judged(true)
    }

    fn code(&self) -> Option<u16> {
        self.verdict.code
    }
}
