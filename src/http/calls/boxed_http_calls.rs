//! The view around an HTTP client in a stack whose errors are `BoxError`.

use std::any::Any;

use http::{Request, Response};
use http_body::Body;
use tower::BoxError;

use super::{body::CallBody, http_calls::HttpCalls};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Endpoint, Placement},
        outcome::{Outcome, Verdict},
        refused::Refused,
    },
    layer::MaintenanceLayer,
};

/// The protocol [`HttpCalls`] for stacks whose errors are [`BoxError`], such as those with a
/// timeout.
///
/// [`boxed`](crate::MaintenanceLayer::boxed) makes it. [`Refused::find`] finds a refusal in the
/// error. A refusal by another layer *inside* the stack is no failure of this partner: the call is
/// neutral ([`Verdict::refused_within`](crate::Verdict::refused_within)).
#[derive(Debug, Clone, Default)]
pub struct BoxedHttpCalls(HttpCalls);

impl HttpCalls {
    /// Returns the same protocol for stacks whose errors are `BoxError`.
    #[must_use]
    pub fn boxed(self) -> BoxedHttpCalls {
        BoxedHttpCalls(self)
    }
}

impl MaintenanceLayer<HttpCalls> {
    /// Returns the same view for stacks whose errors are `BoxError`, such as those with a timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, Response};
    /// use http_body_util::Empty;
    /// use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// // In production this is the `Client` of hyper-util.
    /// let client = service_fn(async |_| Ok::<_, BoxError>(Response::new(Empty::<&[u8]>::new())));
    /// let mut partner = ServiceBuilder::new()
    ///     .layer(layer.http_calls().boxed())
    ///     .timeout(Duration::from_secs(10))
    ///     .service(client);
    /// let get = || Request::new(Empty::<&[u8]>::new());
    /// assert_eq!(partner.ready().await?.call(get()).await?.status(), 200);
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let error = partner.ready().await?.call(get()).await.unwrap_err();
    /// assert!(Refused::find(&*error).is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn boxed(&self) -> MaintenanceLayer<BoxedHttpCalls> {
        self.view(self.protocol().clone().boxed())
    }
}

impl<A, B, E> Protocol<Request<A>, Response<B>, E> for BoxedHttpCalls
where
    B: Body,
    E: Into<BoxError>,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<CallBody<B>>;
    type Error = BoxError;

    fn for_call(&self, request: &Request<A>) -> Self {
        Self(self.0.of_call(request))
    }

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        self.0.endpoint(request)
    }

    fn finish(
        &self,
        ticket: Ticket,
        result: Result<Response<B>, E>,
    ) -> Result<Self::Response, BoxError> {
        match result {
            Ok(response) => Ok(self.0.answered(ticket, response)),
            Err(error) => {
                let error = error.into();
                if ticket.is_measured() {
                    match Refused::find(&*error) {
                        Some(refused) => ticket.settle_refused(refused),
                        None => {
                            let told = self.0.told(Some(&error));
                            ticket.settle(told.unwrap_or(Outcome::Failure.into()));
                        }
                    }
                }
                Err(error)
            }
        }
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, BoxError> {
        Err(refused.into())
    }

    /// Each error is judged once it is boxed.
    fn judge_error(&self, _: &E, _: Option<&dyn Any>) -> Option<Verdict> {
        None
    }

    fn unready(&self, error: E) -> BoxError {
        error.into()
    }
}
