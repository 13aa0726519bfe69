//! Open tabs after a recovery, in a real browser: right again without a click.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use browser_tests::Browser;
use tokio::{net::TcpSocket, runtime::Runtime, sync::oneshot, task::JoinHandle};
use tower_maintenance::{
    Hold, MaintenanceHandle, MaintenanceLayer,
    http::{Push, PushBuilder, PushScript},
};

/// The generation of the first server.
const BORN: u64 = 1_000;
/// Nothing inline, nothing from another origin, and no connection to one. Images are allowed for
/// the icon that browsers ask for.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'";

/// A page's own script: shows the price as the browser has it, and draws it anew when told.
const APP: &str = "\
    window.recovered = [];\n\
    document.addEventListener('securitypolicyviolation', (event) => { document.title = event.effectiveDirective; });\n\
    const draw = async () => { \
      document.querySelector('h1').textContent = await (await fetch('/price')).text(); };\n\
    document.addEventListener('maintenance:recovered', (event) => { \
      event.preventDefault(); window.recovered.push(event.detail); draw(); });\n\
    draw();\n";

/// What the server has counted.
#[derive(Default)]
struct Counts {
    price: AtomicU64,
    plain: AtomicU64,
    refused: AtomicU64,
    /// The requests for events that got no answer.
    unanswered: AtomicU64,
    /// Whether the price never comes.
    price_hangs: AtomicBool,
    /// Whether the price is refused.
    price_fails: AtomicBool,
}

/// The server's answer to a request for events.
#[derive(Clone, Copy)]
enum Events {
    Served,
    Refused,
    Unanswered,
}

/// A server in a runtime of its own, so that it can be killed with all its connections.
struct Server {
    runtime: Option<Runtime>,
    /// Bound, never listening: no other program is given the port while no server listens.
    port: Arc<TcpSocket>,
    addr: SocketAddr,
    handle: MaintenanceHandle,
    push: Push,
    counts: Arc<Counts>,
    price: Arc<AtomicU64>,
    /// Begins the graceful shutdown.
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn free_port() -> Arc<TcpSocket> {
    Arc::new(bound("127.0.0.1:0".parse().unwrap()))
}

fn bound(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // So that two may be bound to one port.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(addr).unwrap();
    socket
}

impl Server {
    fn start() -> Self {
        Self::at(free_port(), BORN, Events::Served, 12)
    }

    fn at(port: Arc<TcpSocket>, generation: u64, events: Events, price: u64) -> Self {
        Self::set_up(port, generation, events, price, |push| push)
    }

