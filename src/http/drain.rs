//! Reading the rest of an upload that was refused.
//!
//! Over HTTP/1.1 a server that answers without reading the request's body closes the connection. A
//! client that is still writing then sees a broken pipe, and often never reads the answer.
//!
//! The body is moved into the gate together with the request, and the gate drops it. So the service
//! here lends the body: a lent body that is dropped comes back.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::{HeaderMap, Request, Response, Version, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    time::{Sleep, sleep},
};
use tower::{Layer, Service};

use crate::{base::setting_error::setting_error, facts::refused::Refused};

setting_error! {
    /// An invalid bound of [`DrainRefused`].
    DrainError,
    "Returns the invalid bound.",
    "{} is `{}`: allowed is {}"
}

/// The longest time that may be set.
const LONGEST: Duration = Duration::from_secs(60);

/// Reads the rest of an upload that the gate refused, before it is answered, so that a client over
/// HTTP/1.1 sees the refusal and not a broken pipe.
///
/// Nothing is read unless this layer is added, *outside* the view that refuses. It costs time and
/// traffic just when there is little of either, so both are bounded. It reads only where that
/// helps: over HTTP/1.0 and 1.1, a body that is not known to be longer than the bound, of a client
/// that has not asked to be told first (`Expect: 100-continue`). Beyond a bound the refusal is sent
/// as without this layer. A refusal waits until the body is read.
///
/// The inner service gets another type of body, [`LentBody`]. In an axum router it is turned back:
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use std::time::Duration;
/// use axum::{Router, body::Body, routing::post};
/// use http::Request;
/// use tower::ServiceBuilder;
/// use tower_maintenance::{MaintenanceLayer, http::{DrainRefused, LentBody}};
///
/// let layer = MaintenanceLayer::new("zuora");
/// let drain = DrainRefused::new(32 * 1024 * 1024, Duration::from_secs(10))?;
/// let stack = ServiceBuilder::new()
///     .layer(drain)
///     .map_request(|request: Request<LentBody<Body>>| request.map(Body::new))
///     .layer(layer.routes());
/// let app: Router = Router::new().route("/invoices", post(async || "kept")).layer(stack);
/// # let _ = app;
/// # Ok::<(), tower_maintenance::http::DrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing until it is added to a service"]
pub struct DrainRefused {
    bytes: u64,
    time: Duration,
}

impl DrainRefused {
    /// Reads at most `bytes` of a body, for at most `time`.
    ///
    /// # Errors
    ///
    /// If `bytes` or `time` is 0, or `time` is longer than 60 s.
    pub fn new(bytes: u64, time: Duration) -> Result<Self, DrainError> {
        if bytes == 0 {
            return Err(DrainError::new("bytes", "0", "1 or more"));
        }
        if time.is_zero() || time > LONGEST {
            let allowed = format!("more than 0 s, at most {LONGEST:?}");
            return Err(DrainError::new("time", format!("{time:?}"), allowed));
        }
        Ok(Self { bytes, time })
    }
}

impl<S> Layer<S> for DrainRefused {
    type Service = Draining<S>;

    fn layer(&self, inner: S) -> Draining<S> {
        Draining {
            inner,
            bounds: *self,
        }
    }
}

/// A service whose refused uploads are read to their end. [`DrainRefused`] makes it.
#[derive(Debug, Clone)]
pub struct Draining<S> {
    inner: S,
    bounds: DrainRefused,
}

impl<S, B, R> Service<Request<B>> for Draining<S>
where
    S: Service<Request<LentBody<B>>, Response = Response<R>>,
    B: Body + Unpin,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let lends = is_in_the_way(head.version, &head.headers)
            && !body.is_end_stream()
            && body.size_hint().lower() <= self.bounds.bytes;
        let place = lends.then(Arc::default);
        let body = LentBody {
            body: Some(body),
            place: place.as_ref().map(Arc::downgrade),
        };
        DrainFuture {
            inner: self.inner.call(Request::from_parts(head, body)),
            place,
            bounds: self.bounds,
            drain: None,
        }
    }
}

