//! What every streamed answer has in common: its call is in flight until the body ends, breaks off, or hangs.
//!
//! Protocols differ in what a frame says, and in nothing else; so that is all a protocol gives ([`Reading`]), and
//! the rest (when a call is settled, and by whom its reader is made to wait) stands here once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use crate::{
    call::ticket::{Holder, Ticket},
    facts::outcome::{Outcome, Verdict},
};

/// What a protocol makes of a body. A judge of the user's may panic in any of it: the call is neutral then.
pub(crate) trait Reading {
    /// Looks at a piece of the body on its way to the reader.
    fn saw(&mut self, data: &impl Buf);

    /// Says what the call is, if nothing that may follow has a part in it. Asked after each piece but the last.
    fn early(&mut self) -> Option<Verdict>;

    /// Says what the call is now that the body has come to its end.
    fn ended(self, trailers: Option<&HeaderMap>) -> Verdict;

    /// The code that goes with a hang: what the head said, as a rule.
    fn code(&self) -> Option<u16>;

    /// Says whether a partner who is silent hangs. If not, its silence says nothing, and a drop is neutral however long that was.
    fn hangs(&self) -> bool {
        true
    }

    /// Says whether trailers that may still come would change what the call is. Then a body that says that it is at its end is not believed
    /// before its reader has asked once more: one that decodes another may say so with trailers left to give.
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
    wait: Wait,
}

/// What the reader's wait for the next frame is measured by.
enum Wait {
    /// Nobody waits; the timer of the last wait, to be used again.
    Not(Option<Timer>),
    Since(Timer),
    /// Here is no timer.
    Unknown,
}

/// Boxed rather than pinned in the body, so that `Measured` is `Unpin` where its body is: readers who
/// ask for frames one by one need that. Made by the first wait, so most bodies never have one.
type Timer = Pin<Box<Sleep>>;

impl Wait {
    /// Notes that the reader waits; says whether it has waited for too long.
    fn goes_on(&mut self, ticket: &Ticket, cx: &mut Context<'_>) -> bool {
        if let Self::Not(used) = self {
            let timer = ticket
                .hang_limit()
                .and_then(|limit| timer(limit, used.take()));
            *self = timer.map_or(Self::Unknown, Self::Since);
        }
        let Self::Since(timer) = self else {
            return false;
        };
        // Asked for its time, a timer panics if its runtime has ended meanwhile: no matter of the reader's.
        let polled = catch_unwind(AssertUnwindSafe(|| timer.as_mut().poll(cx)));
        match polled {
            Ok(polled) => polled.is_ready(),
            Err(_panic) => {
                *self = Self::Unknown;
                false
            }
        }
    }

    fn is_over(&mut self) {
        *self = match std::mem::replace(self, Self::Unknown) {
            Self::Since(timer) => Self::Not(Some(timer)),
            as_it_was => as_it_was,
        };
    }
}

/// A timer that begins now, if there can be one here.
fn timer(limit: Duration, used: Option<Timer>) -> Option<Timer> {
    // Not even asked for where it is known to panic: nobody wants the panic hook's message.
    Handle::try_current().ok()?;
    // Whether a runtime's time is enabled can only be found out by trying.
    let fresh = catch_unwind(|| sleep(limit)).ok()?;
    Some(match used {
        Some(mut timer) => {
            timer.set(fresh);
            timer
        }
        None => Box::pin(fresh),
    })
}

impl<R: Reading> Open<R> {
    /// Something came, but not the end.
    fn goes_on(mut self) -> Option<Self> {
        self.wait.is_over();
        if let Some(verdict) = self.reading.early() {
            self.ticket.settle(verdict);
            return None;
        }
        self.ticket.progress();
        self.is_waited_for();
        Some(self)
    }

    /// Holds the ticket as it is to be dropped, if it is dropped now.
    fn is_waited_for(&mut self) {
        if !self.reading.hangs() {
            // As with a judge: whatever becomes of it, the partner had no part in that.
            self.ticket.held_by(Holder::Classifier);
        }
    }

    /// Nothing came; says whether the partner hangs.
    fn is_pending(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_waited_for();
        self.reading.hangs() && self.wait.goes_on(&self.ticket, cx)
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
            wait: Wait::Not(None),
        };
        open.is_waited_for();
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
        if polled.is_pending() && !open.is_pending(cx) {
            return Poll::Pending;
        }
        // Taken out first: what is not put back is dropped, also if a judge panics; and then as it is held here.
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
                // A last frame is the end: many readers do not ask once more.
                let is_last = this.inner.is_end_stream() && !open.reading.may_still_speak();
                if trailers.is_some() || is_last {
                    open.ended(trailers);
                } else {
                    *this.open = open.goes_on();
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