    fn set_up(
        port: Arc<TcpSocket>,
        generation: u64,
        events: Events,
        price: u64,
        push: impl FnOnce(PushBuilder) -> PushBuilder,
    ) -> Self {
        let layer = MaintenanceLayer::builder("zuora")
            .cache_urls(["/price"])
            .generation(generation)
            .build()
            .unwrap();
        let handle = layer.handle();
        let quick = Push::builder(&handle)
            .spread(Duration::from_millis(300))
            .retry(Duration::from_millis(300));
        let push = push(quick).build().unwrap();
        let counts = Arc::<Counts>::default();
        let price = Arc::new(AtomicU64::new(price));
        let page = |shows: Option<u64>, more: &'static str| {
            let handle = handle.clone();
            get(async move || {
                let generation = shows.unwrap_or_else(|| handle.generation());
                let (name, integrity) = (PushScript::NAME, PushScript::INTEGRITY);
                let html = format!(
                    "<!doctype html><html lang=en><title>Prices</title>\
                    <script src=/app.js defer></script>\
                    <script src=/maintenance/{name} integrity={integrity} data-generation={generation} {more} defer></script>\
                    <h1></h1>"
                );
                let headers = [
                    (header::CONTENT_TYPE, "text/html"),
                    (header::CACHE_CONTROL, "no-store"),
                    (header::CONTENT_SECURITY_POLICY, POLICY),
                ];
                (headers, html)
            })
        };
        let plain = {
            let (counts, handle) = (counts.clone(), handle.clone());
            move |shows: Option<u64>| {
                get(async move || {
                    let loaded = counts.plain.fetch_add(1, Relaxed) + 1;
                    let generation = shows.unwrap_or_else(|| handle.generation());
                    let name = PushScript::NAME;
                    let html = format!(
                        "<!doctype html><html lang=en><title>Plain</title>\
                        <script src=/maintenance/{name} data-generation={generation} data-reload defer></script>\
                        <h1>{loaded}</h1>"
                    );
                    ([(header::CONTENT_TYPE, "text/html")], html)
                })
            }
        };
        let prices = {
            let (counts, price) = (counts.clone(), price.clone());
            get(async move || {
                counts.price.fetch_add(1, Relaxed);
                if counts.price_hangs.load(Relaxed) {
                    pending::<()>().await;
                }
                if counts.price_fails.load(Relaxed) {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                }
                let headers = [(header::CACHE_CONTROL, "max-age=3600")];
                (headers, price.load(Relaxed).to_string()).into_response()
            })
        };
        let script = [(header::CONTENT_TYPE, "text/javascript")];
        let app = Router::new()
            .route("/", page(None, ""))
            .route("/old", page(Some(BORN - 1), ""))
            .route("/hasty", page(None, "data-timeout=2000"))
            .route("/twice", {
                let name = PushScript::NAME;
                let twice = format!("defer></script><script src=/maintenance/{name}");
                page(None, twice.leak())
            })
            .route("/elsewhere", get(async || "elsewhere"))
            .route("/plain", plain.clone()(None))
            .route("/plain/old", plain(Some(BORN - 1)))
            .route("/app.js", get(async move || (script, APP)))
            .route("/price", prices)
            .route_service(&format!("/maintenance/{}", PushScript::NAME), push.script());
        let counted = counts.clone();
        let app = match events {
            Events::Served => app.route_service("/maintenance/events", push.events()),
            Events::Refused => {
                let refuse = async move || {
                    counted.refused.fetch_add(1, Relaxed);
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                };
                app.route("/maintenance/events", get(refuse))
            }
            Events::Unanswered => {
                let hang = async move || {
                    counted.unanswered.fetch_add(1, Relaxed);
                    pending::<()>().await;
                };
                app.route("/maintenance/events", get(hang))
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let addr = port.local_addr().unwrap();
        let listener = {
            let _within = runtime.enter();
            bound(addr).listen(1024).unwrap()
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = push.close_after(async { stopped.await.unwrap_or_default() });
        let served = axum::serve(listener, app).with_graceful_shutdown(shutdown);
        let served = runtime.spawn(async move { served.await.unwrap() });
        Self {
            stop: Some(stop),
            served: Some(served),
            runtime: Some(runtime),
            port,
            addr,
            handle,
            push,
            counts,
            price,
        }
    }

    /// Ends it with all its connections, and starts another at the same port.
    fn restarted(mut self, generation: u64, events: Events, price: u64) -> Self {
        let runtime = self.runtime.take().unwrap();
        // Waits until the listener is gone. On another thread, because this runtime must not wait.
        let ends = std::thread::spawn(|| runtime.shutdown_timeout(browser_tests::CAP));
        ends.join().unwrap();
        Self::at(self.port.clone(), generation, events, price)
    }

    /// Shuts down gracefully, with all open tabs, and starts another at the same port.
    async fn replaced(mut self, generation: u64, price: u64) -> Self {
        self.stop.take().unwrap().send(()).unwrap();
        let served = self.served.take().unwrap();
        let served = tokio::time::timeout(browser_tests::CAP, served).await;
        served.expect("the shutdown ends").unwrap();
        assert_eq!(self.push.counts().streams, 0);
        self.restarted(generation, Events::Served, price)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The price changes while the partner is away: the new generation.
    fn recover(&self, price: u64) -> u64 {
        self.handle.engage(Hold::new("on-call", "ticket")).unwrap();
        self.price.store(price, Relaxed);
        self.handle.release("on-call", "it is back").unwrap();
        self.handle.generation()
    }

    fn asked(&self) -> u64 {
        self.counts.price.load(Relaxed)
    }

    /// Waits until so many subscribe.
    async fn subscribers(&self, browser: &Browser, number: usize) {
        self.until(browser, || self.push.counts().subscribers == number)
            .await;
    }

    async fn until(&self, browser: &Browser, is_so: impl Fn() -> bool) {
        let asks = async {
            while !is_so() {
                browser.wait_until("true").await.unwrap();
            }
        };
        tokio::time::timeout(browser_tests::CAP, asks)
            .await
            .unwrap();
    }
}

async fn shows(browser: &Browser, price: &str) {
    let shown = format!("document.querySelector('h1')?.textContent === '{price}'");
    browser.wait_until(&shown).await.unwrap();
}

async fn no_violation(browser: &Browser) {
    assert_eq!(browser.evaluate("document.title").await.unwrap(), "Prices");
}

/// The price as the browser has it, from its cache if it can.
const CACHED: &str = "fetch('/price').then(answer => answer.text())";

#[tokio::test]
#[ignore = "needs chromium"]
async fn an_open_tab_is_right_again_without_a_click_and_refetches_once() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;

    // The control: the cached answer is old, and the page does not ask the server.
    server.price.store(15, Relaxed);
    assert_eq!(browser.evaluate(CACHED).await.unwrap(), "12");
    assert_eq!(server.asked(), 1);

    let generation = server.recover(15);
    shows(&browser, "15").await;
    assert_eq!(server.asked(), 2, "refetched once, drawn out of the cache");
    let told = browser.evaluate("window.recovered").await.unwrap();
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(told[0]["generation"], generation);
    assert_eq!(told[0]["urls"][0], "/price");
    assert_eq!(told[0]["failed"].as_array().unwrap().len(), 0);
    no_violation(&browser).await;

    // And again.
    server.recover(17);
    shows(&browser, "17").await;
    assert_eq!(server.asked(), 3);
    assert_eq!(browser.evaluate(CACHED).await.unwrap(), "17");
    assert_eq!(server.asked(), 3, "caching is intact");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn tabs_share_one_connection_and_one_refetch_and_the_next_one_takes_over() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    let first = browser.tab().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..2 {
        let tab = browser.open_tab().await.unwrap();
        browser.open(&server.url("/")).await.unwrap();
        shows(&browser, "12").await;
        others.push(tab);
    }
    assert_eq!(server.asked(), 1);
    assert_eq!(server.push.counts().subscribers, 1);

    server.recover(15);
    for tab in others.iter().chain([&first]) {
        browser.switch_to(tab).await.unwrap();
        shows(&browser, "15").await;
        let times = browser.evaluate("window.recovered.length").await.unwrap();
        assert_eq!(times, 1);
        no_violation(&browser).await;
    }
    assert_eq!(server.asked(), 2, "once a browser, not a tab");
    assert_eq!(server.push.counts().subscribers, 1);

    // The tab that has the connection goes; another connects.
    browser.close_tab().await.unwrap();
    browser.switch_to(&others[0]).await.unwrap();
    server.recover(17);
    for tab in &others {
        browser.switch_to(tab).await.unwrap();
        shows(&browser, "17").await;
    }
    server.subscribers(&browser, 1).await;
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_tab_survives_the_servers_restart_and_is_healed_after_it() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;

    // First one that answers with errors, after which a browser by itself would not come back.
    let server = server.restarted(BORN + 5, Events::Refused, 12);
    server
        .until(&browser, || server.counts.refused.load(Relaxed) >= 2)
        .await;
    shows(&browser, "12").await;
    let server = server.restarted(BORN + 10, Events::Served, 15);
    shows(&browser, "15").await;
    assert_eq!(server.asked(), 1);

    // And a server with the same generation: nothing has happened, and no tab refetches.
    let server = server.restarted(BORN + 10, Events::Served, 15);
    server.subscribers(&browser, 1).await;
    server.recover(17);
    shows(&browser, "17").await;
    assert_eq!(server.asked(), 1);
    let times = browser.evaluate("window.recovered.length").await.unwrap();
    assert_eq!(times, 2);
    no_violation(&browser).await;
}

/// The stream of the script, and one that a page opens by itself without a script's retries.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_graceful_shutdown_ends_with_an_open_tab_which_comes_back() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    let bare = "(() => { const bare = new EventSource('/maintenance/events'); window.bare = bare; \
                bare.addEventListener('recovered', () => { window.told = true; }); })()";
    browser.evaluate(bare).await.unwrap();
    server.subscribers(&browser, 2).await;

