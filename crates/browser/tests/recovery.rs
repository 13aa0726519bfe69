//! The page that customers see after a recovery, in a real browser. There are ten points, and the
//! names of their tests begin with their numbers.
//!
//! The server's own log of requests is the evidence. The tests use plain http on loopback, because
//! over https with certificate errors ignored Chromium stores nothing, and every test of a cache
//! would pass. Each visit is in a new tab, because no header reaches the memory of an open one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use browser_tests::Browser;
use tokio::{net::TcpListener, task::JoinHandle};
use tower_maintenance::{
    Hold, MaintenanceHandle, MaintenanceLayer,
    http::{CacheBustBuilder, CacheBustLayer, NamedCookie, Push, PushScript},
};

/// A host that browsers take for secure without TLS.
const HOST: &str = "127.0.0.1";
/// Resolved to loopback by the browser alone: a host that it does not take for secure.
const INSECURE: &str = "insecure.test";

/// A request that the server got, and what it made of it.
#[derive(Debug, Clone)]
struct Logged {
    /// `GET /`, and the status if it is not 200.
    line: String,
    host: String,
    session: Option<String>,
    generation_cookie: bool,
    clears: bool,
}

/// How prices are sent.
#[derive(Clone, Copy)]
enum Prices {
    /// To be kept for an hour without asking.
    Aged,
    /// To be asked for again each time, under a tag that does not change although they do.
    Tagged,
}

struct Site {
    port: u16,
    handle: MaintenanceHandle,
    bust: Option<CacheBustLayer>,
    push: Push,
    price: Arc<AtomicU64>,
    log: Arc<Mutex<Vec<Logged>>>,
    server: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The page asks for the price as the browser has it, and draws it.
fn page(script: &str) -> String {
    format!(
        "<!doctype html><html lang=en><title>Prices</title><link rel=icon href=data:,>{script}<h1></h1>\
        <script>const draw = async () => {{ \
          const answer = await fetch('/price'); \
          document.querySelector('h1').textContent = answer.ok ? await answer.text() : answer.status; }};\
        document.addEventListener('maintenance:recovered', draw); draw();</script>"
    )
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers.get(header::COOKIE)?.to_str().unwrap().split("; ");
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.next().map(str::to_owned)
}

async fn logged(
    State(log): State<Arc<Mutex<Vec<Logged>>>>,
    request: Request,
    next: Next,
) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let host = request.headers()[header::HOST].to_str().unwrap();
    let host = host.split(':').next().unwrap().to_owned();
    let session = cookie(request.headers(), "session");
    let generation_cookie = cookie(request.headers(), "maintenance-generation").is_some();
    let answer = next.run(request).await;
    let line = match answer.status() {
        StatusCode::OK => line,
        status => format!("{line} {}", status.as_u16()),
    };
    log.lock().unwrap().push(Logged {
        line,
        host,
        session,
        generation_cookie,
        clears: answer.headers().contains_key("clear-site-data"),
    });
    answer
}

/// What is told to clients on `/`, and nowhere else.
fn clearing(builder: CacheBustBuilder) -> CacheBustBuilder {
    builder.carried_by(["/"]).clear_site_data(["cache"])
}

impl Site {
    /// With the gate, and a cure.
    async fn cured(prices: Prices, cure: fn(CacheBustBuilder) -> CacheBustBuilder) -> Self {
        Self::start(prices, Some(cure), false).await
    }

    /// With the gate alone.
    async fn uncured(prices: Prices) -> Self {
        Self::start(prices, None, false).await
    }

    /// With the gate, and a push to open tabs.
    async fn pushing(prices: Prices) -> Self {
        Self::start(prices, None, true).await
    }

    async fn start(
        prices: Prices,
        cure: Option<fn(CacheBustBuilder) -> CacheBustBuilder>,
        pushes: bool,
    ) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .cache_urls(["/price"])
            .build()
            .unwrap();
        let handle = layer.handle();
        let bust = cure.map(|cure| cure(CacheBustLayer::builder(&handle)).build().unwrap());
        let push = Push::builder(&handle)
            .spread(Duration::from_millis(300))
            .build()
            .unwrap();
        let price = Arc::new(AtomicU64::new(12));
        let log = Arc::<Mutex<Vec<Logged>>>::default();

