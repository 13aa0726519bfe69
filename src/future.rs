//! The future of a call: refused, waiting for readiness, or running.

use std::{
    fmt,
    future::Future,
    mem::{self, ManuallyDrop},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower::Service;

#[cfg(feature = "http")]
use crate::call::upload_wait::Ticketed;
use crate::{
    call::{
        admission::{Stay, admit},
        just_refused,
        protocol::Protocol,
        ticket::{Holder, Ticket},
        wake_on_shut::Parked,
    },
    facts::{
        outcome::{Outcome, Verdict},
        refused::Refused,
    },
    state::root::Root,
};

pin_project! {
    /// The future of a call through the layer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the call: as a failure if it had waited for the partner for at least
    /// `hang_limit`, otherwise as neutral. A probe gives its slot back in either case.
    ///
    /// # Panics
    ///
    /// If it is polled after it has completed, or after the inner service panicked.
    pub struct ResponseFuture<F, S, Req, P> {
        #[pin]
        state: State<F, S, Req, P>,
    }
}

pin_project! {
    // `repr(u64)` gives the enum a tag of its own: a niche in the inner future would have to be
    // decoded at each poll. The tag is as wide as a word: with a smaller tag the fields are copied
    // in pieces that straddle words, and a load from there stalls on store forwarding.
    #[project = StateProj]
    #[repr(u64)]
    enum State<F, S, Req, P> {
        Refused { refusal: Option<(Refused, Req)>, protocol: P },
        Waiting { waiting: Seldom<Waiting<S, Req, P>> },
        Running { #[pin] future: F, ticket: Option<Ticket>, protocol: P },
    }
}

/// A value that few futures still hold when they are dropped. Its drop glue is out of line, which
/// saves every other call 10 instructions (`cargo run --release -p peers`, `waiting`).
struct Seldom<T>(ManuallyDrop<Option<T>>);

impl<T> Seldom<T> {
    #[inline]
    fn new(held: T) -> Self {
        Self(ManuallyDrop::new(Some(held)))
    }
}

impl<T> Drop for Seldom<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.0.take() {
            drop_out_of_the_way(held);
        }
    }
}

#[cold]
#[inline(never)]
fn drop_out_of_the_way<T>(held: T) {
    drop(held);
}

/// An admitted request that waits for an instance of the inner service to be ready.
struct Waiting<S, Req, P> {
    inner: S,
    request: Req,
    ticket: Ticket,
    /// `None` for an exempt request, which stays in every mode.
    stay: Option<(Stay, Arc<Root>)>,
    parked: Parked,
    protocol: P,
}

impl<F, S, Req, P> ResponseFuture<F, S, Req, P> {
    #[inline]
    pub(crate) fn refused(request: Req, refused: Refused, protocol: P) -> Self {
        Self {
            state: State::Refused {
                refusal: Some((refused, request)),
                protocol,
            },
        }
    }

    #[inline]
    pub(crate) fn running(future: F, ticket: Ticket, protocol: P) -> Self {
        Self {
            state: State::Running {
                future,
                ticket: Some(ticket),
                protocol,
            },
        }
    }

    pub(crate) fn waiting(
        inner: S,
        request: Req,
        ticket: Ticket,
        stay: Option<(Stay, Arc<Root>)>,
        protocol: P,
    ) -> Self {
        let waiting = Waiting {
            inner,
            request,
            ticket,
            stay,
            parked: Parked::default(),
            protocol,
        };
        Self {
            state: State::Waiting {
                waiting: Seldom::new(waiting),
            },
        }
    }
}

pub(crate) const POLLED_AGAIN: &str =
    "polled after it completed, or after the inner service panicked";

/// The result of one poll of a request that waits for readiness.
enum Waited<F, S, Req, P, T> {
    Still(Waiting<S, Req, P>),
    Began {
        future: F,
        ticket: Ticket,
        protocol: P,
    },
    Ended(T),
}

impl<S, Req, P> Waiting<S, Req, P>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    #[expect(
        clippy::type_complexity,
        reason = "the outcome names what the service names"
    )]
    fn poll(
        mut self,
        cx: &mut Context<'_>,
    ) -> Waited<S::Future, S, Req, P, Result<P::Response, P::Error>> {
        loop {
            if let Err(refused) = self.stay_admitted() {
                just_refused::note(&refused);
                return Waited::Ended(self.protocol.refuse(self.request, refused));
            }
            match self.ticket.while_polling(|| self.inner.poll_ready(cx)) {
                Poll::Ready(Ok(())) => {
                    let future = self.ticket.while_calling(|| self.inner.call(self.request));
                    return Waited::Began {
                        future,
                        ticket: self.ticket,
                        protocol: self.protocol,
                    };
                }
                Poll::Ready(Err(error)) => {
                    self.ticket.held_by(Holder::Classifier);
                    let verdict = unready(&self.protocol, &error);
                    self.ticket.settle(verdict);
                    return Waited::Ended(Err(self.protocol.unready(error)));
                }
                Poll::Pending => {}
            }
            let waits = match &self.stay {
                Some((stay, shared)) => self
                    .parked
                    .while_admitted(shared, cx, || shared.is_current(stay.era)),
                None => true,
            };
            if waits {
                return Waited::Still(self);
            }
        }
    }

    /// Asks the gate again if the era of the admission is over, so that a request that waits never
    /// gets past a gate that has shut meanwhile (R2).
    fn stay_admitted(&mut self) -> Result<(), Refused> {
        let Some((stay, shared)) = &mut self.stay else {
            return Ok(());
        };
        if shared.lasts(stay.era, self.ticket.role()) {
            return Ok(());
        }
        let (ticket, again) = admit(shared, P::PLACEMENT, stay.request)?;
        // The old ticket's era or lease is over, so its drop counts nothing.
        self.ticket = ticket;
        *stay = again;
        Ok(())
    }
}

