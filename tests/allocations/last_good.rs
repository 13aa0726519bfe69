//! Last good answers: a request that is not opted in allocates nothing, and the kept answers stay
//! within their bound.

use std::{convert::Infallible, future::ready, pin::pin};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use test_support::{ScriptedBody, Step, allocations_in, at_once, bytes};
use tower::{Layer, Service, service_fn};
use tower_maintenance::http::LastGoodLayer;

#[test]
fn a_request_that_is_not_opted_in_allocates_nothing_for_the_last_good_answer() {
    let layer = LastGoodLayer::builder()
        .path("/prices")
        .only(|request| request.uri.query().is_none())
        .keyed_by(|_| Some("everybody".to_owned()))
        .build()
        .unwrap();
    let inner = service_fn(|_: Request<Full<Bytes>>| {
        let answer = Response::new(Full::from(Bytes::from_static(b"12 EUR")));
        ready(Ok::<_, Infallible>(answer))
    });
    let mut service = layer.layer(inner);
    let mut count = |method: Method, uri: &'static str| {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static(uri);
        allocations_in(|| {
            assert!(at_once(service.call(request)).is_some());
        })
    };
    assert_eq!(count(Method::GET, "/purchases"), 0);
    assert_eq!(count(Method::POST, "/purchases"), 0);
    assert_eq!(count(Method::OPTIONS, "/prices"), 0);
    assert_eq!(count(Method::GET, "/prices?currency=usd"), 0);
    assert!(
        count(Method::GET, "/prices") > 0,
        "what is opted in is remembered"
    );
}

/// Measured by the allocator and not by the cache's own count: bytes that moka has evicted count
/// until they are freed.
#[test]
fn what_is_kept_takes_no_more_memory_than_its_bound_and_a_little() {
    const TOTAL: i64 = 4 * 1024 * 1024;
    let layer = LastGoodLayer::builder().path("/prices");
    let layer = layer.max_total_bytes(TOTAL as u64).build().unwrap();
    let large = Bytes::from(vec![b'x'; 200_000]);
    let inner = service_fn(move |_: Request<Full<Bytes>>| {
        let answer = Response::new(Full::from(large.clone()));
        ready(Ok::<_, Infallible>(answer))
    });
    let mut service = layer.layer(inner);
    let before = bytes();
    let mut most = 0;
    for n in 0..1000 {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = format!("/prices?x={n}").parse().unwrap();
        let answer = at_once(service.call(request)).expect("it is there at once");
        let mut body = pin!(answer.unwrap().into_body());
        while let Some(Some(frame)) = at_once(body.frame()) {
            frame.unwrap();
        }
        most = most.max(bytes() - before);
    }
    assert_eq!(layer.counts().stored, 1000);
    println!("at most {most} bytes");
    assert!(most < TOTAL * 3 / 2, "{most} bytes");
}

/// The same for answers that are on their way: a partner begins a thousand and hangs.
#[test]
fn answers_that_never_end_take_no_more_memory_than_the_bound() {
    const TOTAL: i64 = 8 * 1024 * 1024;
    let layer = LastGoodLayer::builder().path("/prices");
    let layer = layer.max_total_bytes(TOTAL as u64).build().unwrap();
    let inner = service_fn(move |_: Request<Full<Bytes>>| {
        let steps = [Step::data(&[b'x'; 250_000]), Step::Hangs];
        ready(Ok::<_, Infallible>(Response::new(ScriptedBody::of(steps))))
    });
    let mut service = layer.layer(inner);
    let before = bytes();
    let mut most = 0;
    let mut bodies = Vec::new();
    for n in 0..1000 {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = format!("/prices?x={n}").parse().unwrap();
        let answer = at_once(service.call(request)).expect("it is there at once");
        let mut body = Box::pin(answer.unwrap().into_body());
        at_once(body.frame()).expect("the begin is there at once");
        bodies.push(body);
        most = most.max(bytes() - before);
    }
    println!("at most {most} bytes");
    assert!(most > TOTAL / 8, "{most} bytes: nothing was copied");
    assert!(most < TOTAL / 2, "{most} bytes");
}
