//! The maintenance page and the notice, as people see them.
//!
//! With `SCREENSHOTS=DIR` the pictures of `docs/page.md` are written there.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    env,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    response::{Html, Redirect},
    routing::get,
};
use browser_tests::{Browser, Size};
use tokio::{net::TcpListener, task::JoinHandle};
use tower_maintenance::{
    Exemption, Hold, MaintenanceHandle, MaintenanceLayer,
    http::{Announcement, Notices, PageTexts, Refusals, RouteClasses},
};

const PRICES: &str = "<!doctype html><html lang=en><title>Prices</title><main><h1>Prices</h1>\
    <p>A month costs 12 EUR.</p><form method=post><button id=buy>Buy</button></form></main>";

/// A page of a chat, whose sibling billing is.
const CHAT: &str = "<!doctype html><html lang=en><head><title>Chat</title>\
    <meta name=viewport content='width=device-width, initial-scale=1'>\
    <script src=/maintenance/notice.js defer></script></head>\
    <body style='margin:0;font:1rem sans-serif'><main><h1>Chat</h1><p>Works.</p></main></body></html>";

/// The same, as some pages are: what stands in `lang` is no language, and nothing may be stored.
const ODD: &str = "<!doctype html><html lang=en_US><head><title>Chat</title>\
    <script>Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('no') } })</script>\
    <script src=/maintenance/notice.js defer></script></head><body><main><h1>Chat</h1></main></body></html>";

/// The login page: another origin, on a port without a listener.
const ELSEWHERE: &str = "http://127.0.0.1:1/login";

