//! A body that settles its call's ticket when it ends.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    protocol::Ticket,
    verdict::{Outcome, Verdict},
};

pin_project! {
    /// The body of a partner's answer; the call is in flight until it ends. Nothing is buffered.
    ///
    /// A body that breaks off is a failure. One that is dropped before its end is a failure if the
    /// partner had been silent for at least `hang_limit`, and neutral otherwise: a reader who stops
    /// early says nothing about the partner.
    pub struct Measured<B> {
        #[pin]
        inner: B,
        open: Option<Open>,
    }
}

/// A call that is not settled yet.
struct Open {
    ticket: Ticket,
    /// What it is if the body comes to its end.
    verdict: Verdict,
}

impl<B> Measured<B> {
    pub(super) fn new(inner: B, ticket: Ticket, verdict: Verdict) -> Self {
        Self {
            inner,
            open: Some(Open { ticket, verdict }),
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
            Poll::Ready(Some(Ok(_))) if !this.inner.is_end_stream() => {
                if let Some(open) = &mut this.open {
                    open.ticket.progress();
                }
            }
            // The last frame is the end: many readers do not ask once more.
            Poll::Ready(Some(Ok(_)) | None) => {
                if let Some(Open { ticket, verdict }) = this.open.take() {
                    ticket.settle(verdict);
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
