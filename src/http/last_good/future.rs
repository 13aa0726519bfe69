//! The future, which serves a stored answer or copies the inner service's answer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    body::{Copying, LastGoodBody},
    head::Head,
    may_refuse::MayRefuse,
    request_key::Asked,
    served::{ServedLastGood, Why, serve},
    store::Store,
};
use crate::facts::refused::Refused;

/// A request that is opted in, and the store.
pub(super) struct Asks {
    pub(super) asked: Box<Asked>,
    pub(super) on_failure: bool,
    pub(super) store: Arc<Store>,
}

pin_project! {
    /// The response future of [`LastGood`](super::LastGood).
    pub struct LastGoodFuture<F> {
        #[pin]
        inner: F,
        asks: Option<Asks>,
    }
}

impl<F> LastGoodFuture<F> {
    pub(super) fn new(inner: F, asks: Option<Asks>) -> Self {
        Self { inner, asks }
    }
}

impl<F> fmt::Debug for LastGoodFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodFuture")
            .field("opted_in", &self.asks.is_some())
            .finish_non_exhaustive()
    }
}

impl<F, B, E> Future for LastGoodFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    E: MayRefuse,
{
    type Output = Result<Response<LastGoodBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        Poll::Ready(match this.asks.take() {
            Some(asks) => asks.answered(result),
            None => result.map(|response| response.map(LastGoodBody::passing)),
        })
    }
}

impl Asks {
    fn answered<B: Body<Data = Bytes>, E: MayRefuse>(
        self,
        result: Result<Response<B>, E>,
    ) -> Result<Response<LastGoodBody<B>>, E> {
        if !self.asked.method.is_safe() {
            self.written(&result);
            return result.map(|response| response.map(LastGoodBody::passing));
        }
        if let Some(why) = self.why_serve(&result)
            && let Some((kept, now)) = self.store.find(&self.asked)
        {
            return Ok(serve(&kept, &self.asked.method, now, why));
        }
        let response = result?;
        let is_ours = response.extensions().get::<Refused>().is_none()
            && response.extensions().get::<ServedLastGood>().is_none();
        let (head, body) = response.into_parts();
        if is_ours && head.status == StatusCode::NOT_MODIFIED {
            self.store.confirm(&self.asked, &head);
        }
        let body = match is_ours
            .then(|| self.store.head(&self.asked, &head))
            .flatten()
        {
            Some(kept) => self.copied(kept, body),
            None => LastGoodBody::passing(body),
        };
        Ok(Response::from_parts(head, body))
    }

    fn why_serve<B, E: MayRefuse>(&self, result: &Result<Response<B>, E>) -> Option<Why> {
        let refused = match result {
            Ok(response) => response.extensions().get::<Refused>(),
            Err(error) => error.refused(),
        };
        if let Some(refused) = refused {
            return Some(Why::Refused(refused.clone()));
        }
        let failed = match result.as_ref().map(Response::status) {
            // RFC 5861, 4.
            Ok(status) if matches!(status.as_u16(), 500 | 502 | 503 | 504) => Some(status),
            Ok(_) => return None,
            Err(_) => None,
        };
        self.on_failure.then_some(Why::Failed(failed))
    }

    /// Drops the answers that a successful write has made stale (RFC 9111, 4.4).
    fn written<B, E>(&self, result: &Result<Response<B>, E>) {
        if let Ok(response) = result
            && (response.status().is_success() || response.status().is_redirection())
        {
            self.store.forget(&self.asked.key);
        }
    }

    fn copied<B: Body<Data = Bytes>>(self, head: Head, body: B) -> LastGoodBody<B> {
        let Some(room) = self.store.room(&self.asked, &head) else {
            return LastGoodBody::passing(body);
        };
        let hint = body.size_hint();
        let least = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
        if least > room {
            return LastGoodBody::passing(body);
        }
        match Copying::begin(&self.store, self.asked, head, room, least) {
            Some(copying) => LastGoodBody::copied(body, Box::new(copying)),
            None => LastGoodBody::passing(body),
        }
    }
}