/// Our own server, with billing behind the gate.
struct Site {
    url: String,
    handle: MaintenanceHandle,
    notices: Notices,
    /// How often the handler of a GET that writes ran.
    linked: Arc<AtomicU64>,
    bought: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a team would write.
fn refusals() -> Refusals {
    Refusals::new()
        .component("Billing")
        .still_works([
            "Reading and downloading invoices",
            "The support chat, and everything else that is not about money",
        ])
        .support_email("billing@example.com", "Monday to Friday, 8:00 to 18:00 UTC")
        .unwrap()
        .status_url("https://status.example.com")
        .unwrap()
        .page_checks_every(Duration::from_secs(1))
        .unwrap()
}

impl Site {
    async fn start(refusals: Refusals) -> Self {
        let chat = "a chat goes on while billing rests";
        let layer = [
            "/chat",
            "/maintenance/notice.json",
            "/maintenance/notice.js",
        ]
        .into_iter()
        .fold(MaintenanceLayer::builder("zuora"), |builder, route| {
            builder.exempt(Exemption::route(route, chat))
        })
        .build()
        .unwrap();
        let notices = Notices::new(&layer.handle(), &refusals);
        let (linked, bought) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (links, buys) = (linked.clone(), bought.clone());
        let classes = RouteClasses::new().write("/oauth/callback");
        let app = Router::new()
            .route(
                "/billing/prices",
                get(async || Html(PRICES)).post(async move || {
                    buys.fetch_add(1, Ordering::Relaxed);
                    "bought"
                }),
            )
            .route(
                "/oauth/callback",
                get(async move || {
                    links.fetch_add(1, Ordering::Relaxed);
                    "linked"
                }),
            )
            .route("/chat", get(async || Html(CHAT)))
            .route("/odd", get(async || Html(ODD)))
            .route("/account", get(async || Redirect::to(ELSEWHERE)))
            .route_service("/maintenance/notice.json", notices.json())
            .route_service("/maintenance/notice.js", notices.script())
            .layer(
                layer
                    .routes()
                    .with_refusals(refusals)
                    .with_route_classes(classes)
                    .unwrap(),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            handle: layer.handle(),
            notices,
            linked,
            bought,
            server,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn hold(&self) {
        let hold = Hold::new("on-call", "ticket 4711")
            .for_at_most(Duration::from_secs(3600))
            .with_message("Our billing partner has trouble. Cards are not charged meanwhile.");
        self.handle.engage(hold).unwrap();
    }

    fn release(&self) {
        self.handle.release("on-call", "it is back").unwrap();
    }
}

async fn both(refusals: Refusals) -> (Browser, Site) {
    let browser = Browser::start().await.unwrap();
    (browser, Site::start(refusals).await)
}

async fn shows_the_page(browser: &Browser) {
    let title = browser.text("h1").await.unwrap();
    assert_eq!(title, "Billing is temporarily unavailable for maintenance");
}

/// Waits until it does.
async fn shows_prices(browser: &Browser) {
    let prices = "document.querySelector('h1')?.textContent === 'Prices'";
    browser.wait_until(prices).await.unwrap();
}

/// Where pictures go, if they are wanted.
fn picture(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("SCREENSHOTS")?;
    Some(PathBuf::from(folder).join(name))
}

async fn looked_at(browser: &Browser, name: &str) {
    if let Some(path) = picture(name) {
        browser.screenshot(path).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_page_returns_by_itself_to_what_was_asked_for() {
    let (browser, site) = both(refusals()).await;
    site.hold();
    browser
        .open(&site.url("/billing/prices?currency=EUR#month"))
        .await
        .unwrap();
    shows_the_page(&browser).await;
    // It asks, and a refusal is not taken for a healthy answer.
    let refused = site.handle.status().calls.refused;
    while site.handle.status().calls.refused < refused + 2 {
        browser.wait_until("true").await.unwrap();
    }
    shows_the_page(&browser).await;

    site.release();
    shows_prices(&browser).await;
    assert_eq!(
        browser
            .evaluate("location.pathname + location.search + location.hash")
            .await
            .unwrap(),
        "/billing/prices?currency=EUR#month"
    );
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_server_that_is_away_is_no_healthy_answer() {
    let (browser, site) = both(refusals()).await;
    site.hold();
    browser.open(&site.url("/billing/prices")).await.unwrap();
    // What the page sees of a server that restarts, and of one behind a proxy that says 502.
    let answers = "(() => { window.asked = 0; window.real = window.fetch; \
        window.fetch = async () => { window.asked += 1; \
          if (window.asked % 2) throw new TypeError('away'); return new Response('', { status: 502 }); } })()";
    browser.evaluate(answers).await.unwrap();
    browser.wait_until("window.asked >= 4").await.unwrap();
    shows_the_page(&browser).await;

    site.release();
    browser
        .evaluate("window.fetch = window.real, 1")
        .await
        .unwrap();
    shows_prices(&browser).await;
}

/// A session that expired meanwhile: the healthy answer sends people to a login, on another origin.
#[tokio::test]
#[ignore = "needs chromium"]
async fn a_redirect_is_a_healthy_answer_wherever_it_leads() {
    let (browser, site) = both(refusals()).await;
    site.hold();
    browser.open(&site.url("/account")).await.unwrap();
    shows_the_page(&browser).await;
    site.release();
    // The browser leaves the page for the login, which no server serves here.
    let left = "!document.getElementById('maintenance')";
    browser.wait_until(left).await.unwrap();
}

/// A planned window that ends early: what was announced still stands when it is over.
#[tokio::test]
#[ignore = "needs chromium"]
async fn an_announcement_does_not_keep_the_page_from_returning() {
    let refusals = refusals().notice_url("/maintenance/notice.json").unwrap();
    let (browser, site) = both(refusals).await;
    let announcement = Announcement::new("Invoices move to a new ledger.").unwrap();
    site.notices.announce(announcement);
    site.hold();
    browser.open(&site.url("/billing/prices")).await.unwrap();
    site.release();
    shows_prices(&browser).await;

    // And under a read-only hold what reads is back.
    site.hold();
    browser.open(&site.url("/billing/prices")).await.unwrap();
    site.handle
        .engage(Hold::new("on-call", "the ledger moves").read_only())
        .unwrap();
    shows_prices(&browser).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_notice_shows_in_odd_pages_too() {
    let (browser, site) = both(refusals()).await;
    let tonight = site.handle.status().at + Duration::from_secs(3600);
    let announcement = Announcement::new("Invoices move to a new ledger.").unwrap();
    site.notices.announce(announcement.starting(tonight));
    browser.open(&site.url("/odd")).await.unwrap();
    let said =
        "document.querySelector('.maintenance-notice p')?.textContent.includes('Invoices move')";
    browser.wait_until(said).await.unwrap();
    browser
        .evaluate("document.querySelector('.maintenance-notice button').click(), 1")
        .await
        .unwrap();
    let gone = "!document.querySelector('.maintenance-notice')";
    assert_eq!(browser.evaluate(gone).await.unwrap(), true);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn what_writes_is_never_repeated_by_the_page() {
    let refusals = refusals().notice_url("/maintenance/notice.json").unwrap();
    let (browser, site) = both(refusals).await;

    // A form that was sent.
    browser.open(&site.url("/billing/prices")).await.unwrap();
    site.hold();
    browser.click("#buy").await.unwrap();
    browser
        .wait_until("document.querySelector('#maintenance')")
        .await
        .unwrap();
    assert!(
        browser
            .text("#state")
            .await
            .unwrap()
            .contains("Then go back and send your request once more")
    );
    let asked = "performance.getEntriesByName(new URL('/maintenance/notice.json', location).href).length >= 2";
    browser.wait_until(asked).await.unwrap();
    let still = "document.getElementById('again').hidden";
    assert_eq!(
        browser.evaluate(still).await.unwrap(),
        true,
        "it does not work yet"
    );
    site.release();
    browser
        .wait_until("!document.getElementById('again').hidden")
        .await
        .unwrap();
    assert_eq!(
        browser.text("#state").await.unwrap(),
        "Billing is available again."
    );
    assert_eq!(site.bought.load(Ordering::Relaxed), 0);
    let axe = browser.axe().await.unwrap();
    assert!(axe.is_empty(), "{axe:#?}");
    browser.click("#back").await.unwrap();
    shows_prices(&browser).await;

    // A GET that writes.
    site.hold();
    browser
        .open(&site.url("/oauth/callback?code=once"))
        .await
        .unwrap();
    site.release();
    browser
        .wait_until("!document.getElementById('again').hidden")
        .await
        .unwrap();
    assert_eq!(site.linked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_page_reads_well_on_a_desk_on_a_phone_and_in_the_dark() {
    let (browser, site) = both(refusals()).await;
    site.hold();
    for (size, dark, name) in [
        (Size::DESKTOP, false, "desktop.png"),
        (Size::PHONE, false, "phone.png"),
        (Size::DESKTOP, true, "dark.png"),
        (Size::PHONE, true, "phone-dark.png"),
    ] {
        browser.size(size).await.unwrap();
        if dark {
            browser.dark().await.unwrap();
        } else {
            browser.light().await.unwrap();
        }
        browser.open(&site.url("/billing/prices")).await.unwrap();
        looked_at(&browser, name).await;
        let axe = browser.axe().await.unwrap();
        assert!(axe.is_empty(), "{name}: {axe:#?}");
        let sideways = "document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.evaluate(sideways).await.unwrap(), false, "{name}");
        // White on dark, or black on light: the page follows what the reader likes.
        let ink = "getComputedStyle(document.body).color.match(/\\d+/g).map(Number)[0] > 128";
        assert_eq!(browser.evaluate(ink).await.unwrap(), dark, "{name}");
    }
    // Nothing was fetched but the page itself.
    let fetched = "performance.getEntriesByType('resource').filter(entry => entry.initiatorType !== 'fetch').length";
    assert_eq!(browser.evaluate(fetched).await.unwrap(), 0);
}

/// What a screen reader is given.
#[tokio::test]
#[ignore = "needs chromium"]
async fn the_page_speaks_to_a_screen_reader_in_its_language() {
    let mut arabic = PageTexts::english();
    arabic.title = "{component} تحت الصيانة".into();
    arabic.right_to_left = true;
    let refusals = refusals().language("ar", arabic).unwrap();
    let (browser, site) = both(refusals).await;
    site.hold();
    browser.open(&site.url("/billing/prices")).await.unwrap();
    let tree = browser
        .devtools("Accessibility.getFullAXTree", serde_json::json!({}))
        .await
        .unwrap();
    let spoken: Vec<(&str, &str)> = tree["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|node| node["ignored"] == false)
        .map(|node| {
            let text = |of: &'static str| node[of]["value"].as_str().unwrap_or_default();
            (text("role"), text("name"))
        })
        .collect();
    for expected in [
        (
            "heading",
            "Billing is temporarily unavailable for maintenance",
        ),
        ("heading", "What still works"),
        ("link", "billing@example.com"),
    ] {
        assert!(spoken.contains(&expected), "{expected:?} in {spoken:?}");
    }
    for role in ["main", "status", "list", "time"] {
        assert!(
            spoken.iter().any(|(is, _)| is.eq_ignore_ascii_case(role)),
            "{role} in {spoken:?}"
        );
    }
    assert_eq!(
        browser
            .evaluate("document.documentElement.lang")
            .await
            .unwrap(),
        "en"
    );

    let in_arabic = serde_json::json!({ "headers": { "Accept-Language": "ar-EG, en;q=0.5" } });
    browser
        .devtools("Network.enable", serde_json::json!({}))
        .await
        .unwrap();
    browser
        .devtools("Network.setExtraHTTPHeaders", in_arabic)
        .await
        .unwrap();
    browser.open(&site.url("/billing/prices")).await.unwrap();
    let root = "document.documentElement.lang + ' ' + document.documentElement.dir";
    assert_eq!(browser.evaluate(root).await.unwrap(), "ar rtl");
    assert_eq!(browser.text("h1").await.unwrap(), "Billing تحت الصيانة");
    let axe = browser.axe().await.unwrap();
    assert!(axe.is_empty(), "{axe:#?}");
}

/// Whatever operators write is text: in the page, and in the notice.
#[tokio::test]
#[ignore = "needs chromium"]
async fn what_operators_write_is_text() {
    const EVIL: &str = "</p><script>window.evil = 1</script><img src=x onerror='window.evil = 1'>\
        \"'`{{ 7 * 7 }}</main>";
    let refusals = Refusals::new()
        .component(EVIL)
        .still_works([EVIL])
        .support_text(EVIL, EVIL)
        .unwrap();
    let (browser, site) = both(refusals).await;
    let hold = Hold::new(EVIL, EVIL).with_message(EVIL);
    site.handle.engage(hold).unwrap();

    let path = "/billing/prices?%3Cscript%3Ewindow.evil=1%3C/script%3E";
    browser.open(&site.url(path)).await.unwrap();
    assert_eq!(browser.text(".message").await.unwrap(), EVIL);
    assert_eq!(
        browser
            .evaluate("document.scripts.length + document.images.length")
            .await
            .unwrap(),
        1
    );
    browser.open(&site.url("/chat")).await.unwrap();
    browser
        .wait_until("document.querySelector('.maintenance-notice p')?.textContent")
        .await
        .unwrap();
    assert!(
        browser
            .text(".maintenance-notice p")
            .await
            .unwrap()
            .contains(EVIL)
    );
    assert_eq!(browser.evaluate("'evil' in window").await.unwrap(), false);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_notice_shows_before_and_during_maintenance_and_can_be_hidden() {
    let (browser, site) = both(refusals()).await;
    let is_shown = "!!document.querySelector('.maintenance-notice')";
    let is_told = "!!document.querySelector('.maintenance-notice p')?.textContent";
    let heard =
        "document.addEventListener('maintenance', event => window.heard = event.detail.state), 1";

    // Nothing to say.
    browser.open(&site.url("/chat")).await.unwrap();
    let asked = "performance.getEntriesByName(new URL('/maintenance/notice.json', location).href).length > 0";
    browser.wait_until(asked).await.unwrap();
    assert_eq!(browser.evaluate(is_shown).await.unwrap(), false);

    // Before.
    let tonight = site.handle.status().at + Duration::from_secs(3600);
    let announcement = Announcement::new("Invoices move to a new ledger.")
        .unwrap()
        .starting(tonight)
        .ending(tonight + Duration::from_secs(1800));
    site.notices.announce(announcement);
    browser.reload().await.unwrap();
    browser.wait_until(is_told).await.unwrap();
    let banner = browser.text(".maintenance-notice p").await.unwrap();
    assert!(
        banner.starts_with("Maintenance of Billing is planned. Invoices move to a new ledger. ("),
        "{banner}"
    );
    looked_at(&browser, "notice.png").await;
    let axe = browser.axe().await.unwrap();
    assert!(axe.is_empty(), "{axe:#?}");

    // Hidden, it stays hidden; what is new shows.
    browser
        .evaluate("document.querySelector('.maintenance-notice button').click(), 1")
        .await
        .unwrap();
    assert_eq!(browser.evaluate(is_shown).await.unwrap(), false);
    browser.reload().await.unwrap();
    browser.wait_until(asked).await.unwrap();
    assert_eq!(browser.evaluate(is_shown).await.unwrap(), false);

    // During: the product is told, too, so that it can grey what would be refused.
    site.handle
        .engage(Hold::new("on-call", "the ledger moves").read_only())
        .unwrap();
    browser.reload().await.unwrap();
    browser.evaluate(heard).await.unwrap();
    browser.wait_until(is_told).await.unwrap();
    assert!(
        browser
            .text(".maintenance-notice p")
            .await
            .unwrap()
            .starts_with("Billing can be viewed but not changed during maintenance.")
    );
    assert_eq!(browser.text("h1").await.unwrap(), "Chat");
}
