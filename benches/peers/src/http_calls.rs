//! Our own layer around an HTTP client, and the client alone.
//!
//! No peer stands beside it: a peer ends a call with the future that it wraps, at the headers, and
//! does not follow the body.

use std::{
    convert::Infallible,
    future::{self, Future, Ready, poll_fn},
    hint::black_box,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame};
use http_body_util::Empty;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service};
use tower_maintenance::{Exemption, MaintenanceLayer};

use crate::{
    ours::hold,
    partner::{AtOnce, SecondPoll, pending_once},
    subject::{Answer, Caller, MaybeRefusal, Subject, finished, ready, run},
};

const PATTERNS: usize = 1_000;

fn patterns() -> impl Iterator<Item = String> {
    (0..PATTERNS).map(|n| format!("/v1/resource-{n}/items/{{id}}"))
}

fn path() -> Uri {
    Uri::from_static("/v1/resource-500/items/42")
}

/// An HTTP partner that answers at once.
#[derive(Debug, Clone, Copy)]
struct HttpPartner;

impl Service<Request<()>> for HttpPartner {
    type Response = Response<Empty<&'static [u8]>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(request);
        future::ready(Ok(Response::new(Empty::new())))
    }
}

/// Calls an HTTP service at the exempt path.
#[derive(Debug, Clone)]
struct Http<S> {
    service: S,
    path: Uri,
}

impl MaybeRefusal for Infallible {
    fn is_refusal(&self) -> bool {
        match *self {}
    }
}

impl<S> Caller for Http<S>
where
    S: Service<Request<()>, Error: MaybeRefusal> + Clone + Send + 'static,
{
    #[inline]
    fn call(&mut self, _: u64) -> Answer {
        let mut request = Request::new(());
        *request.uri_mut() = self.path.clone();
        match ready(&mut self.service) {
            Ok(()) => finished::<AtOnce, _>(pin!(self.service.call(request))).into(),
            Err(error) => Err::<(), _>(error).into(),
        }
    }
}

fn over_http<S>(service: S) -> Box<dyn Subject>
where
    Http<S>: Caller,
{
    let path = path();
    Box::new(Http { service, path })
}

/// The HTTP partner itself.
pub(crate) fn bare() -> Box<dyn Subject> {
    over_http(HttpPartner)
}

/// HTTP calls that pass and are judged by the head alone, because the answer has no body.
pub(crate) fn passing() -> Box<dyn Subject> {
    let layer = MaintenanceLayer::new("partner").http_calls();
    over_http(layer.layer(HttpPartner))
}

/// The matcher that the layer uses, and the partner: an exempt call needs both.
#[derive(Clone)]
struct Matched {
    matcher: Arc<matchit::Router<usize>>,
    partner: HttpPartner,
}

impl Service<Request<()>> for Matched {
    type Response = <HttpPartner as Service<Request<()>>>::Response;
    type Error = Infallible;
    type Future = <HttpPartner as Service<Request<()>>>::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.partner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<()>) -> Self::Future {
        let found = self.matcher.at(request.uri().path());
        assert_eq!(found.ok().map(|found| *found.value), Some(500));
        self.partner.call(request)
    }
}

pub(crate) fn bare_matcher() -> Box<dyn Subject> {
    let mut matcher = matchit::Router::new();
    for (number, pattern) in patterns().enumerate() {
        let inserted = matcher.insert(pattern, number);
        inserted.expect("the patterns differ");
    }
    over_http(Matched {
        matcher: Arc::new(matcher),
        partner: HttpPartner,
    })
}

fn exempting() -> MaintenanceLayer {
    let mut builder = MaintenanceLayer::builder("partner");
    for pattern in patterns() {
        builder = builder.exempt(Exemption::http_call(&pattern, "a bench"));
    }
    builder.build().expect("patterns and reasons are given")
}

/// With a thousand patterns, while serving.
pub(crate) fn exempt() -> Box<dyn Subject> {
    over_http(exempting().http_calls().layer(HttpPartner))
}

/// The same while every other call is refused.
pub(crate) fn exempt_under_hold() -> Box<dyn Subject> {
    let layer = exempting();
    hold(&layer.handle());
    over_http(layer.http_calls().layer(HttpPartner))
}

