//! The view around a gRPC client whose refusals are errors.

use std::any::Any;

use http::{Request, Response};
use http_body::Body;
use tower::BoxError;

use super::{body::GrpcCallBody, calls::GrpcCalls};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Endpoint, Placement},
        outcome::{Outcome, Verdict},
        refused::Refused,
    },
    layer::MaintenanceLayer,
};

/// The protocol [`GrpcCalls`] with refusals that are errors, for stacks whose errors are
/// [`BoxError`].
///
/// [`boxed`](crate::MaintenanceLayer::boxed) makes it.
#[derive(Debug, Clone, Default)]
pub struct BoxedGrpcCalls(GrpcCalls);

impl GrpcCalls {
    /// Returns the same protocol with refusals that are errors.
    #[must_use]
    pub fn boxed(self) -> BoxedGrpcCalls {
        BoxedGrpcCalls(self)
    }
}

impl MaintenanceLayer<GrpcCalls> {
    /// Returns the same view with refusals that are errors: for a generated client with other
    /// layers of this crate *around* it.
    ///
    /// A client makes a status of an answer by its headers alone, so nothing outside the client can
    /// tell a refusal that is an answer from the partner's own `UNAVAILABLE`. Of an error it makes
    /// a status that has the error as its source. There [`find`](crate::grpc::find) finds the
    /// refusal, and so does the view [`nested`](crate::MaintenanceLayer::nested). The price: tonic
    /// gives such a status the code `UNKNOWN` and no details. So ask `find` first, and then the
    /// code.
    ///
    /// ```text
    /// let channel = ServiceBuilder::new().layer(layer.grpc_calls().boxed()).service(channel);
    /// let error = BillingClient::new(channel).charge(request).await.unwrap_err();
    /// assert!(tower_maintenance::grpc::find(&error).is_some());
    /// ```
    #[must_use]
    pub fn boxed(&self) -> MaintenanceLayer<BoxedGrpcCalls> {
        self.view(self.protocol().clone().boxed())
    }
}

impl<A, B, E> Protocol<Request<A>, Response<B>, E> for BoxedGrpcCalls
where
    B: Body + Default,
    E: Into<BoxError>,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<GrpcCallBody<B>>;
    type Error = BoxError;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        Protocol::<Request<A>, Response<B>, BoxError>::endpoint(&self.0, request)
    }

    fn for_call(&self, request: &Request<A>) -> Self {
        let calls = Protocol::<Request<A>, Response<B>, BoxError>::for_call(&self.0, request);
        Self(calls)
    }

    fn finish(
        &self,
        ticket: Ticket,
        result: Result<Response<B>, E>,
    ) -> Result<Self::Response, BoxError> {
        let result = result.map_err(Into::into);
        if let Err(error) = &result
            && ticket.is_measured()
        {
            match Refused::find(&**error) {
                Some(refused) => ticket.settle_refused(refused),
                None => {
                    let told = self.0.told(Some(error));
                    ticket.settle(told.unwrap_or(Outcome::Failure.into()));
                }
            }
            return Protocol::<Request<A>, _, _>::finish(&self.0, Ticket::uncounted(), result);
        }
        Protocol::<Request<A>, _, _>::finish(&self.0, ticket, result)
    }

    /// Each error is judged once it is boxed.
    fn judge_error(&self, _: &E, _: Option<&dyn Any>) -> Option<Verdict> {
        None
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, BoxError> {
        Err(refused.into())
    }

    fn unready(&self, error: E) -> BoxError {
        error.into()
    }
}
