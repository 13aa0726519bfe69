//! The form of a refusal: over every version of HTTP, for programs and for people, whatever
//! operators write.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    routing::{any, get},
};
use http::{Method, Request, Response, Version};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use test_support::{HOUR, collected, exchange, serve, soon};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Class, Exemption, Hold, MaintenanceHandle, MaintenanceLayer, Mode, Policy, Refused,
    http::{Announcement, HttpCalls, Notices, PageTexts, Refusals, RefusalsError, RouteClasses},
    testing::assert_refusal,
};

use crate::support::hold;

/// The `Accept` header of a browser.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn held(layer: &MaintenanceLayer) -> MaintenanceHandle {
    let handle = layer.handle();
    hold(&handle);
    handle
}

/// A gate in memory, before a service of strings.
fn gated(
    layer: &MaintenanceLayer,
    refusals: Refusals,
) -> impl Service<Request<()>, Response = Response<String>, Error = Infallible, Future: Send> + Clone
{
    let ours = service_fn(async |_: Request<()>| Ok(Response::new(String::from("12 EUR"))));
    layer.paths().with_refusals(refusals).layer(ours)
}

async fn ask(layer: &MaintenanceLayer, refusals: Refusals, accept: &str) -> Response<String> {
    let request = Request::get("/billing/prices?customer=7").header("accept", accept);
    let answer = gated(layer, refusals).oneshot(request.body(()).unwrap());
    answer.await.unwrap()
}

async fn page(layer: &MaintenanceLayer, refusals: Refusals) -> String {
    ask(layer, refusals, BROWSER).await.into_body()
}

async fn problem(layer: &MaintenanceLayer, refusals: Refusals) -> Value {
    serde_json::from_str(ask(layer, refusals, "*/*").await.body()).unwrap()
}

// ---- over the wire ------------------------------------------------------------------------------

async fn served(layer: &MaintenanceLayer) -> SocketAddr {
    let app = Router::new()
        .route(
            "/billing/prices",
            get(async || "12 EUR").post(async || "bought"),
        )
        .layer(layer.routes());
    serve(app).await
}

#[tokio::test]
async fn every_shape_of_a_refusal_over_http_1_0_1_1_2_and_head() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = held(&layer);
    let addr = served(&layer).await;
    let forms = [
        ("application/problem+json", "*/*"),
        ("text/html; charset=utf-8", BROWSER),
    ];
    for (content_type, accept) in forms {
        let is_whole = |body: &str| match content_type {
            "application/problem+json" => serde_json::from_str::<Value>(body).is_ok(),
            _ => body.starts_with("<!doctype html>") && body.trim_end().ends_with("</html>"),
        };
        for version in ["1.0", "1.1"] {
            for method in ["GET", "POST", "HEAD", "DELETE"] {
                let answer = exchange(
                    addr,
                    format!(
                        "{method} /billing/prices HTTP/{version}\r\nhost: here\r\naccept: {accept}\r\n\
                         connection: close\r\ncontent-length: 0\r\n\r\n"
                    ),
                )
                .await;
                let told = format!("{method} over HTTP/{version}: {answer}");
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                let mut lines = head.split("\r\n");
                let status = lines.next().unwrap();
                assert_eq!(
                    status,
                    format!("HTTP/{version} 503 Service Unavailable"),
                    "{told}"
                );
                let fields: BTreeMap<&str, &str> =
                    lines.map(|line| line.split_once(": ").unwrap()).collect();
                assert_eq!(fields["content-type"], content_type, "{told}");
                assert_eq!(fields["cache-control"], "private, no-store", "{told}");
                assert_eq!(fields["vary"], "Accept, Accept-Language", "{told}");
                assert!(fields["retry-after"].parse::<u64>().is_ok(), "{told}");
                assert!(!fields.contains_key("etag"), "{told}");
                let length: usize = fields["content-length"].parse().unwrap();
                if method == "HEAD" {
                    // As for GET, but without a body.
                    assert!(length > 100 && body.is_empty(), "{told}");
                } else {
                    assert_eq!(length, body.len(), "{told}");
                    assert!(is_whole(body), "{told}");
                }
            }
        }
        let mut client = Client::builder(TokioExecutor::new());
        let client = client.http2_only(true).build_http::<Full<bytes::Bytes>>();
        for method in [Method::GET, Method::POST, Method::HEAD] {
            let request = Request::builder()
                .method(&method)
                .uri(format!("http://{addr}/billing/prices"))
                .header("accept", accept)
                .body(Full::default())
                .unwrap();
            let answer = soon(client.request(request)).await.unwrap();
            assert_eq!(answer.version(), Version::HTTP_2);
            assert_refusal(&answer);
            assert_eq!(answer.headers()["content-type"], content_type);
            let answer = collected(answer).await;
            let body = str::from_utf8(answer.body()).unwrap();
            if method == Method::HEAD {
                assert_eq!(body, "");
            } else {
                assert!(is_whole(body), "{body}");
            }
        }
    }
    assert_eq!(handle.status().calls.refused, 2 * (2 * 4 + 3));
}

