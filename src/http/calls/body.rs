//! The body of an HTTP answer: judged by whether it comes to its end, and by its beginning where that is asked for.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    answer_prefix::Gathering,
    streamed::{Measuring, Reading},
};
use crate::{
    call::ticket::Ticket,
    facts::outcome::{Outcome, Verdict},
};

pin_project! {
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
    pub struct Measured<B> {
        #[pin]
        inner: Measuring<B, Beginning>,
    }
}

impl<B> Measured<B> {
    pub(super) fn new(
        inner: B,
        ticket: Ticket,
        verdict: Verdict,
        gathering: Option<Gathering>,
    ) -> Self {
        let beginning = Beginning {
            verdict,
            gathering: gathering.map(Box::new),
        };
        let inner = Measuring::new(inner, ticket, beginning);
        Self { inner }
    }

    pub(super) fn settled(inner: B) -> Self {
        let inner = Measuring::settled(inner);
        Self { inner }
    }

    /// The body itself.
    pub fn get_ref(&self) -> &B {
        self.inner.get_ref()
    }

    /// The body itself, to be read to its end by somebody who is not measured: the call ends here, neutral
    /// unless the partner had been silent for `hang_limit`.
    pub fn into_inner(self) -> B {
        self.inner.into_inner()
    }
}

impl<B: Body> Body for Measured<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for Measured<B> {
    fn default() -> Self {
        Self::settled(B::default())
    }
}

impl<B> fmt::Debug for Measured<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured")
            .field("settled", &self.inner.is_settled())
            .finish_non_exhaustive()
    }
}

/// What an answer said so far.
struct Beginning {
    /// What the call is if the body comes to its end.
    verdict: Verdict,
    /// The beginning of the body, until its judge has spoken.
    gathering: Option<Box<Gathering>>,
}

impl Beginning {
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
