#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of this")]
//! Shared by the benches: a ready inner service, and a way to call it without a runtime.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{Layer, Service};
use tower_maintenance::{Exemption, Hold, MaintenanceLayer, Policy};

/// The partner in the shape that costs least: always ready, answers at once.
#[derive(Debug, Clone, Copy)]
pub struct Bare;

impl Service<u64> for Bare {
    type Response = u64;
    type Error = Infallible;
    type Future = Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(black_box(request)))
    }
}

/// A partner that answers at the second poll, as one over a network answers at a later one.
#[derive(Debug, Clone, Copy)]
pub struct Later;

/// An answer that is pending at the first poll and ready at the second.
#[derive(Debug)]
pub struct Second(Option<u64>, bool);

impl Future for Second {
    type Output = Result<u64, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if !std::mem::replace(&mut self.1, true) {
            return Poll::Pending;
        }
        let answer = self.0.take();
        Poll::Ready(Ok(answer.expect("it is not polled after it has answered")))
    }
}

impl Service<u64> for Later {
    type Response = u64;
    type Error = Infallible;
    type Future = Second;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Second {
        Second(Some(black_box(request)), false)
    }
}

/// One call to a partner that answers at the second poll.
#[inline(never)]
pub fn call_later<S: Service<u64>>(service: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let mut future = pin!(service.call(black_box(7)));
    assert!(future.as_mut().poll(&mut cx).is_pending());
    matches!(future.poll(&mut cx), Poll::Ready(Ok(_)))
}

/// The layer around a partner that answers at the second poll.
pub fn later() -> impl Service<u64, Future: Send> + Clone + Send {
    layer().layer(Later)
}

#[cfg(feature = "http")]
pub mod http {
    //! An HTTP partner, and a way to call it.

    use std::{
        convert::Infallible,
        future::{Future, Ready, ready},
        hint::black_box,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use ::http::{Request, Response};
    use http_body_util::Empty;
    use tower::Service;

    /// An HTTP partner that answers at once with an empty body.
    #[derive(Debug, Clone, Copy)]
    pub struct Bare;

    impl Service<Request<()>> for Bare {
        type Response = Response<Empty<&'static [u8]>>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            black_box(request);
            ready(Ok(Response::new(Empty::new())))
        }
    }

    /// One call from readiness to the answer's headers.
    #[inline(never)]
    pub fn call<S, B>(service: &mut S)
    where
        S: Service<Request<()>, Response = Response<B>>,
    {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        match pin!(service.call(black_box(Request::new(())))).poll(&mut cx) {
            Poll::Ready(Ok(answer)) => assert!(answer.status().is_success()),
            Poll::Ready(Err(_)) | Poll::Pending => unreachable!("the partner answers at once"),
        }
    }

    /// One request, as a server does with each: through a clone of the router.
    #[cfg(feature = "axum")]
    pub fn ask(router: &axum::Router) {
        use tower::ServiceExt;

        let mut request = Request::new(axum::body::Body::empty());
        *request.uri_mut() = ::http::Uri::from_static("/billing/prices");
        let answer = pin!(router.clone().oneshot(black_box(request)));
        match answer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(answer)) => assert!(answer.status().is_success()),
            Poll::Pending => unreachable!("the handler answers at once"),
        }
    }
}

/// One call from readiness to answer, as an executor would drive it. Not inlined, so that the call
/// stays a call: the bare service would vanish.
#[inline(never)]
pub fn call<S: Service<u64>>(service: &mut S) -> bool {
    called(service, 7)
}

/// The same with any request, inlined.
#[inline(always)]
pub fn called<S: Service<u64>>(service: &mut S, request: u64) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    match pin!(service.call(black_box(request))).poll(&mut cx) {
        Poll::Ready(answer) => answer.is_ok(),
        Poll::Pending => unreachable!("the inner service answers at once"),
    }
}

/// The layer around the bare service, serving.
pub fn serving() -> impl Service<u64, Future: Send> + Clone + Send {
    layer().layer(Bare)
}

/// The same, held by an operator: no deadline is pending.
pub fn held() -> impl Service<u64, Future: Send> + Clone + Send {
    let layer = layer();
    let hold = Hold::new("bench", "refuse everything");
    layer
        .handle()
        .engage(hold)
        .expect("actor and reason are given");
    layer.layer(Bare)
}

/// The same, tripped with a wait that outlasts the bench: a deadline is pending.
pub fn tripped() -> impl Service<u64, Future: Send> + Clone + Send {
    let layer = layer();
    let tripped = layer.handle().trip("bench", "refuse everything");
    tripped.expect("no bypass is on");
    layer.layer(Bare)
}

/// The same, serving with a thousand exempt names. The name of every request is among them.
pub fn exempt() -> impl Service<u64, Future: Send> + Clone + Send {
    let mut builder = MaintenanceLayer::builder("partner");
    for n in 0..1000 {
        builder = builder.exempt(Exemption::call(&format!("call-{n}"), "a bench"));
    }
    builder
        .build()
        .expect("reasons are given")
        .named(|_: &u64| "call-500")
        .layer(Bare)
}

fn layer() -> MaintenanceLayer {
    let policy = Policy::default().with_wait(Duration::from_secs(86_400));
    MaintenanceLayer::builder("partner")
        .policy(policy)
        .build()
        .expect("a day is a valid wait")
}
