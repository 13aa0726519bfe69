//! A body that settles its call's ticket when it ends, breaks off, or hangs.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};

use super::prefix::Gathering;
use crate::{
    protocol::{Holder, Ticket},
    verdict::{Outcome, Verdict},
};

pin_project! {
    /// The body of a partner's answer; the call is in flight until it ends. Nothing is held back.
    ///
    /// | the body | the call |
    /// |---|---|
    /// | comes to its end | what its head, and its beginning where that is judged, said |
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
        inner: B,
        open: Option<Open>,
    }
}

/// A call that is not settled yet.
struct Open {
    ticket: Ticket,
    /// What it is if the body comes to its end.
    verdict: Verdict,
    /// The beginning of the body, until its judge has spoken.
    gathering: Option<Box<Gathering>>,
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

impl Open {
    /// Something came, but not the end.
    fn goes_on(mut self) -> Option<Self> {
        self.wait.is_over();
        if self
            .gathering
            .as_ref()
            .is_some_and(|gathering| gathering.is_full())
        {
            self = self.judged(false);
            // Only what looks good waits for the rest: no rest makes a failure better.
            if self.verdict.outcome != Outcome::Success {
                self.ticket.settle(self.verdict);
                return None;
            }
        }
        self.ticket.progress();
        Some(self)
    }

    fn ended(self) {
        let Self {
            ticket, verdict, ..
        } = self.judged(true);
        ticket.settle(verdict);
    }

    fn hung(self) {
        let Verdict { code, .. } = self.verdict;
        self.ticket.settle(Verdict {
            code,
            ..Outcome::Failure.into()
        });
    }

    /// Asks the judge of the body, if there is one that has not spoken. Its panic drops the ticket as it is held here.
    fn judged(mut self, ended: bool) -> Self {
        if let Some(gathering) = self.gathering.take() {
            self.ticket.held_by(Holder::Classifier);
            self.verdict = gathering.verdict(ended).unwrap_or(self.verdict);
        }
        self
    }
}

impl<B> Measured<B> {
    pub(super) fn new(
        inner: B,
        ticket: Ticket,
        verdict: Verdict,
        gathering: Option<Gathering>,
    ) -> Self {
        Self {
            inner,
            open: Some(Open {
                ticket,
                verdict,
                gathering: gathering.map(Box::new),
                wait: Wait::Not(None),
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
        let Some(open) = &mut this.open else {
            return this.inner.poll_frame(cx);
        };
        let polled = open
            .ticket
            .while_polling(|| this.inner.as_mut().poll_frame(cx));
        if polled.is_pending() && !open.wait.goes_on(&open.ticket, cx) {
            return Poll::Pending;
        }
        // Taken out first: what is not put back is dropped, also if a judge panics.
        let Some(mut open) = this.open.take() else {
            return polled;
        };
        match &polled {
            Poll::Pending => open.hung(),
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(gathering), Some(data)) = (&mut open.gathering, frame.data_ref()) {
                    gathering.copy(data);
                }
                // The last frame is the end: many readers do not ask once more.
                if this.inner.is_end_stream() {
                    open.ended();
                } else {
                    *this.open = open.goes_on();
                }
            }
            Poll::Ready(None) => open.ended(),
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
