//! The guarded client.

use std::fmt;

use http::Method;
use reqwest::{Client, IntoUrl};
use tower::Layer;

use super::{
    request::GuardedRequest,
    service::HttpService,
    view::{Guarded, View, execute},
};
use crate::facts::refused::Error;

/// A `reqwest::Client` behind a [`MaintenanceLayer`](crate::MaintenanceLayer), with the client's
/// own calls; [`MaintenanceLayer::reqwest`](crate::MaintenanceLayer::reqwest) makes it.
///
/// A clone shares the client and the state.
#[derive(Clone)]
pub struct GuardedClient {
    /// Makes requests. It is the one inside the service.
    client: Client,
    service: Guarded,
}

impl GuardedClient {
    pub(super) fn new(view: &View, client: Client) -> Self {
        let service = view.layer(HttpService::new(client.clone()));
        Self { client, service }
    }

    /// Begins a GET.
    pub fn get(&self, url: impl IntoUrl) -> GuardedRequest {
        self.request(Method::GET, url)
    }

    /// Begins a POST.
    pub fn post(&self, url: impl IntoUrl) -> GuardedRequest {
        self.request(Method::POST, url)
    }

    /// Begins a PUT.
    pub fn put(&self, url: impl IntoUrl) -> GuardedRequest {
        self.request(Method::PUT, url)
    }

    /// Begins a PATCH.
    pub fn patch(&self, url: impl IntoUrl) -> GuardedRequest {
        self.request(Method::PATCH, url)
    }

    /// Begins a DELETE.
    pub fn delete(&self, url: impl IntoUrl) -> GuardedRequest {
        self.request(Method::DELETE, url)
    }

    /// Begins a HEAD.
    pub fn head(&self, url: impl IntoUrl) -> GuardedRequest {
        self.request(Method::HEAD, url)
    }

    /// Begins a request with this method.
    ///
    /// A URL that cannot be parsed is the error of [`GuardedRequest::send`].
    pub fn request(&self, method: Method, url: impl IntoUrl) -> GuardedRequest {
        GuardedRequest::new(self.client.request(method, url), self.service.clone())
    }

    /// Makes the call, as `reqwest::Client::execute` does.
    ///
    /// The call is in flight until the body of the answer ends: see
    /// [`CallBody`](crate::http::CallBody).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the call, as [`ResponseFuture`](crate::ResponseFuture) says.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`] if the call was not made.
    /// - [`Error::Inner`] if the client failed. A status such as 500 is no error, as in reqwest.
    pub async fn execute(
        &self,
        request: reqwest::Request,
    ) -> Result<reqwest::Response, Error<reqwest::Error>> {
        execute(self.service.clone(), request).await
    }

    /// Returns the client itself. The gate does not see what is sent through it.
    #[must_use]
    pub fn get_ref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for GuardedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedClient").field(&self.service).finish()
    }
}