impl<S, Req, P> Future for ResponseFuture<S::Future, S, Req, P>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Output = Result<P::Response, P::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.as_mut().project().state.project() {
            StateProj::Running {
                future,
                ticket,
                protocol,
            } => poll_call(future, ticket, protocol, cx),
            StateProj::Refused { refusal, protocol } => {
                let (refused, request) = refusal.take().expect(POLLED_AGAIN);
                just_refused::note(&refused);
                Poll::Ready(protocol.refuse(request, refused))
            }
            StateProj::Waiting { .. } => self.wait(cx),
        }
    }
}

impl<S, Req, P> ResponseFuture<S::Future, S, Req, P>
where
    S: Service<Req>,
    P: Protocol<Req, S::Response, S::Error>,
{
    /// Waits for readiness, then calls the inner service. It is not inlined, so that `poll` stays
    /// short for calls that do not wait for readiness.
    #[inline(never)]
    fn wait(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<P::Response, P::Error>> {
        let mut state = self.as_mut().project().state;
        let StateProj::Waiting { waiting } = state.as_mut().project() else {
            unreachable!("only one that waits");
        };
        match waiting.0.take().expect(POLLED_AGAIN).poll(cx) {
            Waited::Still(still) => {
                *waiting.0 = Some(still);
                Poll::Pending
            }
            Waited::Ended(result) => Poll::Ready(result),
            Waited::Began {
                future,
                ticket,
                protocol,
            } => {
                state.set(State::Running {
                    future,
                    ticket: Some(ticket),
                    protocol,
                });
                match state.project() {
                    StateProj::Running {
                        future,
                        ticket,
                        protocol,
                    } => poll_call(future, ticket, protocol, cx),
                    StateProj::Refused { .. } | StateProj::Waiting { .. } => {
                        unreachable!("it has just begun")
                    }
                }
            }
        }
    }
}

#[cfg(feature = "http")]
impl<F, S, Req, P> Ticketed for ResponseFuture<F, S, Req, P> {
    fn ticket(self: Pin<&mut Self>) -> Option<&mut Ticket> {
        match self.project().state.project() {
            StateProj::Running { ticket, .. } => ticket.as_mut(),
            StateProj::Refused { .. } | StateProj::Waiting { .. } => None,
        }
    }
}

/// Polls the future of an admitted call, and judges its answer.
#[inline]
pub(crate) fn poll_call<F, Req, Res, E, P>(
    future: Pin<&mut F>,
    slot: &mut Option<Ticket>,
    protocol: &P,
    cx: &mut Context<'_>,
) -> Poll<Result<P::Response, P::Error>>
where
    F: Future<Output = Result<Res, E>>,
    P: Protocol<Req, Res, E>,
{
    assert!(slot.is_some(), "{POLLED_AGAIN}");
    let refused_before = just_refused::count();
    let guard = FailsOnPanic(slot);
    let polled = future.poll(cx);
    mem::forget(guard);
    let Poll::Ready(result) = polled else {
        if let Some(ticket) = slot {
            ticket.is_pending();
        }
        return Poll::Pending;
    };
    let mut ticket = slot.take().expect(POLLED_AGAIN);
    ticket.held_by(Holder::Classifier);
    if let Err(error) = &result {
        let was_refused = just_refused::count() != refused_before;
        ticket = unless_told(ticket, protocol, error, was_refused);
    }
    Poll::Ready(protocol.finish(ticket, result))
}

/// Judges an error of the inner `poll_ready`, which no `finish` judges.
#[cold]
pub(crate) fn unready<Req, Res, E, P: Protocol<Req, Res, E>>(protocol: &P, error: &E) -> Verdict {
    let told = protocol.judge_error(error, None);
    told.unwrap_or(Outcome::Failure.into())
}

/// Ends a call with an error whose fault is told: a layer further in refused in the very poll
/// (R24), or the protocol says whose fault it is (R25). Returns the ticket for all others.
#[cold]
#[inline(never)]
fn unless_told<Req, Res, E, P: Protocol<Req, Res, E>>(
    ticket: Ticket,
    protocol: &P,
    error: &E,
    was_refused: bool,
) -> Ticket {
    if was_refused {
        ticket.settle_just_refused();
        return Ticket::uncounted();
    }
    if !ticket.is_measured() {
        return ticket;
    }
    match protocol.judge_error(error, None) {
        Some(verdict) => {
            ticket.settle(verdict);
            Ticket::uncounted()
        }
        None => ticket,
    }
}

/// Ends the call as the inner service's failure. It is dropped only while a panic unwinds, so the
/// normal path moves no ticket for it: the caller that catches the panic may keep the future.
struct FailsOnPanic<'t>(&'t mut Option<Ticket>);

impl Drop for FailsOnPanic<'_> {
    #[cold]
    fn drop(&mut self) {
        if let Some(mut ticket) = self.0.take() {
            ticket.held_by(Holder::Inner);
        }
    }
}

impl<F, S, Req, P> fmt::Debug for ResponseFuture<F, S, Req, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Refused { .. } => "Refused",
            State::Waiting { .. } => "Waiting",
            State::Running { .. } => "Running",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