/// Returns whether an unread body is in the way of the answer, and reading it makes sense.
fn is_in_the_way(version: Version, headers: &HeaderMap) -> bool {
    // Such a client has sent nothing yet, and reading would tell it to.
    version <= Version::HTTP_11 && !headers.contains_key(EXPECT)
}

/// Where a lent body comes back to.
type Place<B> = Mutex<Option<B>>;

/// The body of a request, lent to the inner service of a [`Draining`] one.
pub struct LentBody<B: Body + Unpin> {
    /// It is there until the drop.
    body: Option<B>,
    place: Option<Weak<Place<B>>>,
}

impl<B: Body + Unpin> Drop for LentBody<B> {
    fn drop(&mut self) {
        let place = self.place.take().and_then(|place| place.upgrade());
        if let Some(place) = place {
            let body = self.body.take().filter(|body| !body.is_end_stream());
            *place.lock().unwrap_or_else(PoisonError::into_inner) = body;
        }
    }
}

impl<B: Body + Unpin> Body for LentBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Unpin> fmt::Debug for LentBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentBody").finish_non_exhaustive()
    }
}

pin_project! {
    /// The answer of a [`Draining`] service.
    pub struct DrainFuture<F, B, R> {
        #[pin]
        inner: F,
        // `None` if the body is not lent.
        place: Option<Arc<Place<B>>>,
        bounds: DrainRefused,
        // The refusal that waits until the body is read.
        drain: Option<Drain<B, R>>,
    }
}

struct Drain<B, R> {
    refusal: Option<Response<R>>,
    body: B,
    left: u64,
    end: Pin<Box<Sleep>>,
}

impl<B: Body + Unpin, R> Drain<B, R> {
    /// Reads until the end of the body or a bound.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A timer panics when it is polled after its runtime has ended.
        let end = catch_unwind(AssertUnwindSafe(|| self.end.as_mut().poll(cx)));
        if end.is_ok_and(|end| end.is_pending()) {
            return self.read(cx);
        }
        Poll::Ready(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(Ok(frame)) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(());
            };
            // An empty frame counts too, or a body of empty frames would be read for ever.
            let bytes = frame.data_ref().map_or(1, |data| data.remaining().max(1));
            match self.left.checked_sub(bytes as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
    }
}

/// Returns a timer; `None` outside a tokio runtime, and in one without time, where no bound of time
/// can be kept.
fn timer(span: Duration) -> Option<Pin<Box<Sleep>>> {
    Handle::try_current().ok()?;
    catch_unwind(|| Box::pin(sleep(span))).ok()
}

impl<F, B, R, E> Future for DrainFuture<F, B, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    B: Body + Unpin,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.drain.is_none() {
            let answer = ready!(this.inner.poll(cx));
            let place = this.place.take();
            let refusal = match answer {
                Ok(refusal) if refusal.extensions().get::<Refused>().is_some() => refusal,
                answer => return Poll::Ready(answer),
            };
            let body = place.and_then(|place| {
                let mut lent = place.lock().unwrap_or_else(PoisonError::into_inner);
                lent.take()
            });
            let (Some(body), Some(end)) = (body, timer(this.bounds.time)) else {
                return Poll::Ready(Ok(refusal));
            };
            *this.drain = Some(Drain {
                refusal: Some(refusal),
                body,
                left: this.bounds.bytes,
                end,
            });
        }
        let drain = this.drain.as_mut().expect("it has just been set");
        ready!(drain.poll(cx));
        let refusal = drain.refusal.take();
        Poll::Ready(Ok(refusal.expect("the future is not polled after its end")))
    }
}

impl<F, B, R> fmt::Debug for DrainFuture<F, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainFuture")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}
