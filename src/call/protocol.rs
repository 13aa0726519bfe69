//! What the layer must know of a protocol at one placement.
//!
//! A trait is needed, because the two placements cannot share a type. A router wants refusals as
//! responses and errors that are `Infallible`, and around a client no code can make a body. The
//! protocol owns the call's [`Ticket`] once the inner service has answered. It settles the ticket
//! at once, or moves it into the response (a body, trailers), which settles it later.

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

/// What the layer must know of a protocol at one placement.
///
/// Ready-made: [`Calls`](crate::Calls) for any `Result`, [`BoxedCalls`](crate::BoxedCalls) for
/// stacks whose errors are `BoxError`, and with the feature `http` those of
/// `tower_maintenance::http`. To judge a `Result` in another way, a [`Judge`](crate::Judge) is
/// enough. Implement this trait for a protocol whose responses must be wrapped, or whose refusals
/// are responses.
///
/// It is cloned once per call, so it must be small, and its clone must not allocate.
///
/// # When the compiler says that a type is no `Protocol`
///
/// The view does not fit the service behind it:
///
/// | service | view |
/// |---|---|
/// | a client of `http::Request` | `layer.http_calls()`, over gRPC `layer.grpc_calls()` |
/// | `reqwest::Client`, which has types of its own | `layer.reqwest(client)` (feature `reqwest`) |
/// | the routes of one's own server | `layer.routes()`, `layer.paths()` (feature `axum`) |
/// | a stack whose errors are `BoxError` | `layer.boxed()`, `layer.http_calls().boxed()` |
/// | any other | the layer itself |
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand around a service that takes `{Req}` and answers `{Res}`",
    label = "this view of the layer does not fit the service",
    note = "around a client of `http::Request` and `http::Response`: `layer.http_calls()`, over gRPC `layer.grpc_calls()`",
    note = "around `reqwest::Client`, which has types of its own: `layer.reqwest(client)` (feature `reqwest`)",
    note = "before the routes of one's own server: `layer.routes()` or `layer.paths()` (feature `axum`)",
    note = "around any other service: the layer itself, or `layer.boxed()` if its errors are `BoxError`"
)]
pub trait Protocol<Req, Res, E>: Clone {
    /// Where a view with this protocol stands.
    const PLACEMENT: Placement;
    /// The response that callers get.
    type Response;
    /// The error that callers get.
    type Error;

    /// Returns the protocol that one call carries to its end. Default: a clone.
    ///
    /// A protocol whose verdict depends on the request overrides this method, because
    /// [`finish`](Self::finish) sees only the answer. The layer calls it when it admits a request.
    #[must_use]
    fn for_call(&self, _request: &Req) -> Self {
        self.clone()
    }

    /// Returns the endpoint of the request: its name, and whether it may probe.
    fn endpoint<'r>(&self, request: &'r Req) -> Endpoint<'r>;

    /// Settles the ticket, or moves it into the response to be settled later. A ticket that is
    /// dropped here was not judged, and is neutral.
    ///
    /// # Errors
    ///
    /// Returns the error that callers get for the inner service's error.
    fn finish(&self, ticket: Ticket, result: Result<Res, E>)
    -> Result<Self::Response, Self::Error>;

    /// Makes the refusal that callers get. The request comes back untouched, because the refusal
    /// may depend on it (the media types and the languages that it accepts).
    ///
    /// # Errors
    ///
    /// Returns an error if refusals of this protocol are errors.
    fn refuse(&self, request: Req, refused: Refused) -> Result<Self::Response, Self::Error>;

    /// Returns whose fault an error of the inner service is, before [`finish`](Self::finish) judges
    /// it; `None` leaves it to `finish`.
    ///
    /// `any` is the same error for what its type tells ([`fault`](crate::fault)), in views that can
    /// open errors. A view for any error type cannot: a bound of `'static` would keep callers with
    /// `BoxError` from spawning their calls. Default: what the type tells.
    fn judge_error(&self, error: &E, any: Option<&dyn Any>) -> Option<Verdict> {
        let _ = error;
        any.and_then(fault::of_any)
    }

    /// Turns an error of the inner `poll_ready` into the error that callers get.
    fn unready(&self, error: E) -> Self::Error;
}
