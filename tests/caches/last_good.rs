//! The last good answer: prices are shown while purchases are refused, and no customer sees the
//! answer of another.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use test_support::{ScriptedBody, Step as Comes, at_once, secs};
use tower::{BoxError, Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_maintenance::{
    Error, Hold, MaintenanceHandle, MaintenanceLayer, Policy, Refused,
    http::{
        CacheBustLayer, CallBody, HttpCalls, JsonAnswer, LastGoodBody, LastGoodBuilder,
        LastGoodLayer, ServedLastGood,
    },
};

type Asks = Request<Full<Bytes>>;
type Answer = Response<LastGoodBody<CallBody<ScriptedBody>>>;
type Partner = dyn Fn(&Asks) -> Result<Response<ScriptedBody>, io::Error> + Send + Sync;

/// A partner whose answers the test chooses, behind the layer around calls, behind the last good
/// answers.
struct World {
    layer: MaintenanceLayer,
    last_good: LastGoodLayer,
    partner: Arc<Mutex<Arc<Partner>>>,
    calls: BoxCloneService<Asks, Answer, Error<io::Error>>,
}

impl World {
    fn new(builder: LastGoodBuilder) -> Self {
        Self::with(|_| builder)
    }

    /// The builder may need the handle of the layer.
    fn with(builder: impl FnOnce(&MaintenanceHandle) -> LastGoodBuilder) -> Self {
        // These tests are about answers, so failures must not trip.
        let policy = Policy::default().with_consecutive_failures(1_000_000);
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy)
            .build()
            .unwrap();
        let last_good = builder(&layer.handle()).build().unwrap();
        let partner: Arc<Mutex<Arc<Partner>>> = Arc::new(Mutex::new(Arc::new(|_| {
            Ok(Response::new(ScriptedBody::whole("12 EUR")))
        })));
        let ask = partner.clone();
        let inner = service_fn(move |request: Asks| {
            let partner = ask.lock().unwrap().clone();
            std::future::ready(partner(&request))
        });
        let calls = last_good.layer(layer.http_calls().layer(inner));
        Self {
            layer,
            last_good,
            partner,
            calls: BoxCloneService::new(calls),
        }
    }

    fn prices() -> Self {
        Self::new(LastGoodLayer::builder().path("/prices"))
    }

    fn answers(
        &self,
        partner: impl Fn(&Asks) -> Result<Response<ScriptedBody>, io::Error> + Send + Sync + 'static,
    ) {
        *self.partner.lock().unwrap() = Arc::new(partner);
    }

    fn answers_with(&self, headers: &'static [(&'static str, &'static str)], body: &'static str) {
        self.answers(move |_| Ok(answer(headers, ScriptedBody::whole(body))));
    }

    fn hold(&self) {
        self.layer
            .handle()
            .engage(Hold::new("on-call", "ticket 4711"))
            .unwrap();
    }

    fn release(&self) {
        self.layer
            .handle()
            .release("on-call", "it is back")
            .unwrap();
    }

    async fn ask(&self, request: Asks) -> Result<Answer, Error<io::Error>> {
        self.calls.clone().oneshot(request).await
    }

    /// Makes a call in `Serving`, and reads the answer.
    async fn pass(&self, request: Asks) {
        let answer = self.ask(request).await.unwrap();
        assert!(answer.extensions().get::<ServedLastGood>().is_none());
        let _ = answer.into_body().collect().await;
    }

    /// Makes a call in `Maintenance`. Returns the answer if one was served.
    async fn ask_held(&self, request: Asks) -> Option<(http::response::Parts, Bytes)> {
        self.hold();
        let answer = self.ask(request).await;
        self.release();
        match answer {
            Ok(answer) => {
                assert!(answer.extensions().get::<ServedLastGood>().is_some());
                let (head, body) = answer.into_parts();
                Some((head, body.collect().await.unwrap().to_bytes()))
            }
            Err(error) => {
                assert!(error.refused().is_some(), "{error}");
                None
            }
        }
    }

    /// Returns whether an answer with these headers, to this request, is served to it again.
    async fn keeps(
        &self,
        headers: &'static [(&'static str, &'static str)],
        request: fn() -> Asks,
    ) -> bool {
        self.last_good.clear();
        self.answers_with(headers, "12 EUR");
        self.pass(request()).await;
        self.ask_held(request()).await.is_some()
    }
}

fn answer(headers: &[(&'static str, &'static str)], body: ScriptedBody) -> Response<ScriptedBody> {
    let mut answer = Response::new(body);
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        answer
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    answer
}

fn get(path: &str) -> Asks {
    with(path, &[])
}

fn with(path: &str, headers: &[(&str, &str)]) -> Asks {
    let uri = format!("http://partner.test{path}");
    let request = headers
        .iter()
        .fold(Request::get(uri), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.body(Full::default()).unwrap()
}

fn prices() -> Asks {
    get("/prices")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a partner's clock is none of this crate's"
)]
fn wall() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