        let name = format!("/maintenance/{}", PushScript::NAME);
        let shop = {
            let (sessions, handle, name) = (AtomicU64::new(7), handle.clone(), name.clone());
            let sessions = Arc::new(sessions);
            async move |headers: HeaderMap| {
                let script = if pushes {
                    let generation = handle.generation();
                    format!("<script src={name} data-generation={generation} defer></script>")
                } else {
                    String::new()
                };
                let mut answer = Html(page(&script)).into_response();
                let to = answer.headers_mut();
                to.insert(header::CACHE_CONTROL, "no-cache".parse().unwrap());
                if cookie(&headers, "session").is_none() {
                    let session = sessions.fetch_add(1, Relaxed);
                    let session = format!("session={session}; Path=/; HttpOnly; SameSite=Lax");
                    to.insert(header::SET_COOKIE, session.parse().unwrap());
                }
                answer
            }
        };
        let price_of = price.clone();
        let show_price = async move |headers: HeaderMap| {
            let price = price_of.load(Relaxed).to_string();
            match prices {
                Prices::Aged => ([(header::CACHE_CONTROL, "max-age=3600")], price).into_response(),
                Prices::Tagged => {
                    let known = headers.get(header::IF_NONE_MATCH);
                    let tag = [
                        (header::ETAG, "\"v1\""),
                        (header::CACHE_CONTROL, "no-cache"),
                    ];
                    if known.is_some_and(|known| known == "\"v1\"") {
                        (StatusCode::NOT_MODIFIED, tag).into_response()
                    } else {
                        (tag, price).into_response()
                    }
                }
            }
        };
        let app = Router::new()
            .route("/", get(shop))
            // The same page on a path whose answers never carry the cure.
            .route("/aside", get(async || Html(page(""))))
            .route("/price", get(show_price))
            .layer(layer.routes())
            // With an icon, as all pages here: browsers ask for one whenever it suits them.
            .route("/elsewhere", {
                get(async || Html("<title>Elsewhere</title><link rel=icon href=data:,>"))
            })
            // A refusal as others make it, for as long as the price is the old one.
            .route("/careless", {
                let price = price.clone();
                get(async move || {
                    let status = match price.load(Relaxed) {
                        12 => StatusCode::SERVICE_UNAVAILABLE,
                        _ => StatusCode::OK,
                    };
                    let kept = [(header::CACHE_CONTROL, "max-age=3600")];
                    (status, kept, Html("<link rel=icon href=data:,>"))
                })
            })
            .route_service("/maintenance/events", push.events())
            .route_service(&name, push.script());
        let app = match &bust {
            Some(bust) => app.layer(bust.clone()),
            None => app,
        };
        let app = app.layer(from_fn_with_state(log.clone(), logged));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self {
            port,
            handle,
            bust,
            push,
            price,
            log,
            server,
        }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    fn hold(&self) {
        self.handle.engage(Hold::new("on-call", "ticket")).unwrap();
    }

    /// The partner is back, and its price is another.
    fn release(&self, price: u64) {
        self.price.store(price, Relaxed);
        self.handle.release("on-call", "it is back").unwrap();
    }

    fn recover(&self, price: u64) {
        self.hold();
        self.release(price);
    }

    fn log(&self) -> MutexGuard<'_, Vec<Logged>> {
        self.log.lock().unwrap()
    }

    /// The requests after the first `since` lines of the log, without those for the push, which
    /// are the subject of the seventh point.
    fn asked(&self, since: usize) -> Vec<String> {
        let log = self.log();
        let lines = log[since..].iter().map(|one| one.line.clone());
        lines
            .filter(|line| !line.contains(" /maintenance/"))
            .collect()
    }

    /// Opens a page in a new tab.
    async fn visit(&self, browser: &Browser, host: &str, path: &str) -> Visit {
        let since = self.log().len();
        browser.open_tab().await.unwrap();
        browser.open(&self.url(host, path)).await.unwrap();
        shows_something(browser).await;
        Visit {
            shown: browser.text("h1").await.unwrap(),
            asked: self.asked(since),
        }
    }

    /// The last before a recovery, and the next two after it.
    async fn visits(&self, browser: &Browser) -> [Visit; 3] {
        let first = self.visit(browser, HOST, "/").await;
        self.recover(15);
        let second = self.visit(browser, HOST, "/").await;
        [first, second, self.visit(browser, HOST, "/").await]
    }

    /// How many answers bore `Clear-Site-Data`: as the layer says, and as the log says.
    fn cleared(&self) -> (u64, usize) {
        let counts = self.bust.as_ref().unwrap().counts();
        let log = self.log();
        (counts.cleared, log.iter().filter(|one| one.clears).count())
    }
}

/// What a visit showed, and what the server was asked for meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Visit {
    shown: String,
    asked: Vec<String>,
}

fn saw(shown: &str, asked: &[&str]) -> Visit {
    Visit {
        shown: shown.to_owned(),
        asked: asked.iter().map(ToString::to_string).collect(),
    }
}

async fn shows_something(browser: &Browser) {
    let drawn = "document.querySelector('h1')?.textContent";
    browser.wait_until(drawn).await.unwrap();
}

