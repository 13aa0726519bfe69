//! Cache-bust over HTTP: clients and caches do not show content from before a recovery after it.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request as AxumRequest,
    response::{IntoResponse, Response as AxumResponse},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use proptest::prelude::*;
use test_support::{HOUR, HttpClient, collected, http_client, secs, serve, soon};
use tokio::{
    sync::{Notify, watch},
    time::advance,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Hold, MaintenanceHandle, MaintenanceLayer,
    http::{CacheBustBuilder, CacheBustLayer, CdnPurge, NamedCookie},
};

// The example in the documentation is the code under test.
#[path = "../../examples/purge.rs"]
#[expect(dead_code, reason = "its `main` runs by itself")]
mod purge;

use crate::support::recover;

// ---- an origin by the book ----------------------------------------------------------------------

/// The origin's tag. It does not change when the body does, which is the problem to be solved.
const TAG: &str = "\"v1\"";
const DATE: &str = "Wed, 31 Jul 2024 20:05:00 GMT";

/// Evaluates conditions in the order of RFC 9110, 13.2.2.
fn origin(request: &Request<()>) -> Response<String> {
    let list = |name| {
        let lines = request.headers().get_all(name).iter();
        let lines: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let with = |status: u16, body: &str| {
        Response::builder()
            .status(status)
            .header("etag", TAG)
            .header("last-modified", DATE)
            .body(body.to_owned())
            .unwrap()
    };
    if let Some(tags) = list("if-match")
        && tags != "*"
        && !tags.split(',').any(|tag| tag.trim() == TAG)
    {
        return with(412, "");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return with(200, "written");
    }
    if let Some(tags) = list("if-none-match") {
        if tags == "*" || tags.split(',').any(|tag| opaque(tag) == TAG) {
            return with(304, "");
        }
    } else if list("if-modified-since").is_some() {
        return with(304, "");
    }
    if list("range").is_some() && list("if-range").is_none_or(|tag| tag == TAG || tag == DATE) {
        return with(206, "he w");
    }
    with(200, "the whole")
}

/// The origin, behind the gate, behind the cache-bust layer.
#[derive(Clone)]
struct Stack {
    maintenance: MaintenanceLayer,
    bust: CacheBustLayer,
}

impl Stack {
    fn new(build: impl FnOnce(CacheBustBuilder) -> CacheBustBuilder) -> Self {
        let maintenance = MaintenanceLayer::new("zuora");
        let bust = CacheBustLayer::builder(&maintenance.handle());
        let bust = build(bust).build().unwrap();
        Self { maintenance, bust }
    }

    fn plain() -> Self {
        Self::new(|builder| builder)
    }

    fn handle(&self) -> MaintenanceHandle {
        self.maintenance.handle()
    }

    async fn send_to(
        &self,
        origin: impl Fn(&Request<()>) -> Response<String>,
        request: Request<()>,
    ) -> Response<String> {
        let origin = |request: Request<()>| {
            let response = origin(&request);
            async move { Ok::<_, io::Error>(response) }
        };
        let gated = self.maintenance.paths().layer(service_fn(origin));
        self.bust.layer(gated).oneshot(request).await.unwrap()
    }

    async fn send(
        &self,
        method: Method,
        headers: &[(&'static str, &HeaderValue)],
    ) -> Response<String> {
        let mut request = Request::builder().method(method).uri("/prices");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send_to(origin, request.body(()).unwrap()).await
    }

    async fn get(&self, headers: &[(&'static str, &HeaderValue)]) -> Response<String> {
        self.send(Method::GET, headers).await
    }

    async fn status_and_tag(
        &self,
        method: Method,
        headers: &[(&'static str, &HeaderValue)],
    ) -> (u16, HeaderValue) {
        let response = self.send(method, headers).await;
        let tag = response.headers()["etag"].clone();
        (response.status().as_u16(), tag)
    }

    async fn tag(&self) -> HeaderValue {
        self.get(&[]).await.headers()["etag"].clone()
    }

    /// The request headers as the origin gets them.
    async fn as_seen_by_the_origin(&self, request: Request<()>) -> HeaderMap {
        let seen = std::cell::RefCell::new(HeaderMap::new());
        let note = |request: &Request<()>| {
            seen.replace(request.headers().clone());
            Response::new(String::new())
        };
        self.send_to(note, request).await;
        seen.into_inner()
    }
}

/// A service with an empty page.
async fn blank(_: Request<()>) -> io::Result<Response<String>> {
    Ok(Response::new(String::new()))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

fn concat(parts: &[&[u8]]) -> HeaderValue {
    HeaderValue::from_bytes(&parts.concat()).unwrap()
}

// ---- reads --------------------------------------------------------------------------------------

#[tokio::test]
async fn after_a_recovery_a_known_tag_gets_the_whole_answer_once() {
    let stack = Stack::plain();
    let old = stack.tag().await;
    assert_eq!(
        old,
        value(&format!("\"g{}-v1\"", stack.handle().generation()))
    );
    let known = stack.get(&[("if-none-match", &old)]).await;
    assert_eq!(known.status(), 304);
    assert_eq!(
        known.headers()["etag"],
        old,
        "a 304 bears the tag that the client knows"
    );

    recover(&stack.handle());
    let fresh = stack.get(&[("if-none-match", &old)]).await;
    assert_eq!(
        (fresh.status(), &**fresh.body()),
        (StatusCode::OK, "the whole")
    );
    let new = &fresh.headers()["etag"];
    assert_ne!(new, old);
    assert_eq!(stack.get(&[("if-none-match", new)]).await.status(), 304);
    let head = stack.send(Method::HEAD, &[("if-none-match", new)]).await;
    assert_eq!(head.status(), 304);
}

#[tokio::test(start_paused = true)]
async fn the_first_request_after_a_hold_ran_out_gets_the_new_body() {
    let stack = Stack::plain();
    let old = stack.tag().await;
    let generation = stack.handle().generation();
    let hold = Hold::new("on-call", "ticket 4711").for_at_most(secs(10));
    stack.handle().engage(hold).unwrap();
    advance(secs(9)).await;
    assert_eq!(stack.get(&[("if-none-match", &old)]).await.status(), 503);

    // No call comes, and the layer is not looked at.
    advance(secs(51)).await;
    let first = stack.get(&[("if-none-match", &old)]).await;
    assert_eq!(
        (first.status(), &**first.body()),
        (StatusCode::OK, "the whole")
    );
    assert!(stack.handle().generation() > generation);
    let new = &first.headers()["etag"];
    assert_eq!(
        *new,
        value(&format!("\"g{}-v1\"", stack.handle().generation()))
    );
    assert_eq!(stack.get(&[("if-none-match", new)]).await.status(), 304);
}

#[tokio::test]
async fn a_date_beside_the_old_tag_does_not_confirm_the_old_body() {
    let stack = Stack::plain();
    let old = stack.tag().await;
    let date = value(DATE);
    recover(&stack.handle());
    let both = [("if-none-match", &old), ("if-modified-since", &date)];
    assert_eq!(stack.get(&both).await.status(), 200);
    // A date alone does not confirm it either.
    assert_eq!(
        stack.get(&[("if-modified-since", &date)]).await.status(),
        200
    );
    // Beside a tag of this generation the date is not evaluated.
    let new = stack.tag().await;
    let both = [("if-none-match", &new), ("if-modified-since", &date)];
    assert_eq!(stack.get(&both).await.status(), 304);
}

#[tokio::test]
async fn of_several_tags_those_of_this_generation_count_and_a_weak_one_matches() {
    let stack = Stack::plain();
    let old = stack.tag().await;
    recover(&stack.handle());
    let new = stack.tag().await;

    let weak = concat(&[b"W/", new.as_bytes()]);
    let gzipped = value(&new.to_str().unwrap().replace("-v1\"", "-v1-gzip\""));
    let list = concat(&[
        old.as_bytes(),
        b", \"unknown\",, W/\"x\" ,",
        weak.as_bytes(),
    ]);
    assert_eq!(stack.get(&[("if-none-match", &weak)]).await.status(), 304);
    assert_eq!(stack.get(&[("if-none-match", &list)]).await.status(), 304);
    let two_lines = [("if-none-match", &old), ("if-none-match", &new)];
    assert_eq!(stack.get(&two_lines).await.status(), 304);
    assert_eq!(
        stack.get(&[("if-none-match", &value("*"))]).await.status(),
        304
    );

    let request = Request::get("/prices").header("if-none-match", &gzipped);
    let seen = stack.as_seen_by_the_origin(request.body(()).unwrap()).await;
    assert_eq!(
        seen["if-none-match"], "\"v1-gzip\"",
        "what a proxy wrote behind stays"
    );

    let bare = new.to_str().unwrap().replace('"', "");
    for stale in [
        &old,
        &value(TAG),
        &value("\"unknown\", \"v1\""),
        &value(&bare),
        &value("v1"),
    ] {
        assert_eq!(
            stack.get(&[("if-none-match", stale)]).await.status(),
            200,
            "{stale:?}"
        );
    }
}

#[tokio::test]
async fn a_part_of_the_new_body_is_not_glued_to_the_old_one() {
    let stack = Stack::plain();
    let old = stack.tag().await;
    let range = value("bytes=1-4");
    let resume = async |tag: &HeaderValue| {
        let conditions = [("range", &range), ("if-range", tag)];
        stack.status_and_tag(Method::GET, &conditions).await
    };
    assert_eq!(resume(&old).await, (206, old.clone()));
    recover(&stack.handle());
    assert_eq!(resume(&old).await.0, 200);
    assert_eq!(resume(&value(DATE)).await.0, 200);
    assert_eq!(resume(&value("nonsense")).await.0, 200);
    assert_eq!(resume(&stack.tag().await).await.0, 206);
    // A range without a condition is served.
    assert_eq!(stack.get(&[("range", &range)]).await.status(), 206);
}

#[tokio::test]
async fn an_answer_that_began_before_the_recovery_bears_the_generation_of_before() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (arrived, go_on) = (arrived.clone(), go_on.clone());
        service_fn(move |request: Request<()>| {
            let (arrived, go_on) = (arrived.clone(), go_on.clone());
            async move {
                if request.uri().path() == "/slow" {
                    arrived.notify_one();
                    go_on.notified().await;
                }
                Ok::<_, io::Error>(origin(&request))
            }
        })
    };
    let app = CacheBustLayer::new(&handle).layer(slow);
    let before = handle.generation();
    let read = Request::get("/slow").body(()).unwrap();
    let running = tokio::spawn(app.clone().oneshot(read));
    arrived.notified().await;
    recover(&handle);
    go_on.notify_one();

    let response = running.await.unwrap().unwrap();
    let tag = response.headers()["etag"].clone();
    assert_eq!(tag, value(&format!("\"g{before}-v1\"")));
    assert_eq!(
        response.headers()["maintenance-generation"],
        value(&before.to_string())
    );
    let again = Request::get("/prices").header("if-none-match", tag);
    let again = app.oneshot(again.body(()).unwrap()).await.unwrap();
    assert_eq!(again.status(), 200, "hence it is asked for once more");
}

// ---- writes -------------------------------------------------------------------------------------

#[tokio::test]
async fn a_write_is_judged_by_the_origin_alone_whatever_the_generation() {
    let stack = Stack::plain();
    let put = async |tag: &HeaderValue| {
        let response = stack.send(Method::PUT, &[("if-match", tag)]).await;
        response.status().as_u16()
    };
    let old = stack.tag().await;
    recover(&stack.handle());
    let new = stack.tag().await;
    let other = value(&old.to_str().unwrap().replace("-v1", "-v2"));
    for (tag, status) in [
        (&old, 200),
        (&new, 200),
        (&concat(&[other.as_bytes(), b", ", old.as_bytes()]), 200),
        (&value("*"), 200),
        (&value(TAG), 200),
        (&other, 412),
        (&concat(&[b"W/", old.as_bytes()]), 412),
        (&value("v1"), 412),
        (&value(""), 412),
    ] {
        assert_eq!(put(tag).await, status, "{tag:?}");
    }
    // With `Range` the condition is a read's: a part of the new body is not joined to the old one.
    assert_eq!(stack.get(&[("if-match", &old)]).await.status(), 412);
    assert_eq!(stack.get(&[("if-match", &new)]).await.status(), 200);
}

#[tokio::test]
async fn conditional_writes_pass_between_replicas_and_over_a_deployment() {
    let replica = |generation| {
        let layer = MaintenanceLayer::builder("zuora").generation(generation);
        let layer = layer.build().unwrap();
        let origin = service_fn(async |request: Request<()>| Ok::<_, io::Error>(origin(&request)));
        CacheBustLayer::new(&layer.handle()).layer(layer.paths().layer(origin))
    };
    let replicas = [1000, 1007, 2000].map(replica);
    for shows in &replicas {
        for takes in &replicas {
            let shown = shows.clone().oneshot(Request::get("/").body(()).unwrap());
            let tag = shown.await.unwrap().headers()["etag"].clone();
            let write = Request::put("/").header("if-match", tag);
            let written = takes.clone().oneshot(write.body(()).unwrap()).await;
            assert_eq!(written.unwrap().status(), 200);
        }
    }
}

#[tokio::test]
async fn with_strict_writes_what_was_shown_before_the_recovery_is_a_412() {
    let stack = Stack::new(CacheBustBuilder::strict_writes);
    let old = stack.tag().await;
    let put = async |tag: &HeaderValue| {
        let conditions = [("if-match", tag)];
        stack.status_and_tag(Method::PUT, &conditions).await
    };
    assert_eq!(
        put(&old).await,
        (200, old.clone()),
        "and the tag it returns can be used"
    );

    recover(&stack.handle());
    let new = stack.tag().await;
    assert_eq!(put(&old).await, (412, new.clone()));
    assert_eq!(put(&value(TAG)).await.0, 412, "it never passed here");
    assert_eq!(put(&value("v1")).await.0, 412, "no tag at all");
    assert_eq!(put(&value("")).await.0, 412);
    assert_eq!(put(&concat(&[b"W/", new.as_bytes()])).await.0, 412, "weak");
    assert_eq!(put(&new).await.0, 200);
    assert_eq!(
        put(&concat(&[old.as_bytes(), b",", new.as_bytes()]))
            .await
            .0,
        200
    );
    assert_eq!(
        put(&value("*")).await.0,
        200,
        "whatever there is, if there is something"
    );
}

#[tokio::test]
async fn a_creation_that_must_not_overwrite_stays_one() {
    let stack = Stack::plain();
    let tag = stack.tag().await;
    let seen = async |condition: &HeaderValue| {
        let request = Request::put("/prices").header("if-none-match", condition);
        let seen = stack.as_seen_by_the_origin(request.body(()).unwrap()).await;
        seen.get("if-none-match").cloned()
    };
    assert_eq!(seen(&value("*")).await, Some(value("*")));
    assert_eq!(seen(&tag).await, Some(value(TAG)));
    recover(&stack.handle());
    assert_eq!(
        seen(&tag).await,
        Some(value(TAG)),
        "taken away, it would overwrite"
    );
    assert_eq!(seen(&value("*, \"x\"")).await, Some(value("*, \"x\"")));
    let date = Request::put("/prices").header("if-unmodified-since", DATE);
    let seen = stack.as_seen_by_the_origin(date.body(()).unwrap()).await;
    assert_eq!(seen["if-unmodified-since"], DATE);
}

// ---- what is left alone -------------------------------------------------------------------------

#[tokio::test]
async fn what_the_inner_service_says_of_caching_stays() {
    let stack = Stack::new(|builder| {
        builder
            .surrogate_key(["prices", "plans"])
            .cache_tag(["prices", "plans"])
    });
    let answer = async |method: Method, status: u16, headers: &[(&'static str, &'static str)]| {
        let origin = |_: &Request<()>| {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(String::new()).unwrap()
        };
        let request = Request::builder().method(method).uri("/prices");
        let response = stack.send_to(origin, request.body(()).unwrap()).await;
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in response.headers() {
            let values = all.entry(name.to_string()).or_default();
            values.push(value.to_str().unwrap().to_owned());
        }
        all
    };
    let generation = stack.handle().generation().to_string();

    let silent = answer(Method::GET, 200, &[]).await;
    let expected = [
        ("cache-control", "no-cache"),
        ("cache-tag", "prices,plans"),
        ("maintenance-generation", &*generation),
        ("surrogate-key", "prices plans"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
    assert_eq!(silent, expected.into());

    for said in [
        ("cache-control", "public, max-age=31536000, immutable"),
        ("cache-control", "no-store"),
        ("cache-control", ""),
        ("expires", "0"),
        ("pragma", "no-cache"),
    ] {
        let response = answer(Method::GET, 200, &[said]).await;
        let unsaid = said.0 != "cache-control";
        assert_eq!(response[said.0], [said.1], "{said:?}");
        assert_eq!(response.contains_key("cache-control"), !unsaid, "{said:?}");
    }

    let more = [
        ("set-cookie", "session=1"),
        ("set-cookie", "other=2"),
        ("vary", "Accept"),
        ("vary", "Cookie"),
        ("surrogate-key", "mine"),
        ("cache-tag", "mine"),
        ("cache-tag", "too"),
        ("cdn-cache-control", "max-age=60"),
        ("etag", "no tag"),
    ];
    let response = answer(Method::GET, 200, &more).await;
    assert_eq!(response["set-cookie"], ["session=1", "other=2"]);
    assert_eq!(response["vary"], ["Accept", "Cookie"]);
    assert_eq!(response["surrogate-key"], ["mine prices plans"]);
    assert_eq!(response["cache-tag"], ["mine,too,prices,plans"]);
    assert_eq!(response["cdn-cache-control"], ["max-age=60"]);
    assert_eq!(response["etag"], ["no tag"]);

    for (method, status) in [(Method::POST, 200), (Method::GET, 404), (Method::GET, 500)] {
        let response = answer(method, status, &[("etag", "W/\"a\"")]).await;
        assert_eq!(
            response["etag"],
            [format!("W/\"g{generation}-a\"")],
            "{status}"
        );
        assert!(!response.contains_key("cache-control"), "{status}");
        assert!(!response.contains_key("surrogate-key"), "{status}");
    }
}

#[tokio::test]
async fn a_304_does_not_take_back_what_the_whole_answer_said() {
    let stack = Stack::plain();
    let says_it_once = |request: &Request<()>| {
        let mut response = origin(request);
        if response.status() == 200 {
            let said = value("max-age=3600");
            response.headers_mut().insert("cache-control", said);
        }
        response
    };
    let get = async |tag: Option<&HeaderValue>| {
        let mut request = Request::get("/prices");
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let request = request.body(()).unwrap();
        stack.send_to(says_it_once, request).await
    };
    let whole = get(None).await;
    assert_eq!(whole.headers()["cache-control"], "max-age=3600");
    let known = get(Some(&whole.headers()["etag"])).await;
    assert_eq!(known.status(), 304);
    assert!(!known.headers().contains_key("cache-control"));
}

#[tokio::test]
async fn a_refusal_passes_untouched() {
    let stack = Stack::new(|builder| {
        builder
            .carried_by(["/prices"])
            .expire_cookie(NamedCookie::new("prices"))
            .surrogate_key(["prices"])
    });
    let gated = stack.maintenance.paths().layer(service_fn(blank));
    stack
        .handle()
        .engage(Hold::new("on-call", "ticket 4711"))
        .unwrap();
    let request = || {
        let request = Request::get("/prices").header("cookie", "maintenance-generation=1");
        request.body(()).unwrap()
    };
    let without = gated.clone().oneshot(request()).await.unwrap();
    let with = stack.bust.layer(gated).oneshot(request()).await.unwrap();
    assert_eq!(with.status(), 503);
    assert_eq!(with.headers()["cache-control"], "private, no-store");
    let names = |response: &Response<String>| -> Vec<String> {
        response.headers().keys().map(ToString::to_string).collect()
    };
    assert_eq!(names(&with), names(&without));
    assert_eq!(stack.bust.counts().healed, 0);
}

#[tokio::test]
async fn excepted_paths_keep_their_own_tags() {
    let stack = Stack::new(|builder| {
        builder
            .except(["/assets/{*file}"])
            .generation_header("X-Gen")
    });
    let send = async |path: &'static str| {
        let request = Request::get(path).header("if-none-match", TAG);
        stack.send_to(origin, request.body(()).unwrap()).await
    };
    let asset = send("/assets/app.js").await;
    assert_eq!(asset.status(), 304);
    assert_eq!(asset.headers()["etag"], TAG);
    assert!(!asset.headers().contains_key("cache-control"));
    assert!(asset.headers().contains_key("x-gen"));
    for covered in ["/prices", "/assets/../prices", "/assets%2fapp.js"] {
        assert_eq!(send(covered).await.status(), 200, "{covered}");
    }
}

#[tokio::test]
async fn two_layers_around_one_route_nest() {
    let (zuora, tax) = (
        MaintenanceLayer::new("zuora"),
        MaintenanceLayer::new("avalara"),
    );
    let inner = CacheBustLayer::new(&zuora.handle());
    let outer = CacheBustLayer::new(&tax.handle());
    let service = service_fn(async |request: Request<()>| Ok::<_, io::Error>(origin(&request)));
    let app = outer.layer(inner.layer(service));
    let send = async |tag: Option<&HeaderValue>| {
        let mut request = Request::get("/prices");
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let request = request.body(()).unwrap();
        app.clone().oneshot(request).await.unwrap()
    };
    for recovers in [&zuora, &tax] {
        let tag = send(None).await.headers()["etag"].clone();
        assert_eq!(send(Some(&tag)).await.status(), 304);
        recover(&recovers.handle());
        assert_eq!(send(Some(&tag)).await.status(), 200);
    }
}

// ---- over real sockets: browsers ----------------------------------------------------------------

/// A client with a cookie jar and a store, as far as headers go.
struct Browser {
    client: HttpClient,
    address: SocketAddr,
    host: &'static str,
    site: Option<&'static str>,
    cookies: BTreeMap<String, String>,
    /// Tag and body, by path.
    store: BTreeMap<String, (HeaderValue, Bytes)>,
}

struct Visit {
    status: u16,
    headers: HeaderMap,
    /// The shown text: the body, or the stored one after a 304.
    shown: String,
}

impl Browser {
    fn new(address: SocketAddr) -> Self {
        Self {
            client: http_client(),
            address,
            host: "localhost",
            site: Some("none"),
            cookies: BTreeMap::from([("session".to_owned(), "s1".to_owned())]),
            store: BTreeMap::new(),
        }
    }

    async fn visit(&mut self, path: &str) -> Visit {
        let mut request = Request::get(format!("http://{}{path}", self.address));
        request = request.header("host", self.host);
        if let Some(site) = self.site {
            request = request.header("sec-fetch-site", site);
        }
        if !self.cookies.is_empty() {
            let pairs = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            request = request.header("cookie", pairs.collect::<Vec<_>>().join("; "));
        }
        if let Some((tag, _)) = self.store.get(path) {
            request = request.header("if-none-match", tag);
        }
        let response = self.client.request(request.body(Full::default()).unwrap());
        let response = soon(response).await.unwrap();
        let (head, body) = collected(response).await.into_parts();
        if head.headers.contains_key("clear-site-data") {
            self.store.clear();
        }
        for line in head.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, rest) = line.split_once('=').unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                let value = rest.split(';').next().unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let no_store = head
            .headers
            .get("cache-control")
            .is_some_and(|said| said.to_str().unwrap().contains("no-store"));
        let shown = if head.status == StatusCode::NOT_MODIFIED {
            self.store[path].1.clone()
        } else {
            if let (Some(tag), false) = (head.headers.get("etag"), no_store) {
                self.store
                    .insert(path.to_owned(), (tag.clone(), body.clone()));
            }
            body
        };
        Visit {
            status: head.status.as_u16(),
            headers: head.headers,
            shown: String::from_utf8(shown.to_vec()).unwrap(),
        }
    }
}

impl Visit {
    fn cleared(&self) -> Option<&HeaderValue> {
        self.headers.get("clear-site-data")
    }

    fn set(&self) -> Vec<&str> {
        let lines = self.headers.get_all("set-cookie").iter();
        lines.map(|line| line.to_str().unwrap()).collect()
    }
}

/// A shop with a page and prices. The tag of the prices is always the same.
struct Shop {
    handle: MaintenanceHandle,
    bust: CacheBustLayer,
    address: SocketAddr,
    euros: Arc<AtomicU32>,
}

impl Shop {
    async fn open(build: impl FnOnce(CacheBustBuilder) -> CacheBustBuilder) -> Self {
        let layer = MaintenanceLayer::new("zuora");
        let handle = layer.handle();
        let bust = CacheBustLayer::builder(&handle).carried_by(["/", "/kept", "/logout"]);
        let bust = build(bust).build().unwrap();
        let euros = Arc::new(AtomicU32::new(12));
        let prices = {
            let euros = euros.clone();
            move |request: AxumRequest| {
                let euros = euros.load(Ordering::Relaxed);
                async move {
                    let known = request.headers().get(header::IF_NONE_MATCH);
                    let tag = [(header::ETAG, TAG)];
                    if known.is_some_and(|known| known == TAG) {
                        return (StatusCode::NOT_MODIFIED, tag).into_response();
                    }
                    (tag, format!("{euros} EUR")).into_response()
                }
            }
        };
        let page = async || -> AxumResponse {
            let headers = [
                ("set-cookie", "session=s1"),
                ("cache-control", "public, max-age=60"),
            ];
            (headers, "the page").into_response()
        };
        let kept = async || ([("cdn-cache-control", "max-age=60")], "for everybody");
        let logout = async || ([("clear-site-data", "\"cookies\"")], "bye");
        let app = Router::new()
            .route("/", get(page).post(page))
            .route("/prices", get(prices))
            .route("/kept", get(kept))
            .route("/logout", get(logout))
            .layer(layer.paths())
            .layer(bust.clone());
        Self {
            handle,
            bust,
            address: serve(app).await,
            euros,
        }
    }

    async fn with_everything() -> Self {
        Self::open(|bust| {
            bust.expire_cookie(NamedCookie::new("prices"))
                .clear_site_data(["cache"])
        })
        .await
    }
}

#[tokio::test]
async fn a_browser_is_healed_once_and_caches_again() {
    let shop = Shop::with_everything().await;
    let mut browser = Browser::new(shop.address);
    browser.cookies.insert("prices".to_owned(), "12".to_owned());

    // The first visit tells the generation, and clears nothing.
    let first = browser.visit("/").await;
    assert_eq!(first.cleared(), None);
    assert_eq!(first.headers["cache-control"], "private, no-store");
    let generation = shop.handle.generation();
    let told = format!(
        "maintenance-generation={generation}; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax"
    );
    assert_eq!(first.set(), ["session=s1", &*told]);
    assert_eq!(browser.visit("/prices").await.shown, "12 EUR");
    assert_eq!(browser.visit("/prices").await.status, 304);
    // The second visit gets the page as the shop sends it.
    let second = browser.visit("/").await;
    assert_eq!(second.headers["cache-control"], "public, max-age=60");
    assert_eq!(second.set(), ["session=s1"]);

    recover(&shop.handle);
    shop.euros.store(19, Ordering::Relaxed);
    let healed = browser.visit("/").await;
    assert_eq!(healed.cleared(), Some(&value("\"cache\"")));
    assert_eq!(healed.headers["cdn-cache-control"], "no-store");
    assert!(
        healed.headers["cache-control"]
            .to_str()
            .unwrap()
            .ends_with("private, no-store")
    );
    assert_eq!(healed.set()[1], "prices=; Max-Age=0; Path=/");
    assert!(!browser.cookies.contains_key("prices"));
    assert_eq!(browser.cookies["session"], "s1");
    let prices = browser.visit("/prices").await;
    assert_eq!((prices.status, &*prices.shown), (200, "19 EUR"));

    // The third visit is as before the recovery.
    let third = browser.visit("/").await;
    assert_eq!(third.cleared(), None);
    assert_eq!(third.set(), ["session=s1"]);
    let prices = browser.visit("/prices").await;
    assert_eq!((prices.status, &*prices.shown), (304, "19 EUR"));
    let counts = shop.bust.counts();
    assert_eq!((counts.healed, counts.cleared), (1, 1));

    // Another recovery, and another browser: each is healed once.
    let mut other = Browser::new(shop.address);
    other.visit("/").await;
    recover(&shop.handle);
    for _ in 0..3 {
        browser.visit("/").await;
        other.visit("/").await;
    }
    assert_eq!(shop.bust.counts().cleared, 3);
}

#[tokio::test]
async fn without_the_header_the_tags_alone_bring_the_new_price() {
    let shop = Shop::open(|bust| bust).await;
    let mut browser = Browser::new(shop.address);
    let first = browser.visit("/").await;
    assert_eq!(first.set(), ["session=s1"], "no cures, no cookie");
    assert_eq!(browser.visit("/prices").await.shown, "12 EUR");
    shop.euros.store(19, Ordering::Relaxed);
    assert_eq!(
        browser.visit("/prices").await.shown,
        "12 EUR",
        "the control: stale"
    );
    recover(&shop.handle);
    assert_eq!(browser.visit("/prices").await.shown, "19 EUR");
}

#[tokio::test]
async fn on_an_insecure_host_the_header_is_not_sent_and_cookies_still_go() {
    let shop = Shop::with_everything().await;
    let mut browser = Browser::new(shop.address);
    browser.host = "billing.test";
    browser.visit("/").await;
    recover(&shop.handle);
    let healed = browser.visit("/").await;
    assert_eq!(healed.cleared(), None);
    assert_eq!(healed.set()[1], "prices=; Max-Age=0; Path=/");
    assert_eq!(browser.visit("/").await.set(), ["session=s1"]);
    let counts = shop.bust.counts();
    assert_eq!((counts.healed, counts.cleared), (1, 0));
}

#[tokio::test]
async fn a_request_from_another_site_does_not_use_up_the_cure() {
    let shop = Shop::with_everything().await;
    let mut browser = Browser::new(shop.address);
    browser.visit("/").await;
    recover(&shop.handle);
    for site in ["cross-site", "same-site"] {
        browser.site = Some(site);
        let visit = browser.visit("/").await;
        assert_eq!((visit.cleared(), visit.set().len()), (None, 1), "{site}");
    }
    // The cure is not used up by a response for all customers, one that clears by itself, or one
    // that carries no cure.
    browser.site = Some("same-origin");
    for path in ["/kept", "/prices", "/nowhere"] {
        let visit = browser.visit(path).await;
        assert_eq!((visit.cleared(), visit.set().len()), (None, 0), "{path}");
    }
    let own = browser.visit("/logout").await;
    assert_eq!(own.cleared(), Some(&value("\"cookies\"")));
    assert_eq!(own.set(), [""; 0]);
    assert_eq!(
        browser.visit("/").await.cleared(),
        Some(&value("\"cache\""))
    );
    assert_eq!(shop.bust.counts().cleared, 1);
}

#[tokio::test]
async fn a_generation_that_is_higher_or_none_is_ignored() {
    let shop = Shop::with_everything().await;
    let mut browser = Browser::new(shop.address);
    for forged in ["99999999999999", "18446744073709551616", "x", "-1", ""] {
        let name = "maintenance-generation".to_owned();
        browser.cookies.insert(name.clone(), forged.to_owned());
        let visit = browser.visit("/").await;
        assert_eq!(
            (visit.cleared(), visit.set()),
            (None, vec!["session=s1"]),
            "{forged}"
        );
        assert_eq!(browser.cookies[&name], forged);
    }
    assert_eq!(shop.bust.counts().healed, 0);
}

#[tokio::test]
async fn a_restart_is_no_recovery_and_heals_nobody() {
    const LAST_MONTH: u64 = 1_722_457_620_000;
    // A visit of a client from last month: whether cookies and store are cleared. It is told the
    // generation in any case.
    let visit = async |layer: &MaintenanceLayer, bust: &CacheBustLayer| {
        let request = Request::get("/")
            .header("sec-fetch-site", "none")
            .header("cookie", format!("maintenance-generation={LAST_MONTH}"));
        let app = bust
            .layer(service_fn(blank))
            .oneshot(request.body(()).unwrap());
        let headers = app.await.unwrap().headers().clone();
        let set: Vec<_> = headers.get_all("set-cookie").iter().collect();
        let told = format!("maintenance-generation={};", layer.handle().generation());
        assert!(set.last().unwrap().to_str().unwrap().starts_with(&told));
        (set.len() == 2, headers.contains_key("clear-site-data"))
    };
    let bust = |layer: &MaintenanceLayer| {
        let bust = CacheBustLayer::builder(&layer.handle())
            .carried_by(["/"])
            .expire_cookie(NamedCookie::new("prices"))
            .clear_site_data(["cache"])
            .secure_if(|_| true);
        bust.build().unwrap()
    };
    let restarted = MaintenanceLayer::new("zuora");
    let built_first = bust(&restarted);
    assert_eq!(visit(&restarted, &built_first).await, (false, false));
    assert_eq!(built_first.counts().healed, 0);
    recover(&restarted.handle());
    assert_eq!(visit(&restarted, &built_first).await, (true, true));
    // It does not matter when the cache-bust layer was built.
    assert_eq!(visit(&restarted, &bust(&restarted)).await, (true, true));

    // A persisted generation owes the cure over a restart, to the clients that are behind it.
    let kept = |generation| {
        let layer = MaintenanceLayer::builder("zuora").generation(generation);
        layer.build().unwrap()
    };
    let behind = kept(LAST_MONTH + 1);
    assert_eq!(visit(&behind, &bust(&behind)).await, (true, true));
}

#[tokio::test]
async fn no_more_browsers_clear_in_a_second_than_allowed() {
    let layer = MaintenanceLayer::new("zuora");
    let bust = CacheBustLayer::builder(&layer.handle())
        .carried_by(["/"])
        .clear_site_data(["cache", "storage"])
        .secure_if(|_| true)
        .clears_per_second(NonZeroU32::MIN)
        .build()
        .unwrap();
    recover(&layer.handle());
    let app = bust.layer(service_fn(blank));
    let visit = async |method: Method| {
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header("cookie", "maintenance-generation=1722457620000")
            .header("sec-fetch-site", "same-origin");
        let response = app
            .clone()
            .oneshot(request.body(()).unwrap())
            .await
            .unwrap();
        let headers = response.headers();
        let cleared = headers.get("clear-site-data").cloned();
        assert_eq!(cleared.is_some(), headers.contains_key("set-cookie"));
        cleared
    };
    assert_eq!(visit(Method::POST).await, None);
    assert_eq!(visit(Method::HEAD).await, None);
    tokio::time::pause();
    let both = value("\"cache\", \"storage\"");
    advance(secs(2)).await;
    assert_eq!(visit(Method::GET).await, Some(both.clone()));
    assert_eq!(visit(Method::GET).await, None, "and its cookie stays old");
    advance(secs(1)).await;
    assert_eq!(visit(Method::GET).await, Some(both));
    assert_eq!(bust.counts().cleared, 2);
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_cookies_still_go_and_forgeries_have_no_share_of_it() {
    let layer = MaintenanceLayer::new("zuora");
    let bust = CacheBustLayer::builder(&layer.handle())
        .carried_by(["/"])
        .expire_cookie(NamedCookie::new("prices"))
        .clear_site_data(["cache"])
        .secure_if(|_| true)
        .clears_per_second(NonZeroU32::MIN)
        .build()
        .unwrap();
    recover(&layer.handle());
    let app = bust.layer(service_fn(blank));
    // Returns whether the store is cleared, the cookie is expired, and the generation is told.
    let visit = async |cookie: &str| {
        let request = Request::get("/")
            .header("cookie", format!("maintenance-generation={cookie}"))
            .header("sec-fetch-site", "same-origin");
        let response = app.clone().oneshot(request.body(()).unwrap());
        let headers = response.await.unwrap().headers().clone();
        let sets = |begin: &str| {
            let mut lines = headers.get_all("set-cookie").iter();
            lines.any(|line| line.to_str().unwrap().starts_with(begin))
        };
        assert_eq!(headers["cache-control"], "private, no-store");
        (
            headers.contains_key("clear-site-data"),
            sets("prices=; Max-Age=0"),
            sets("maintenance-generation="),
        )
    };
    for forged in ["0", "1", "1704067199999"] {
        assert_eq!(visit(forged).await, (false, true, true), "{forged}");
    }
    let honest = "1722457620000";
    assert_eq!(visit(honest).await, (true, true, true));
    let put_off = (false, true, false);
    assert_eq!(visit(honest).await, put_off, "the clear comes later");
    assert_eq!(visit(honest).await, put_off);
    advance(secs(1)).await;
    assert_eq!(visit(honest).await, (true, true, true));
    let counts = bust.counts();
    assert_eq!((counts.healed, counts.cleared), (5, 2));
}

#[tokio::test]
async fn a_cookie_that_is_set_anew_in_the_same_answer_is_not_expired() {
    let stack = Stack::new(|bust| {
        bust.carried_by(["/prices"])
            .expire_cookie(NamedCookie::new("prices"))
            .expire_cookie(
                NamedCookie::new("price")
                    .path("/billing")
                    .domain("shop.example.com"),
            )
            .generation_cookie(NamedCookie::new("__Host-gen").secure())
    });
    let sets = |_: &Request<()>| {
        let response = Response::builder().header("set-cookie", "prices=19; Path=/");
        response.body(String::new()).unwrap()
    };
    recover(&stack.handle());
    let request = Request::get("/prices").header("cookie", "__Host-gen=1");
    let response = stack.send_to(sets, request.body(()).unwrap()).await;
    let set: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    let generation = stack.handle().generation();
    let told = format!(
        "__Host-gen={generation}; Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    let price = "price=; Max-Age=0; Path=/billing; Domain=shop.example.com";
    assert_eq!(set, ["prices=19; Path=/", price, &*told]);
}

#[tokio::test]
async fn an_answer_that_is_none_carries_no_cure() {
    let stack = Stack::new(|bust| {
        bust.carried_by(["/prices"])
            .expire_cookie(NamedCookie::new("prices"))
    });
    recover(&stack.handle());
    let healed = async |status: u16| {
        let answer = |_: &Request<()>| {
            let response = Response::builder().status(status);
            response.body(String::new()).unwrap()
        };
        let request = Request::get("/prices").header("cookie", "maintenance-generation=1");
        let request = request.body(()).unwrap();
        let response = stack.send_to(answer, request).await;
        response.headers().contains_key("set-cookie")
    };
    for status in [301, 302, 404, 500, 503] {
        assert!(!healed(status).await, "{status}");
    }
    for status in [200, 204, 304] {
        assert!(healed(status).await, "{status}");
    }
    assert_eq!(stack.bust.counts().healed, 3);
}

/// Headers by which a CDN keeps a page, whatever `Cache-Control` says.
const KEPT_BY_A_CDN: [(&str, &str); 12] = [
    ("akamai-cache-control", "max-age=60"),
    ("cdn-cache-control", "max-age=60"),
    ("cloudflare-cdn-cache-control", "max-age=60"),
    ("edge-control", "!no-store, max-age=60"),
    ("netlify-cdn-cache-control", "public, max-age=60"),
    ("surrogate-control", "max-age=60"),
    ("vercel-cdn-cache-control", "max-age=60"),
    ("x-accel-expires", "60"),
    ("x-any-cache-control", "max-age=60"),
    ("x-cache-ttl", "60"),
    ("x-litespeed-cache-control", "public, max-age=60"),
    ("x-reverse-proxy-ttl", "60"),
];

/// What a CDN keeps is sent to every client, and so would be the cure.
#[tokio::test]
async fn what_a_cdn_may_keep_carries_no_cure() {
    let stack = Stack::new(|bust| {
        bust.carried_by(["/prices"])
            .expire_cookie(NamedCookie::new("prices"))
            .clear_site_data(["cache"])
            .cache_tag(["prices"])
            .surrogate_key(["prices"])
    });
    recover(&stack.handle());
    let visit = async |cookie: &'static str, headers: &[(&'static str, &'static str)]| {
        let answer = |_: &Request<()>| {
            let mut response = Response::new(String::new());
            for (name, text) in headers {
                response.headers_mut().append(*name, value(text));
            }
            response
        };
        let request = Request::get("http://localhost/prices")
            .header("sec-fetch-site", "none")
            .header("cookie", cookie);
        stack.send_to(answer, request.body(()).unwrap()).await
    };
    for kept in KEPT_BY_A_CDN {
        for cookie in ["maintenance-generation=1722457620000", "session=1"] {
            let response = visit(cookie, &[kept]).await;
            let headers = response.headers();
            assert!(!headers.contains_key("clear-site-data"), "{kept:?}");
            assert!(!headers.contains_key("set-cookie"), "{kept:?}");
            assert_eq!(headers[kept.0], kept.1);
        }
    }
    assert_eq!(stack.bust.counts().healed, 0);

    // Elsewhere the directives of the page give way, and tags let no cache keep it.
    let page = [
        ("cache-control", "public, max-age=60, s-maxage=60"),
        ("cache-control", "must-understand, no-transform"),
        ("expires", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ("surrogate-key", "page"),
        ("xkey", "page"),
    ];
    let response = visit("maintenance-generation=1722457620000", &page).await;
    let headers = response.headers();
    assert_eq!(headers["clear-site-data"], "\"cache\"");
    let control: Vec<_> = headers.get_all("cache-control").iter().collect();
    assert_eq!(control, ["private, no-store, no-transform"]);
    assert_eq!(headers["cdn-cache-control"], "no-store");
    assert!(!headers.contains_key("expires"));
    assert_eq!(stack.bust.counts().healed, 1);
}

// ---- what is refused when it is built -----------------------------------------------------------

#[test]
fn what_makes_no_sense_is_an_error_that_names_it() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let says = |build: &dyn Fn(CacheBustBuilder) -> CacheBustBuilder| {
        let error = build(CacheBustLayer::builder(&handle)).build().unwrap_err();
        assert!(error.to_string().starts_with(error.field()), "{error}");
        (error.field(), error.to_string())
    };
    let long = "x".repeat(1025);
    let many: Vec<String> = (0..3000).map(|n| format!("tag-{n}")).collect();
    type Build<'b> = &'b dyn Fn(CacheBustBuilder) -> CacheBustBuilder;
    let wrong: [(&str, &str, Build<'_>); 15] = [
        ("clear_site_data", "`cookies`", &|b| {
            b.carried_by(["/"]).clear_site_data(["cache", "cookies"])
        }),
        ("clear_site_data", "`*`", &|b| {
            b.carried_by(["/"]).clear_site_data(["*"])
        }),
        ("clear_site_data", "`executionContexts`", &|b| {
            b.carried_by(["/"]).clear_site_data(["executionContexts"])
        }),
        ("clear_site_data", "`storage`", &|b| {
            b.carried_by(["/"]).clear_site_data(["storage"])
        }),
        ("carried_by", "small page", &|b| {
            b.clear_site_data(["cache"])
        }),
        ("carried_by", "small page", &|b| {
            b.expire_cookie(NamedCookie::new("a"))
        }),
        ("carried_by", "`home`", &|b| b.carried_by(["home"])),
        ("except", "`/a/{`", &|b| b.except(["/a/{"])),
        ("generation_header", "`a b`", &|b| {
            b.generation_header("a b")
        }),
        ("generation_header", "`ETag`", &|b| {
            b.generation_header("ETag")
        }),
        ("generation_cookie", "`a;b`", &|b| {
            b.generation_cookie(NamedCookie::new("a;b"))
        }),
        ("expire_cookie", "`__Host-a`", &|b| {
            b.carried_by(["/"])
                .expire_cookie(NamedCookie::new("__Host-a"))
        }),
        ("expire_cookie", "`maintenance-generation`", &|b| {
            b.carried_by(["/"])
                .expire_cookie(NamedCookie::new("maintenance-generation"))
        }),
        ("surrogate_key", "`a b`", &|b| {
            b.surrogate_key(["prices", "a b"])
        }),
        ("cache_tag", "`a,b`", &|b| b.cache_tag(["a,b"])),
    ];
    for (field, part, build) in wrong {
        let (named, message) = says(build);
        assert_eq!(named, field, "{message}");
        assert!(message.contains(part), "{message}");
    }
    for name in [
        "Age",
        "Cache-Control",
        "Cache-Tag",
        "CDN-Cache-Control",
        "Clear-Site-Data",
        "Cloudflare-CDN-Cache-Control",
        "Cookie",
        "ETag",
        "Expires",
        "Host",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "Last-Modified",
        "Pragma",
        "Range",
        "Sec-Fetch-Site",
        "Set-Cookie",
        "Surrogate-Control",
        "Surrogate-Key",
        "X-Accel-Expires",
        "X-Forwarded-Proto",
        "xkey",
    ] {
        let (field, message) = says(&|b| b.generation_header(name));
        assert_eq!(field, "generation_header", "{name}");
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(says(&|b| b.surrogate_key([&*long])).0, "surrogate_key");
    assert!(says(&|b| b.surrogate_key([""; 1])).1.contains("1 to 1024"));
    assert!(
        says(&|b| b.cache_tag(many.clone()))
            .1
            .contains("16384 bytes")
    );
    assert!(says(&|b| b.cache_tag([""; 0])).1.contains("0 bytes"));
}

// ---- CDNs ---------------------------------------------------------------------------------------

#[tokio::test]
async fn the_example_purges_both_cdns() {
    soon(purge::run()).await.unwrap();
}

/// How a stand-in for a CDN's API answers a purge.
#[derive(Clone, Copy)]
enum Takes {
    /// It fails three times, and then purges.
    Purges,
    Hangs,
    AsksForAnHour,
}

/// The address of the stand-in, and the number of requests that have arrived.
async fn cdn_that(takes: Takes) -> (String, watch::Receiver<u32>) {
    let (arrivals, arrived) = watch::channel(0);
    let arrivals = Arc::new(arrivals);
    let purge = async move || {
        arrivals.send_modify(|arrived| *arrived += 1);
        match takes {
            Takes::Purges if *arrivals.borrow() < 4 => {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            Takes::Purges => "{}".into_response(),
            Takes::Hangs => std::future::pending().await,
            Takes::AsksForAnHour => {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]).into_response()
            }
        }
    };
    let addr = serve(Router::new().fallback(purge)).await;
    (format!("http://{addr}"), arrived)
}

#[tokio::test]
async fn a_cdn_that_hangs_holds_up_no_other_and_a_newer_recovery_replaces_its_retries() {
    let layer = MaintenanceLayer::builder("zuora").cache_tags(["prices"]);
    let handle = layer.build().unwrap().handle();
    let (hanging_url, mut hanging) = cdn_that(Takes::Hangs).await;
    let (busy_url, mut busy) = cdn_that(Takes::AsksForAnHour).await;
    let (healthy_url, mut healthy) = cdn_that(Takes::Purges).await;
    let cdns = [hanging_url, busy_url, healthy_url];
    let cdns = cdns.map(|url| CdnPurge::fastly("a", "t").unwrap().at(&url).unwrap());
    let following = purge::follow(handle.cache_bust(), cdns.into(), http_client());
    let following = tokio::spawn(following);

    for recoveries in 1..=3 {
        recover(&handle);
        // At the first recovery three retries come before it.
        let purged = soon(healthy.wait_for(|arrived| *arrived >= recoveries + 3)).await;
        assert_eq!(*purged.unwrap(), recoveries + 3);
        for arrived in [&mut hanging, &mut busy] {
            let asked = soon(arrived.wait_for(|arrived| *arrived >= recoveries)).await;
            // And not more often: one still hangs, and one is left alone for the hour it asked for.
            assert_eq!(*asked.unwrap(), recoveries);
        }
    }
    following.abort();
}

#[test]
fn a_purge_waits_for_as_long_as_the_cdn_asks_but_not_for_ever() {
    let asked = |said: &str| {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value(said))]);
        purge::retry_after(&headers)
    };
    assert_eq!(asked("7"), secs(7));
    assert_eq!(asked("86400"), HOUR);
    for nothing in ["", "soon", "-1", "0"] {
        assert_eq!(asked(nothing), Duration::ZERO, "{nothing}");
    }
    assert_eq!(purge::retry_after(&HeaderMap::new()), Duration::ZERO);
}

#[tokio::test]
async fn a_tag_that_no_cdn_takes_is_an_error_before_anything_is_purged() {
    let bust = async |tags: Vec<String>| {
        let layer = MaintenanceLayer::builder("zuora").cache_tags(tags);
        let handle = layer.build().unwrap().handle();
        recover(&handle);
        handle.cache_bust().recv().await.unwrap()
    };
    let fastly = CdnPurge::fastly("SU1Z0isxPaozGVKXdv0eY", "secret-token").unwrap();
    let cloudflare = CdnPurge::cloudflare("023e105f4ecef8ad9ca31a8372d0c353", "secret-token");
    let cloudflare = cloudflare.unwrap();
    for bad in [
        "two words",
        "a,b",
        "",
        "ümlaut",
        "a\r\nb",
        &"x".repeat(1025),
    ] {
        let bust = bust(vec!["prices".to_owned(), bad.to_owned()]).await;
        for cdn in [&fastly, &cloudflare] {
            let error = cdn.requests(&bust).unwrap_err();
            assert_eq!(error.field(), "cache_tags", "{error}");
            assert!(error.to_string().len() < 300, "{error}");
        }
    }
    let none = bust(Vec::new()).await;
    assert!(fastly.requests(&none).unwrap().is_empty());

    let full = bust((0..257).map(|n| n.to_string()).collect()).await;
    assert_eq!(fastly.requests(&full).unwrap().len(), 2);
    let requests = cloudflare.requests(&full).unwrap();
    assert_eq!(requests.len(), 3);
    assert_eq!(
        requests[0].uri(),
        "https://api.cloudflare.com/client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/purge_cache"
    );
    // A hard purge is the default. The token is in no debug output.
    let hard = &fastly.requests(&full).unwrap()[0];
    assert!(!hard.headers().contains_key("fastly-soft-purge"));
    assert!(!format!("{fastly:?} {cloudflare:?} {hard:?}").contains("secret-token"));
    assert!(!format!("{:?}", requests[0]).contains("secret-token"));
}

#[test]
fn a_purge_with_a_wrong_id_token_or_host_is_an_error() {
    for id in ["", "a/b", "a b", "../x", &"a".repeat(65)] {
        assert_eq!(CdnPurge::fastly(id, "t").unwrap_err().field(), "service_id");
        assert_eq!(
            CdnPurge::cloudflare(id, "t").unwrap_err().field(),
            "zone_id"
        );
    }
    for token in ["", "secret\r\nx: y"] {
        for error in [
            CdnPurge::fastly("a", token).unwrap_err(),
            CdnPurge::cloudflare("a", token).unwrap_err(),
        ] {
            assert_eq!(error.field(), "token");
            assert!(!error.to_string().contains("secret"));
        }
    }
    for base in ["", "localhost:1", "ftp://a", "https://a/b", "https://a?b"] {
        let purge = CdnPurge::fastly("a", "t").unwrap();
        assert_eq!(purge.at(base).unwrap_err().field(), "at", "{base}");
    }
}

// ---- for all requests ---------------------------------------------------------------------------

fn condition() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![
        Just(b"\"v1\"".to_vec()),
        Just(b"OLD".to_vec()),
        Just(b"NEW".to_vec()),
        Just(b"W/".to_vec()),
        Just(b"*".to_vec()),
        Just(b",".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\"".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(tag, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_condition_confirms_what_is_of_another_generation(
        conditions in proptest::collection::vec((0_usize..7, condition()), 0..8),
        read: bool,
        strict: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let stack = Stack::new(|bust| if strict { bust.strict_writes() } else { bust });
            let old = stack.tag().await;
            recover(&stack.handle());
            let new = stack.tag().await;
            let (old, new) = (old.to_str().unwrap(), new.to_str().unwrap());
            let names = [
                "if-none-match", "if-match", "if-range", "if-modified-since", "range", "cookie", "sec-fetch-site",
            ];
            let method = if read { Method::GET } else { Method::PUT };
            let mut request = Request::builder().method(method).uri("/prices");
            let mut knows_new = false;
            for (name, text) in conditions {
                let text = String::from_utf8_lossy(&text).replace("OLD", old).replace("NEW", new);
                let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { continue };
                knows_new |= text.contains(new) || text.contains('*');
                request = request.header(names[name], value);
            }
            let request = request.body(()).unwrap();
            let sent = request.headers().clone();
            let seen = stack.as_seen_by_the_origin(request).await;
            for name in ["if-none-match", "if-match", "if-range"] {
                let total = |headers: &HeaderMap| -> usize {
                    headers.get_all(name).iter().map(HeaderValue::len).sum()
                };
                prop_assert!(total(&seen) <= total(&sent).max(32), "{name} grew");
            }
            if !knows_new && read {
                prop_assert!(!seen.contains_key("if-none-match"), "{seen:?}");
                prop_assert!(!seen.contains_key("if-modified-since"));
                prop_assert!(!seen.contains_key("if-range"));
                prop_assert_eq!(seen.contains_key("range"), sent.contains_key("range") && !sent.contains_key("if-range"));
            }
            if !knows_new && (read || strict) && sent.contains_key("if-match") {
                prop_assert_eq!(&seen["if-match"], "W/\"of-another-generation\"");
            }
            Ok(())
        })?;
    }
}
