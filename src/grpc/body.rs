//! A body that settles its call's ticket at the trailers.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{calls::JudgeStatus, wire};
use crate::{
    protocol::{Holder, Ticket},
    verdict::{Outcome, Verdict},
};

pin_project! {
    /// The body of a partner's answer; the call is in flight until its trailers came. Nothing is buffered.
    ///
    /// A body that breaks off, or that ends without a `grpc-status`, is a failure. One that is dropped
    /// before its end is a failure if the partner had been silent for at least `hang_limit`, and
    /// neutral otherwise: a reader who stops early says nothing about the partner.
    pub struct Measured<B> {
        #[pin]
        inner: B,
        open: Option<Open>,
    }
}

/// A call that is not settled yet.
struct Open {
    ticket: Ticket,
    judge: JudgeStatus,
    /// What it is if the body comes to its end, and no trailers say otherwise.
    otherwise: Verdict,
}

impl Open {
    fn ended(mut self, trailers: Option<&HeaderMap>) {
        // A panic in the user's judge is neutral, however long the call took.
        self.ticket.held_by(Holder::Classifier);
        let verdict = match trailers.and_then(|trailers| Some((wire::code(trailers)?, trailers))) {
            Some((code, trailers)) => self.judge.verdict(code, trailers),
            None => self.otherwise,
        };
        self.ticket.settle(verdict);
    }
}

impl<B> Measured<B> {
    pub(super) fn new(inner: B, ticket: Ticket, judge: JudgeStatus, otherwise: Verdict) -> Self {
        Self {
            inner,
            open: Some(Open {
                ticket,
                judge,
                otherwise,
            }),
        }
    }

    pub(super) fn settled(inner: B) -> Self {
        Self { inner, open: None }
    }

    /// The body itself.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// The body itself, to be read to its end by somebody who is not measured: the call ends here, neutral
    /// unless the partner had been silent for `hang_limit`.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body> Body for Measured<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let polled = match &mut this.open {
            Some(open) => open
                .ticket
                .while_polling(|| this.inner.as_mut().poll_frame(cx)),
            None => return this.inner.poll_frame(cx),
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let trailers = frame.trailers_ref();
                // A last frame is the end: many readers do not ask once more.
                if trailers.is_some() || this.inner.is_end_stream() {
                    if let Some(open) = this.open.take() {
                        open.ended(trailers);
                    }
                } else if let Some(open) = &mut this.open {
                    open.ticket.progress();
                }
            }
            Poll::Ready(None) => {
                if let Some(open) = this.open.take() {
                    open.ended(None);
                }
            }
            Poll::Ready(Some(Err(_))) => {
                if let Some(Open { ticket, .. }) = this.open.take() {
                    ticket.settle(Outcome::Failure);
                }
            }
        }
        polled
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
            .field("settled", &self.open.is_none())
            .finish_non_exhaustive()
    }
}
