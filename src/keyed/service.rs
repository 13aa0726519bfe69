//! The wrapped service: the request path of a key.
//!
//! It differs from `service.rs` in readiness. There the gate is known before the request, here it
//! is not. So this service is always ready. If the inner service is not ready, the future of an
//! admitted call takes the instance that was polled, which keeps its place in a queue, and waits
//! for it.

use std::{
    fmt,
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{
    registry::{Has, Registry},
    view::sealed::View,
};
use crate::{
    call::{admission::Decision, protocol::Protocol, ticket::Ticket},
    future::ResponseFuture,
};

/// A service with one gate per key; made by [`KeyedLayer`](crate::KeyedLayer).
///
/// Clones share the keys. A clone starts un-ready, as tower asks.
pub struct KeyedMaintenance<S, K, F, P, V> {
    inner: S,
    readiness: Readiness,
    registry: Arc<Registry<K, P>>,
    key: F,
    view: V,
}

/// What this instance of the inner service answered when it was polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// It was not polled since its last call, or the poll failed.
    Idle,
    /// It was not ready, and may have a place in a queue.
    Pending,
    /// It was ready.
    Ready,
}

impl<S, K, F, P, V> KeyedMaintenance<S, K, F, P, V> {
    pub(crate) fn new(inner: S, registry: Arc<Registry<K, P>>, key: F, view: V) -> Self {
        Self {
            inner,
            readiness: Readiness::Idle,
            registry,
            key,
            view,
        }
    }

    /// Returns the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service. This service does not learn of a poll that is made through it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service without the gate.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, K, F: Clone, P, V: Clone> Clone for KeyedMaintenance<S, K, F, P, V> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.registry.clone(),
            self.key.clone(),
            self.view.clone(),
        )
    }
}

impl<S: fmt::Debug, K, F, P, V> fmt::Debug for KeyedMaintenance<S, K, F, P, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedMaintenance")
            .field("inner", &self.inner)
            .field("max_keys", &self.registry.max_keys())
            .finish_non_exhaustive()
    }
}

impl<S, K, F, P, V, Req> Service<Req> for KeyedMaintenance<S, K, F, P, V>
where
    S: Service<Req> + Clone,
    K: Hash + Eq,
    F: Fn(&Req) -> K,
    V: View<P>,
    V::Protocol: Protocol<Req, S::Response, S::Error>,
{
    type Response = <V::Protocol as Protocol<Req, S::Response, S::Error>>::Response;
    type Error = <V::Protocol as Protocol<Req, S::Response, S::Error>>::Error;
    type Future = ResponseFuture<S::Future, S, Req, V::Protocol>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.readiness = match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => Readiness::Ready,
            Poll::Pending => Readiness::Pending,
            Poll::Ready(Err(_)) => {
                // The error is dropped. It is not known yet which key it would count for, and a
                // refused call does not fail by it. An admitted call polls again.
                self.inner = self.inner.clone();
                Readiness::Idle
            }
        };
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let key = (self.key)(&request);
        let (inner, readiness) = (&mut self.inner, &mut self.readiness);
        let readiness = std::mem::replace(readiness, Readiness::Idle);
        let view = &self.view;
        let (future, admitted) = self.registry.with(key, |layer, has| {
            view.lend(layer, |protocol| {
                let ready = readiness == Readiness::Ready;
                let decision = match has {
                    Has::AState => {
                        let mut endpoint = protocol.endpoint(&request);
                        endpoint.may_probe &= !self.registry.is_pinged();
                        layer.decide(V::Protocol::PLACEMENT, &endpoint, ready)
                    }
                    Has::NoPlace if ready => Decision::Now(Ticket::uncounted()),
                    Has::NoPlace => Decision::Wait(Ticket::uncounted(), None),
                };
                match decision {
                    Decision::Refused(refused) => {
                        let protocol = protocol.clone();
                        (ResponseFuture::refused(request, refused, protocol), false)
                    }
                    Decision::Now(mut ticket) => {
                        let protocol = protocol.for_call(&request);
                        let future = ticket.while_calling(|| inner.call(request));
                        (ResponseFuture::running(future, ticket, protocol), true)
                    }
                    Decision::Wait(ticket, stay) => {
                        let protocol = protocol.for_call(&request);
                        // Takes the instance that was polled, with the place that it may have in a
                        // queue.
                        let fresh = inner.clone();
                        let asked = std::mem::replace(inner, fresh);
                        let stay = stay.map(|stay| layer.staying(stay));
                        let future =
                            ResponseFuture::waiting(asked, request, ticket, stay, protocol);
                        (future, true)
                    }
                }
            })
        });
        if admitted {
            // Not for a refused call, because a sweep may wait for a lock.
            self.registry.take_turn();
        } else if readiness != Readiness::Idle {
            // A refused call keeps no readiness: the drop of the polled instance gives it back.
            self.inner = self.inner.clone();
        }
        future
    }
}