    let server = server.replaced(BORN + 1, 15).await;
    shows(&browser, "15").await;
    server.subscribers(&browser, 2).await;
    browser.wait_until("window.told").await.unwrap();
    no_violation(&browser).await;
}

/// The server still listens when the stream has ended: the answer must not stop the browser.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_tab_that_reconnects_to_a_closed_push_tries_again() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    let bare = "(() => { window.opened = 0; window.bare = new EventSource('/maintenance/events'); \
                window.bare.onopen = () => { window.opened++; }; })()";
    browser.evaluate(bare).await.unwrap();
    server.subscribers(&browser, 2).await;

    server.push.close();
    // It is answered, and comes back, again and again.
    browser.wait_until("window.opened > 3").await.unwrap();
    let state = browser.evaluate("window.bare.readyState").await.unwrap();
    assert_ne!(state, 2, "it has not given up");
    let server = server.restarted(BORN + 1, Events::Served, 15);
    shows(&browser, "15").await;
    server.subscribers(&browser, 2).await;
    no_violation(&browser).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_page_out_of_a_cache_is_healed_when_it_opens() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/elsewhere")).await.unwrap();
    assert_eq!(browser.evaluate(CACHED).await.unwrap(), "12");
    server.price.store(15, Relaxed);
    browser.open(&server.url("/old")).await.unwrap();
    shows(&browser, "15").await;
    assert_eq!(server.asked(), 2);

    // A second tab with the same old page: the browser has refetched already.
    browser.open_tab().await.unwrap();
    browser.open(&server.url("/old")).await.unwrap();
    browser
        .wait_until("window.recovered.length === 1")
        .await
        .unwrap();
    shows(&browser, "15").await;
    assert_eq!(server.asked(), 2);
}

