//! The body of an HTTP answer: judged by whether it comes to its end, and on request by its
//! beginning.

use std::any::Any;

use bytes::Buf;
use http::HeaderMap;

use super::{
    answer_prefix::Gathering, judged_errors::JudgedErrors, measured_body::measured_body,
    streamed::Reading,
};
use crate::facts::outcome::{Outcome, Verdict};

measured_body! {
    /// The body of a partner's answer. The call is in flight until the body ends. No frame is held
    /// back.
    ///
    /// What becomes of the body decides what the call is:
    ///
    /// - **It comes to its end**, also by trailers: the call is what the head says, or the
    ///   beginning of the body where that is judged.
    /// - **It breaks off**: a failure, unless the error is [ours](crate::fault).
    /// - **It hangs**, because its reader has waited `hang_limit` for the next frame: a failure, at
    ///   that moment. The body still passes later frames to its reader.
    /// - **It is dropped before its end**: a failure if the partner had been silent for at least
    ///   `hang_limit`. Otherwise the call is neutral: a reader that stops early says nothing about
    ///   the partner.
    ///
    /// Only time in which the reader waits for a frame counts as a hang: a slow reader is not the
    /// partner's fault. The `hang_limit` is that of the policy when the wait begins.
    ///
    /// # Timers
    ///
    /// The first wait creates a tokio timer. Outside a tokio runtime there is no timer, and a hang
    /// is noticed only when the body is dropped. The same holds in a runtime without time. There
    /// tokio panics when a timer is created: the body catches the panic, once per body, and the
    /// panic hook gets its message. Call `enable_time` on such a runtime. It is necessary where a
    /// panic aborts the process.
    ///
    /// # Panics
    ///
    /// If the inner body or a judge of bodies panics.
    pub struct CallBody<B>, read by Beginning
}

/// What is known of an answer so far.
pub(super) struct Beginning {
    /// The verdict if the body comes to its end.
    verdict: Verdict,
    /// The beginning of the body, until its judge has run.
    gathering: Option<Box<Gathering>>,
    errors: JudgedErrors,
}

impl Beginning {
    pub(super) fn new(
        verdict: Verdict,
        gathering: Option<Gathering>,
        errors: JudgedErrors,
    ) -> Self {
        Self {
            verdict,
            gathering: gathering.map(Box::new),
            errors,
        }
    }

    /// Runs the judge of the body, if there is one and it has not run, and returns the verdict.
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
        // Only a success waits for the rest: no rest turns a failure into a success.
        Some(self.judged(false)).filter(|verdict| verdict.outcome != Outcome::Success)
    }

    fn ended(mut self, _: Option<&HeaderMap>) -> Verdict {
        self.judged(true)
    }

    fn broke_off(&self, error: &impl Any) -> Verdict {
        self.errors.verdict_of_body(error)
    }

    fn code(&self) -> Option<u16> {
        self.verdict.code
    }
}
