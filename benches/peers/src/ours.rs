//! Our own layer: the default policy, a window of 60 s, around plain calls.

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response, Uri};
use http_body_util::Empty;
use tower::{Layer, Service};
use tower_maintenance::{
    CoarseClock, Error, Exemption, Hold, MaintenanceHandle, MaintenanceLayer, Policy, Window,
};

use crate::subject::{
    Answer, Breaker, Caller, Cost, MaybeRefusal, Partner, Subject, Tower, finished,
};

pub(crate) const NAME: &str = "tower-maintenance";

/// Longer than any measurement.
pub(crate) const LONG: Duration = Duration::from_secs(86_400);

pub(crate) const OURS: Breaker = Breaker {
    name: NAME,
    build: |wait| around_calls(&with_policy(Policy::default().with_wait(wait))),
    cost: Cost::Flat,
};

/// Ours with a cheaper and coarser clock.
pub(crate) const OURS_COARSE: Breaker = Breaker {
    name: NAME,
    build: |wait| {
        let built = MaintenanceLayer::builder("partner")
            .policy(Policy::default().with_wait(wait))
            .clock(CoarseClock::new())
            .build();
        around_calls(&built.expect("the policy is valid"))
    },
    cost: Cost::Flat,
};

fn with_policy(policy: Policy) -> MaintenanceLayer {
    MaintenanceLayer::builder("partner")
        .policy(policy)
        .build()
        .expect("the policy is valid")
}

fn around_calls(layer: &MaintenanceLayer) -> Box<dyn Subject> {
    Box::new(Tower(layer.layer(Partner)))
}

impl<E> MaybeRefusal for Error<E> {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

fn hold(handle: &MaintenanceHandle) {
    let held = handle.engage(Hold::new("a bench", "refuses everything"));
    held.expect("actor and reason are given");
}

/// Held by an operator, without expiry: no deadline is pending.
pub(crate) fn held() -> Box<dyn Subject> {
    let layer = with_policy(Policy::default());
    hold(&layer.handle());
    around_calls(&layer)
}

// ---- windows, subscribers, readers --------------------------------------------------------------

/// A window, and how many calls it takes until it is as full as it gets in a bench.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    window: Window,
    pub(crate) calls: u64,
}

impl Shape {
    const fn time(name: &'static str, seconds: u64) -> Self {
        Self {
            name,
            window: Window::time(Duration::from_secs(seconds)),
            calls: 10_000,
        }
    }

    const fn calls(name: &'static str, size: u32) -> Self {
        Self {
            name,
            window: Window::calls(size),
            // Once around, and a little more.
            calls: size as u64 + 10_000,
        }
    }

    pub(crate) fn layer(self) -> MaintenanceLayer {
        with_policy(Policy::default().with_window(self.window).with_wait(LONG))
    }

    pub(crate) fn subject(self) -> Box<dyn Subject> {
        around_calls(&self.layer())
    }
}

pub(crate) const SHAPES: [Shape; 7] = [
    Shape::time("window of 1 s", 1),
    Shape::time("window of 60 s", 60),
    Shape::time("window of 1 h", 3_600),
    Shape::time("window of 24 h", 86_400),
    Shape::calls("window of 10 calls", 10),
    Shape::calls("window of 1,000 calls", 1_000),
    Shape::calls("window of 1,000,000 calls", 1_000_000),
];

/// What stays subscribed while calls are measured.
#[derive(Debug, Clone)]
struct Beside<C> {
    caller: C,
    _kept: Arc<dyn Any + Send + Sync>,
}

impl<C: Caller> Caller for Beside<C> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        self.caller.call(request)
    }
}

fn beside<K: Send + Sync + 'static>(
    number: usize,
    keep: impl Fn(&MaintenanceHandle) -> K,
) -> Box<dyn Subject> {
    let layer = with_policy(Policy::default().with_wait(LONG));
    let kept: Vec<K> = (0..number).map(|_| keep(&layer.handle())).collect();
    Box::new(Beside {
        caller: Tower(layer.layer(Partner)),
        _kept: Arc::new(kept),
    })
}

/// So many have subscribed to the recovery signal.
pub(crate) fn beside_subscribers(number: usize) -> Box<dyn Subject> {
    beside(number, MaintenanceHandle::cache_bust)
}

/// So many have a handle of their own, and have read the status with it.
pub(crate) fn beside_readers(number: usize) -> Box<dyn Subject> {
    beside(number, |handle| {
        black_box(handle.status());
        handle.clone()
    })
}

// ---- HTTP calls -------------------------------------------------------------------------------

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
        ready(Ok(Response::new(Empty::new())))
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
        match self
            .service
            .poll_ready(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Ok(())) => finished(pin!(self.service.call(request))).into(),
            Poll::Ready(Err(error)) => Err::<(), _>(error).into(),
            Poll::Pending => panic!("a service of a partner that is ready is not"),
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
pub(crate) fn bare_http() -> Box<dyn Subject> {
    over_http(HttpPartner)
}

/// HTTP calls that pass and are judged, by the head alone: the answer has no body.
pub(crate) fn http() -> Box<dyn Subject> {
    over_http(
        MaintenanceLayer::new("partner")
            .http_calls()
            .layer(HttpPartner),
    )
}

/// What an exempt call cannot do without: the matcher that the layer uses, and the partner.
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

/// A thousand patterns, while serving.
pub(crate) fn exempt() -> Box<dyn Subject> {
    over_http(exempting().http_calls().layer(HttpPartner))
}

/// The same while everything else is refused.
pub(crate) fn exempt_under_hold() -> Box<dyn Subject> {
    let layer = exempting();
    hold(&layer.handle());
    over_http(layer.http_calls().layer(HttpPartner))
}