/// A page that is new, whose data the browser cached before a recovery that no tab has heard of.
#[tokio::test]
#[ignore = "needs chromium"]
async fn what_was_cached_before_a_recovery_that_no_tab_heard_of_is_refetched() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    browser.open(&server.url("/elsewhere")).await.unwrap();
    server.subscribers(&browser, 0).await;
    server.recover(15);
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "15").await;
    assert_eq!(server.asked(), 2);
}

/// Out of the back/forward cache, or loaded anew where the browser keeps none.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_page_that_people_go_back_to_is_healed() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    browser.open(&server.url("/elsewhere")).await.unwrap();
    server.subscribers(&browser, 0).await;
    server.recover(15);
    browser.client().back().await.unwrap();
    shows(&browser, "15").await;
    server.subscribers(&browser, 1).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_page_that_handles_nothing_is_reloaded_once_if_it_asks_for_it() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/plain")).await.unwrap();
    server.subscribers(&browser, 1).await;
    server.recover(15);
    shows(&browser, "2").await;

    // A page whose generation never grows, as from a cache that gets no signal: it does not reload
    // for ever.
    browser.open(&server.url("/plain/old")).await.unwrap();
    for (price, loaded) in [(17, "4"), (18, "5")] {
        server.subscribers(&browser, 1).await;
        server.recover(price);
        shows(&browser, loaded).await;
    }
    server.subscribers(&browser, 1).await;
    assert_eq!(server.counts.plain.load(Relaxed), 5);
}

/// Notes what a page is told, and handles nothing: run before a page that has no script of its own.
const NOTES: &str = "\
    window.told = []; \
    document.addEventListener('maintenance:recovered', (event) => window.told.push(event.detail));";

