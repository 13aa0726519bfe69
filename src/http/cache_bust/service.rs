//! The service and its future.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::rules::{Plan, Rules};
use crate::base::accessors::inner_service;

/// Applies the rules of a [`CacheBustLayer`](super::CacheBustLayer), which makes it, to a service.
#[derive(Debug, Clone)]
pub struct CacheBusting<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> CacheBusting<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }

    inner_service!();
}

impl<S, A, B> Service<Request<A>> for CacheBusting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = CacheBustFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let plan = self.rules.before(&mut head);
        CacheBustFuture {
            inner: self.inner.call(Request::from_parts(head, body)),
            rules: self.rules.clone(),
            plan,
        }
    }
}

pin_project! {
    /// The response future of [`CacheBusting`].
    #[derive(Debug)]
    pub struct CacheBustFuture<F> {
        #[pin]
        inner: F,
        rules: Arc<Rules>,
        plan: Plan,
    }
}

impl<F, B, E> Future for CacheBustFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        this.rules.after(this.plan, &mut response);
        Poll::Ready(Ok(response))
    }
}