/// The status that the page in front came with.
async fn status(browser: &Browser) -> serde_json::Value {
    let status = "performance.getEntriesByType('navigation')[0].responseStatus";
    browser.evaluate(status).await.unwrap()
}

async fn both(site: Site) -> (Browser, Site) {
    (Browser::start().await.unwrap(), site)
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p01_without_a_cure_the_second_visit_asks_for_the_page_alone_and_shows_old_data() {
    let (browser, site) = both(Site::uncured(Prices::Aged).await).await;
    let [first, second, third] = site.visits(&browser).await;
    assert_eq!(
        first,
        saw("12", &["GET /", "GET /price"]),
        "point 1: before"
    );
    assert_eq!(second, saw("12", &["GET /"]), "point 1: the control");
    assert_eq!(third, second, "point 1: and so it stays");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p02_with_the_cure_it_asks_for_the_data_too_once_and_shows_what_is_new() {
    let (browser, site) = both(Site::cured(Prices::Aged, clearing).await).await;
    let [_, second, _] = site.visits(&browser).await;
    assert_eq!(second, saw("15", &["GET /", "GET /price"]), "point 2");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p03_at_the_third_visit_caching_is_intact_again() {
    let (browser, site) = both(Site::cured(Prices::Aged, clearing).await).await;
    let [_, _, third] = site.visits(&browser).await;
    assert_eq!(third, saw("15", &["GET /"]), "point 3: told once");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p04_what_people_see_goes_from_old_to_new_and_stays() {
    let (browser, site) = both(Site::cured(Prices::Aged, clearing).await).await;
    let visits = site.visits(&browser).await;
    let shown = visits.map(|visit| visit.shown);
    assert_eq!(shown, ["12", "15", "15"], "point 4");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p05_the_session_is_kept() {
    let (browser, site) = both(Site::cured(Prices::Aged, clearing).await).await;
    site.visit(&browser, HOST, "/").await;
    let before = browser.cookie("session").await.unwrap();
    assert_eq!(before.as_deref(), Some("7"), "point 5: logged in");
    site.recover(15);
    site.visit(&browser, HOST, "/").await;
    site.visit(&browser, HOST, "/").await;
    assert_eq!(site.cleared(), (1, 1), "point 5: after the cure");
    let after = browser.cookie("session").await.unwrap();
    assert_eq!(after, before, "point 5: in the browser");
    let sessions: Vec<_> = site.log().iter().map(|one| one.session.clone()).collect();
    assert_eq!(sessions[0], None, "point 5: the very first request");
    assert!(
        sessions.len() > 4 && sessions[1..].iter().all(|one| *one == before),
        "point 5: at the server: {sessions:?}"
    );
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p06_the_cache_of_another_host_is_left_alone() {
    let (browser, site) = both(Site::cured(Prices::Aged, clearing).await).await;
    let before = site.visit(&browser, "localhost", "/aside").await;
    assert_eq!(
        before.asked,
        ["GET /aside", "GET /price"],
        "point 6: before"
    );
    let [_, second, _] = site.visits(&browser).await;
    assert_eq!(
        second.asked,
        ["GET /", "GET /price"],
        "point 6: cleared here"
    );
    let there = site.visit(&browser, "localhost", "/aside").await;
    assert_eq!(there, saw("12", &["GET /aside"]), "point 6: and not there");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p07_an_open_tab_is_healed_by_push_without_a_click() {
    let (browser, site) = both(Site::pushing(Prices::Aged).await).await;
    // The control: the same page from a server that does not push.
    let silent = Site::uncured(Prices::Aged).await;
    silent.visit(&browser, HOST, "/").await;
    let not_told = browser.tab().await.unwrap();
    assert_eq!(site.visit(&browser, HOST, "/").await.shown, "12");
    let told = browser.tab().await.unwrap();
    while site.push.counts().subscribers < 1 {
        browser.wait_until("true").await.unwrap();
    }

    let (since, since_silent) = (site.log().len(), silent.log().len());
    silent.recover(15);
    site.recover(15);
    let new = "document.querySelector('h1').textContent === '15'";
    let healed = browser.wait_until(new).await;
    healed.expect("point 7: the tab shows the new price");
    assert_eq!(site.asked(since), ["GET /price"], "point 7: and no reload");

    browser.switch_to(&not_told).await.unwrap();
    assert_eq!(
        browser.text("h1").await.unwrap(),
        "12",
        "point 7: the control"
    );
    assert_eq!(silent.log().len(), since_silent);

    // Behind another tab it is healed as well.
    site.recover(17);
    while site.asked(since).len() < 2 {
        browser.wait_until("true").await.unwrap();
    }
    browser.switch_to(&told).await.unwrap();
    let new = "document.querySelector('h1').textContent === '17'";
    let healed = browser.wait_until(new).await;
    healed.expect("point 7: behind another tab too");
    assert_eq!(site.asked(since).len(), 2, "point 7: once a recovery");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p08_the_server_sends_the_header_once_per_client_and_generation() {
    let site = Site::cured(Prices::Aged, clearing).await;
    let clients = [
        Browser::start().await.unwrap(),
        Browser::start().await.unwrap(),
    ];
    for client in &clients {
        site.visit(client, HOST, "/").await;
    }
    assert_eq!(site.cleared(), (0, 0), "point 8: nobody before a recovery");
    let mut expected = 0;
    for price in [15, 17] {
        site.recover(price);
        for client in &clients {
            for _ in 0..3 {
                let seen = site.visit(client, HOST, "/").await;
                assert_eq!(seen.shown, price.to_string());
            }
            expected += 1;
            let both = (expected, usize::try_from(expected).unwrap());
            assert_eq!(
                site.cleared(),
                both,
                "point 8: one for each client and generation"
            );
        }
    }
    assert_eq!(site.cleared(), (4, 4), "point 8");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p09_on_an_insecure_host_the_header_is_not_even_sent() {
    let resolves = format!("--host-resolver-rules=MAP {INSECURE} 127.0.0.1");
    let browser = Browser::start_with(&[&resolves]).await.unwrap();
    let site = Site::cured(Prices::Aged, |builder| {
        clearing(builder).expire_cookie(NamedCookie::new("basket"))
    })
    .await;
    for host in [INSECURE, HOST] {
        site.visit(&browser, host, "/").await;
        browser.set_cookie("basket", "basic").await.unwrap();
    }
    site.recover(15);
    site.visit(&browser, INSECURE, "/").await;
    let log = site.log().clone();
    let asked = log.iter().rfind(|one| one.line == "GET /").unwrap();
    assert_eq!((&*asked.host, asked.generation_cookie), (INSECURE, true));
    assert_eq!(site.cleared(), (0, 0), "point 9");
    let basket = browser.cookie("basket").await.unwrap();
    assert_eq!(
        basket, None,
        "point 9: the other cures are told all the same"
    );

    // The control: a host that the browser takes for secure.
    site.visit(&browser, HOST, "/").await;
    assert_eq!(site.cleared(), (1, 1), "point 9: the control");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn p10_a_refusal_is_never_shown_after_the_recovery() {
    let (browser, site) = both(Site::uncured(Prices::Aged).await).await;
    // The control: a 503 that may be kept is shown again, without any request.
    browser.open(&site.url(HOST, "/careless")).await.unwrap();
    assert_eq!(status(&browser).await, 503);

    site.hold();
    browser.open_tab().await.unwrap();
    browser.open(&site.url(HOST, "/")).await.unwrap();
    assert_eq!(
        status(&browser).await,
        503,
        "point 10: it is shown while it lasts"
    );
    let fetched = "fetch('/price').then(answer => answer.status)";
    assert_eq!(browser.evaluate(fetched).await.unwrap(), 503);
    browser.open(&site.url(HOST, "/elsewhere")).await.unwrap();
    site.release(15);

    let since = site.log().len();
    assert_eq!(
        browser.evaluate(fetched).await.unwrap(),
        200,
        "point 10: fetched"
    );
    browser.client().back().await.unwrap();
    assert_eq!(status(&browser).await, 200, "point 10: on the way back");
    shows_something(&browser).await;
    assert_eq!(browser.text("h1").await.unwrap(), "15");
    assert_eq!(site.asked(since), ["GET /price", "GET /"], "point 10");
    let again = site.visit(&browser, HOST, "/").await;
    assert_eq!(again, saw("15", &["GET /"]), "point 10: in a new tab");

    browser.open_tab().await.unwrap();
    let since = site.log().len();
    browser.open(&site.url(HOST, "/careless")).await.unwrap();
    assert_eq!(status(&browser).await, 503, "point 10: the control");
    assert!(site.asked(since).is_empty(), "point 10: the control");
}

/// The cure that costs nothing, and its own control.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_tag_that_did_not_change_is_answered_anew_after_a_recovery_and_confirmed_again_later() {
    let (browser, site) = both(Site::uncured(Prices::Tagged).await).await;
    let [_, second, third] = site.visits(&browser).await;
    let confirmed = ["GET /", "GET /price 304"];
    assert_eq!(second, saw("12", &confirmed), "the control");
    assert_eq!(third, second, "the control");

    let (browser, site) = both(Site::cured(Prices::Tagged, |builder| builder).await).await;
    let [_, second, third] = site.visits(&browser).await;
    assert_eq!(second, saw("15", &["GET /", "GET /price"]));
    assert_eq!(third, saw("15", &confirmed));
}
