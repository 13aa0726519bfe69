//! The future of a call that is a name and a future.
//!
//! It is the path of `service.rs` and `future.rs` without an inner service: there is no readiness
//! to wait for, so the gate's answer is a ticket or a refusal. The gate is asked at the first poll,
//! because a call begins when it is awaited.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    call::{just_refused, protocol::Protocol, ticket::Ticket},
    facts::refused::Refused,
    future::{POLLED_AGAIN, poll_call},
};

pin_project! {
    /// A call that asks `gate` at its first poll, and then polls `future`.
    pub(crate) struct Run<'n, G, F, P> {
        #[pin]
        future: F,
        name: &'n str,
        // `None` once it was asked.
        gate: Option<G>,
        // `None` before the gate was asked, and after the call has ended.
        ticket: Option<Ticket>,
        protocol: Option<P>,
    }
}

impl<'n, G, F, P> Run<'n, G, F, P> {
    pub(crate) fn new(name: &'n str, future: F, gate: G) -> Self {
        Self {
            future,
            name,
            gate: Some(gate),
            ticket: None,
            protocol: None,
        }
    }
}

impl<'n, G, F, P, T, E> Future for Run<'n, G, F, P>
where
    G: FnOnce(&'n str) -> (P, Result<Ticket, Refused>),
    F: Future<Output = Result<T, E>>,
    P: Protocol<&'n str, T, E>,
{
    type Output = Result<P::Response, P::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(gate) = this.gate.take() {
            let (protocol, admitted) = gate(this.name);
            match admitted {
                Ok(ticket) => *this.ticket = Some(ticket),
                Err(refused) => {
                    just_refused::note(&refused);
                    return Poll::Ready(protocol.refuse(this.name, refused));
                }
            }
            *this.protocol = Some(protocol);
        }
        let protocol = this.protocol.as_ref().expect(POLLED_AGAIN);
        poll_call(this.future, this.ticket, protocol, cx)
    }
}
