//! A streamed answer: its call is in flight until the body ends, breaks off, or hangs.
//!
//! Protocols differ only in how they read a frame. A protocol therefore implements [`Reading`], and
//! everything else is written here once: when the call is settled, and how long its reader waits.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::reader_wait::HangTimer;
use crate::{
    call::ticket::{Holder, Ticket},
    facts::outcome::{Outcome, Verdict},
};

/// How a protocol reads a body. A judge of the user's may panic in every method: the call is
/// neutral then.
pub(crate) trait Reading {
    /// Looks at a piece of the body on its way to the reader.
    fn saw(&mut self, data: &impl Buf);

    /// Returns the verdict, if nothing that may follow can change it. Called after each piece but
    /// the last.
    fn early(&mut self) -> Option<Verdict>;

    /// Returns the verdict when the body has come to its end.
    fn ended(self, trailers: Option<&HeaderMap>) -> Verdict;

    /// Returns the code for a hang, which is usually that of the head.
    fn code(&self) -> Option<u16>;

    /// Returns whether a silent partner hangs.
    ///
    /// If not, silence says nothing, and a dropped body is neutral after any time.
    fn hangs(&self) -> bool {
        true
    }

    /// Returns whether trailers that may still come can change the verdict.
    ///
    /// If so, `is_end_stream` of the body does not end the call; the next poll of the reader does.
    /// A body that decodes another body may report its end while it still has trailers to give.
    fn may_still_speak(&self) -> bool {
        false
    }
}

pin_project! {
    /// A body that settles its call's ticket.
    pub(crate) struct Measuring<B, R> {
        #[pin]
        inner: B,
        open: Option<Open<R>>,
    }
}

/// A call that is not settled yet.
struct Open<R> {
    ticket: Ticket,
    reading: R,
    timer: HangTimer,
}

impl<R: Reading> Open<R> {
    /// Handles a frame that is not the last. Returns `None` if the call is settled.
    fn after_frame(mut self) -> Option<Self> {
        if let Some(verdict) = self.reading.early() {
            self.ticket.settle(verdict);
            return None;
        }
        self.ticket.progress();
        self.note_holder();
        Some(self)
    }

    /// Notes in the ticket how a drop is judged from here on.
    fn note_holder(&mut self) {
        if !self.reading.hangs() {
            // From here on a drop is neutral, as while a judge runs.
            self.ticket.held_by(Holder::Classifier);
        }
    }

    /// Handles a poll that found no frame. Returns whether the partner hangs.
    fn poll_hang(&mut self, cx: &mut Context<'_>) -> bool {
        self.note_holder();
        self.reading.hangs() && self.timer.poll_expired(&self.ticket, cx)
    }

    fn ended(self, trailers: Option<&HeaderMap>) {
        let verdict = self.reading.ended(trailers);
        self.ticket.settle(verdict);
    }

    fn hung(self) {
        let code = self.reading.code();
        self.ticket.settle(Verdict {
            code,
            ..Outcome::Failure.into()
        });
    }
}

impl<B, R> Measuring<B, R> {
    pub(crate) fn new(inner: B, ticket: Ticket, reading: R) -> Self
    where
        R: Reading,
    {
        let mut open = Open {
            ticket,
            reading,
            timer: HangTimer::default(),
        };
        open.note_holder();
        Self {
            inner,
            open: Some(open),
        }
    }

    pub(crate) fn settled(inner: B) -> Self {
        Self { inner, open: None }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_none()
    }

    /// Lends the ticket of a call that is not settled yet.
    pub(crate) fn ticket(self: Pin<&mut Self>) -> Option<&mut Ticket> {
        let open = self.project().open.as_mut();
        open.map(|open| &mut open.ticket)
    }

    pub(crate) fn get_ref(&self) -> &B {
        &self.inner
    }

    pub(crate) fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body, R: Reading> Body for Measuring<B, R> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(open) = &mut this.open else {
            return this.inner.poll_frame(cx);
        };
        let polled = open
            .ticket
            .while_polling(|| this.inner.as_mut().poll_frame(cx));
        if polled.is_pending() && !open.poll_hang(cx) {
            return Poll::Pending;
        }
        // Taken out first: if a judge panics, the open call is dropped, and the ticket is judged by
        // the holder that is set here.
        let Some(mut open) = this.open.take() else {
            return polled;
        };
        open.ticket.held_by(Holder::Classifier);
        match &polled {
            Poll::Pending => open.hung(),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    open.reading.saw(data);
                }
                let trailers = frame.trailers_ref();
                // The last frame is the end: many readers do not poll again.
                let is_last = this.inner.is_end_stream() && !open.reading.may_still_speak();
                if trailers.is_some() || is_last {
                    open.ended(trailers);
                } else {
                    *this.open = open.after_frame();
                }
            }
            Poll::Ready(None) => open.ended(None),
            Poll::Ready(Some(Err(_))) => open.ticket.settle(Outcome::Failure),
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