// ---- what is kept -------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn what_a_shared_cache_must_not_keep_is_not_kept() {
    let world = World::prices();
    for kept in [
        &[][..],
        &[("cache-control", "max-age=60")],
        &[
            ("cache-control", "public, max-age=60"),
            ("vary", "Accept, accept-LANGUAGE"),
        ],
        &[("expires", "Fri, 31 Dec 9999 23:59:59 GMT")],
        &[
            ("cache-control", "max-age=99999999999999999999999999999"),
            ("age", "99999999999999"),
        ],
        &[
            ("age", "18446744073709551615"),
            ("cache-control", "max-age=18446744073709551615"),
        ],
    ] {
        assert!(world.keeps(kept, prices).await, "{kept:?}");
    }
    for not in [
        &[("cache-control", "no-store")][..],
        &[("cache-control", "No-Store")],
        &[
            ("cache-control", "max-age=60"),
            ("cache-control", "NO-STORE"),
        ],
        &[("cache-control", "no-cache")],
        &[("pragma", "No-Cache")],
        &[("cache-control", "private")],
        &[("cache-control", "max-age=60, Private")],
        &[("cache-control", "PRIVATE=\"x-account, x-name\", max-age=60")],
        &[("cache-control", "max-age=60, private=\"unclosed")],
        &[("cache-control", "public, x=\u{ff}, max-age=60")],
        &[("cache-control", "max-age=60, max-age=61")],
        &[("set-cookie", "session=1")],
        &[
            ("set-cookie", "session=1"),
            ("cache-control", "public, max-age=60"),
        ],
        &[("vary", "*")],
        &[("vary", "accept, *")],
        &[("vary", "accept"), ("vary", "*")],
        &[("vary", "accept;q=1")],
        &[("vary", "\u{ff}")],
        &[("content-range", "bytes 0-5/6")],
    ] {
        assert!(!world.keeps(not, prices).await, "{not:?}");
    }
    let with_authorization = || with("/prices", &[("authorization", "Bearer 1")]);
    assert!(!world.keeps(&[], with_authorization).await);
    assert!(
        !world
            .keeps(
                &[("cache-control", "public, max-age=60")],
                with_authorization
            )
            .await
    );
    assert!(
        !world
            .keeps(&[], || with("/prices", &[("cache-control", "no-store")]))
            .await
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_200_to_a_get_without_a_body_is_kept() {
    let world = World::prices();
    for status in [203, 204, 206, 301, 304, 404, 410, 500, 503] {
        world.answers(move |_| {
            Ok(Response::builder()
                .status(status)
                .body(ScriptedBody::whole("x"))
                .unwrap())
        });
        world.pass(prices()).await;
        assert!(world.ask_held(prices()).await.is_none(), "{status}");
    }
    world.answers_with(&[], "found");
    let mut search = prices();
    *search.body_mut() = Full::from("name=secret");
    world.pass(search).await;
    let mut head = prices();
    *head.method_mut() = Method::HEAD;
    world.pass(head).await;
    world.pass(get("/elsewhere")).await;
    world.pass(get("/prices/../prices")).await;
    assert_eq!(world.last_good.counts().stored, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cookie_wants_an_answer_that_says_public() {
    let world = World::prices();
    let cookie = || with("/prices", &[("cookie", "session=1")]);
    assert!(!world.keeps(&[], cookie).await);
    assert!(
        !world
            .keeps(&[("cache-control", "max-age=60")], cookie)
            .await
    );
    assert!(
        world
            .keeps(&[("cache-control", "Public, max-age=60")], cookie)
            .await
    );
    assert!(
        world
            .keeps(&[("cache-control", "s-maxage=60")], cookie)
            .await
    );

    // An answer for customers without a session is not shown to one with a session.
    assert!(world.keeps(&[], prices).await);
    assert!(world.ask_held(cookie()).await.is_none());
}

const CREDENTIALS: [&str; 10] = [
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "proxy-authorization",
    "ocp-apim-subscription-key",
    "x-goog-api-key",
    "x-session-id",
    "x-forwarded-user",
];

/// Two customers with a credential each, and an answer that does not say that it is personal.
#[tokio::test(start_paused = true)]
async fn the_answer_to_one_credential_is_not_shown_to_another() {
    let echo = |header: &'static str| {
        move |request: &Asks| {
            let of = request.headers().get(header);
            let body = format!("the price of {of:?}");
            let said = [("cache-control", "public, max-age=60")];
            Ok(answer(&said, ScriptedBody::whole(body)))
        }
    };
    let user = |request: &http::request::Parts| request.extensions.get::<String>().cloned();
    let paths = || LastGoodLayer::builder().path("/prices");
    for header in CREDENTIALS {
        let of = |value: &str| with("/prices", &[(header, value)]);
        let world = World::prices();
        world.answers(echo(header));
        world.pass(of("a")).await;
        assert_eq!(world.last_good.counts().stored, 0, "{header}");
        world.pass(prices()).await;
        assert!(world.ask_held(prices()).await.is_some(), "{header}");
        assert!(world.ask_held(of("b")).await.is_none(), "{header}");

        // With the header in the key, or with a verified user, there is an answer for each.
        let world = World::new(paths().keyed_by_header(header));
        world.answers(echo(header));
        world.pass(of("a")).await;
        assert!(world.ask_held(of("a")).await.is_some(), "{header}");
        assert!(world.ask_held(of("b")).await.is_none(), "{header}");
        let world = World::new(paths().keyed_by(user));
        world.answers(echo(header));
        let of_user = |user: &str| {
            let mut request = of(user);
            request.extensions_mut().insert(user.to_owned());
            request
        };
        world.pass(of_user("a")).await;
        assert!(world.ask_held(of_user("a")).await.is_some(), "{header}");
        assert!(world.ask_held(of_user("b")).await.is_none(), "{header}");
    }
    // A token in the query is a part of the key.
    let world = World::prices();
    world.pass(get("/prices?api_key=a")).await;
    assert!(world.ask_held(get("/prices?api_key=a")).await.is_some());
    assert!(world.ask_held(get("/prices?api_key=b")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_named_user_gets_back_what_is_private_and_no_cookie() {
    let user = |request: &http::request::Parts| {
        let user = request.extensions.get::<&'static str>()?;
        Some((*user).to_owned())
    };
    let world = World::new(LastGoodLayer::builder().path("/prices").keyed_by(user));
    let of = |user: Option<&'static str>| {
        let mut request = with(
            "/prices",
            &[("authorization", "Bearer 1"), ("cookie", "a=1")],
        );
        request.extensions_mut().extend(
            user.map(|user| {
                let mut extensions = http::Extensions::new();
                extensions.insert(user);
                extensions
            })
            .unwrap_or_default(),
        );
        request
    };
    let private = &[
        ("cache-control", "private, max-age=60"),
        ("set-cookie", "session=new"),
    ];
    world.answers_with(private, "mia's price");
    world.pass(of(Some("mia"))).await;
    world.pass(of(None)).await;

    let (head, body) = world.ask_held(of(Some("mia"))).await.unwrap();
    assert_eq!(body, "mia's price");
    assert!(!head.headers.contains_key("set-cookie"));
    assert!(world.ask_held(of(Some("ben"))).await.is_none());
    assert!(world.ask_held(of(None)).await.is_none());
    assert_eq!(world.last_good.counts().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn only_a_whole_body_is_kept_and_frames_pass_as_they_come() {
    let world = World::new(
        LastGoodLayer::builder()
            .path("/prices")
            .max_entry_bytes(4096),
    );
    let trailers = Comes::Trailers(HeaderMap::new());
    for hostile in [
        vec![Comes::data(b"12"), Comes::BreaksOff],
        vec![Comes::data(b"12 EUR"), trailers],
        vec![Comes::data(&[b'x'; 4096])],
        vec![Comes::data(b"x"), Comes::data(&[b'x'; 4095])],
    ] {
        let steps = hostile.clone();
        world.answers(move |_| Ok(Response::new(ScriptedBody::of(steps.clone()))));
        world.pass(prices()).await;
        assert!(world.ask_held(prices()).await.is_none(), "{hostile:?}");
    }

    // A body without an end, of which the reader reads much and then drops it.
    world.answers(|_| {
        let without_end = Comes::Repeats(vec![b'x'; 1000].into());
        Ok(Response::new(ScriptedBody::of([without_end])))
    });
    let mut body = world.ask(prices()).await.unwrap().into_body();
    for _ in 0..1000 {
        assert_eq!(
            body.frame()
                .await
                .unwrap()
                .unwrap()
                .data_ref()
                .unwrap()
                .len(),
            1000
        );
    }
    assert!(format!("{body:?}").contains("copied: false"), "{body:?}");
    drop(body);

    // A body that is dropped before its end.
    world.answers(|_| {
        let parts = [Comes::data(b"12"), Comes::data(b" EUR")];
        Ok(Response::new(ScriptedBody::of(parts)))
    });
    let mut body = world.ask(prices()).await.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().data_ref().unwrap(),
        "12"
    );
    drop(body);
    assert_eq!(world.last_good.counts().stored, 0);

    // A body that is read to its end, by a reader that does not ask once more.
    let mut body = world.ask(prices()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "12 EUR");
}

#[tokio::test(start_paused = true)]
async fn what_the_judge_of_bodies_calls_a_failure_is_not_good() {
    let json = JsonAnswer::new().failure_when("/success", false).unwrap();
    let judge = HttpCalls::new().judged_by_json(json);
    let good = LastGoodLayer::builder()
        .path("/prices")
        .good_if(move |answer| judge.judge(answer).outcome == tower_maintenance::Outcome::Success);
    let world = World::new(good);
    world.answers_with(&[], r#"{"success": true, "price": 12}"#);
    world.pass(prices()).await;
    world.answers_with(&[], r#"{"success": false}"#);
    world.pass(prices()).await;
    assert_eq!(
        world.ask_held(prices()).await.unwrap().1,
        r#"{"success": true, "price": 12}"#
    );
}

#[tokio::test(start_paused = true)]
async fn variants_are_told_apart_by_all_values_of_what_vary_names() {
    let world = World::prices();
    world.answers(|request| {
        let said: Vec<_> = request.headers().get_all("x-plan").iter().collect();
        let body = format!("{said:?}");
        let mut answer = Response::new(ScriptedBody::whole(body));
        answer
            .headers_mut()
            .insert("vary", HeaderValue::from_static("X-PLAN"));
        Ok(answer)
    });
    let gold = || with("/prices", &[("x-plan", "gold")]);
    let both = || with("/prices", &[("x-plan", "gold"), ("x-plan", "silver")]);
    world.pass(gold()).await;
    assert!(
        world.ask_held(both()).await.is_none(),
        "the first value alone is not enough"
    );
    assert!(world.ask_held(prices()).await.is_none());
    world.pass(both()).await;
    world.pass(prices()).await;
    assert_eq!(world.ask_held(gold()).await.unwrap().1, r#"["gold"]"#);
    assert_eq!(
        world.ask_held(both()).await.unwrap().1,
        r#"["gold", "silver"]"#
    );
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "[]");
}

/// Answers of one resource may vary by different headers. Many servers name `Origin` only if the
/// request has one.
#[tokio::test(start_paused = true)]
async fn answers_that_vary_by_different_headers_stand_beside_each_other() {
    let world = World::prices();
    world.answers(|request| {
        let origin = request.headers().get("origin").cloned();
        let mut answer = Response::new(ScriptedBody::whole(format!("{origin:?}")));
        if origin.is_some() {
            let names = HeaderValue::from_static("Origin, Accept");
            answer.headers_mut().insert("vary", names);
        }
        Ok(answer)
    });
    let from = |origin| with("/prices", &[("origin", origin)]);
    world.pass(from("https://a.test")).await;
    tokio::time::advance(secs(1)).await;
    world.pass(prices()).await;
    tokio::time::advance(secs(1)).await;
    world.pass(from("https://b.test")).await;
    assert_eq!(
        world.ask_held(from("https://b.test")).await.unwrap().1,
        "Some(\"https://b.test\")"
    );
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "None");
    // An answer that varies by nothing is for all, and of the answers that fit the newest is
    // served.
    assert_eq!(
        world.ask_held(from("https://a.test")).await.unwrap().1,
        "None"
    );
    assert_eq!(world.last_good.counts().resources, 1);
    let mut write = prices();
    *write.method_mut() = Method::PUT;
    world.pass(write).await;
    for gone in [from("https://a.test"), from("https://b.test"), prices()] {
        assert!(world.ask_held(gone).await.is_none());
    }
}

/// Web cache poisoning: a header of one client must not show in the answer to another.
#[tokio::test(start_paused = true)]
async fn a_header_that_answers_show_without_saying_so_poisons_nobody_elses() {
    let builder = LastGoodLayer::builder().path("/prices");
    let world = World::new(builder.keyed_by_header("X-Brand"));
    world.answers(|request| {
        Ok(Response::new(ScriptedBody::whole(format!(
            "{:?}",
            request.headers()
        ))))
    });
    for name in [
        "host",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-original-url",
        "x-rewrite-url",
        "x-brand",
    ] {
        world.last_good.clear();
        let evil = || with("/prices", &[(name, "evil.test")]);
        world.pass(evil()).await;
        assert!(world.ask_held(prices()).await.is_none(), "{name}");
        assert!(
            world
                .ask_held(with("/prices", &[(name, "b")]))
                .await
                .is_none()
        );
        assert!(world.ask_held(evil()).await.is_some(), "{name}");
    }
    // Two headers with swapped values are told apart.
    world.last_good.clear();
    world
        .pass(with(
            "/prices",
            &[("x-forwarded-host", "a"), ("x-brand", "b")],
        ))
        .await;
    let swapped = with("/prices", &[("x-forwarded-host", "b"), ("x-brand", "a")]);
    assert!(world.ask_held(swapped).await.is_none());
    let elsewhere = with("/prices", &[("x-original-url", "a"), ("x-brand", "b")]);
    assert!(world.ask_held(elsewhere).await.is_none());
}

fn asks_target(method: &Method, uri: &str, host: &str) -> Asks {
    let mut request = Request::builder().method(method).uri(uri);
    if !host.is_empty() {
        request = request.header("host", host);
    }
    request.body(Full::default()).unwrap()
}

/// One resource has one answer, however a request spells the target URI.
#[tokio::test(start_paused = true)]
async fn an_answer_is_found_and_dropped_by_the_target_uri() {
    let world = World::prices();
    let spellings = [
        ("/prices", "shop.test"),
        ("/prices", "Shop.TEST"),
        ("/prices", "shop.test:80"),
        ("/prices", "shop.test:443"),
        ("http://shop.test/prices", "shop.test"),
        ("http://SHOP.test:80/prices", ""),
        ("https://shop.test/prices", ""),
        ("https://shop.test:443/prices", "shop.test"),
    ];
    // `Vary: Host` says nothing that the key does not say.
    for vary in [&[][..], &[("vary", "Host")]] {
        for (read, read_host) in spellings {
            for (other, other_host) in spellings {
                world.last_good.clear();
                world.answers_with(vary, "12 EUR");
                world.pass(asks_target(&Method::GET, read, read_host)).await;
                let found = world
                    .ask_held(asks_target(&Method::GET, other, other_host))
                    .await;
                assert!(found.is_some(), "{read} {read_host}, {other} {other_host}");
                world
                    .pass(asks_target(&Method::PUT, other, other_host))
                    .await;
                let found = world
                    .ask_held(asks_target(&Method::GET, read, read_host))
                    .await;
                assert!(found.is_none(), "{read} {read_host}, {other} {other_host}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_other_target_finds_the_answer() {
    let world = World::prices();
    world
        .pass(asks_target(&Method::GET, "/prices", "shop.test"))
        .await;
    // Other resources, and requests that do not agree with themselves.
    for (uri, host) in [
        ("/prices", ""),
        ("/prices", "other.test"),
        ("/prices", "shop.test:8080"),
        ("/prices", "shop.test."),
        ("/prices?", "shop.test"),
        ("http://shop.test/prices", "other.test"),
        ("http://shop.test:8080/prices", "shop.test"),
        ("http://user@shop.test/prices", "shop.test"),
    ] {
        let found = world.ask_held(asks_target(&Method::GET, uri, host)).await;
        assert!(found.is_none(), "{uri} {host}");
    }
    // What a proxy passes on has the same spellings.
    let proxied = |name, value| {
        let mut request = asks_target(&Method::GET, "/prices", "shop.test");
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
        request
    };
    for (name, one, same) in [
        ("x-forwarded-host", "shop.test", "SHOP.test:443"),
        ("x-forwarded-proto", "https", "HTTPS"),
    ] {
        world.pass(proxied(name, one)).await;
        assert!(world.ask_held(proxied(name, same)).await.is_some());
    }
}

/// A good answer that has just come is kept, whatever is kept already. The price list is large, and
/// many small answers, each asked for more often, outweigh it.
#[tokio::test(start_paused = true)]
async fn what_came_last_is_kept_whatever_is_kept_already() {
    const TOTAL: u64 = 256 * 1024;
    let builder = LastGoodLayer::builder().only(|request| request.uri.path() == "/prices");
    let world = World::new(builder.max_entry_bytes(64 * 1024).max_total_bytes(TOTAL));
    for n in (0..10).flat_map(|_| 0..300) {
        world.pass(get(&format!("/prices?x={n}"))).await;
    }
    assert!(world.last_good.counts().bytes > TOTAL / 2);
    let list = "12 EUR ".repeat(4000);
    world.answers(move |_| Ok(Response::new(ScriptedBody::whole(list.clone()))));
    world.pass(prices()).await;
    let (_, body) = world.ask_held(prices()).await.unwrap();
    assert_eq!(body.len(), 28_000);
    assert!(world.last_good.counts().bytes <= TOTAL);
}

#[tokio::test(start_paused = true)]
async fn made_up_variants_put_out_no_answer_that_others_ask_for() {
    const TOTAL: u64 = 256 * 1024;
    let builder = LastGoodLayer::builder().path("/prices");
    let world = World::new(builder.max_entry_bytes(64 * 1024).max_total_bytes(TOTAL));
    world.answers_with(&[("vary", "accept-encoding")], "12 EUR");
    let asks = |encoding: &str| with("/prices", &[("accept-encoding", encoding)]);
    let honest = || asks("gzip, br");
    for round in 0..10 {
        world.pass(honest()).await;
        // Other answers nearly fill the room before the same one is asked for again.
        for n in 0..100 {
            world.pass(asks(&format!("x{round}.{n}"))).await;
        }
        let bytes = world.last_good.counts().bytes;
        assert!(bytes <= TOTAL, "{bytes}");
        assert!(world.ask_held(honest()).await.is_some(), "{round}");
    }
    let bytes = world.last_good.counts().bytes;
    assert!(bytes > TOTAL * 3 / 4, "the crowd fills it: {bytes}");

    // A request that is answered in maintenance counts as a use as well.
    world.hold();
    for _ in 0..3 {
        assert!(world.ask(honest()).await.is_ok());
    }
    world.release();
    for n in 0..100 {
        world.pass(asks(&format!("y{n}"))).await;
    }
    assert!(world.ask_held(honest()).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn where_there_is_room_for_one_answer_one_is_kept() {
    let builder = LastGoodLayer::builder().path("/prices");
    let world = World::new(builder.max_entry_bytes(4096).max_total_bytes(4096));
    let asks = |language: &str| with("/prices", &[("accept-language", language)]);
    let mut largest = 0;
    for size in (2000..4096).step_by(16) {
        world.last_good.clear();
        world.answers(move |_| {
            let body = ScriptedBody::whole(vec![0; size]);
            Ok(answer(&[("vary", "accept-language")], body))
        });
        let before = world.last_good.counts().stored;
        world.pass(asks("en")).await;
        let is_small_enough = world.last_good.counts().stored > before;
        let served = world.ask_held(asks("en")).await.is_some();
        assert_eq!(served, is_small_enough, "{size}");
        if served {
            largest = size;
            world.pass(asks("de")).await;
            let english = world.ask_held(asks("en")).await.is_some();
            let german = world.ask_held(asks("de")).await.is_some();
            assert!(english || german, "{size}");
        }
        assert!(world.last_good.counts().bytes <= 4096);
    }
    assert!(largest > 2500, "{largest}");
}

#[tokio::test(start_paused = true)]
async fn a_vary_of_hundreds_of_names_is_not_kept() {
    let world = World::prices();
    world.answers(|_| {
        let mut answer = Response::new(ScriptedBody::whole("12 EUR"));
        for n in 0..500 {
            let name = HeaderValue::try_from(format!("x-{n}")).unwrap();
            answer.headers_mut().append("vary", name);
        }
        Ok(answer)
    });
    world.pass(prices()).await;
    assert_eq!(world.last_good.counts().stored, 0);
    // A name that is repeated, in any spelling, counts once.
    world.answers(|_| {
        let names = ["Accept", "aCCept", "accept"].repeat(100).join(" ,, ");
        let answer = Response::builder().header("vary", names);
        Ok(answer.body(ScriptedBody::whole("12 EUR")).unwrap())
    });
    world.pass(prices()).await;
    assert_eq!(world.last_good.counts().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_stays_within_its_bound() {
    const TOTAL: u64 = 256 * 1024;
    let builder = LastGoodLayer::builder().only(|request| request.uri.path() == "/prices");
    let world = World::new(builder.max_entry_bytes(64 * 1024).max_total_bytes(TOTAL));
    for n in 0..2000_usize {
        world.answers(move |_| Ok(Response::new(ScriptedBody::whole(vec![0; n * 37 % 60_000]))));
        // Each of these requests is made once.
        world.pass(get(&format!("/prices?x={n}"))).await;
        let bytes = world.last_good.counts().bytes;
        assert!(bytes <= TOTAL, "{bytes} after {n}");
    }
    assert_eq!(world.last_good.counts().stored, 2000);
    assert!(world.last_good.counts().resources > 0);
}

/// The body of an answer, of which all that has come is read, and how much that was.
async fn begun(world: &World, path: &str) -> (Pin<Box<impl Body + use<>>>, usize) {
    let answer = world.ask(get(path)).await.unwrap();
    let mut body = Box::pin(answer.into_body());
    let mut read = 0;
    while let Some(Some(frame)) = at_once(body.frame()) {
        read += frame.unwrap().into_data().unwrap().len();
    }
    (body, read)
}

/// A partner that begins each answer and hangs: the copies of the bodies stay within the bound, and
/// they evict no more than their share.
#[tokio::test(start_paused = true)]
async fn answers_that_never_end_stay_within_the_bound_too() {
    const TOTAL: u64 = 4 * 1024 * 1024;
    const BEGUN: usize = 250_000;
    let builder = LastGoodLayer::builder().only(|request| request.uri.path() == "/prices");
    let world = World::new(builder.max_total_bytes(TOTAL));
    world.answers(|_| Ok(Response::new(ScriptedBody::whole(vec![b'x'; 30_000]))));
    for n in 0..200 {
        world.pass(get(&format!("/prices?stored={n}"))).await;
    }
    let full = world.last_good.counts();
    assert!(full.bytes > TOTAL * 7 / 8, "{full:?}");
    assert_eq!(full.under_way, 0);

    world.answers(|_| {
        let pieces = (0..10).map(|_| Comes::data(&[b'x'; BEGUN / 10]));
        Ok(Response::new(ScriptedBody::of(
            pieces.chain([Comes::Hangs]),
        )))
    });
    let mut bodies = Vec::new();
    for n in 0..1000 {
        let (body, read) = begun(&world, &format!("/prices?hangs={n}")).await;
        // Each reader gets what has come, whether it is copied or not.
        assert_eq!(read, BEGUN);
        bodies.push(body);
        let counts = world.last_good.counts();
        assert!(counts.bytes + counts.under_way <= TOTAL, "{counts:?}");
    }
    let counts = world.last_good.counts();
    assert!(counts.under_way > TOTAL / 8, "{counts:?}");
    assert!(counts.under_way <= TOTAL / 4, "{counts:?}");
    assert!(counts.bytes > TOTAL / 2, "{counts:?}");
    assert!(world.ask_held(get("/prices?stored=199")).await.is_some());
    world.last_good.clear();
    assert_eq!(world.last_good.counts().under_way, counts.under_way);

    // The bytes of a body that is dropped are free again.
    drop(bodies);
    assert_eq!(world.last_good.counts().under_way, 0);
    world.answers(|_| Ok(Response::new(ScriptedBody::whole(vec![b'x'; 200_000]))));
    for n in 0..100 {
        world.pass(get(&format!("/prices?again={n}"))).await;
        let counts = world.last_good.counts();
        assert!(counts.bytes + counts.under_way <= TOTAL, "{counts:?}");
    }
    assert_eq!(world.last_good.counts().stored, 300);
    assert!(world.last_good.counts().bytes > 3_000_000);
}

/// A slice keeps the whole buffer that it was cut from. A cache of slices would hold bytes that no
/// bound counts.
#[tokio::test(start_paused = true)]
async fn what_is_kept_holds_no_buffer_of_the_connection() {
    struct Buffer(Arc<AtomicBool>, Vec<u8>);
    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.1
        }
    }
    impl Drop for Buffer {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let world = World::prices();
    let (answers, asks) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let buffer =
        |freed: &Arc<AtomicBool>| Bytes::from_owner(Buffer(freed.clone(), vec![b'x'; 65_536]));
    let whole = Mutex::new(Some(buffer(&answers)));
    world.answers(move |_| {
        let whole = whole.lock().unwrap().take().unwrap();
        let mut answer = Response::new(ScriptedBody::whole(whole.slice(..6)));
        let value = HeaderValue::from_maybe_shared(whole.slice(6..9)).unwrap();
        answer.headers_mut().insert("x-currency", value);
        answer
            .headers_mut()
            .insert("vary", HeaderValue::from_static("x-plan"));
        Ok(answer)
    });
    let mut request = prices();
    let plan = HeaderValue::from_maybe_shared(buffer(&asks).slice(..4)).unwrap();
    request.headers_mut().insert("x-plan", plan);
    world.pass(request).await;
    assert_eq!(world.last_good.counts().stored, 1);
    assert!(answers.load(Ordering::Relaxed) && asks.load(Ordering::Relaxed));
}

// ---- what is served -----------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_answer_says_how_old_it_is_and_that_nobody_may_keep_it() {
    let world = World::prices();
    world.answers_with(
        &[
            ("cache-control", "max-age=60, stale-if-error=600"),
            ("cdn-cache-control", "max-age=9999"),
            ("surrogate-control", "max-age=9999"),
            ("age", "10"),
            ("cache-status", "upstream;hit"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-type", "application/json"),
            ("etag", "\"1\""),
            ("link", "<a>"),
            ("link", "<b>"),
            ("clear-site-data", "\"cache\""),
            ("maintenance-generation", "1722457620000"),
            ("surrogate-key", "prices"),
            ("cache-tag", "prices"),
        ],
        "12 EUR",
    );
    world.pass(prices()).await;
    tokio::time::advance(secs(90)).await;

    let (head, body) = world.ask_held(prices()).await.unwrap();
    assert_eq!((head.status, &*body), (StatusCode::OK, &b"12 EUR"[..]));
    let mut said: Vec<String> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "age: 100",
            "cache-control: private, no-store",
            "cache-status: tower-maintenance;hit;ttl=-40;detail=refused",
            "cache-status: upstream;hit",
            "content-length: 6",
            "content-type: application/json",
            "link: <a>",
            "link: <b>",
        ]
    );
    let served = head.extensions.get::<ServedLastGood>().unwrap();
    assert_eq!((served.age(), served.stale()), (secs(100), secs(40)));
    assert_eq!(served.refused().unwrap().partner(), "zuora");
    assert!(
        head.extensions.get::<Refused>().is_none(),
        "it is no refusal"
    );

    let mut request = prices();
    *request.method_mut() = Method::HEAD;
    let (head, body) = world.ask_held(request).await.unwrap();
    assert_eq!(
        (&head.headers["content-length"], &*body),
        (&HeaderValue::from(6), &b""[..])
    );
    let counts = world.last_good.counts();
    assert_eq!((counts.stored, counts.served, counts.missed), (1, 2, 0));
}

/// Proxies and CDNs heed these before `Cache-Control`, so that an old price would outlive the
/// recovery in one of them.
const STEERING: [&str; 33] = [
    "akamai-cache-control",
    "cache-tag",
    "cache-tags",
    "cdn-cache-control",
    "cdn-tag",
    "cf-cache-status",
    "cloudflare-cdn-cache-control",
    "edge-cache-tag",
    "edge-control",
    "expires",
    "netlify-cache-tag",
    "netlify-cdn-cache-control",
    "netlify-vary",
    "surrogate-control",
    "surrogate-key",
    "vercel-cache-tag",
    "vercel-cdn-cache-control",
    "x-accel-buffering",
    "x-accel-charset",
    "x-accel-expires",
    "x-accel-limit-rate",
    "x-any-cache-control",
    "x-cache",
    "x-cache-expires",
    "x-cache-tags",
    "x-cache-ttl",
    "x-litespeed-cache",
    "x-litespeed-cache-control",
    "x-litespeed-purge",
    "x-litespeed-tag",
    "x-litespeed-vary",
    "x-reverse-proxy-ttl",
    "xkey",
];

#[tokio::test(start_paused = true)]
async fn no_header_steers_a_shared_cache_past_no_store() {
    let world = World::prices();
    world.answers(move |_| {
        let mut answer = Response::new(ScriptedBody::whole("12 EUR"));
        for name in STEERING {
            let value = HeaderValue::from_static("max-age=9999");
            answer.headers_mut().append(name, value);
        }
        let age = HeaderValue::from_static("public, max-age=60");
        answer.headers_mut().append("cache-control", age);
        Ok(answer)
    });
    world.pass(prices()).await;
    let (head, _) = world.ask_held(prices()).await.unwrap();
    let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["age", "cache-control", "cache-status", "content-length"]
    );
    assert_eq!(head.headers["cache-control"], "private, no-store");
}

/// A proxy in front would put a file in the place of the body, which is empty.
#[tokio::test(start_paused = true)]
async fn an_answer_whose_body_is_elsewhere_is_not_kept() {
    let world = World::prices();
    for elsewhere in [
        &[("x-accel-redirect", "/protected/prices.pdf")][..],
        &[("x-sendfile", "/srv/prices.pdf")],
        &[("x-litespeed-location", "/protected/prices.pdf")],
    ] {
        assert!(!world.keeps(elsewhere, prices).await, "{elsewhere:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn staleness_has_the_bound_that_the_answer_or_the_user_gives() {
    const HOUR: u64 = 3600;
    // The seconds until which each answer is served.
    for (headers, until) in [
        (&[][..], HOUR),
        (&[("cache-control", "max-age=60")], 60 + HOUR),
        (&[("cache-control", "max-age=60, stale-if-error=30")], 90),
        (&[("cache-control", "max-age=60, stale-if-error=0")], 60),
        (&[("cache-control", "max-age=60, stale-if-error=soon")], 60),
        (
            &[(
                "cache-control",
                "max-age=60, stale-if-error=99999999999999999999",
            )],
            60 + HOUR,
        ),
        (
            &[(
                "cache-control",
                "max-age=60, must-revalidate, stale-if-error=30",
            )],
            60,
        ),
        (&[("cache-control", "max-age=60, Proxy-Revalidate")], 60),
        (&[("cache-control", "s-maxage=60, max-age=5")], 60),
        (&[("cache-control", "s-maxage=60, stale-if-error=30")], 90),
        (&[("cache-control", "max-age=60"), ("age", "50")], 10 + HOUR),
        (
            &[
                ("cache-control", "max-age=60"),
                ("age", "50"),
                ("age", "70"),
            ],
            HOUR - 10,
        ),
        (
            &[
                ("expires", "0"),
                ("last-modified", "Wed, 31 Jul 2019 20:00:00 GMT"),
            ],
            HOUR,
        ),
        // No heuristic freshness: an old `Last-Modified` gives none.
        (&[("last-modified", "Wed, 31 Jul 2019 20:00:00 GMT")], HOUR),
    ] {
        let world = World::new(
            LastGoodLayer::builder()
                .path("/prices")
                .max_stale(secs(HOUR)),
        );
        world.answers_with(headers, "12 EUR");
        world.pass(prices()).await;
        tokio::time::advance(secs(until - 1)).await;
        assert!(
            world.ask_held(prices()).await.is_some(),
            "{headers:?} too short"
        );
        tokio::time::advance(secs(1)).await;
        assert!(
            world.ask_held(prices()).await.is_none(),
            "{headers:?} too long"
        );
    }
}

/// RFC 9111, 4.2.3: an answer without `Age` is as old as its date says.
#[tokio::test(start_paused = true)]
async fn an_answer_is_as_old_as_its_date_and_the_call_make_it() {
    const MINUTE: u64 = 60;
    let at = |before: Duration| {
        let date = wall() - before;
        HeaderValue::try_from(httpdate::fmt_http_date(date)).unwrap()
    };
    let world = World::prices();
    let age = async |date: Option<HeaderValue>, said: &'static str, took: u64| {
        world.last_good.clear();
        let (layer, last_good) = (MaintenanceLayer::new("zuora"), world.last_good.clone());
        let inner = service_fn(move |_: Asks| {
            let date = date.clone();
            async move {
                tokio::time::sleep(secs(took)).await;
                let mut answer = answer(&[("age", said)], ScriptedBody::whole("12 EUR"));
                let headers = answer.headers_mut();
                headers.extend(date.map(|date| (http::header::DATE, date)));
                Ok::<_, io::Error>(answer)
            }
        });
        let calls = last_good.layer(layer.http_calls().layer(inner));
        let passed = calls.oneshot(prices()).await.unwrap();
        passed.into_body().collect().await.unwrap();
        let (head, _) = world.ask_held(prices()).await?;
        let age = head.headers["age"].to_str().unwrap().parse::<u64>();
        Some(age.unwrap())
    };
    // The test itself takes some seconds at most, and a date has no fractions of a second.
    let about = |is: Option<u64>, wanted: u64| {
        let is = is.unwrap();
        assert!((wanted..wanted + 30).contains(&is), "{is}, not {wanted}");
    };
    about(age(Some(at(secs(10 * MINUTE))), "0", 0).await, 600);
    about(age(Some(at(secs(10 * MINUTE))), "900", 0).await, 900);
    about(age(Some(at(secs(0))), "100", 100).await, 200);
    assert_eq!(age(None, "100", 100).await, Some(200));
    assert_eq!(
        age(Some(HeaderValue::from_static("soon")), "5", 0).await,
        Some(5)
    );
    let future = wall() + secs(3600);
    let future = HeaderValue::try_from(httpdate::fmt_http_date(future)).unwrap();
    assert_eq!(age(Some(future), "5", 0).await, Some(5));
    assert_eq!(
        age(Some(at(secs(3 * 3600))), "0", 0).await,
        None,
        "too old on arrival"
    );
    assert_eq!(
        age(
            Some(HeaderValue::from_static("Wed, 31 Jul 2024 20:00:00 GMT")),
            "0",
            0
        )
        .await,
        None
    );
}

/// `Expires` is relative to `Date`.
#[tokio::test(start_paused = true)]
async fn expires_counts_from_the_date() {
    let world = World::prices();
    let now = wall();
    let [date, expires] = [now, now + secs(600)].map(httpdate::fmt_http_date);
    world.answers(move |_| {
        let answer = Response::builder()
            .header("date", &date)
            .header("expires", &expires);
        Ok(answer.body(ScriptedBody::whole("12 EUR")).unwrap())
    });
    world.pass(prices()).await;
    tokio::time::advance(secs(7200 + 500)).await;
    assert!(world.ask_held(prices()).await.is_some());
    tokio::time::advance(secs(100)).await;
    assert!(world.ask_held(prices()).await.is_none());
}

/// RFC 9111, 4.3.4: clients that have all answers cached would otherwise leave nothing to be served
/// in maintenance.
#[tokio::test(start_paused = true)]
async fn a_304_with_the_same_etag_keeps_an_answer_alive() {
    let world = World::prices();
    let not_modified = |headers: &'static [(&'static str, &'static str)]| {
        world.answers(move |_| {
            let mut answer = answer(headers, ScriptedBody::default());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            Ok(answer)
        });
    };
    let whole = || {
        world.last_good.clear();
        let headers = &[
            ("etag", "\"v1\""),
            ("cache-control", "max-age=60"),
            ("content-type", "text/plain"),
            ("x-rate", "1"),
        ];
        world.answers_with(headers, "12 EUR");
        world.pass(prices())
    };
    let conditional = || with("/prices", &[("if-none-match", "\"v1\"")]);
    whole().await;
    not_modified(&[("etag", "\"v1\""), ("x-rate", "2"), ("content-type", "x/y")]);
    for _ in 0..5 {
        tokio::time::advance(secs(3600)).await;
        world.pass(conditional()).await;
    }
    tokio::time::advance(secs(100)).await;
    let (head, body) = world.ask_held(prices()).await.unwrap();
    assert_eq!(body, "12 EUR");
    assert_eq!(head.headers["age"], "100");
    assert_eq!(head.headers["x-rate"], "2", "what it says is taken over");
    assert_eq!(
        head.headers["content-type"], "text/plain",
        "not of its body"
    );
    assert!(!head.headers.contains_key("etag"));
    let served = head.extensions.get::<ServedLastGood>().unwrap();
    assert_eq!(served.stale(), secs(40), "as fresh as the 200 said");

    // These change nothing: a 304 with another tag, one without a tag, and one for a request that
    // may not be shown the kept answer.
    let authorized = || with("/prices", &[("authorization", "Bearer 1")]);
    let other: [(&'static [_], Asks); 6] = [
        (&[("etag", "\"v2\"")], conditional()),
        (&[], conditional()),
        (
            &[("etag", "\"v1\""), ("cache-control", "no-store")],
            conditional(),
        ),
        (
            &[("etag", "\"v1\""), ("cache-control", "private")],
            conditional(),
        ),
        (&[("etag", "\"v1\"")], authorized()),
        (&[("etag", "\"v1\"")], with("/prices", &[("cookie", "a=1")])),
    ];
    for (headers, request) in other {
        whole().await;
        tokio::time::advance(secs(3600)).await;
        not_modified(headers);
        world.pass(request).await;
        let (head, _) = world.ask_held(prices()).await.unwrap();
        assert_eq!(head.headers["age"], "3600", "{headers:?}");
    }

    // An answer that varies is not shown to more clients after such a 304.
    world.last_good.clear();
    let gold = || with("/prices", &[("x-plan", "gold")]);
    world.answers_with(&[("etag", "\"v1\""), ("vary", "x-plan")], "10 EUR");
    world.pass(gold()).await;
    for vary in [
        &[("etag", "\"v1\""), ("vary", "accept")],
        &[("etag", "\"v1\""), ("vary", "")],
    ] {
        not_modified(vary);
        world.pass(gold()).await;
        assert!(world.ask_held(prices()).await.is_none());
    }

    // A 304 renews freshness by its own headers.
    whole().await;
    not_modified(&[
        ("etag", "\"v1\""),
        ("cache-control", "max-age=60, must-revalidate"),
    ]);
    world.pass(conditional()).await;
    tokio::time::advance(secs(61)).await;
    assert!(world.ask_held(prices()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_request_may_ask_for_less_and_a_reload_is_answered() {
    let world = World::prices();
    world.answers_with(&[("cache-control", "max-age=60")], "12 EUR");
    world.pass(prices()).await;
    tokio::time::advance(secs(100)).await; // 40 s stale
    for (wants, served) in [
        ("max-age=0", true),
        ("max-age=100", true),
        ("max-age=99", false),
        ("max-stale", true),
        ("max-stale=40", true),
        ("max-stale=39", false),
        ("min-fresh=1", false),
        ("stale-if-error=40", true),
        ("stale-if-error=39", false),
        ("no-cache", false),
        ("No-Store", false),
        ("only-if-cached", true),
        ("max-age=\"", false),
    ] {
        let request = with("/prices", &[("cache-control", wants)]);
        assert_eq!(world.ask_held(request).await.is_some(), served, "{wants}");
    }
    assert!(
        world
            .ask_held(with("/prices", &[("pragma", "no-cache")]))
            .await
            .is_none()
    );
    for (name, value) in [("if-none-match", "*"), ("range", "bytes=0-1")] {
        let (head, body) = world
            .ask_held(with("/prices", &[(name, value)]))
            .await
            .unwrap();
        assert_eq!(
            (head.status, &*body),
            (StatusCode::OK, &b"12 EUR"[..]),
            "in full"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_partner_is_stood_in_for_only_if_asked_for() {
    for on_failure in [false, true] {
        let builder = LastGoodLayer::builder().path("/prices");
        let world = World::new(if on_failure {
            builder.on_failure_too()
        } else {
            builder
        });
        world.answers_with(&[], "12 EUR");
        world.pass(prices()).await;
        tokio::time::advance(secs(5)).await;

        world.answers(|_| {
            Ok(Response::builder()
                .status(502)
                .body(ScriptedBody::default())
                .unwrap())
        });
        let answer = world.ask(prices()).await.unwrap();
        assert_eq!(answer.status() == 200, on_failure);
        if on_failure {
            assert_eq!(
                answer.headers()["cache-status"],
                "tower-maintenance;fwd=stale;fwd-status=502;ttl=-5;detail=failed"
            );
            assert!(
                answer
                    .extensions()
                    .get::<ServedLastGood>()
                    .unwrap()
                    .refused()
                    .is_none()
            );
        }
        world.answers(|_| Err(io::Error::other("reset")));
        assert_eq!(world.ask(prices()).await.is_ok(), on_failure);
        // The partner's failures count nevertheless.
        assert_eq!(world.layer.handle().status().window.failed, 2);
        world.answers(|_| {
            Ok(Response::builder()
                .status(501)
                .body(ScriptedBody::default())
                .unwrap())
        });
        assert_eq!(
            world.ask(prices()).await.unwrap().status(),
            501,
            "RFC 5861 names four"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_succeeds_drops_what_it_made_old() {
    let world = World::prices();
    let write = || {
        let mut request = prices();
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::from("more");
        request
    };
    for (status, drops) in [
        (200, true),
        (204, true),
        (303, true),
        (409, false),
        (500, false),
    ] {
        world.answers_with(&[], "12 EUR");
        world.pass(prices()).await;
        world.answers(move |_| {
            Ok(Response::builder()
                .status(status)
                .body(ScriptedBody::default())
                .unwrap())
        });
        world.pass(write()).await;
        assert_eq!(world.ask_held(prices()).await.is_none(), drops, "{status}");
    }
    world.answers_with(&[], "12 EUR");
    world.pass(prices()).await;
    assert!(
        world.ask_held(write()).await.is_none(),
        "a write is never answered"
    );
    assert!(
        world.ask_held(prices()).await.is_some(),
        "one that was refused has changed nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_recovery_the_partner_answers_and_its_answer_is_the_last_good_one() {
    let world = World::prices();
    world.answers_with(&[], "12 EUR");
    world.pass(prices()).await;
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "12 EUR");
    // The partner was not called since: the answer stays, for a partner that flaps.
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "12 EUR");
    world.answers_with(&[], "13 EUR");
    world.pass(prices()).await;
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "13 EUR");
    world.last_good.clear();
    assert!(world.ask_held(prices()).await.is_none());
    let counts = world.last_good.counts();
    assert_eq!((counts.resources, counts.bytes, counts.missed), (0, 0, 1));
}

/// A slow reader ends last, with the oldest answer.
#[tokio::test(start_paused = true)]
async fn an_older_answer_never_replaces_a_newer_one() {
    let world = World::prices();
    world.answers_with(&[], "12 EUR");
    let slow = world.ask(prices()).await.unwrap();
    tokio::time::advance(secs(3600)).await;
    world.answers_with(&[], "13 EUR");
    world.pass(prices()).await;
    slow.into_body().collect().await.unwrap();
    assert_eq!(world.ask_held(prices()).await.unwrap().1, "13 EUR");
    assert_eq!(world.last_good.counts().stored, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_dropped_with_what_is_kept() {
    let world = World::prices();
    let write = || {
        let mut request = prices();
        *request.method_mut() = Method::PUT;
        request
    };
    for clears in [true, false] {
        world.answers_with(&[], "12 EUR");
        let slow = world.ask(prices()).await.unwrap();
        let other = world.ask(get("/prices?plan=gold")).await.unwrap();
        if clears {
            world.last_good.clear();
        } else {
            world.pass(write()).await;
        }
        slow.into_body().collect().await.unwrap();
        other.into_body().collect().await.unwrap();
        assert!(world.ask_held(prices()).await.is_none());
        if clears {
            assert!(world.ask_held(get("/prices?plan=gold")).await.is_none());
        }
        // Calls that begin after that are kept.
        world.pass(prices()).await;
        assert!(world.ask_held(prices()).await.is_some());
    }
}

/// A price that is asked for at once, and comes after 10 s.
async fn late_price(world: &World, price: &'static str) {
    world.answers(move |_| {
        let steps = [Comes::After(secs(10)), Comes::Data(price.into())];
        Ok(Response::new(ScriptedBody::of(steps)))
    });
    let answer = world.ask(prices()).await.unwrap();
    // Its caller gets it, whatever is stored.
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), price);
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_when_the_partner_recovered_is_not_kept() {
    let prices_of = |handle: &MaintenanceHandle| {
        let builder = LastGoodLayer::builder().path("/prices");
        builder.recoveries_of(handle)
    };
    let world = World::with(prices_of);
    let served = async || Some(world.ask_held(prices()).await?.1);
    let later = |change: fn(&World)| {
        let world = &world;
        async move {
            tokio::time::sleep(secs(1)).await;
            change(world);
        }
    };
    let episode = |world: &World| {
        world.hold();
        world.release();
    };
    tokio::join!(late_price(&world, "12 EUR"), later(episode));
    assert_eq!(world.last_good.counts().stored, 0);
    assert_eq!(served().await, None);

    // During maintenance an answer on its way is the best that there is.
    tokio::join!(late_price(&world, "19 EUR"), later(World::hold));
    world.release();
    assert_eq!(served().await.unwrap(), "19 EUR");

    // An expiry that is due counts, although no call has applied it yet.
    let for_5_s = |world: &World| {
        let hold = Hold::new("on-call", "ticket 4711").for_at_most(secs(5));
        world.layer.handle().engage(hold).unwrap();
    };
    tokio::join!(late_price(&world, "20 EUR"), later(for_5_s));
    assert_eq!(served().await.unwrap(), "19 EUR");

    // What begins after the recovery is kept.
    late_price(&world, "20 EUR").await;
    assert_eq!(served().await.unwrap(), "20 EUR");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_found_in_boxed_errors_too() {
    let layer = MaintenanceLayer::new("zuora");
    let last_good = LastGoodLayer::builder().path("/prices").build().unwrap();
    let inner =
        service_fn(async |_: Asks| Ok::<_, BoxError>(Response::new(Full::<Bytes>::from("12 EUR"))));
    let calls = last_good.layer(layer.http_calls().boxed().layer(inner));
    let answer = calls.clone().oneshot(prices()).await.unwrap();
    answer.into_body().collect().await.unwrap();
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let answer = calls.clone().oneshot(prices()).await.unwrap();
    assert!(answer.extensions().get::<ServedLastGood>().is_some());
    let error = calls.oneshot(get("/elsewhere")).await.unwrap_err();
    assert!(Refused::find(&*error).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_a_layer_further_in_is_found_too() {
    let [tenant, partner] = ["tenant", "zuora"].map(MaintenanceLayer::new);
    let last_good = LastGoodLayer::builder().path("/prices").build().unwrap();
    let inner = service_fn(async |_: Asks| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("12 EUR")))
    });
    let calls = partner.http_calls().layer(inner);
    let calls = last_good.layer(tenant.http_calls().boxed().layer(calls));
    let answer = calls.clone().oneshot(prices()).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let held = Hold::new("on-call", "drill");
    partner.handle().engage(held).unwrap();
    let answer = calls.oneshot(prices()).await.unwrap();
    assert!(answer.extensions().get::<ServedLastGood>().is_some());
}

/// In the documented order of layers a served answer tells the recovery. In the other order it
/// tells no generation at all.
#[tokio::test(start_paused = true)]
async fn what_is_served_bears_the_generation_of_its_own_time() {
    for outside in [true, false] {
        let layer = MaintenanceLayer::new("zuora");
        let last_good = LastGoodLayer::builder().path("/prices").build().unwrap();
        let bust = CacheBustLayer::builder(&layer.handle())
            .surrogate_key(["prices"])
            .build()
            .unwrap();
        let inner = service_fn(async |_: Asks| {
            let answer = answer(
                &[("cache-control", "max-age=60"), ("etag", "\"1\"")],
                ScriptedBody::whole("12 EUR"),
            );
            Ok::<_, std::convert::Infallible>(answer)
        });
        let gated = layer.paths().layer(inner);
        let app = if outside {
            let app = bust.layer(last_good.layer(gated));
            BoxCloneService::new(app.map_response(|answer| answer.map(BodyExt::boxed_unsync)))
        } else {
            let app = last_good.layer(bust.layer(gated));
            BoxCloneService::new(app.map_response(|answer| answer.map(BodyExt::boxed_unsync)))
        };
        let ask = async || app.clone().oneshot(prices()).await.unwrap();
        let generation = |answer: &Response<_>| {
            let said = answer.headers().get("maintenance-generation").cloned();
            said.map(|said| said.to_str().unwrap().parse::<u64>().unwrap())
        };
        let first = ask().await;
        let before = generation(&first).unwrap();
        first.into_body().collect().await.unwrap();
        let mut generations = vec![before];
        for _ in 0..2 {
            layer
                .handle()
                .engage(Hold::new("on-call", "drill"))
                .unwrap();
            let served = ask().await;
            assert!(served.extensions().get::<ServedLastGood>().is_some());
            let now = generation(&served);
            layer.handle().release("on-call", "it is back").unwrap();
            tokio::time::advance(secs(1)).await;
            assert_eq!(now.is_some(), outside);
            assert_eq!(served.headers().contains_key("surrogate-key"), outside);
            assert!(!served.headers().contains_key("etag"));
            generations.extend(now);
        }
        // Served before a recovery, and after it.
        assert!(generations.is_sorted());
        assert!(
            !outside || generations[2] > generations[1],
            "{generations:?}"
        );
    }
}

#[test]
fn bad_limits_are_errors_that_name_them() {
    let builder = || LastGoodLayer::builder().path("/prices");
    let said = |builder: LastGoodBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(
        said(builder().max_entry_bytes(0)),
        "max_entry_bytes is `0`: allowed is 1024 to 268435456 bytes"
    );
    assert_eq!(
        said(builder().max_total_bytes(5)),
        "max_total_bytes is `5`: allowed is at least max_entry_bytes, 262144 bytes"
    );
    assert_eq!(
        said(builder().max_stale(Duration::MAX)),
        "max_stale is `18446744073709551615 s`: allowed is 0 s to 31536000 s, a year"
    );
    assert!(said(builder().path("/a/{")).contains("path is `/a/{`"));
}

// ---- no answer crosses users --------------------------------------------------------------------

/// A request, its sender, and how it is made.
#[derive(Debug, Clone)]
struct Asking {
    user: Option<u8>,
    authorization: Option<u8>,
    cookie: Option<u8>,
    language: Vec<&'static str>,
    host: &'static str,
    path: &'static str,
    wants: Option<&'static str>,
}

/// The headers of the partner's answer, which decide to which clients it may be shown.
#[derive(Debug, Clone)]
struct Saying {
    control: Vec<&'static str>,
    vary: Vec<&'static str>,
    sets_cookie: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Passes(Asking, Saying),
    IsRefused(Asking),
}

#[derive(Clone)]
struct User(u8);

impl Asking {
    fn request(&self) -> Asks {
        let mut request = get(self.path);
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_static(self.host));
        if let Some(token) = self.authorization {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        if let Some(session) = self.cookie {
            headers.insert("cookie", format!("session={session}").parse().unwrap());
        }
        for language in &self.language {
            headers.append("accept-language", HeaderValue::from_static(language));
        }
        if let Some(wants) = self.wants {
            headers.insert("cache-control", HeaderValue::from_static(wants));
        }
        request.extensions_mut().insert(self.user.map(User));
        request
    }
}

fn asking() -> impl Strategy<Value = Asking> {
    let few = || prop_oneof![3 => Just(None), 1 => (0..2_u8).prop_map(Some)];
    let language = prop::sample::select(vec![vec![], vec!["de"], vec!["en"], vec!["de", "en"]]);
    let host = prop_oneof![4 => Just("a.test"), 1 => Just("b.test")];
    let path =
        prop_oneof![4 => Just("/prices"), 1 => Just("/prices?plan=gold"), 1 => Just("/plans/7")];
    let wants =
        prop_oneof![8 => Just(None), 1 => Just(Some("no-store")), 1 => Just(Some("max-age=0"))];
    (few(), few(), few(), language, host, path, wants).prop_map(
        |(user, authorization, cookie, language, host, path, wants)| Asking {
            user,
            authorization,
            cookie,
            language,
            host,
            path,
            wants,
        },
    )
}

fn saying() -> impl Strategy<Value = Saying> {
    let control = vec![
        "public",
        "Public",
        "private",
        "PRIVATE",
        "max-age=60",
        "s-maxage=60",
        "max-age=1, max-age=2",
        "private=\"set-cookie, x\"",
        "no-store",
        "No-Cache",
        "must-revalidate",
        "x=\"public",
        "x=\"private\"",
        "stale-if-error=999999999999999999999",
    ];
    let vary = vec![
        "Accept-Language",
        "accept-LANGUAGE, cookie",
        "Authorization",
        "*",
        "cookie,",
        "host",
    ];
    (
        prop::collection::vec(prop::sample::select(control), 0..3),
        prop::collection::vec(prop::sample::select(vary), 0..2),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(control, vary, sets_cookie)| Saying {
            control,
            vary,
            sets_cookie,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (asking(), saying()).prop_map(|(asking, saying)| Step::Passes(asking, saying)),
        asking().prop_map(Step::IsRefused),
    ];
    prop::collection::vec(step, 1..40)
}

/// Written from the documentation and not from the code: may the answer to `first` be shown to
/// `second`?
fn may_be_shown(first: &Asking, said: &Saying, second: &Asking) -> Result<(), &'static str> {
    let control = said.control.join(",").to_ascii_lowercase();
    // A quoted string holds no directive.
    let bare: String = control.split('"').step_by(2).collect();
    let says = |word: &str| bare.contains(word);
    let must = |is: bool, rule: &'static str| is.then_some(()).ok_or(rule);
    must(first.user == second.user, "another user")?;
    must(
        first.path == second.path && first.host == second.host,
        "another resource",
    )?;
    must(!says("no-store") && !says("no-cache"), "not to be used")?;
    must(
        second.wants != Some("no-store") && first.wants != Some("no-store"),
        "asked not to",
    )?;
    for names in &said.vary {
        let names = names.to_ascii_lowercase();
        must(!names.contains('*'), "matches nothing")?;
        must(
            !names.contains("cookie") || first.cookie == second.cookie,
            "varies by cookie",
        )?;
        must(
            !names.contains("authorization") || first.authorization == second.authorization,
            "varies by token",
        )?;
        must(
            !names.contains("language") || first.language == second.language,
            "varies by language",
        )?;
    }
    if first.user.is_none() {
        must(!says("private") && !said.sets_cookie, "personal")?;
        must(
            first.authorization.is_none() && second.authorization.is_none(),
            "authorized",
        )?;
        let bears = first.cookie.is_some() || second.cookie.is_some();
        must(!bears || says("public") || says("s-maxage"), "cookies")?;
    }
    Ok(())
}

/// Runs the steps. Returns how many requests were answered from the cache.
async fn run(steps: Vec<Step>) -> Result<u64, TestCaseError> {
    let user = |request: &http::request::Parts| {
        let user = request.extensions.get::<Option<User>>()?.clone()?;
        Some(user.0.to_string())
    };
    let builder = LastGoodLayer::builder().path("/prices").path("/plans/{id}");
    let world = World::new(builder.keyed_by(user));
    let mut said: Vec<(Asking, Saying)> = Vec::new();
    for step in steps {
        match step {
            Step::Passes(asking, saying) => {
                let number = said.len();
                let says = saying.clone();
                world.answers(move |_| {
                    let mut answer = Response::new(ScriptedBody::whole(number.to_string()));
                    for control in &says.control {
                        let control = HeaderValue::from_static(control);
                        answer.headers_mut().append("cache-control", control);
                    }
                    for vary in &says.vary {
                        answer
                            .headers_mut()
                            .append("vary", HeaderValue::from_static(vary));
                    }
                    if says.sets_cookie {
                        let cookie = HeaderValue::from_static("session=stolen");
                        answer.headers_mut().append("set-cookie", cookie);
                    }
                    Ok(answer)
                });
                world.pass(asking.request()).await;
                said.push((asking, saying));
            }
            Step::IsRefused(asking) => {
                let Some((head, body)) = world.ask_held(asking.request()).await else {
                    continue;
                };
                let number: usize = std::str::from_utf8(&body).unwrap().parse().unwrap();
                let (first, saying) = &said[number];
                prop_assert!(!head.headers.contains_key("set-cookie"));
                prop_assert_eq!(
                    may_be_shown(first, saying, &asking),
                    Ok(()),
                    "{:?} got what was said to {:?}: {:?}",
                    asking,
                    first,
                    saying
                );
            }
        }
    }
    Ok(world.last_good.counts().served)
}

#[test]
fn no_answer_crosses_users() {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let config = ProptestConfig {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let served = AtomicU64::new(0);
    let cases = u64::from(config.cases);
    proptest::test_runner::TestRunner::new(config)
        .run(&steps(), |steps| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            served.fetch_add(runtime.block_on(run(steps))?, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    // A cache that serves nothing would pass: it must have served.
    let served = served.load(Ordering::Relaxed);
    assert!(served > cases / 2, "only {served} in {cases} cases");
}

// ---- over real sockets --------------------------------------------------------------------------

mod sockets {
    use std::{fmt::Debug, net::SocketAddr};

    use axum::{
        Router,
        extract::{Path, State},
        response::IntoResponse,
        routing::{MethodRouter, get, post},
    };
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    use test_support::{collected, http_client, serve, soon};
    use tower_maintenance::http::Refusals;

    use super::*;

    fn asks(server: SocketAddr, method: Method, path: &str) -> Asks {
        let uri = format!("http://{server}{path}");
        let request = Request::builder().method(method).uri(uri);
        request.body(Full::default()).unwrap()
    }

    #[derive(Clone, Default)]
    struct Billing {
        down: Arc<AtomicBool>,
        price: Arc<AtomicU64>,
        asked: Arc<AtomicU64>,
    }

    impl Billing {
        fn answer(&self, body: String) -> impl IntoResponse + use<> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.down.load(Ordering::Relaxed) {
                return (
                    StatusCode::BAD_GATEWAY,
                    [("cache-control", "no-store")],
                    String::new(),
                );
            }
            (StatusCode::OK, [("cache-control", "max-age=60")], body)
        }

        fn app(&self) -> Router {
            let price = |State(this): State<Self>| async move {
                this.answer(format!("{} EUR", this.price.load(Ordering::Relaxed)))
            };
            let buy = |State(this): State<Self>| async move { this.answer("bought".to_owned()) };
            Router::new()
                .route("/v1/prices", get(price))
                .route("/v1/purchases", post(buy))
                .with_state(self.clone())
        }

        fn costs(&self, price: u64) {
            self.price.store(price, Ordering::Relaxed);
        }
    }

    async fn text<B: Body<Error: Debug>>(answer: Response<B>) -> String {
        let body = collected(answer).await.into_body();
        String::from_utf8(body.into()).unwrap()
    }

    #[tokio::test]
    async fn customers_see_prices_while_purchases_wait_around_calls() {
        let billing = Billing::default();
        billing.costs(12);
        let partner = serve(billing.app()).await;
        // The wait is longer than the test, which ends it by hand.
        let policy = Policy::default()
            .with_consecutive_failures(3)
            .with_wait(secs(600))
            .with_wait_growing(1.0, secs(3600));
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy)
            .build()
            .unwrap();
        let last_good = LastGoodLayer::builder().path("/v1/prices").build().unwrap();
        let calls = last_good.layer(layer.http_calls().layer(http_client()));
        let ask =
            async |method, path| soon(calls.clone().oneshot(asks(partner, method, path))).await;

        assert_eq!(
            text(ask(Method::GET, "/v1/prices").await.unwrap()).await,
            "12 EUR"
        );
        assert_eq!(
            text(ask(Method::POST, "/v1/purchases").await.unwrap()).await,
            "bought"
        );

        billing.down.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let answer = ask(Method::GET, "/v1/prices").await.unwrap();
            assert_eq!(
                answer.status(),
                502,
                "the partner's failure is the partner's"
            );
        }
        let asked = billing.asked.load(Ordering::Relaxed);
        let answer = ask(Method::GET, "/v1/prices").await.unwrap();
        assert_eq!(answer.status(), 200);
        let status = answer.headers()["cache-status"].to_str().unwrap();
        assert!(status.starts_with("tower-maintenance;hit;ttl="), "{status}");
        assert_eq!(text(answer).await, "12 EUR");
        let refused = ask(Method::POST, "/v1/purchases").await.unwrap_err();
        assert!(refused.refused().is_some());
        assert_eq!(
            billing.asked.load(Ordering::Relaxed),
            asked,
            "no call reached the partner"
        );

        billing.down.store(false, Ordering::Relaxed);
        billing.costs(13);
        layer.handle().clear("on-call", "it is back").unwrap();
        assert_eq!(
            text(ask(Method::GET, "/v1/prices").await.unwrap()).await,
            "13 EUR"
        );
        assert_eq!(
            text(ask(Method::POST, "/v1/purchases").await.unwrap()).await,
            "bought"
        );
    }

    #[tokio::test]
    async fn customers_see_prices_while_purchases_wait_before_routes() {
        let billing = Billing::default();
        billing.costs(12);
        let layer = MaintenanceLayer::new("zuora");
        let last_good = LastGoodLayer::builder().path("/v1/prices").build().unwrap();
        let gated = layer
            .paths()
            .with_refusals(Refusals::new().component("Billing"));
        let ours = serve(billing.app().layer(gated).layer(last_good.clone())).await;
        let client = http_client();
        let ask = async |method, path| {
            soon(client.request(asks(ours, method, path)))
                .await
                .unwrap()
        };

        let answer = ask(Method::GET, "/v1/prices").await;
        assert_eq!(answer.headers()["cache-control"], "max-age=60");
        assert_eq!(text(answer).await, "12 EUR");

        layer
            .handle()
            .engage(Hold::new("on-call", "ticket 4711"))
            .unwrap();
        billing.costs(13);
        let answer = ask(Method::GET, "/v1/prices").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["cache-control"], "private, no-store");
        assert!(answer.headers().contains_key("age"));
        assert_eq!(text(answer).await, "12 EUR");
        let head = ask(Method::HEAD, "/v1/prices").await;
        assert_eq!(
            (head.status(), &head.headers()["content-length"]),
            (StatusCode::OK, &HeaderValue::from(6))
        );
        assert_eq!(ask(Method::POST, "/v1/purchases").await.status(), 503);
        // A request that was never made before is refused.
        assert_eq!(
            ask(Method::GET, "/v1/prices?currency=usd").await.status(),
            503
        );

        layer.handle().release("on-call", "it is back").unwrap();
        assert_eq!(text(ask(Method::GET, "/v1/prices").await).await, "13 EUR");
        let counts = last_good.counts();
        assert_eq!((counts.stored, counts.served, counts.missed), (2, 2, 1));
    }

    /// Over HTTP/1.1 the host is in `Host`, and over HTTP/2 in the URI.
    #[tokio::test]
    async fn a_resource_has_one_answer_over_http_1_and_http_2() {
        let billing = Billing::default();
        billing.costs(12);
        let layer = MaintenanceLayer::new("zuora");
        let last_good = LastGoodLayer::builder().path("/v1/prices").build().unwrap();
        let app = billing.app();
        let app = app.route("/v1/prices", axum::routing::put(async || ()));
        let ours = serve(app.layer(layer.routes()).layer(last_good.clone())).await;
        let http_1 = http_client();
        let http_2 = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let hold = || layer.handle().engage(Hold::new("on-call", "ticket 4711"));
        let release = || layer.handle().release("on-call", "it is back");
        for (one, other) in [(&http_1, &http_2), (&http_2, &http_1)] {
            let ask = async |client: &test_support::HttpClient, method| {
                let answer = soon(client.request(asks(ours, method, "/v1/prices"))).await;
                let answer = collected(answer.unwrap()).await;
                (answer.status().as_u16(), answer.into_body())
            };
            assert_eq!(ask(one, Method::GET).await, (200, "12 EUR".into()));
            hold().unwrap();
            assert_eq!(ask(other, Method::GET).await, (200, "12 EUR".into()));
            release().unwrap();
            assert_eq!(ask(other, Method::PUT).await.0, 200);
            hold().unwrap();
            assert_eq!(ask(one, Method::GET).await.0, 503);
            release().unwrap();
        }
    }

    /// A router strips the prefix of a `nest`. Two routes may look the same within, and so may one
    /// route of two accounts.
    #[tokio::test]
    async fn two_nests_with_one_store_are_told_apart() {
        let layer = MaintenanceLayer::new("zuora");
        let last_good = LastGoodLayer::builder().path("/prices").build().unwrap();
        let nested = |routes: MethodRouter| {
            Router::new()
                .route("/prices", routes)
                .layer(layer.routes())
                .layer(last_good.clone())
        };
        let app: Router = Router::new()
            .nest("/a", nested(get(async || "1 EUR")))
            .nest("/b", nested(get(async || "2 EUR")))
            .nest(
                "/accounts/{id}",
                nested(get(async |Path(id): Path<String>| format!("of {id}"))),
            );
        let ask = async |path: &str| {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            let answer = app.clone().oneshot(request).await.unwrap();
            (answer.status(), text(answer).await)
        };
        let ok = |body: &str| (StatusCode::OK, body.to_owned());
        assert_eq!(ask("/a/prices").await, ok("1 EUR"));
        assert_eq!(ask("/b/prices").await, ok("2 EUR"));
        assert_eq!(ask("/accounts/1/prices").await, ok("of 1"));
        layer
            .handle()
            .engage(Hold::new("on-call", "ticket 4711"))
            .unwrap();
        assert_eq!(ask("/a/prices").await, ok("1 EUR"));
        assert_eq!(ask("/b/prices").await, ok("2 EUR"));
        assert_eq!(ask("/accounts/1/prices").await, ok("of 1"));
        assert_eq!(ask("/accounts/2/prices").await.0, 503);
        assert_eq!(last_good.counts().served, 3);
    }
}