/// It was reloaded with what is old in the cache, because not all could be fetched.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_page_is_reloaded_once_more_when_what_had_failed_is_fetched() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    first_run(&browser, NOTES).await;
    browser.open(&server.url("/plain")).await.unwrap();
    // It has heard which generation it shows.
    browser.wait_until("localStorage.length > 0").await.unwrap();
    server.counts.price_fails.store(true, Relaxed);
    let generation = server.recover(15);
    shows(&browser, "2").await;
    // It fails again, and this time nothing is reloaded.
    let failed = "window.told[0]?.failed.length === 1";
    browser.wait_until(failed).await.unwrap();
    shows(&browser, "2").await;
    assert_eq!(server.counts.plain.load(Relaxed), 2);

    // The network is back, and so is the price.
    let server = server.restarted(generation, Events::Served, 15);
    shows(&browser, "1").await;
    assert_eq!(server.asked(), 1);
    // And that is all of it.
    server.subscribers(&browser, 1).await;
    server.recover(17);
    shows(&browser, "2").await;
    assert_eq!(server.counts.plain.load(Relaxed), 2);
}

/// The browser keeps no note of what it has fetched: each page from a cache refetches, and some of
/// the requests fail.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_page_that_was_reloaded_with_all_is_not_reloaded_for_a_part() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    let forgets =
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('none'); } });";
    first_run(&browser, &format!("{forgets}{NOTES}")).await;
    browser.open(&server.url("/plain/old")).await.unwrap();
    shows(&browser, "2").await;
    let told = "window.told[0]?.failed.length";
    let is_told = async |failed, loaded| {
        let so = format!("{told} === {failed}");
        browser.wait_until(&so).await.unwrap();
        shows(&browser, loaded).await;
    };
    is_told(0, "2").await;
    server.counts.price_fails.store(true, Relaxed);
    browser.reload().await.unwrap();
    is_told(1, "3").await;
    server.counts.price_fails.store(false, Relaxed);
    browser.reload().await.unwrap();
    is_told(0, "4").await;
    // A reload too many would come before this one.
    server.subscribers(&browser, 1).await;
    server.recover(17);
    shows(&browser, "5").await;
    is_told(0, "5").await;
    assert_eq!(server.counts.plain.load(Relaxed), 5);
}

/// Two tabs that were given this script before their own.
async fn each_tab_has_a_connection_and_is_healed_after(script: &str) {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    let mut tabs = Vec::new();
    for number in 1..=2 {
        if number > 1 {
            browser.open_tab().await.unwrap();
        }
        first_run(&browser, script).await;
        browser.open(&server.url("/")).await.unwrap();
        shows(&browser, "12").await;
        server.subscribers(&browser, number).await;
        tabs.push(browser.tab().await.unwrap());
    }
    server.recover(15);
    for tab in &tabs {
        browser.switch_to(tab).await.unwrap();
        shows(&browser, "15").await;
    }
    assert!(server.asked() <= 3, "{}", server.asked());
}

/// Runs a script in this tab's pages before their own.
async fn first_run(browser: &Browser, script: &str) {
    let source = serde_json::json!({ "source": script });
    browser
        .devtools("Page.addScriptToEvaluateOnNewDocument", source)
        .await
        .unwrap();
}

/// Where there are no Web Locks (plain http on another host than localhost), each tab connects.
#[tokio::test]
#[ignore = "needs chromium"]
async fn without_web_locks_each_tab_has_a_connection_and_is_healed() {
    let without = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })";
    each_tab_has_a_connection_and_is_healed_after(without).await;
}

