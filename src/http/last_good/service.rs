//! The service.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{
    body::LastGoodBody,
    config::Config,
    future::{Asks, LastGoodFuture},
    may_refuse::MayRefuse,
};
use crate::base::accessors::inner_service;

/// Answers requests that the inner service refuses from the store.
/// [`LastGoodLayer`](super::LastGoodLayer) makes it.
#[derive(Debug, Clone)]
pub struct LastGood<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> LastGood<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }

    inner_service!();
}

impl<S, A, B> Service<Request<A>> for LastGood<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: MayRefuse,
    A: Body,
    B: Body<Data = Bytes>,
{
    type Response = Response<LastGoodBody<B>>;
    type Error = S::Error;
    type Future = LastGoodFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if !self.config.may_concern(&request) {
            let inner = self.inner.call(request);
            return LastGoodFuture::new(inner, None);
        }
        let (parts, body) = request.into_parts();
        let asked = self.config.asked(&parts);
        let asks = asked.map(|asked| Asks {
            asked,
            on_failure: self.config.on_failure,
            store: self.config.store.clone(),
        });
        let inner = self.inner.call(Request::from_parts(parts, body));
        LastGoodFuture::new(inner, asks)
    }
}
