//! The layer as a middleware of the crate `reqwest-middleware`.

use std::{any::Any, convert::Infallible, fmt, future::poll_fn, pin::Pin};

use async_trait::async_trait;
use http::{Extensions, Request, Response};
use reqwest::Body;
use reqwest_middleware::{Error, Middleware, Next};

use super::{
    service::into_http,
    view::{View, into_reqwest},
};
use crate::{
    call::{just_refused, nested::Nested, protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Endpoint, Placement},
        fault,
        outcome::{Outcome, Verdict},
        refused::{self, Refused},
    },
    future::poll_call,
    http::HttpCalls,
};

/// A [`MaintenanceLayer`](crate::MaintenanceLayer) as a middleware of the crate
/// `reqwest-middleware`;
/// [`MaintenanceLayer::reqwest_middleware`](crate::MaintenanceLayer::reqwest_middleware) makes it.
///
/// ```
/// use reqwest_middleware::ClientBuilder;
/// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let zuora = ClientBuilder::new(reqwest::Client::new())
///     .with(layer.reqwest_middleware()) // the last one
///     .build();
///
/// layer.handle().engage(Hold::new("on-call", "drill"))?;
/// let error = zuora.get("https://zuora.example/v1/prices").send().await.unwrap_err();
/// assert!(Refused::find(&error).is_some());
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Dropping the future of a call ends the call, as [`ResponseFuture`](crate::ResponseFuture) says.
pub struct GuardMiddleware(View);

impl GuardMiddleware {
    pub(super) fn new(view: View) -> Self {
        Self(view)
    }
}

impl fmt::Debug for GuardMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardMiddleware").field(&self.0).finish()
    }
}

#[async_trait]
impl Middleware for GuardMiddleware {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, Error> {
        let request = Request::<Body>::try_from(request)?;
        let protocol = MiddlewareCalls(self.0.protocol().clone());
        let mut ticket = match self.0.decide_now(&protocol.endpoint(&request)) {
            Ok(ticket) => ticket,
            Err(refused) => {
                just_refused::note(&refused);
                return protocol.refuse(request, refused);
            }
        };
        let protocol = protocol.for_call(&request);
        let request = reqwest::Request::try_from(request)?;
        let mut answer = ticket.while_calling(|| next.run(request, extensions));
        let mut ticket = Some(ticket);
        poll_fn(move |cx| poll_call(Pin::new(&mut answer), &mut ticket, &protocol, cx)).await
    }
}

/// The view of [`GuardMiddleware`]: what it says of an error of reqwest holds for the same error
/// within an error of the middleware crate.
#[derive(Debug, Clone)]
struct MiddlewareCalls(Nested<HttpCalls>);

type Inner = Nested<HttpCalls>;

impl Protocol<Request<Body>, reqwest::Response, Error> for MiddlewareCalls {
    const PLACEMENT: Placement = Placement::AroundCalls;
    type Response = reqwest::Response;
    type Error = Error;

    fn for_call(&self, request: &Request<Body>) -> Self {
        Self(<Inner as Protocol<_, Response<Body>, reqwest::Error>>::for_call(&self.0, request))
    }

    fn endpoint<'r>(&self, request: &'r Request<Body>) -> Endpoint<'r> {
        for_reqwest(&self.0).endpoint(request)
    }

    fn finish(
        &self,
        ticket: Ticket,
        result: Result<reqwest::Response, Error>,
    ) -> Result<reqwest::Response, Error> {
        let result = match result {
            Ok(answer) => Ok(into_http(answer)),
            Err(Error::Reqwest(error)) => Err(error),
            Err(error) => {
                match Refused::find(&error) {
                    Some(refused) => ticket.settle_refused(refused),
                    None => ticket.settle(Outcome::Failure),
                }
                return Err(error);
            }
        };
        match for_reqwest(&self.0).finish(ticket, result) {
            Ok(answer) => Ok(into_reqwest(answer)),
            Err(refused::Error::Inner(error)) => Err(Error::Reqwest(error)),
            Err(refused::Error::Refused(refused)) => Err(refusal(refused)),
        }
    }

    fn refuse(&self, _: Request<Body>, refused: Refused) -> Result<reqwest::Response, Error> {
        Err(refusal(refused))
    }

    fn judge_error(&self, error: &Error, _: Option<&dyn Any>) -> Option<Verdict> {
        match error {
            Error::Reqwest(error) => for_reqwest(&self.0).judge_error(error, None),
            Error::Middleware(error) => fault::by_type(error.as_ref()),
        }
    }

    fn unready(&self, error: Error) -> Error {
        error
    }
}

/// Names the protocol's types, which a method call cannot infer.
fn for_reqwest(
    calls: &Inner,
) -> &impl Protocol<
    Request<Body>,
    Response<Body>,
    reqwest::Error,
    Response = Response<crate::http::CallBody<Body>>,
    Error = refused::Error<reqwest::Error>,
> {
    calls
}

/// The type of the crate shows only the source of what it wraps, so the refusal is wrapped once
/// more.
fn refusal(refused: Refused) -> Error {
    Error::middleware(refused::Error::<Infallible>::Refused(refused))
}