/// As in a browser that blocks storage: no tab can tell the others.
#[tokio::test]
#[ignore = "needs chromium"]
async fn without_a_broadcast_channel_each_tab_has_a_connection_and_is_healed() {
    let without = "window.BroadcastChannel = class { constructor() { throw new DOMException('', 'SecurityError'); } }";
    each_tab_has_a_connection_and_is_healed_after(without).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_script_that_is_there_twice_does_its_work_once() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/twice")).await.unwrap();
    shows(&browser, "12").await;
    let scripts = "document.querySelectorAll('script[src*=push]').length";
    assert_eq!(browser.evaluate(scripts).await.unwrap(), 2);
    server.subscribers(&browser, 1).await;
    for (price, times) in [(15, 1), (17, 2)] {
        server.recover(price);
        shows(&browser, &price.to_string()).await;
        let told = browser.evaluate("window.recovered.length").await.unwrap();
        assert_eq!(told, times);
    }
    assert_eq!(server.asked(), 3);
}

/// So that a fleet of browsers does not ask in the same instant.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_browser_waits_a_random_part_of_the_spread_before_it_refetches() {
    let spread = Duration::from_secs(2);
    let server = Server::set_up(free_port(), BORN, Events::Served, 12, |push| {
        push.spread(spread)
    });
    let browser = Browser::start().await.unwrap();
    // Drawn before the page runs; nothing else in it draws.
    first_run(&browser, "Math.random = () => 0.75").await;
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    let now = "performance.now()";
    let before = browser.evaluate(now).await.unwrap().as_f64().unwrap();
    server.recover(15);
    shows(&browser, "15").await;
    let refetched =
        "performance.getEntriesByName(new URL('/price', location.href).href)[1].startTime";
    let refetched = browser.evaluate(refetched).await.unwrap().as_f64().unwrap();
    let waited = Duration::from_secs_f64((refetched - before) / 1000.0);
    assert!(waited >= spread.mul_f64(0.74), "{waited:?}");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_refetch_that_hangs_fails_in_time_and_the_next_recovery_heals() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/hasty")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    server.counts.price_hangs.store(true, Relaxed);
    server.recover(15);
    browser
        .wait_until("window.recovered.length === 1")
        .await
        .unwrap();
    let told = browser.evaluate("window.recovered[0]").await.unwrap();
    assert_eq!(told["failed"][0], "/price");
    server.counts.price_hangs.store(false, Relaxed);
    server.recover(17);
    shows(&browser, "17").await;
    no_violation(&browser).await;
}

/// What was told last says that nothing is left to fetch.
const ALL_REFETCHED: &str = "window.recovered.at(-1)?.failed.length === 0";

/// It was told of the recovery, and could not fetch: the network went in between.
#[tokio::test]
#[ignore = "needs chromium"]
async fn what_could_not_be_refetched_is_refetched_once_the_network_is_back() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/hasty")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    server.counts.price_hangs.store(true, Relaxed);
    let generation = server.recover(15);
    let told = "window.recovered.length === 1";
    browser.wait_until(told).await.unwrap();
    // The same generation: there is nothing that the server would have to tell.
    let server = server.restarted(generation, Events::Served, 15);
    browser.wait_until(ALL_REFETCHED).await.unwrap();
    shows(&browser, "15").await;
    let told = browser.evaluate("window.recovered").await.unwrap();
    let told = told.as_array().unwrap();
    assert!(told.iter().all(|told| told["generation"] == generation));
    assert_eq!(told[0]["failed"][0], "/price");
    // And that is all of it.
    let server = server.restarted(generation, Events::Served, 15);
    server.subscribers(&browser, 1).await;
    assert_eq!(browser.evaluate(CACHED).await.unwrap(), "15");
    assert_eq!(server.asked(), 0);
    no_violation(&browser).await;
}

