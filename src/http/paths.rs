//! Before one's own HTTP service: what passes, and how a refusal looks.

use http::{Request, Response};

use super::refusal::refusal;
use crate::{
    endpoint::{Endpoint, Placement},
    error::Refused,
    protocol::{Protocol, Ticket},
};

/// Before one's own HTTP service, without a router that says which route it chose: gates only, exempt
/// by path pattern, refused with a 503. See [`MaintenanceLayer::paths`](crate::MaintenanceLayer::paths).
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Paths {}

impl<A, B: From<String>, E> Protocol<Request<A>, Response<B>, E> for Paths {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        // Only what may be repeated without harm probes (RFC 9110, 9.2.1).
        Endpoint::at_path(request.uri().path(), request.method().is_safe())
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        Ok(refusal(&refused))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}
