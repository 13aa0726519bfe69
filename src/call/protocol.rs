//! What the layer must know of a protocol at one placement.
//!
//! One trait, because the two placements cannot share a type: a router wants refusals as responses
//! and errors that are `Infallible`, and around a client no code can make up a body. The protocol
//! owns the call's [`Ticket`] once the inner service has answered, so that the verdict may be given
//! at once, or be moved into the response (a body, trailers) and given later.

use std::any::Any;

use crate::{
    call::ticket::Ticket,
    facts::{
        endpoint::{Endpoint, Placement},
        fault,
        outcome::Verdict,
        refused::Refused,
    },
};

/// What the layer must know of a protocol at one placement; `Response` and `Error` are what callers
/// see.
///
/// Ready-made: [`Calls`](crate::Calls) for any `Result`, [`BoxedCalls`](crate::BoxedCalls) for
/// stacks whose errors are `BoxError`, and with the feature `http` those of
/// `tower_maintenance::http`. For another way of judging a `Result` a [`Judge`](crate::Judge) is
/// enough; implement this trait for a protocol whose responses must be wrapped, or whose refusals
/// are responses.
///
/// It is cloned once a call: keep it small, and free of allocation.
pub trait Protocol<Req, Res, E>: Clone {
    /// Where a view with this protocol stands.
    const PLACEMENT: Placement;
    /// What callers get.
    type Response;
    /// What callers get when it fails.
    type Error;

    /// The protocol as one call carries it to its end. Default: a clone.
    ///
    /// For a protocol that judges calls differently by what was asked: [`finish`](Self::finish)
    /// sees the answer and not the request, which is gone by then. The layer asks for it when it
    /// lets a request in.
    #[must_use]
    fn for_call(&self, _request: &Req) -> Self {
        self.clone()
    }

    /// Tells the endpoint's name, and whether it may probe.
    fn endpoint<'r>(&self, request: &'r Req) -> Endpoint<'r>;

    /// Settles the ticket, or moves it into the response to be settled later. A ticket that is
    /// dropped here was not judged, and is neutral.
    ///
    /// # Errors
    ///
    /// What callers get for the inner service's error.
    fn finish(&self, ticket: Ticket, result: Result<Res, E>)
    -> Result<Self::Response, Self::Error>;

    /// Makes a refusal of what the gate says; the request is given back, untouched, for what the
    /// refusal must know of it (what it accepts, in which language).
    ///
    /// # Errors
    ///
    /// Where a refusal is an error.
    fn refuse(&self, request: Req, refused: Refused) -> Result<Self::Response, Self::Error>;

    /// Says whose fault an error of the inner service is, before [`finish`](Self::finish) judges it;
    /// `None` leaves it to `finish`.
    ///
    /// `any` is the same error for what its type tells ([`fault`](crate::fault)), in views that can
    /// open errors. A view for any error type cannot: a bound of `'static` would keep callers with
    /// `BoxError` from spawning their calls. Default: what the type tells.
    fn judge_error(&self, error: &E, any: Option<&dyn Any>) -> Option<Verdict> {
        let _ = error;
        any.and_then(fault::of_any)
    }

    /// Turns an error of the inner `poll_ready`, which has no response to give.
    fn unready(&self, error: E) -> Self::Error;
}
