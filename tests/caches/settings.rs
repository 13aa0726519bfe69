//! Settings that are given twice: no closure and no directive is silently without effect.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    MaintenanceLayer,
    http::{CacheBustLayer, LastGoodBuilder, LastGoodLayer},
};

use crate::support::recover;

/// Returns how many of four paths the layer stores.
async fn stored(builder: LastGoodBuilder) -> u64 {
    let last_good = builder.build().unwrap();
    let layer = MaintenanceLayer::new("zuora");
    let partner = service_fn(async |request: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(
            request.uri().to_string(),
        ))))
    });
    let calls = last_good.layer(layer.http_calls().layer(partner));
    for path in ["/a", "/ab", "/b", "/c"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        let answer = calls.clone().oneshot(request).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    last_good.counts().stored
}

#[tokio::test(start_paused = true)]
async fn every_closure_that_opts_in_or_judges_is_asked() {
    let has = |text: &'static str| move |path: &str| path.contains(text);
    let (a, b) = (has("a"), has("b"));
    let only = || LastGoodLayer::builder().only(move |request| a(request.uri.path()));
    assert_eq!(stored(only()).await, 2);
    assert_eq!(
        stored(only().only(move |request| b(request.uri.path()))).await,
        1
    );

    let says = |text: &'static str| {
        move |body: &[u8]| body.windows(text.len()).any(|part| part == text.as_bytes())
    };
    let (a, b) = (says("a"), says("b"));
    let all = || LastGoodLayer::builder().only(|_| true);
    let good = || all().good_if(move |answer| a(answer.bytes()));
    assert_eq!(stored(good()).await, 2);
    assert_eq!(
        stored(good().good_if(move |answer| b(answer.bytes()))).await,
        1
    );
    assert_eq!(stored(all()).await, 4);
}

#[tokio::test]
async fn directives_add_up() {
    let layer = MaintenanceLayer::new("zuora");
    let bust = CacheBustLayer::builder(&layer.handle())
        .carried_by(["/"])
        .clear_site_data(["storage"])
        .clear_site_data(["cache"])
        .secure_if(|_| true)
        .build()
        .unwrap();
    recover(&layer.handle());
    let page = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let request = Request::get("/")
        .header("cookie", "maintenance-generation=1722457620000")
        .header("sec-fetch-site", "same-origin");
    let answer = bust
        .layer(page)
        .oneshot(request.body(()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        answer.headers()["clear-site-data"],
        "\"cache\", \"storage\""
    );
}
