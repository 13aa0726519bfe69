//! The builder of a request through a guarded client.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use reqwest::{Body, RequestBuilder};
use serde::Serialize;

use super::view::{Guarded, execute};
use crate::facts::refused::Error;

/// Builds a request of a [`GuardedClient`](super::GuardedClient), as `reqwest::RequestBuilder`
/// does.
///
/// What is not here is reached by [`map`](Self::map):
/// `zuora.get(url).map(|request| request.query(&[("page", "2")]))`.
#[must_use = "a request does nothing until `send`"]
pub struct GuardedRequest {
    request: RequestBuilder,
    client: Guarded,
}

impl GuardedRequest {
    pub(super) fn new(request: RequestBuilder, client: Guarded) -> Self {
        Self { request, client }
    }

    /// Changes the request by the methods of reqwest's own builder.
    ///
    /// Calling `send` on it there would pass by the gate.
    pub fn map(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self {
            request: change(self.request),
            client: self.client,
        }
    }

    /// Adds a header.
    pub fn header<K, V>(self, name: K, value: V) -> Self
    where
        HeaderName: TryFrom<K, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        self.map(|request| request.header(name, value))
    }

    /// Adds headers. They replace those of the same names.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|request| request.headers(headers))
    }

    /// Sets the user and the password of basic authentication.
    pub fn basic_auth(self, user: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.map(|request| request.basic_auth(user, password))
    }

    /// Sets a bearer token.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.map(|request| request.bearer_auth(token))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|request| request.body(body))
    }

    /// Sets the body to a value as JSON, and the content type unless it is set.
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Self {
        self.map(|request| request.json(value))
    }

    /// Sets a time-out for this call, from its start until its body has ended. It replaces that of
    /// the client. When it fires, the call is a failure.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|request| request.timeout(timeout))
    }

    /// Sets the version of HTTP.
    pub fn version(self, version: Version) -> Self {
        self.map(|request| request.version(version))
    }

    /// Returns the request, for [`GuardedClient::execute`](super::GuardedClient::execute).
    ///
    /// # Errors
    ///
    /// If the URL or another part is invalid.
    pub fn build(self) -> reqwest::Result<reqwest::Request> {
        self.request.build()
    }

    /// Makes the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the call, as [`ResponseFuture`](crate::ResponseFuture) says.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`] if the call was not made.
    /// - [`Error::Inner`] if the client failed, or if the request could not be built: then no call
    ///   began, and nothing is counted. A status such as 500 is no error, as in reqwest.
    pub async fn send(self) -> Result<reqwest::Response, Error<reqwest::Error>> {
        let request = self.request.build().map_err(Error::Inner)?;
        execute(self.client, request).await
    }

    /// Clones the request, unless its body is a stream.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        Some(Self {
            request: self.request.try_clone()?,
            client: self.client.clone(),
        })
    }
}

impl fmt::Debug for GuardedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedRequest")
            .field(&self.request)
            .finish()
    }
}
