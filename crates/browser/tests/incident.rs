//! 31 July 2024 in the example `billing`, seen from a browser's tabs: no customer reloads a page or
//! logs in again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use browser_tests::{Browser, CAP};
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, task::JoinHandle};

#[path = "../../../examples/billing/main.rs"]
#[expect(dead_code, reason = "only its server is needed")]
mod billing;

use billing::shop::Setup;

/// The shop, with its partner.
struct Shop {
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shop {
    async fn open(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = async move { billing::serve(listener, &setup).await.unwrap() };
        Self {
            url,
            server: tokio::spawn(server),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Sends a request of another client, which is no browser. Returns the status.
    async fn elsewhere(&self, method: &str, path: &str) -> u16 {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = axum::http::Request::builder()
            .method(method)
            .uri(self.url(path));
        let request = request.body(Empty::<axum::body::Bytes>::new()).unwrap();
        let answer = client.request(request);
        let answer = tokio::time::timeout(CAP, answer).await.unwrap().unwrap();
        answer.status().as_u16()
    }

    async fn partner_is(&self, phase: &str) {
        let switched = self.elsewhere("POST", &format!("/partner/{phase}")).await;
        assert_eq!(switched, 200);
    }

    /// Makes calls of other customers until a purchase is refused.
    async fn until_it_is_noticed(&self) {
        let noticed = async {
            while self.elsewhere("POST", "/billing/subscriptions").await != 503 {
                let _ = self.elsewhere("GET", "/billing/prices").await;
            }
        };
        tokio::time::timeout(CAP, noticed).await.unwrap();
    }
}

fn text_is(id: &str, text: &str) -> String {
    format!("document.getElementById('{id}')?.textContent === '{text}'")
}

const BUY: &str = "[formaction='/billing/purchases/pro']";

#[tokio::test]
#[ignore = "needs chromium"]
async fn from_the_first_prices_to_the_purchase_after_the_recovery_without_a_reload_by_hand() {
    let mut setup = Setup::default();
    assert!(setup.flag("--last-good"));
    let shop = Shop::open(setup).await;
    let browser = Browser::start().await.unwrap();

    // Two tabs with prices; whatever loads the first one anew is counted, for it would lose this.
    browser.open(&shop.url("/shop")).await.unwrap();
    browser.wait_until(&text_is("pro", "49 EUR")).await.unwrap();
    browser.evaluate("window.untouched = true").await.unwrap();
    let looking = browser.tab().await.unwrap();
    let session = browser.cookie("session").await.unwrap().unwrap();
    browser.open_tab().await.unwrap();
    browser.open(&shop.url("/shop")).await.unwrap();
    browser.wait_until(&text_is("pro", "49 EUR")).await.unwrap();
    let buying = browser.tab().await.unwrap();

    // The partner fails, and billing goes into maintenance by itself.
    shop.partner_is("failing").await;
    shop.until_it_is_noticed().await;
    browser.click(BUY).await.unwrap();
    let refused = "document.querySelector('#maintenance h1')?.textContent";
    let refused = format!("{refused} === 'Billing is temporarily unavailable for maintenance'");
    browser.wait_until(&refused).await.unwrap();
    let status = "performance.getEntriesByType('navigation')[0].responseStatus";
    assert_eq!(browser.evaluate(status).await.unwrap(), 503);

    // A new tab shows the last good prices, and the old tab still shows them.
    browser.open_tab().await.unwrap();
    browser.open(&shop.url("/shop")).await.unwrap();
    browser.wait_until(&text_is("pro", "49 EUR")).await.unwrap();
    let note = browser.text("#note").await.unwrap();
    assert!(note.starts_with("Prices as they were "), "{note}");
    assert_eq!(browser.text("#plan").await.unwrap(), "nothing yet");
    let newcomer = browser.tab().await.unwrap();
    browser.switch_to(&looking).await.unwrap();
    assert_eq!(browser.text("#pro").await.unwrap(), "49 EUR");

    // The partner is back, with other prices under the same tag. The test touches no tab.
    shop.partner_is("healthy").await;
    browser.wait_until(&text_is("pro", "50 EUR")).await.unwrap();
    assert_eq!(browser.evaluate("window.untouched").await.unwrap(), true);
    browser.switch_to(&newcomer).await.unwrap();
    browser.wait_until(&text_is("pro", "50 EUR")).await.unwrap();
    assert_eq!(
        browser.text("#note").await.unwrap(),
        "",
        "not the last good ones"
    );

    // The refused purchase was not made. Only the customer repeats it: back, and once more.
    browser.switch_to(&buying).await.unwrap();
    let works = "document.getElementById('again')?.hidden === false";
    browser.wait_until(works).await.unwrap();
    browser.click("#back").await.unwrap();
    browser.wait_until(&text_is("pro", "50 EUR")).await.unwrap();
    assert_eq!(browser.text("#plan").await.unwrap(), "nothing yet");
    browser.click(BUY).await.unwrap();
    browser.wait_until(&text_is("plan", "pro")).await.unwrap();
    browser.wait_until(&text_is("pro", "50 EUR")).await.unwrap();

    // In the session of the morning.
    let after = browser.cookie("session").await.unwrap();
    assert_eq!(after, Some(session));
}

/// What a tab that was open shows after the incident, untouched and then loaded anew.
async fn after_the_incident(max_age: u32, flags: &[&str]) -> [String; 2] {
    let mut setup = Setup::default();
    setup.max_age = max_age;
    for flag in flags {
        assert!(setup.flag(flag), "{flag}");
    }
    let shop = Shop::open(setup).await;
    let browser = Browser::start().await.unwrap();
    browser.open(&shop.url("/shop")).await.unwrap();
    browser.wait_until(&text_is("pro", "49 EUR")).await.unwrap();
    shop.partner_is("failing").await;
    shop.until_it_is_noticed().await;
    shop.partner_is("healthy").await;
    let back = async {
        while shop.elsewhere("GET", "/billing/prices").await != 200 {
            browser.wait_until("true").await.unwrap();
        }
    };
    tokio::time::timeout(CAP, back).await.unwrap();

    let shown = "document.getElementById('pro').textContent + ', ' + document.getElementById('offer').textContent";
    let untouched = browser.evaluate(shown).await.unwrap();
    browser.reload().await.unwrap();
    let drawn = "document.getElementById('offer')?.textContent";
    browser.wait_until(drawn).await.unwrap();
    let anew = browser.evaluate(shown).await.unwrap();
    [untouched, anew].map(|shown| shown.as_str().unwrap().to_owned())
}

/// The controls, and what the example's first page says of its flags.
#[tokio::test]
#[ignore = "needs chromium"]
async fn what_each_cure_is_worth() {
    let old = "49 EUR, Offered to you: Basic for 19 EUR";
    let mended = "50 EUR, Offered to you: Basic for 19 EUR";
    let all_new = "50 EUR, Offered to you: Basic for 20 EUR";
    let cases: [(_, &[_], _); 5] = [
        (0, &["--without-push"], mended),
        (0, &["--without-push", "--without-salted-etags"], old),
        (600, &["--without-push"], old),
        (600, &["--without-push", "--clear-site-data"], mended),
        (0, &["--without-push", "--expire-cookie"], all_new),
    ];
    for (max_age, flags, anew) in cases {
        let shown = after_the_incident(max_age, flags).await;
        assert_eq!(shown, [old, anew], "--max-age {max_age} {flags:?}");
    }
}
