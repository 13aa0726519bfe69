//! The wrapped service: the request path in order, and nothing else.
//!
//! Readiness follows tower's contract: an admitted call uses the very instance that was polled
//! ready, and clones start un-ready. What a gate adds: while it is shut, `poll_ready` is ready at
//! once, because a refusal must not wait for the inner service (compare tower's `LoadShed`); and a
//! refused call keeps no hold on the inner service's readiness, which may be somebody else's permit.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower::Service;

use crate::{
    admission::{Request, Stay, admit},
    endpoint::{Endpoint, Placement},
    error::Refused,
    future::ResponseFuture,
    local::Locals,
    parked::Parked,
    protocol::{Holder, Protocol, Ticket},
};

/// A service behind the gate; made by [`MaintenanceLayer`](crate::MaintenanceLayer).
///
/// A clone shares the state, and starts un-ready as tower asks.
pub struct Maintenance<S, P> {
    inner: S,
    readiness: Readiness,
    protocol: P,
    shared: Locals,
}

/// What this instance of the inner service was asked.
enum Readiness {
    /// Nothing.
    Idle,
    /// It was not ready; the caller is woken if the gate shuts meanwhile.
    Pending(Parked),
    /// It said that it is ready.
    Ready,
}

impl<S, P> Maintenance<S, P> {
    pub(crate) fn new(inner: S, protocol: P, shared: Locals) -> Self {
        Self {
            inner,
            readiness: Readiness::Idle,
            protocol,
            shared,
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service. Polling it here has no part in what the gate knows.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the inner service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, P: Clone> Clone for Maintenance<S, P> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.protocol.clone(),
            self.shared.clone(),
        )
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Maintenance<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance")
            .field("inner", &self.inner)
            .field("shared", self.shared.shared())
            .finish_non_exhaustive()
    }
}

/// What the gate says of a request.
pub(crate) enum Pass {
    /// Exempt: passes whatever the mode.
    Exempt(Ticket),
    /// Admitted, as long as the era lasts.
    Admitted(Ticket, Stay),
    Refused(Refused),
}

impl<S, P, Req> Service<Req> for Maintenance<S, P>
where
    S: Service<Req> + Clone,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Response = P::Response;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        if self.shared.is_serving() {
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.readiness = Readiness::Ready;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    self.readiness = Readiness::Idle;
                    if P::PLACEMENT == Placement::AroundCalls {
                        self.shared.unready();
                    }
                    return Poll::Ready(Err(self.protocol.unready(error)));
                }
                Poll::Pending => {
                    let mut parked = match std::mem::replace(&mut self.readiness, Readiness::Idle) {
                        Readiness::Pending(parked) => parked,
                        Readiness::Idle | Readiness::Ready => Parked::default(),
                    };
                    let waits =
                        parked.while_admitted(&self.shared, cx, || self.shared.is_serving());
                    self.readiness = Readiness::Pending(parked);
                    if waits {
                        return Poll::Pending;
                    }
                }
            }
        }
        self.let_go();
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match gate(&self.shared, &self.protocol, &request) {
            Pass::Exempt(ticket) => self.forward(request, ticket, None),
            Pass::Admitted(ticket, stay) => self.forward(request, ticket, Some(stay)),
            Pass::Refused(refused) => {
                self.let_go();
                ResponseFuture::refused(request, refused, self.protocol.clone())
            }
        }
    }
}

impl<S: Clone, P> Maintenance<S, P> {
    /// Gives up the readiness, or the place in a queue for it, that a refused call would hoard.
    fn let_go(&mut self) {
        match std::mem::replace(&mut self.readiness, Readiness::Idle) {
            Readiness::Idle => {}
            // A clone starts un-ready; dropping the polled instance returns its permit.
            Readiness::Pending(_) | Readiness::Ready => self.inner = self.inner.clone(),
        }
    }

    fn forward<Req>(
        &mut self,
        request: Req,
        mut ticket: Ticket,
        stay: Option<Stay>,
    ) -> ResponseFuture<S::Future, S, Req, P>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
    {
        let protocol = self.protocol.for_call(&request);
        if let Readiness::Ready = std::mem::replace(&mut self.readiness, Readiness::Idle) {
            // A panic in `call` drops the ticket as it is held here.
            ticket.held_by(Holder::Inner);
            let future = self.inner.call(request);
            ticket.held_by(Holder::Waiting);
            return ResponseFuture::running(future, ticket, protocol);
        }
        // The gate was shut when readiness was asked for: the future takes an instance and waits for it.
        let stay = stay.map(|stay| (stay, self.shared.clone()));
        ResponseFuture::waiting(self.inner.clone(), request, ticket, stay, protocol)
    }
}

/// Asks the gate of this state for a request of this protocol.
pub(crate) fn gate<P, Req, Res, E>(shared: &Locals, protocol: &P, request: &Req) -> Pass
where
    P: Protocol<Req, Res, E>,
{
    let endpoint = protocol.endpoint(request);
    if let Some(counted) = exempt(shared, P::PLACEMENT, &endpoint) {
        return Pass::Exempt(counted);
    }
    match admit(shared, P::PLACEMENT, Request::of(&endpoint)) {
        Ok((ticket, stay)) => Pass::Admitted(ticket, stay),
        Err(refused) => Pass::Refused(refused),
    }
}

/// The ticket of an exempt request; `None` if it is not exempt.
fn exempt(shared: &Locals, placement: Placement, endpoint: &Endpoint<'_>) -> Option<Ticket> {
    if endpoint.name.is_none() && endpoint.path.is_none() {
        return None;
    }
    let counted = shared.exemptions().find(placement, endpoint)?.is_counted();
    shared.count_exempt();
    let measured = counted && placement == Placement::AroundCalls;
    let admitted = if measured {
        shared.admit_counted()
    } else {
        None
    };
    Some(admitted.map_or_else(Ticket::uncounted, |admitted| {
        Ticket::new(shared.here(), admitted)
    }))
}
