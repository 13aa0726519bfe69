//! The view around an HTTP client in a stack whose errors are `BoxError`.

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
/// neutral.
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
    B: Body<Error: 'static>,
    E: Into<BoxError> + 'static,
{
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = Response<CallBody<B>>;
    type Error = BoxError;

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
                    ticket.settle(match Refused::find(&*error) {
                        Some(_) => Outcome::Neutral.into(),
                        None => self.0.judge_error(&error),
                    });
                }
                Err(error)
            }
        }
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Self::Response, BoxError> {
        Err(refused.into())
    }

    fn judge_unready(&self, error: &E) -> Verdict {
        self.0.judge_error(error)
    }

    fn unready(&self, error: E) -> BoxError {
        error.into()
    }
}
