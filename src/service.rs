//! The wrapped service: the request path in order, and nothing else.
//!
//! Readiness follows tower's contract: an admitted call uses the very instance that was polled
//! ready, and clones start un-ready. What a gate adds: while it is shut, `poll_ready` is ready at
//! once, because a refusal must not wait for the inner service (compare tower's `LoadShed`); and a
//! refused call keeps no hold on the inner service's readiness, which may be somebody else's permit.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use crate::{
    admission::{Request, Stay, admit},
    endpoint::{Endpoint, Placement},
    error::Refused,
    exempt::Exemption,
    future::ResponseFuture,
    gate::Op,
    local::Root,
    parked::Parked,
    protocol::{Holder, Protocol, Ticket},
    thread,
};

/// A service behind the gate; made by [`MaintenanceLayer`](crate::MaintenanceLayer).
///
/// A clone shares the state, and starts un-ready as tower asks.
pub struct Maintenance<S, P> {
    inner: S,
    /// Whether this instance of the inner service said that it is ready, and was not called since.
    ready: bool,
    /// While it was asked and is not ready: the caller is woken if the gate shuts meanwhile.
    parked: Parked,
    protocol: P,
    shared: Arc<Root>,
}

impl<S, P> Maintenance<S, P> {
    pub(crate) fn new(inner: S, protocol: P, shared: Arc<Root>) -> Self {
        Self {
            inner,
            ready: false,
            parked: Parked::default(),
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
            .field("shared", &**self.shared)
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

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        if self.shared.is_serving() {
            match self.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.ready = true;
                    self.parked.leave();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    self.ready = false;
                    self.parked.leave();
                    if P::PLACEMENT == Placement::AroundCalls {
                        self.shared.unready();
                    }
                    return Poll::Ready(Err(self.protocol.unready(error)));
                }
                Poll::Pending => {
                    self.ready = false;
                    let shared = &self.shared;
                    let waits = self
                        .parked
                        .while_admitted(shared, cx, || shared.is_serving());
                    if waits {
                        return Poll::Pending;
                    }
                    self.renew();
                    return Poll::Ready(Ok(()));
                }
            }
        }
        self.let_go();
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let endpoint = self.protocol.endpoint(&request);
        let asked = Request::of(&endpoint);
        // What most plain calls meet, before what others may.
        if !endpoint.may_be_exempt() {
            let word = self.shared.word();
            if word.op() == Op::Serve && P::PLACEMENT == Placement::AroundCalls && self.ready {
                let protocol = self.protocol.for_call(&request);
                return self.run(request, self.shared.begin(word.era()), protocol);
            }
            if word.op() == Op::Refuse
                && !asked.is_read()
                && let Some(refused) = self.shared.refuse_at_once()
            {
                return self.refuse(request, refused);
            }
        }
        match gate(&self.shared, P::PLACEMENT, &endpoint) {
            Pass::Exempt(ticket) => self.forward(request, ticket, None),
            Pass::Admitted(ticket, stay) => self.forward(request, ticket, Some(stay)),
            Pass::Refused(refused) => self.refuse(request, refused),
        }
    }
}

impl<S: Clone, P> Maintenance<S, P> {
    /// Gives up the readiness, or the place in a queue for it, that a refused call would hoard.
    #[inline]
    fn let_go(&mut self) {
        if self.ready || self.parked.is_parked() {
            self.renew();
        }
    }

    /// A clone starts un-ready; dropping the polled instance returns its permit.
    fn renew(&mut self) {
        self.ready = false;
        self.parked.leave();
        self.inner = self.inner.clone();
    }

    #[inline]
    fn refuse<Req>(
        &mut self,
        request: Req,
        refused: Refused,
    ) -> ResponseFuture<S::Future, S, Req, P>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
    {
        self.let_go();
        ResponseFuture::refused(request, refused, self.protocol.clone())
    }

    /// Hands an admitted request to the instance that is ready for it.
    #[inline]
    fn run<Req>(
        &mut self,
        request: Req,
        mut ticket: Ticket,
        protocol: P,
    ) -> ResponseFuture<S::Future, S, Req, P>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
    {
        self.ready = false;
        // A panic in `call` drops the ticket as it is held here.
        ticket.held_by(Holder::Inner);
        let future = self.inner.call(request);
        ticket.held_by(Holder::Waiting);
        ResponseFuture::running(future, ticket, protocol)
    }

    /// Not inlined into `call`, which is short for most.
    #[inline(never)]
    fn forward<Req>(
        &mut self,
        request: Req,
        ticket: Ticket,
        stay: Option<Stay>,
    ) -> ResponseFuture<S::Future, S, Req, P>
    where
        S: Service<Req>,
        P: Protocol<Req, S::Response, S::Error>,
    {
        let protocol = self.protocol.for_call(&request);
        if self.ready {
            return self.run(request, ticket, protocol);
        }
        // The gate was shut when readiness was asked for: the future takes an instance and waits for it.
        self.parked.leave();
        let stay = stay.map(|stay| (stay, self.shared.clone()));
        ResponseFuture::waiting(self.inner.clone(), request, ticket, stay, protocol)
    }
}

/// Asks the gate.
#[inline(never)]
pub(crate) fn gate(root: &Root, placement: Placement, endpoint: &Endpoint<'_>) -> Pass {
    if let Some(ticket) = exempt(root, placement, endpoint) {
        return Pass::Exempt(ticket);
    }
    match admit(root, placement, Request::of(endpoint)) {
        Ok((ticket, stay)) => Pass::Admitted(ticket, stay),
        Err(refused) => Pass::Refused(refused),
    }
}

/// The ticket of an exempt request; `None` if it is not exempt.
#[inline]
fn exempt(root: &Root, placement: Placement, endpoint: &Endpoint<'_>) -> Option<Ticket> {
    if !endpoint.may_be_exempt() {
        return None;
    }
    let exemptions = root.exemptions();
    let found = exemptions.find(placement, endpoint);
    let counted = found.map(Exemption::is_counted);
    thread::leave_exemptions(exemptions);
    let counted = counted?;
    root.count_exempt();
    let measured = counted && placement == Placement::AroundCalls;
    let admitted = if measured { root.admit_counted() } else { None };
    Some(admitted.map_or_else(Ticket::uncounted, |admitted| {
        Ticket::new(root.local(), admitted)
    }))
}