#[tokio::test]
async fn a_refusal_is_marked_for_whoever_watches() {
    let layer = MaintenanceLayer::new("zuora");
    let app = Router::<()>::new()
        .route("/billing/prices", get(async || "12 EUR"))
        .layer(layer.routes());
    let ask = async || {
        let request = Request::get("/billing/prices").body(Body::empty());
        app.clone().oneshot(request.unwrap()).await.unwrap()
    };
    assert!(ask().await.extensions().get::<Refused>().is_none());
    let handle = held(&layer);
    let answer = ask().await;
    let marked = answer.extensions().get::<Refused>();
    assert_eq!(marked.unwrap().partner(), "zuora");
    let calls = handle.status().calls;
    assert_eq!((calls.refused, calls.failed), (1, 0));
}

// ---- Retry-After --------------------------------------------------------------------------------

/// How often each value of `Retry-After` is sent.
async fn hints(
    layer: &MaintenanceLayer,
    refusals: &Refusals,
    asked: usize,
) -> BTreeMap<u64, usize> {
    hints_of(gated(layer, refusals.clone()), asked).await
}

async fn hints_of(
    mut service: impl Service<Request<()>, Response = Response<String>, Error = Infallible>,
    asked: usize,
) -> BTreeMap<u64, usize> {
    let mut bins = BTreeMap::new();
    for _ in 0..asked {
        let request = Request::get("/billing/prices").body(()).unwrap();
        let answer = service.ready().await.unwrap().call(request).await.unwrap();
        *bins.entry(assert_refusal(&answer).as_secs()).or_default() += 1;
    }
    bins
}

/// Asserts that every second of the range occurs, and none far more often than the others.
fn assert_spread(bins: &BTreeMap<u64, usize>, expected: std::ops::RangeInclusive<u64>, told: &str) {
    let seconds: Vec<u64> = bins.keys().copied().collect();
    assert_eq!(seconds, expected.collect::<Vec<_>>(), "{told}");
    let mean = bins.values().sum::<usize>() as f64 / bins.len() as f64;
    for (second, count) in bins {
        assert!(
            *count as f64 <= 3.0 * mean,
            "{told}: {count} at {second} s, {mean} on the mean"
        );
    }
}

/// 10,000 refusals at one instant of paused time.
#[tokio::test(start_paused = true)]
async fn ten_thousand_refusals_in_one_second_do_not_come_back_in_one() {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(Policy::default().with_jitter(0.0))
        .build()
        .unwrap();
    let handle = layer.handle();
    let refusals = Refusals::new();

    handle.trip("on-call", "drill").unwrap();
    let bins = hints(&layer, &refusals, 10_000).await;
    assert_spread(&bins, 15..=30, "a wait of 30 s");

    handle.probe_now("on-call", "drill").unwrap();
    assert_eq!(handle.mode(), Mode::Probing);
    let charges = layer
        .paths()
        .with_route_classes(RouteClasses::new().write("/billing/prices"));
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let bins = hints_of(charges.unwrap().layer(ours), 10_000).await;
    assert_spread(&bins, 2..=7, "probing");

    held(&layer);
    let bins = hints(&layer, &refusals, 10_000).await;
    assert_spread(&bins, 15..=45, "a hold without an end");

    handle
        .engage(Hold::new("on-call", "drill").for_at_most(HOUR))
        .unwrap();
    let bins = hints(&layer, &refusals, 10_000).await;
    assert_spread(&bins, 150..=300, "a hold of an hour, told in at most 5 min");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_never_past_a_known_end() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let longest = Refusals::new().longest_retry_after(HOUR * 24).unwrap();
    for held in [1_u64, 2, 3, 7, 59, 600, 3601] {
        let hold = Hold::new("on-call", "drill").for_at_most(Duration::from_secs(held));
        handle.engage(hold).unwrap();
        let bins = hints(&layer, &longest, 200).await;
        assert!(*bins.keys().last().unwrap() <= held, "{held}: {bins:?}");
        assert!(
            *bins.keys().next().unwrap() >= (held / 2).max(1),
            "{held}: {bins:?}"
        );
    }
    // A second that has begun is not promised in full.
    advance(Duration::from_millis(3_600_000 - 1_500)).await;
    let bins = hints(&layer, &longest, 200).await;
    assert_eq!(bins.keys().collect::<Vec<_>>(), [&1, &2], "2.5 s are left");
    // Except for the last one: after a hint of 0 s a client asks again at once.
    advance(Duration::from_millis(2_000)).await;
    let bins = hints(&layer, &longest, 200).await;
    assert_eq!(bins.keys().collect::<Vec<_>>(), [&1]);
}