// ---- a call that waits -------------------------------------------------------------------------

/// An HTTP partner. The headers and each frame of the body are ready at the second poll.
#[derive(Debug, Clone, Copy)]
struct WaitingPartner;

impl Service<Request<()>> for WaitingPartner {
    type Response = Response<TwoFrames>;
    type Error = Infallible;
    type Future = Headers;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<()>) -> Headers {
        black_box(request);
        Headers::default()
    }
}

/// Headers that are pending once.
#[derive(Debug, Default)]
struct Headers {
    polled: bool,
}

impl Future for Headers {
    type Output = Result<Response<TwoFrames>, Infallible>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        pending_once(&mut self.polled, cx).map(|()| Ok(Response::new(TwoFrames::default())))
    }
}

/// A body of two frames. Each is pending once.
#[derive(Debug, Default)]
struct TwoFrames {
    read: u8,
    polled: bool,
}

const FRAMES: u8 = 2;

impl Body for TwoFrames {
    type Data = Bytes;
    type Error = Infallible;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.read == FRAMES {
            return Poll::Ready(None);
        }
        pending_once(&mut self.polled, cx).map(|()| {
            self.read += 1;
            self.polled = false;
            Some(Ok(Frame::data(Bytes::from_static(b"12 EUR"))))
        })
    }

    /// A client's body knows its end from `content-length`.
    #[inline]
    fn is_end_stream(&self) -> bool {
        self.read == FRAMES
    }
}

/// Calls an HTTP service and reads the body to its end, in a tokio runtime: there our layer makes a
/// timer when a body is waited for. The runtime has no I/O, so waking its timer is no system call.
#[derive(Debug, Clone)]
struct Streamed<S> {
    service: S,
    runtime: Arc<Runtime>,
}

impl<S, B> Streamed<S>
where
    S: Service<Request<()>, Response = Response<B>, Error: MaybeRefusal>,
    B: Body<Data = Bytes>,
{
    #[inline]
    fn call_in_runtime(&mut self) -> Answer {
        if let Err(error) = ready(&mut self.service) {
            return Err::<(), _>(error).into();
        }
        match finished::<SecondPoll, _>(pin!(self.service.call(Request::new(())))) {
            Ok(response) => match read_to_end(response.into_body()) {
                FRAMES => Answer::Passed,
                _ => Answer::Failed,
            },
            Err(error) => Err::<(), _>(error).into(),
        }
    }
}

/// Reads a body to its end, each frame ready at the second poll, and returns the number of frames.
#[inline]
fn read_to_end<B: Body<Data = Bytes>>(body: B) -> u8 {
    let mut body = pin!(body);
    let mut frames = 0;
    while let Some(Ok(frame)) = finished::<SecondPoll, _>(pin!(next_frame(body.as_mut()))) {
        black_box(frame);
        frames += 1;
    }
    frames
}

#[inline]
fn next_frame<B: Body>(
    mut body: Pin<&mut B>,
) -> impl Future<Output = Option<Result<Frame<B::Data>, B::Error>>> {
    poll_fn(move |cx| body.as_mut().poll_frame(cx))
}

impl<S, B> Caller for Streamed<S>
where
    S: Service<Request<()>, Response = Response<B>, Error: MaybeRefusal> + Clone + Send + 'static,
    B: Body<Data = Bytes>,
{
    #[inline]
    fn call(&mut self, _: u64) -> Answer {
        self.call_in_runtime()
    }

    fn run(&mut self, calls: u64) -> u64 {
        let runtime = self.runtime.clone();
        let _in_runtime = runtime.enter();
        run(self, calls)
    }
}

fn streamed<S>(service: S) -> Box<dyn Subject>
where
    Streamed<S>: Caller,
{
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
    Box::new(Streamed {
        service,
        runtime: Arc::new(runtime),
    })
}

/// The waiting HTTP partner itself.
pub(crate) fn bare_waiting() -> Box<dyn Subject> {
    streamed(WaitingPartner)
}

/// HTTP calls that are waited for, and judged at the end of their body.
pub(crate) fn waiting() -> Box<dyn Subject> {
    let layer = MaintenanceLayer::new("partner").http_calls();
    streamed(layer.layer(WaitingPartner))
}