/// It was told by a replica that is back, and the balancer asks one that is not yet.
#[tokio::test]
#[ignore = "needs chromium"]
async fn what_could_not_be_refetched_is_tried_again_while_connected() {
    let heartbeat = Duration::from_secs(1);
    let server = Server::set_up(free_port(), BORN, Events::Served, 12, |push| {
        push.heartbeat(heartbeat)
    });
    let browser = Browser::start().await.unwrap();
    browser.open(&server.url("/hasty")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    server.counts.price_hangs.store(true, Relaxed);
    let generation = server.recover(15);
    let told = "window.recovered.length >= 1";
    browser.wait_until(told).await.unwrap();
    server.counts.price_hangs.store(false, Relaxed);
    browser.wait_until(ALL_REFETCHED).await.unwrap();
    shows(&browser, "15").await;
    let told = browser.evaluate("window.recovered").await.unwrap();
    let told = told.as_array().unwrap();
    assert!(told.iter().all(|told| told["generation"] == generation));
    assert_eq!(told[0]["failed"][0], "/price");
    no_violation(&browser).await;
}

/// The tab knows from the other tab that an answer is missing. It does not know from the server yet
/// which one it must fetch.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_tab_that_takes_over_fetches_what_the_other_could_not_and_rejects_nothing() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    let leads = browser.tab().await.unwrap();
    let next = browser.open_tab().await.unwrap();
    let notes = "window.rejected = []; \
        addEventListener('unhandledrejection', ({ reason }) => window.rejected.push(`${reason}`));";
    first_run(&browser, notes).await;
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;

    server.counts.price_fails.store(true, Relaxed);
    server.recover(15);
    let failed = "window.recovered[0]?.failed.length === 1";
    browser.wait_until(failed).await.unwrap();
    server.counts.price_fails.store(false, Relaxed);
    browser.switch_to(&leads).await.unwrap();
    browser.close_tab().await.unwrap();
    browser.switch_to(&next).await.unwrap();
    browser.wait_until(ALL_REFETCHED).await.unwrap();
    shows(&browser, "15").await;
    let rejected = browser.evaluate("window.rejected").await.unwrap();
    assert_eq!(rejected, serde_json::json!([]));
    no_violation(&browser).await;
}

/// As browsers do with tabs in the background, mobile ones above all.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_tab_that_is_looked_at_takes_over_from_one_that_is_frozen() {
    let (browser, server) = (Browser::start().await.unwrap(), Server::start());
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    server.subscribers(&browser, 1).await;
    let frozen = browser.tab().await.unwrap();
    let state = async |state| {
        let to = serde_json::json!({ "state": state });
        let set = browser.devtools("Page.setWebLifecycleState", to).await;
        set.unwrap();
    };
    let looked_at = browser.open_tab().await.unwrap();
    browser.open(&server.url("/")).await.unwrap();
    shows(&browser, "12").await;
    browser.switch_to(&frozen).await.unwrap();
    state("frozen").await;
    browser.switch_to(&looked_at).await.unwrap();
    server.recover(15);
    let looks = "document.dispatchEvent(new Event('visibilitychange'))";
    browser.evaluate(looks).await.unwrap();
    shows(&browser, "15").await;
    assert_eq!(server.asked(), 2);

    // It wakes up, is told, and leaves the connection where it is.
    browser.switch_to(&frozen).await.unwrap();
    state("active").await;
    shows(&browser, "15").await;
    server.subscribers(&browser, 1).await;
    server.recover(17);
    for tab in [&frozen, &looked_at] {
        browser.switch_to(tab).await.unwrap();
        shows(&browser, "17").await;
    }
    assert_eq!(server.asked(), 3);
}

/// A connection that is taken, and swallows what is asked.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_connection_that_is_never_answered_is_made_anew() {
    let browser = Browser::start().await.unwrap();
    let server = Server::at(free_port(), BORN, Events::Unanswered, 12);
    browser.open(&server.url("/")).await.unwrap();
    let asked = |times| {
        let counts = server.counts.clone();
        move || counts.unanswered.load(Relaxed) == times
    };
    server.until(&browser, asked(1)).await;
    // Not without need.
    let looks = "document.dispatchEvent(new Event('visibilitychange'))";
    browser.evaluate(looks).await.unwrap();
    browser.evaluate(CACHED).await.unwrap();
    assert!(asked(1)());
    // A minute and more passes, as far as the page can tell.
    let later = "(() => { const now = Date.now; Date.now = () => now() + 61000; })()";
    browser.evaluate(later).await.unwrap();
    browser.evaluate(looks).await.unwrap();
    server.until(&browser, asked(2)).await;
}
