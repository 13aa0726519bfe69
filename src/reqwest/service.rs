//! reqwest's client as a tower service over the types of the crate `http`.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use reqwest::{Body, Client, Error, ResponseBuilderExt};
use tower::Service;

/// A `reqwest::Client` as a tower service over the types of the crate `http`, which the views over
/// HTTP, a [`KeyedLayer`](crate::KeyedLayer) and the layers of other crates want.
///
/// Nothing is lost on the way: a time-out of the request and the URL of the answer stay, in
/// extensions. `reqwest::Response::from` makes reqwest's response of an answer, whose body
/// `reqwest::Body::wrap` wraps.
///
/// ```
/// use http::Request;
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_maintenance::{
///     Hold, KeyedLayer, MaintenanceLayer,
///     http::HttpCalls,
///     reqwest::{HttpService, of_reqwest},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // One state per host.
/// let by_host = KeyedLayer::builder(
///     |request: &Request<reqwest::Body>| request.uri().host().unwrap_or_default().to_owned(),
///     |host: &String| {
///         let calls = HttpCalls::new().judged_errors(of_reqwest);
///         MaintenanceLayer::new(host).with_protocol(calls).nested()
///     },
/// )
/// .build()?;
/// let client = HttpService::new(reqwest::Client::new());
/// let partners = ServiceBuilder::new().layer(by_host.clone()).service(client);
///
/// let host = "eu.zuora.example".to_owned();
/// by_host.keys().handle(&host)?.engage(Hold::new("on-call", "drill"))?;
/// let get = Request::get("http://eu.zuora.example/").body(reqwest::Body::default())?;
/// assert!(partners.oneshot(get).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HttpService(Client);

impl HttpService {
    /// Makes the service of this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Returns the client.
    #[must_use]
    pub fn get_ref(&self) -> &Client {
        &self.0
    }
}

impl<B: Into<Body>> Service<Request<B>> for HttpService {
    type Response = Response<Body>;
    type Error = Error;
    type Future = HttpFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> HttpFuture {
        let state = match reqwest::Request::try_from(request) {
            Ok(request) => State::Sent {
                answer: self.0.call(request),
            },
            Err(error) => State::Failed { error: Some(error) },
        };
        HttpFuture { state }
    }
}

pin_project! {
    /// The future of [`HttpService`].
    ///
    /// # Panics
    ///
    /// If it is polled after it has completed.
    #[must_use = "futures do nothing unless polled"]
    pub struct HttpFuture {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        Sent { #[pin] answer: <Client as Service<reqwest::Request>>::Future },
        Failed { error: Option<Error> },
    }
}

impl Future for HttpFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Sent { answer } => Poll::Ready(ready!(answer.poll(cx)).map(into_http)),
            StateProj::Failed { error } => {
                Poll::Ready(Err(error.take().expect("polled after it completed")))
            }
        }
    }
}

impl std::fmt::Debug for HttpFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpFuture").finish_non_exhaustive()
    }
}

/// Turns a response of reqwest into one of the crate `http`, with its URL in the extensions, where
/// reqwest looks for it.
pub(super) fn into_http(answer: reqwest::Response) -> Response<Body> {
    let with_url = Response::builder().url(answer.url().clone());
    let mut answer = Response::<Body>::from(answer);
    if let Ok(with_url) = with_url.body(()) {
        let extensions = with_url.into_parts().0.extensions;
        answer.extensions_mut().extend(extensions);
    }
    answer
}
