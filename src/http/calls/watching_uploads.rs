//! The view that watches the request's own body.
//!
//! It stands around another view, because the inner service gets another type of request. The
//! future of a call, and the body of its answer, hold the call's ticket. The view wraps both, and
//! corrects the ticket before they are polled and before they are dropped.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::upload_body::UploadBody;
use crate::{
    base::clock::Clock,
    call::inner::CloneService,
    call::{
        protocol::Protocol,
        upload_wait::{CallersEnd, Ticketed, watch},
    },
    future::ResponseFuture,
    layer::MaintenanceLayer,
    service::Maintenance,
};

impl<P> MaintenanceLayer<P> {
    /// Returns a layer like this view around an HTTP or gRPC client that watches the body of each
    /// request too. Choose options and `boxed` first.
    ///
    /// It is for services that pass on what their customers upload. While such a request is on its
    /// way, the partner is silent because it waits for the customer. Without this view the time
    /// counts as the partner's: a customer that uploads slowly and gives up after `hang_limit`
    /// looks like a partner that hangs, and every long upload looks slow.
    ///
    /// Here the caller's wait stands still while the body of the request is late: its last poll
    /// found nothing. The wait begins anew when the body has something, or ends. This holds for a
    /// call that is given up, for a body of an answer that hangs, for the lease of a probe, and for
    /// the [slow-call rule](crate::Policy::with_slow_calls). A partner that does not read the
    /// request, and so does not let the inner service poll the body, is waited for as before.
    ///
    /// It is not the default because it changes types: the inner service takes a
    /// `Request<UploadBody<B>>`, and callers get an [`UploadWatched`] body. A call whose request
    /// has a body costs one allocation, and a lock and a reading of the clock at each poll of the
    /// call and of either body. A request without a body costs neither.
    ///
    /// Not with [`KeyedLayer`](crate::KeyedLayer), whose views are of another type.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Empty, Full};
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{MaintenanceLayer, http::UploadBody};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// // In production this is a hyper-util `Client<_, UploadBody<axum::body::Body>>`.
    /// let client = service_fn(async |upload: Request<UploadBody<Full<&'static [u8]>>>| {
    ///     let received = upload.into_body().collect().await?.to_bytes();
    ///     assert_eq!(received, "amount\n12");
    ///     Ok::<_, std::convert::Infallible>(Response::new(Empty::<&[u8]>::new()))
    /// });
    /// let mut partner = ServiceBuilder::new()
    ///     .layer(layer.http_calls().watching_uploads())
    ///     .service(client);
    ///
    /// let upload = Request::post("/v1/usage").body(Full::new(&b"amount\n12"[..]))?;
    /// assert_eq!(partner.ready().await?.call(upload).await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watching_uploads(&self) -> WatchingUploadsLayer<P>
    where
        P: Clone,
    {
        WatchingUploadsLayer(self.clone())
    }
}

/// A view that watches the bodies of requests; made by
/// [`MaintenanceLayer::watching_uploads`].
#[derive(Debug)]
pub struct WatchingUploadsLayer<P>(MaintenanceLayer<P>);

impl<P: Clone> Clone for WatchingUploadsLayer<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: CloneService, P: Clone> Layer<S> for WatchingUploadsLayer<P> {
    type Service = WatchingUploads<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        WatchingUploads {
            inner: self.0.layer(inner),
            clock: self.0.clock(),
        }
    }
}

/// A service behind the gate that watches the bodies of requests; made by [`WatchingUploadsLayer`].
pub struct WatchingUploads<S, P> {
    inner: Maintenance<S, P>,
    clock: Clock,
}

impl<S: Clone, P: Clone> Clone for WatchingUploads<S, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            clock: self.clock,
        }
    }
}

impl<S: fmt::Debug, P> fmt::Debug for WatchingUploads<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchingUploads").field(&self.inner).finish()
    }
}

impl<S, P, A, C> Service<Request<A>> for WatchingUploads<S, P>
where
    S: Service<Request<UploadBody<A>>> + Clone,
    P: Protocol<Request<UploadBody<A>>, S::Response, S::Error, Response = Response<C>>,
    A: Body,
    C: Ticketed,
{
    type Response = Response<UploadWatched<C>>;
    type Error = P::Error;
    type Future = UploadWatched<ResponseFuture<S::Future, S, Request<UploadBody<A>>, P>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), P::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (head, body) = request.into_parts();
        let (watch, body) = if body.is_end_stream() {
            (None, UploadBody::at_end(body))
        } else {
            let (callers_end, uploads_end) = watch(self.clock);
            (Some(callers_end), UploadBody::watched(body, uploads_end))
        };
        UploadWatched {
            inner: self.inner.call(Request::from_parts(head, body)),
            watch,
        }
    }
}

pin_project! {
    /// The future of a call, or the body of its answer, in the view
    /// [`watching_uploads`](crate::MaintenanceLayer::watching_uploads).
    ///
    /// It is what it wraps. Beside that, it keeps from the call's wait the time in which the body
    /// of the request was late.
    pub struct UploadWatched<T: Ticketed> {
        #[pin]
        inner: T,
        // `None` if the request has no body, or if the call has ended.
        watch: Option<CallersEnd>,
    }

    impl<T: Ticketed> PinnedDrop for UploadWatched<T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let (Some(watch), Some(ticket)) = (this.watch.take(), this.inner.ticket()) {
                watch.correct_last(ticket);
            }
        }
    }
}

impl<T: Ticketed> UploadWatched<T> {
    /// Returns what is wrapped.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Polls what is wrapped by `poll`, with a ticket that knows how long the caller has waited.
    fn poll_watched<R>(self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut T>) -> Poll<R>) -> Poll<R> {
        let mut this = self.project();
        let Some(watch) = this.watch else {
            return poll(this.inner);
        };
        if let Some(ticket) = this.inner.as_mut().ticket() {
            watch.correct(ticket);
        }
        let polled = poll(this.inner.as_mut());
        match this.inner.ticket() {
            Some(ticket) if polled.is_pending() => watch.found_nothing(ticket),
            _ if polled.is_pending() => {}
            _ => watch.found_something(),
        }
        polled
    }
}

impl<F, C, E> Future for UploadWatched<F>
where
    F: Future<Output = Result<Response<C>, E>> + Ticketed,
    C: Ticketed,
{
    type Output = Result<Response<UploadWatched<C>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.as_mut().poll_watched(|inner| inner.poll(cx)));
        let watch = self.project().watch.take();
        Poll::Ready(result.map(|answer| answer.map(|inner| UploadWatched { inner, watch })))
    }
}

impl<C: Body + Ticketed> Body for UploadWatched<C> {
    type Data = C::Data;
    type Error = C::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<C::Data>, C::Error>>> {
        self.poll_watched(|inner| inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<C: Default + Ticketed> Default for UploadWatched<C> {
    fn default() -> Self {
        Self {
            inner: C::default(),
            watch: None,
        }
    }
}

impl<T: Ticketed> fmt::Debug for UploadWatched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadWatched")
            .field("watched", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
