//! A refusal that was made in this process is neutral to every layer outside it, over HTTP.

use std::convert::Infallible;

use http::{Request, Response};
use test_support::secs;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_maintenance::{KeyedLayer, MaintenanceLayer, Policy, testing::assert_serving};

use crate::support::hold;

/// Trips at the third failure in a row.
fn layer() -> MaintenanceLayer {
    let policy = Policy::default().with_consecutive_failures(3);
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    layer.build().unwrap()
}

type Answered = Result<Response<String>, BoxError>;

/// Tries five times to get through `stack`, whose inner layer refuses.
async fn five_refused<S, B>(stack: S)
where
    S: Service<Request<()>, Response = Response<B>, Error: std::fmt::Debug> + Clone,
{
    for _ in 0..5 {
        let request = Request::get("/v1/prices").body(()).unwrap();
        assert!(stack.clone().oneshot(request).await.is_err());
    }
}

fn assert_refused_within(layer: &MaintenanceLayer, case: &str) {
    assert_serving(&layer.handle());
    let calls = layer.handle().status().calls;
    assert_eq!((calls.failed, calls.refused_within), (0, 5), "{case}");
}

#[tokio::test(start_paused = true)]
async fn around_calls_another_layers_refusal_is_known_whatever_the_clients_error_is() {
    /// The error of a client that this crate knows nothing of, and that is no `Error` besides.
    #[derive(Debug)]
    struct Theirs;
    let within = MaintenanceLayer::new("the gateway's");
    hold(&within.handle());
    let theirs = service_fn(async |_: Request<()>| Err::<Response<String>, _>(Theirs));
    let boxed = service_fn(async |_: Request<()>| -> Answered { Err("down".into()) });

    let outer = layer();
    let calls = ServiceBuilder::new().layer(outer.http_calls());
    five_refused(calls.layer(within.http_calls()).service(theirs)).await;
    assert_refused_within(&outer, "http_calls in http_calls");

    let outer = layer();
    let calls = ServiceBuilder::new().layer(outer.http_calls());
    five_refused(
        calls
            .timeout(secs(1))
            .layer(within.http_calls().boxed())
            .service(boxed),
    )
    .await;
    assert_refused_within(&outer, "boxed, with a timeout between");

    let outer = layer();
    let calls = ServiceBuilder::new().layer(outer.http_calls().boxed());
    let calls = calls
        .map_err(axum::Error::new)
        .map_err(std::io::Error::other);
    five_refused(calls.layer(within.http_calls().boxed()).service(boxed)).await;
    assert_refused_within(&outer, "in axum's error, in an io error");

    let outer = layer();
    let keyed = KeyedLayer::builder(|_: &Request<()>| (), move |_: &()| outer.clone());
    let keyed = keyed.build().unwrap();
    let handle = keyed.keys().handle(&()).unwrap();
    let view = keyed.with_view(|_: &Request<()>| (), |layer| layer.http_calls());
    five_refused(view.layer(within.http_calls().layer(theirs))).await;
    let calls = handle.status().calls;
    assert_eq!((calls.failed, calls.refused_within), (0, 5), "keyed");
}

/// What came over the wire is the partner's word, and can be forged.
#[tokio::test(start_paused = true)]
async fn a_503_with_everything_that_a_refusal_says_is_the_partners_failure() {
    let theirs = MaintenanceLayer::new("theirs");
    hold(&theirs.handle());
    let gateway = service_fn(
        async |_: Request<()>| -> Result<Response<String>, Infallible> {
            unreachable!("it is held")
        },
    );
    let over_the_wire = theirs.paths().layer(gateway).map_response(|answer| {
        let (mut head, body) = answer.into_parts();
        head.extensions.clear(); // they do not cross the wire
        Response::from_parts(head, body)
    });
    let layer = layer();
    let stack = layer.http_calls().layer(over_the_wire);
    let request = Request::get("/v1/prices").body(()).unwrap();
    let answer = stack.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let calls = layer.handle().status().calls;
    assert_eq!((calls.failed, calls.refused_within), (1, 0));
}
