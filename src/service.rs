//! The wrapped service: the request path in order, and nothing else.
//!
//! Readiness follows tower's contract: an admitted call uses the instance that was polled ready,
//! and clones start un-ready. The gate adds two rules. While it is shut, `poll_ready` is ready at
//! once, because a refusal must not wait for the inner service (compare tower's `LoadShed`). A
//! refused call gives up the inner service's readiness, because it may be a permit that another
//! caller needs.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use crate::{
    call::{
        admission::{Decision, Stay, admit_by_word, decide, refuse_by_word},
        plain::Calls,
        protocol::Protocol,
        ticket::Ticket,
        wake_on_shut::Parked,
    },
    facts::{endpoint::Placement, refused::Refused},
    future::{ResponseFuture, unready},
    state::root::Root,
};

/// A service behind the gate; made by [`MaintenanceLayer`](crate::MaintenanceLayer).
///
/// A clone shares the state. It starts un-ready, as tower's contract requires.
pub struct Maintenance<S, P = Calls> {
    inner: S,
    readiness: Readiness,
    /// Wakes the caller if the gate shuts while readiness is pending.
    parked: Parked,
    protocol: P,
    shared: Arc<Root>,
}

/// The last answer of this instance's `poll_ready`, if the instance has not been called since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// None: it was not asked, or it failed.
    Idle,
    Ready,
    Pending,
}

impl<S, P> Maintenance<S, P> {
    pub(crate) fn new(inner: S, protocol: P, shared: Arc<Root>) -> Self {
        Self {
            inner,
            readiness: if mutant!("a clone starts ready") {
                Readiness::Ready
            } else {
                Readiness::Idle
            },
            parked: Parked::default(),
            protocol,
            shared,
        }
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service. The gate does not see what is polled through it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service and drops the rest.
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

impl<S, P, Req> Service<Req> for Maintenance<S, P>
where
    // The first bound, and on the request: see `Fits`.
    Req: Fits<S, P>,
    S: Service<Req>,
{
    type Response = Req::Response;
    type Error = Req::Error;
    type Future = Req::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Req::Error>> {
        Req::make_ready(self, cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Req::Future {
        Req::pass(request, self)
    }
}

/// A request that fits a service and a view: `S: Service<Self> + Clone` and
/// `P: Protocol<Self, S::Response, S::Error>`.
///
/// It stands between, and on the request, for the sake of the compiler's messages. Users call a
/// service by the methods of [`ServiceExt`](tower::ServiceExt). With the two bounds on the service
/// itself, the compiler says only that `Maintenance<..>: Service<_>` is not satisfied. A bound on a
/// request whose type is not known yet is decided later, and then the compiler names the bound that
/// fails. `crates/diagnostics` tests the messages.
#[doc(hidden)]
#[expect(unnameable_types, reason = "its only impl is below")]
pub trait Fits<S, P>: Sized {
    type Response;
    type Error;
    type Future: Future<Output = Result<Self::Response, Self::Error>>;

    fn make_ready(
        service: &mut Maintenance<S, P>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>>;

    fn pass(request: Self, service: &mut Maintenance<S, P>) -> Self::Future;
}

impl<S, P, Req> Fits<S, P> for Req
where
    S: Service<Req> + Clone,
    P: Protocol<Req, S::Response, S::Error>,
{
    type Response = P::Response;
    type Error = P::Error;
    type Future = ResponseFuture<S::Future, S, Req, P>;

    #[inline]
    fn make_ready(
        service: &mut Maintenance<S, P>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), P::Error>> {
        if service.shared.is_serving() || mutant!("readiness is asked for in every mode") {
            match service.inner.poll_ready(cx) {
                Poll::Ready(Ok(())) => {
                    service.is(Readiness::Ready);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    service.is(Readiness::Idle);
                    if P::PLACEMENT == Placement::AroundCalls
                        && !mutant!("a failing poll_ready is not counted")
                    {
                        let verdict = unready(&service.protocol, &error);
                        service.shared.unready(verdict);
                    }
                    return Poll::Ready(Err(service.protocol.unready(error)));
                }
                Poll::Pending if service.parks(cx) => return Poll::Pending,
                Poll::Pending => {
                    service.renew();
                    return Poll::Ready(Ok(()));
                }
            }
        }
        service.let_go();
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn pass(request: Self, service: &mut Maintenance<S, P>) -> Self::Future {
        let endpoint = service.protocol.endpoint(&request);
        let ready =
            service.readiness == Readiness::Ready || mutant!("a probe does not wait for readiness");
        let root = &service.shared;
        let mut ticket = if let Some(ticket) = admit_by_word(root, P::PLACEMENT, &endpoint, ready) {
            ticket
        } else if let Some(refused) = refuse_by_word(root, &endpoint) {
            return service.refuse(request, refused);
        } else {
            match decide(root, P::PLACEMENT, &endpoint, ready) {
                Decision::Now(ticket) => ticket,
                Decision::Wait(ticket, stay) => return service.wait(request, ticket, stay),
                Decision::Refused(refused) => return service.refuse(request, refused),
            }
        };
        let protocol = service.protocol.for_call(&request);
        service.readiness = Readiness::Idle;
        if mutant!("an admitted call uses another instance") {
            service.inner = service.inner.clone();
        }
        let future = ticket.while_calling(|| service.inner.call(request));
        ResponseFuture::running(future, ticket, protocol)
    }
}

impl<S: Clone, P> Maintenance<S, P> {
    /// Registers the caller to be woken when the gate shuts. Returns whether the gate still lets
    /// calls through.
    fn parks(&mut self, cx: &mut Context<'_>) -> bool {
        self.readiness = Readiness::Pending;
        let shared = &self.shared;
        self.parked
            .while_admitted(shared, cx, || shared.is_serving())
    }

    /// Notes the answer of the inner service.
    #[inline]
    fn is(&mut self, readiness: Readiness) {
        if self.readiness == Readiness::Pending {
            self.parked.leave();
        }
        self.readiness = readiness;
    }

    /// Gives up the readiness, or the place in a queue for it, that a refused call would hoard.
    #[inline]
    fn let_go(&mut self) {
        if self.readiness != Readiness::Idle && !mutant!("a refused call keeps its permit") {
            self.renew();
        }
    }

    /// Replaces the instance by a clone, which starts un-ready. Dropping the polled instance
    /// returns its permit.
    fn renew(&mut self) {
        self.is(Readiness::Idle);
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

    /// Makes the future of an admitted call whose instance is not ready, because the gate was shut
    /// when readiness was asked for. The future takes an instance and waits for it.
    #[inline(never)]
    fn wait<Req>(
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
        self.is(Readiness::Idle);
        let stay = stay.map(|stay| (stay, self.shared.clone()));
        ResponseFuture::waiting(self.inner.clone(), request, ticket, stay, protocol)
    }
}
