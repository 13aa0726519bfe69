//! The view whose inner service has an error type of the user's own, with other layers of this
//! crate under it.

use std::{any::Any, error::Error as StdError};

use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Endpoint, Placement},
        fault,
        outcome::Verdict,
        refused::Refused,
    },
};

/// Another protocol, for an inner service whose error type is an
/// [`Error`](std::error::Error) of the user's own.
///
/// [`MaintenanceLayer::nested`](crate::MaintenanceLayer::nested) makes it. A call whose error
/// carries a refusal of a layer further in is neutral, however the refusal is wrapped
/// ([`Refused::find`]). Every other call is judged by the protocol `P`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nested<P>(pub(crate) P);

impl<P, Req, Res, E> Protocol<Req, Res, E> for Nested<P>
where
    P: Protocol<Req, Res, E>,
    E: StdError + 'static,
{
    const PLACEMENT: Placement = P::PLACEMENT;
    type Response = P::Response;
    type Error = P::Error;

    fn for_call(&self, request: &Req) -> Self {
        Self(self.0.for_call(request))
    }

    #[inline]
    fn endpoint<'r>(&self, request: &'r Req) -> Endpoint<'r> {
        self.0.endpoint(request)
    }

    fn finish(
        &self,
        ticket: Ticket,
        result: Result<Res, E>,
    ) -> Result<Self::Response, Self::Error> {
        if let Err(error) = &result
            && let Some(refused) = Refused::find(error)
        {
            ticket.settle_refused(refused);
            return self.0.finish(Ticket::uncounted(), result);
        }
        self.0.finish(ticket, result)
    }

    fn judge_error(&self, error: &E, _: Option<&dyn Any>) -> Option<Verdict> {
        if Refused::find(error).is_some() {
            return None;
        }
        let told = self.0.judge_error(error, Some(error));
        told.or_else(|| fault::by_type(error))
    }

    #[inline]
    fn refuse(&self, request: Req, refused: Refused) -> Result<Self::Response, Self::Error> {
        self.0.refuse(request, refused)
    }

    fn unready(&self, error: E) -> Self::Error {
        self.0.unready(error)
    }
}