// ---- what it says -------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_problem_document_says_what_a_program_needs() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let hold = Hold::new("on-call", "ticket 4711")
        .for_at_most(HOUR)
        .with_message("Back at nine.");
    handle.engage(hold).unwrap();
    let refusals = Refusals::new()
        .component("Billing")
        .support_email("billing@example.com", "8:00 to 18:00 UTC")
        .unwrap()
        .status_url("https://status.example.com")
        .unwrap()
        .problem_type("https://example.com/problems/maintenance")
        .unwrap();
    let said = problem(&layer, refusals.clone()).await;
    let status = handle.status();
    for (member, value) in [
        (
            "type",
            Value::from("https://example.com/problems/maintenance"),
        ),
        ("title", "Service Unavailable".into()),
        ("status", 503.into()),
        (
            "detail",
            "Billing is temporarily unavailable for maintenance. \
             The request was not processed, and it is safe to repeat it."
                .into(),
        ),
        ("instance", "/billing/prices".into()),
        ("component", "Billing".into()),
        ("generation", status.generation.into()),
        ("message", "Back at nine.".into()),
        ("status_url", "https://status.example.com".into()),
        ("processed", false.into()),
        ("read_only", false.into()),
    ] {
        assert_eq!(said[member], value, "{member}: {said}");
    }
    assert_eq!(said["support"]["contact"], "billing@example.com");
    for member in ["since", "next_update"] {
        let time = said[member].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == 24, "{member}: {time}");
    }

    let edited = refusals.problem(|refusal, document| {
        document.insert("docs".into(), "https://example.com/docs".into());
        document.insert("hint".into(), refusal.retry_after().as_secs().into());
        document.remove("support");
    });
    let said = problem(&layer, edited).await;
    assert_eq!(said["docs"], "https://example.com/docs");
    assert_eq!(said["hint"], said["retry_after"]);
    assert!(said.get("support").is_none());
}

#[tokio::test(start_paused = true)]
async fn the_page_promises_an_end_only_where_somebody_did() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let refusals = Refusals::new();

    handle.trip("on-call", "drill").unwrap();
    let tripped = page(&layer, refusals.clone()).await;
    assert!(tripped.contains("We try again at") && !tripped.contains("Expected until"));

    handle.engage(Hold::new("on-call", "drill")).unwrap();
    let held = page(&layer, refusals.clone()).await;
    assert!(held.contains("We do not know yet") && !held.contains("Expected until"));

    // The end of a hold over a trip is not the end of maintenance.
    let hold = Hold::new("on-call", "drill").for_at_most(Duration::from_secs(5));
    handle.engage(hold).unwrap();
    let over_a_trip = page(&layer, refusals.clone()).await;
    assert!(over_a_trip.contains("We try again at") && !over_a_trip.contains("Expected until"));
    assert_eq!(handle.status().promised_end, None);

    handle.clear("on-call", "drill").unwrap();
    let hold = Hold::new("on-call", "drill").for_at_most(HOUR).read_only();
    handle.engage(hold).unwrap();
    // Reads pass before routes now, so a write is refused here.
    let writes = layer.paths().with_refusals(refusals);
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let request = Request::post("/billing/prices").header("accept", BROWSER);
    let answer = writes.layer(ours).oneshot(request.body(()).unwrap()).await;
    let read_only = answer.unwrap().into_body();
    assert!(read_only.contains("Expected until") && !read_only.contains("We try again at"));
    assert!(read_only.contains("can be viewed but not changed"));
}

#[tokio::test(start_paused = true)]
async fn a_language_is_chosen_by_accept_language_and_english_is_built_in() {
    let mut german = PageTexts::english();
    german.title = "{component} wird gewartet".into();
    german.what_works = Some(vec!["Rechnungen lesen".into()]);
    let refusals = Refusals::new()
        .component("Billing")
        .still_works(["Reading invoices"])
        .language("de", german)
        .unwrap();
    let layer = MaintenanceLayer::new("zuora");
    held(&layer);
    for (wanted, language, title, works) in [
        (
            "de-AT,de;q=0.9,en;q=0.8",
            "de",
            "Billing wird gewartet",
            "Rechnungen lesen",
        ),
        // German of another country before English, unless English is wanted more.
        (
            "de-CH;q=0.9, en;q=0.8",
            "de",
            "Billing wird gewartet",
            "Rechnungen lesen",
        ),
        (
            "de-CH;q=0.7, en;q=0.8",
            "en",
            "Billing is temporarily unavailable for maintenance",
            "Reading invoices",
        ),
        (
            "fr",
            "en",
            "Billing is temporarily unavailable for maintenance",
            "Reading invoices",
        ),
    ] {
        let request = Request::get("/")
            .header("accept", BROWSER)
            .header("accept-language", wanted)
            .body(())
            .unwrap();
        let answer = gated(&layer, refusals.clone())
            .oneshot(request)
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-language"], language);
        assert!(
            answer.body().contains(title) && answer.body().contains(works),
            "{wanted}"
        );
        assert!(
            answer
                .body()
                .contains(&format!("<html lang=\"{language}\""))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_is_replaced_by_a_closure() {
    let layer = MaintenanceLayer::new("zuora");
    held(&layer);
    let refusals = Refusals::new().page(|refusal| format!("<p>{}</p>", refusal.refused().cause()));
    assert_eq!(page(&layer, refusals).await, "<p>operator</p>");
}

#[cfg(feature = "page-templates")]
#[tokio::test(start_paused = true)]
async fn the_page_is_replaced_by_a_template() {
    let layer = MaintenanceLayer::new("zuora");
    let hold = Hold::new("on-call", "drill").with_message("<b>soon</b>");
    layer.handle().engage(hold).unwrap();

    let source =
        "<h1>{{ component }}</h1>{% if message %}<p>{{ message }}</p>{% endif %}{{ since.human }}";
    let refusals = Refusals::new().page_template(source).unwrap();
    let answer = ask(&layer, refusals, BROWSER).await;
    assert!(
        answer
            .body()
            .starts_with("<h1>This service</h1><p>&lt;b&gt;soon&lt;&#x2f;b&gt;</p>"),
        "{}",
        answer.body()
    );
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(
        !answer.headers().contains_key("content-security-policy"),
        "it is not the built-in page's"
    );

    // A template that fails at run time is replaced by the built-in page, with all of its headers.
    let fails = "{% if component == 'zuora' %}{{ typo }}{% endif %}";
    let failing = Refusals::new().component("Billing").page_template(fails);
    let fallen_back = ask(&layer, failing.unwrap().component("zuora"), BROWSER).await;
    let built_in = ask(&layer, Refusals::new().component("zuora"), BROWSER).await;
    for answer in [fallen_back, built_in] {
        assert!(answer.headers().contains_key("content-security-policy"));
        assert!(
            answer
                .body()
                .contains("zuora is temporarily unavailable for maintenance")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_of_ones_own_is_sent_and_vary_is_added_to() {
    let layer = MaintenanceLayer::new("zuora");
    held(&layer);
    let refusals = Refusals::new()
        .header("x-served-by", "billing-7")
        .unwrap()
        .header("vary", "Origin")
        .unwrap()
        .header("content-security-policy", "default-src 'self'")
        .unwrap();
    let answer = ask(&layer, refusals, BROWSER).await;
    assert_eq!(answer.headers()["x-served-by"], "billing-7");
    assert_eq!(
        answer.headers()["content-security-policy"],
        "default-src 'self'"
    );
    let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept, Accept-Language", "Origin"]);
}

/// The page needs no other resource.
#[tokio::test(start_paused = true)]
async fn the_page_has_no_external_asset() {
    let layer = MaintenanceLayer::new("zuora");
    held(&layer);
    let page = page(&layer, Refusals::new()).await;
    for asset in [
        "<link",
        "<img",
        "<script src",
        "@import",
        "url(",
        "http://",
        "https://",
    ] {
        assert!(!page.contains(asset), "{asset} in {page}");
    }
}

// ---- whatever operators write -------------------------------------------------------------------

/// Texts that would do harm if they got out of their place in a header, a document, a page, or
/// JSON.
const EVIL: [&str; 8] = [
    "a\r\nset-cookie: stolen=1",
    "a\n\n<script>alert(1)</script>",
    "</title></style></script><script>alert(1)</script>",
    "\" onmouseover=\"alert(1)",
    "' autofocus onfocus='alert(1)",
    "\",\"processed\":true,\"x\":\"",
    "{{ 7 * 1111177 }}{% raw %}<!--",
    "javascript:alert(1)//\u{0}\u{1b}[31m\u{202e}",
];

#[tokio::test(start_paused = true)]
async fn no_text_of_an_operator_gets_out_of_its_place() {
    for evil in EVIL {
        let layer = MaintenanceLayer::new(evil);
        let hold = Hold::new(evil, evil).with_message(evil);
        layer.handle().engage(hold).unwrap();
        let refusals = Refusals::new().component(evil).still_works([evil]);
        // None of these texts is an address, a number or a link. Each may be a text.
        assert!(refusals.clone().support_email(evil, "").is_err(), "{evil}");
        assert!(refusals.clone().support_phone(evil, "").is_err(), "{evil}");
        assert!(refusals.clone().support_link(evil, "").is_err(), "{evil}");
        let refusals = refusals.support_text(evil, evil).unwrap();

        let plain = MaintenanceLayer::new("zuora");
        held(&plain);
        for accept in [BROWSER, "*/*"] {
            let expected = ask(&plain, Refusals::new(), accept).await;
            let answer = ask(&layer, refusals.clone(), accept).await;
            let names = |answer: &Response<String>| {
                let names = answer.headers().keys().map(ToString::to_string);
                names.collect::<Vec<_>>()
            };
            assert_eq!(names(&answer), names(&expected), "{evil:?}");
        }

        let said = problem(&layer, refusals.clone()).await;
        for member in ["component", "message"] {
            assert_eq!(said[member], evil);
        }
        assert_eq!(said["processed"], false);

        let shown = page(&layer, refusals.clone()).await;
        let plainly = page(
            &plain,
            Refusals::new()
                .still_works(["x"])
                .support_text("x", "x")
                .unwrap(),
        )
        .await;
        let count = |page: &str, what: &str| page.matches(what).count();
        for what in [
            "<script",
            "</script",
            "<style",
            "<!--",
            "onmouseover=\"",
            "onfocus='",
            "href=\"javascript",
        ] {
            assert_eq!(
                count(&shown, what),
                count(&plainly, what),
                "{what} by {evil:?}: {shown}"
            );
        }
        assert!(!shown.contains("7778239"), "{evil:?} was run as a template");

        let notices = Notices::new(&layer.handle(), &refusals);
        let request = Request::get("/").body(()).unwrap();
        let notice = notices.json().oneshot(request).await.unwrap();
        let notice: Value = serde_json::from_str(notice.body()).unwrap();
        assert!(notice["notice"]["text"].as_str().unwrap().contains(evil));
        assert_eq!(notice["state"], "maintenance");
    }
}

/// No text of a request is shown on the page, and JSON escapes it.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_request_is_reflected_into_the_page() {
    let layer = MaintenanceLayer::new("zuora");
    held(&layer);
    let request = |accept: &str| {
        Request::get("/reflected-path?reflected-query=%3Cscript%3E")
            .header("accept", accept)
            .header("accept-language", "reflected-language")
            .header("user-agent", "reflected-agent")
            .header("referer", "reflected-referer")
            .body(())
            .unwrap()
    };
    let answer = gated(&layer, Refusals::new())
        .oneshot(request(BROWSER))
        .await;
    assert!(!answer.unwrap().body().contains("reflected"));
    let answer = gated(&layer, Refusals::new()).oneshot(request("*/*")).await;
    let problem: Value = serde_json::from_str(answer.unwrap().body()).unwrap();
    assert_eq!(problem["instance"], "/reflected-path", "without the query");
    assert_eq!(problem.to_string().matches("reflected").count(), 1);
}

#[cfg(feature = "page-templates")]
#[test]
fn a_template_that_is_invalid_is_refused_by_its_line() {
    for (source, expected) in [
        (
            "{% if support %}{{ support.phone }}{% endif %}",
            "page_template is `{% if support %}{{ support.phone }}{% endif %}` in line 1: undefined value",
        ),
        (
            "{% if read_only %}{{ typo }}{% endif %}",
            "page_template is `{% if read_only %}{{ typo }}{% endif %}` in line 1: undefined value",
        ),
        (
            "<p>{{ massage }}</p>",
            "page_template is `<p>{{ massage }}</p>` in line 1: undefined value: allowed is",
        ),
        ("a\n{% if %}", "page_template is `{% if %}` in line 2: "),
    ] {
        let told = Refusals::new()
            .page_template(source)
            .unwrap_err()
            .to_string();
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error_that_names_it() {
    let new = Refusals::new;
    let error = |result: Result<Refusals, RefusalsError>| result.unwrap_err().to_string();
    for (told, expected) in [
        (
            error(new().header("x-note", "a\r\nset-cookie: b")),
            r"header is `a\u{d}\u{a}set-cookie: b`: allowed is visible ASCII characters, blanks and tabs",
        ),
        (
            error(new().header("x note", "a")),
            "header is `x note`: allowed is the name of a header",
        ),
        (
            error(new().header("X-Accel-Expires", "60")),
            "header is `X-Accel-Expires: 60`: allowed is `no-store`, `private, no-store` or `0` in a header that \
             caches heed before cache-control",
        ),
        (
            error(new().header("Netlify-CDN-Cache-Control", "public, max-age=60")),
            "header is `Netlify-CDN-Cache-Control: public, max-age=60`: allowed is `no-store`",
        ),
        (
            error(new().header("Cache-Control", "public")),
            "header is `Cache-Control`: allowed is any that the refusal does not set by itself: not retry-after",
        ),
        (
            error(new().header("content-type", "text/html")),
            "header is `content-type`: allowed is any that the refusal does not set",
        ),
        (
            error(new().header("Content-Length", "3")),
            "header is `Content-Length`: allowed is any that the refusal does not set",
        ),
        (
            error(new().status_url("javascript:alert(1)")),
            "status_url is `javascript:alert(1)`: allowed is an absolute https or http URL",
        ),
        (
            error(new().support_link("javascript:alert(1)", "")),
            "support_link is `javascript:alert(1)`: allowed is an absolute https or http URL",
        ),
        (
            error(new().support_email("billing", "")),
            "support_email is `billing`: allowed is an e-mail address such as `billing@example.com`",
        ),
        (
            error(new().support_phone("tel:0", "")),
            "support_phone is `tel:0`: allowed is digits, blanks and any of `+ ( ) - . /`, as in `+49 30 123-456`",
        ),
        (
            error(new().support_text(" ", "")),
            "support_text is ``: allowed is a text that is not empty",
        ),
        (
            error(
                new()
                    .support_text("the chat", "")
                    .and_then(|set| set.support_phone("0", "")),
            ),
            "support_phone is `0`: allowed is one contact; `the chat` is set already",
        ),
        (
            error(new().notice_url("//elsewhere.example/notice.json")),
            "notice_url is `//elsewhere.example/notice.json`: allowed is a path that begins with a single `/`",
        ),
        (
            error(new().longest_retry_after(Duration::ZERO)),
            "longest_retry_after is `0ns`: allowed is 1 s or longer",
        ),
        (
            error(new().language("de_AT", PageTexts::english())),
            "language is `de_AT`: allowed is a language tag such as `de` or `pt-BR`",
        ),
    ] {
        assert!(told.starts_with(expected), "{told}");
    }
    for text in ["", " ", &"x".repeat(2049)] {
        let error = Announcement::new(text).unwrap_err();
        assert_eq!(error.field(), "announcement", "{error}");
    }
}

#[test]
fn a_contact_becomes_a_link_where_it_can() {
    let link = |refusals: Result<Refusals, RefusalsError>| {
        let layer = MaintenanceLayer::new("zuora");
        held(&layer);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let page = runtime.block_on(page(&layer, refusals.unwrap()));
        let (_, after) = page.split_once("If it cannot wait</h2>").unwrap();
        after.lines().nth(1).unwrap().to_owned()
    };
    let new = Refusals::new;
    for (refusals, expected) in [
        (
            new().support_email("billing@example.com", ""),
            "<p><a href=\"mailto:billing@example.com\">billing@example.com</a></p>",
        ),
        (
            new().support_phone("+49 30 123-456", ""),
            "<p><a href=\"tel:+4930123456\">+49 30 123-456</a></p>",
        ),
        (
            new().support_link("https://example.com/help", ""),
            "<p><a href=\"https:&#x2f;&#x2f;example.com&#x2f;help\">https:&#x2f;&#x2f;example.com&#x2f;help</a></p>",
        ),
        (
            new().support_text("ask in the chat: it works", ""),
            "<p>ask in the chat: it works</p>",
        ),
    ] {
        assert_eq!(link(refusals), expected);
    }
}

// ---- the notice ---------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_announcement_ends_by_itself_and_gives_way_to_what_holds() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let notices = Notices::new(&handle, &Refusals::new());
    let state = async || {
        let request = Request::get("/").body(()).unwrap();
        let answer = notices.json().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "private, no-store");
        let said: Value = serde_json::from_str(answer.body()).unwrap();
        let after = said["check_after_seconds"].as_u64().unwrap();
        assert!((15..=45).contains(&after), "{after}");
        said["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "serving");
    let now = handle.status().at;
    let announcement = Announcement::new("The ledger moves.").unwrap();
    notices.announce(announcement.clone().starting(now).ending(now + HOUR));
    assert_eq!(state().await, "announced");
    handle
        .engage(Hold::new("on-call", "drill").read_only())
        .unwrap();
    assert_eq!(state().await, "read_only");
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    assert_eq!(state().await, "maintenance");
    handle.release("on-call", "drill").unwrap();
    assert_eq!(state().await, "announced");
    advance(HOUR).await;
    assert_eq!(state().await, "serving");
    notices.announce(announcement);
    assert_eq!(state().await, "announced");
    notices.withdraw();
    assert_eq!(state().await, "serving");
}

#[tokio::test]
async fn the_notices_script_is_asked_for_once() {
    let notices = Notices::new(&MaintenanceLayer::new("zuora").handle(), &Refusals::new());
    let request = Request::get("/notice.js").body(()).unwrap();
    let first = notices.script().oneshot(request).await.unwrap();
    assert_eq!(
        first.headers()["content-type"],
        "text/javascript; charset=utf-8"
    );
    assert!(first.body().contains("maintenance-notice"));
    let known = first.headers()["etag"].clone();
    let request = Request::get("/notice.js").header("if-none-match", known);
    let second = notices
        .script()
        .oneshot(request.body(()).unwrap())
        .await
        .unwrap();
    assert_eq!((second.status().as_u16(), &**second.body()), (304, ""));
}

// ---- classes ------------------------------------------------------------------------------------

/// One layer at both placements: a read passes the routes, and so does the call that it makes.
#[tokio::test]
async fn under_a_read_only_hold_reads_pass_at_both_placements() {
    let layer = MaintenanceLayer::new("zuora");
    let partner =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let calls = HttpCalls::new().classed_by(|method, uri| match uri.path() {
        "/v1/query" => Class::Read,
        "/v1/settle" => Class::Never,
        _ if method.is_safe() => Class::Read,
        _ => Class::Write,
    });
    let calls = layer.with_protocol(calls).layer(partner);
    let classes = RouteClasses::new()
        .read("/billing/search")
        .write("/oauth/callback")
        .never("/billing/settlement")
        .method(Method::DELETE, "/carts/{id}", Class::Read);
    let every = Router::new()
        .route("/prices", any(async || "passed"))
        .route("/billing/search", any(async || "passed"))
        .route("/oauth/callback", any(async || "passed"))
        .route("/billing/settlement", any(async || "passed"))
        .nest(
            "/carts",
            Router::new().route("/{id}", any(async || "passed")),
        )
        .layer(layer.routes().with_route_classes(classes).unwrap());
    layer
        .handle()
        .engage(Hold::new("on-call", "the ledger moves").read_only())
        .unwrap();

    for (method, path, passes) in [
        (Method::GET, "/prices", true),
        (Method::HEAD, "/prices", true),
        (Method::OPTIONS, "/prices", true),
        (Method::POST, "/prices", false),
        (Method::POST, "/billing/search", true),
        (Method::GET, "/oauth/callback", false),
        (Method::GET, "/billing/settlement", false),
        (Method::DELETE, "/carts/7", true),
        (Method::PUT, "/carts/7", false),
        (Method::GET, "/nowhere", true),
        (Method::POST, "/nowhere", false),
    ] {
        let request = Request::builder().method(&method).uri(path);
        let answer = every.clone().oneshot(request.body(Body::empty()).unwrap());
        let refused = answer.await.unwrap().status() == 503;
        assert_eq!(!refused, passes, "{method} {path}");
    }
    for (method, path, passes) in [
        (Method::GET, "/v1/prices", true),
        (Method::POST, "/v1/query", true),
        (Method::POST, "/v1/charge", false),
        (Method::GET, "/v1/settle", false),
    ] {
        let request = Request::builder().method(&method).uri(path);
        let answer = calls.clone().oneshot(request.body(()).unwrap()).await;
        assert_eq!(answer.is_ok(), passes, "{method} {path}");
    }
    let counts = layer.handle().status().calls;
    assert_eq!((counts.reads, counts.refused, counts.admitted), (8, 7, 0));
}

/// A request whose class is write is no probe, whatever its method.
#[tokio::test(start_paused = true)]
async fn what_a_class_calls_a_write_is_no_probe() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let classes = RouteClasses::new().write("/oauth/callback").read("/search");
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let gated = layer
        .paths()
        .with_route_classes(classes)
        .unwrap()
        .layer(ours);
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    for (request, passes) in [
        (Request::get("/prices"), true),
        (Request::get("/oauth/callback"), false),
        (Request::post("/search"), true),
        (Request::post("/prices"), false),
    ] {
        let answer = gated
            .clone()
            .oneshot(request.body(()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status() == 200, passes);
    }
}

#[test]
fn every_route_without_a_class_is_reported() {
    let inner = Router::<()>::new()
        .route("/{id}", get(async || "").post(async || ""))
        .route("/{id}/pdf", get(async || ""));
    let router = Router::new()
        .route("/prices", get(async || ""))
        .route("/health/{*rest}", get(async || ""))
        .nest("/invoices", inner)
        .merge(Router::new().route("/oauth/callback", get(async || "")))
        .fallback(async || "");
    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::route("/health/{*rest}", "an orchestrator asks"))
        .build()
        .unwrap();
    let classed = |classes| {
        layer
            .routes()
            .with_route_classes(classes)
            .unwrap()
            .unclassified(&router)
    };
    assert_eq!(
        layer.routes().unclassified(&router),
        [
            "/invoices/{id}",
            "/invoices/{id}/pdf",
            "/oauth/callback",
            "/prices"
        ]
    );
    let some = RouteClasses::new().write("/oauth/callback").method(
        Method::POST,
        "/invoices/{id}",
        Class::Read,
    );
    assert_eq!(classed(some.clone()), ["/invoices/{id}/pdf", "/prices"]);
    let all = some.read("/invoices/{id}/pdf").never("/prices");
    assert_eq!(classed(all), [""; 0]);
    assert_eq!(layer.routes().unclassified(&Router::<()>::new()), [""; 0]);
}

/// A service with routes of its own has no `MatchedPath`, so its paths decide.
#[tokio::test]
async fn classes_reach_into_a_nested_service_and_what_has_none_is_reported() {
    let legacy = || {
        service_fn(async |_: Request<Body>| {
            Ok::<_, Infallible>(Response::new(Body::from("passed")))
        })
    };
    let layer = MaintenanceLayer::new("zuora");
    let classes = RouteClasses::new()
        .write("/legacy/oauth/callback")
        .never("/legacy/settlement/{year}");
    let view = layer.routes().with_route_classes(classes.clone()).unwrap();
    let router = || Router::<()>::new().nest_service("/legacy", legacy());
    layer
        .handle()
        .engage(Hold::new("on-call", "the ledger moves").read_only())
        .unwrap();
    let outside = router().layer(view.clone());
    let within = Router::new().nest("/shop", router().layer(view.clone()));
    for (app, prefix) in [(outside, ""), (within, "/shop")] {
        for (path, passes) in [
            ("/legacy/prices", true),
            ("/legacy/oauth/callback", !prefix.is_empty()),
            ("/legacy/settlement/2026", !prefix.is_empty()),
        ] {
            let request = Request::get(format!("{prefix}{path}")).body(Body::empty());
            let answer = app.clone().oneshot(request.unwrap()).await.unwrap();
            assert_eq!(answer.status() == 200, passes, "{prefix}{path}");
        }
    }
    let reported = view.unclassified(&router());
    assert!(
        reported.contains(&"/legacy/{*rest}".to_owned()),
        "{reported:?}"
    );
    let whole = classes
        .write("/legacy")
        .write("/legacy/")
        .write("/legacy/{*rest}");
    let view = layer.routes().with_route_classes(whole).unwrap();
    assert_eq!(view.unclassified(&router()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_still_works_and_the_edits_of_the_document_add_up() {
    let layer = MaintenanceLayer::new("zuora");
    held(&layer);
    let refusals = || {
        Refusals::new()
            .still_works(["Support chat"])
            .still_works(["Downloading invoices", "Reading prices"])
            .problem(|_, document| drop(document.insert("one".into(), 1.into())))
            .problem(|_, document| {
                let one = document["one"].as_u64().unwrap();
                document.insert("two".into(), (one + 1).into());
            })
    };
    let document = problem(&layer, refusals()).await;
    assert_eq!((&document["one"], &document["two"]), (&1.into(), &2.into()));
    let page = page(&layer, refusals()).await;
    for works in ["Support chat", "Downloading invoices", "Reading prices"] {
        assert!(page.contains(works), "{works}");
    }
}
