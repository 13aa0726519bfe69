//! A real browser for tests of pages: headless Chromium, driven through chromedriver.
//!
//! The behaviour of a page after a recovery depends on caches, cookies, open tabs, server-sent
//! events and timers. No model of a browser has them all.
//!
//! The tests need Debian's packages `chromium` and `chromium-driver`. [`Browser::axe`] needs the
//! npm package `axe-core`. `crates/setup` installs the missing ones. Where one is missing, the
//! tests fail and say so; none is skipped. They are `#[ignore = "needs chromium"]`, so that
//! `cargo test` runs everywhere:
//!
//! ```sh
//! crates/setup && cargo test -p browser-tests -- --include-ignored
//! ```
//!
//! ```no_run
//! use browser_tests::{Browser, Size};
//!
//! # async fn test() -> Result<(), browser_tests::Error> {
//! let browser = Browser::start().await?;
//! browser.size(Size::PHONE).await?;
//! browser.open("http://127.0.0.1:8080/status").await?;
//! browser.wait_until("document.body.dataset.mode === 'serving'").await?;
//! assert_eq!(browser.text("h1").await?, "All is well");
//! assert_eq!(browser.axe().await?, []);
//! # Ok(())
//! # }
//! ```
//!
//! Servers under test listen on `127.0.0.1` or `localhost`, over plain http. There Chromium has
//! caches, `Clear-Site-Data` and service workers as over https. `localhost` and `127.0.0.1` are two
//! sites.

#![forbid(unsafe_code)]

mod driver;
mod error;

use std::{
    env,
    fmt::{self, Debug, Display},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use fantoccini::{
    Client, Locator,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::driver::Driver;

pub use crate::error::{CAP, Error};
pub use fantoccini::{self, cookies::Cookie};

/// The time between two questions of [`Browser::wait_until`]. It asks from outside, because a
/// watcher inside the page would not survive a reload.
const POLL: Duration = Duration::from_millis(20);

/// The environment variable with the path of another `axe.min.js`.
const AXE: &str = "AXE_MIN_JS";

/// A browser with an empty profile of its own, and one of its tabs in front.
///
/// Methods act on the tab in front. Each tab begins as [`Size::DESKTOP`], in light colours.
///
/// Dropping it kills chromedriver and Chromium, waits until they are gone, and removes the profile.
/// This happens at the end of a test, also of one that panics, and if the test process is killed.
pub struct Browser {
    client: Client,
    driver: Driver,
}

impl Browser {
    /// Starts chromedriver on a free port of 127.0.0.1, and Chromium with a new empty profile.
    ///
    /// # Errors
    ///
    /// If a program is missing: says which, and how to install it. If one does not start.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(&[]).await
    }

    /// Starts them as [`start`](Self::start) does, with more arguments for Chromium.
    ///
    /// `--host-resolver-rules=...`, for instance, resolves a host name that is in no DNS.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(arguments: &[&str]) -> Result<Self, Error> {
        let path = env::var_os("PATH").unwrap_or_default();
        let chromium = driver::find("chromium", &path)?;
        let driver = Driver::start(&driver::find("chromedriver", &path)?).await?;
        let client = driver.session(&chromium, arguments).await?;
        let browser = Self { client, driver };
        browser.begin_tab().await?;
        Ok(browser)
    }

    /// Goes to `url`, and waits until the page and what it includes has loaded.
    ///
    /// # Errors
    ///
    /// If there is no such server, for instance. An answer like 503 is a page, and no error.
    pub async fn open(&self, url: &str) -> Result<(), Error> {
        let opened = self.client.goto(url).await;
        opened.map_err(|error| Error::new(format!("cannot open {url}: {error}")))?;
        // chromedriver does not report every failure: a port that browsers refuse, for instance.
        if self.evaluate("location.protocol").await? == "chrome-error:" {
            return Err(Error::new(format!(
                "cannot open {url}: the browser shows an error page of its own"
            )));
        }
        Ok(())
    }

    /// Reloads the page as the reload button does.
    ///
    /// # Errors
    ///
    /// If the page cannot be loaded.
    pub async fn reload(&self) -> Result<(), Error> {
        Ok(self.client.refresh().await?)
    }

    /// Waits until a JavaScript expression is truthy, through reloads and navigations.
    ///
    /// It waits for [`CAP`] at most.
    ///
    /// # Errors
    ///
    /// If the expression is not truthy in time. An expression that throws counts as not truthy; the
    /// error quotes the last exception.
    pub async fn wait_until(&self, condition: &str) -> Result<(), Error> {
        let mut last = None;
        let truthy = async {
            loop {
                last = Some(self.evaluate(&format!("!!({condition})")).await);
                if matches!(last, Some(Ok(Value::Bool(true)))) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        if timeout(CAP, truthy).await.is_ok() {
            return Ok(());
        }
        let why = match last {
            Some(Err(error)) => format!(": {error}"),
            _ => String::new(),
        };
        let url = self.client.current_url().await?;
        Err(Error::new(format!(
            "not true within {CAP:?} at {url}: `{condition}`{why}"
        )))
    }

    /// Returns the text of the first element that a CSS selector finds, as a person sees it.
    ///
    /// # Errors
    ///
    /// If there is no such element.
    pub async fn text(&self, css: &str) -> Result<String, Error> {
        let found = self.client.find(Locator::Css(css)).await;
        let element = found.map_err(|error| Error::new(format!("no element `{css}`: {error}")))?;
        Ok(element.text().await?)
    }

    /// Evaluates a JavaScript expression in the page; a promise is awaited.
    ///
    /// # Errors
    ///
    /// If it throws, or the promise is rejected.
    pub async fn evaluate(&self, expression: &str) -> Result<Value, Error> {
        let value = self
            .client
            .execute(&format!("return (\n{expression}\n);"), Vec::new())
            .await;
        value.map_err(|error| Error::new(format!("`{expression}`: {error}")))
    }

    /// Schedules a click on the first element that a CSS selector finds.
    ///
    /// The caller [waits](Self::wait_until) for the effect. The evaluated expression does not click
    /// by itself: if the click leaves the page, the result of the expression can be lost with it,
    /// and the driver then evaluates the expression again, in the next page.
    ///
    /// # Errors
    ///
    /// If there is no such element in time.
    pub async fn click(&self, css: &str) -> Result<(), Error> {
        let element = format!("document.querySelector({})", Value::from(css));
        self.wait_until(&element).await?;
        let soon = format!("{element} && setTimeout(() => {element}.click(), 50)");
        self.evaluate(&soon).await?;
        Ok(())
    }

    /// Writes what the tab shows as a PNG, in device pixels; creates the directories above it.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub async fn screenshot(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let png = self.client.screenshot().await?;
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(path, png));
        written.map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))
    }

    /// Gives the tab the screen of a device; pages see it at once, and after each navigation.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn size(&self, size: Size) -> Result<(), Error> {
        let Size {
            width,
            height,
            scale,
            mobile,
        } = size;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await?;
        Ok(())
    }

    /// Prefers dark colours, as the page sees in `prefers-color-scheme`.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn dark(&self) -> Result<(), Error> {
        self.colours("dark").await
    }

    /// Prefers light colours: undoes [`dark`](Self::dark).
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn light(&self) -> Result<(), Error> {
        self.colours("light").await
    }

    /// Cuts the tab off the network: its requests fail, and `navigator.onLine` is false.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn offline(&self) -> Result<(), Error> {
        self.network(true).await
    }

    /// Connects the tab again: undoes [`offline`](Self::offline).
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn online(&self) -> Result<(), Error> {
        self.network(false).await
    }

    /// Returns the tab in front.
    ///
    /// # Errors
    ///
    /// If it has been closed.
    pub async fn tab(&self) -> Result<Tab, Error> {
        Ok(Tab(self.client.window().await?))
    }

    /// Opens an empty tab of the same profile, in front of the others; those live on behind it.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn open_tab(&self) -> Result<Tab, Error> {
        let tab = Tab(self.client.new_window(true).await?.handle);
        self.switch_to(&tab).await?;
        self.begin_tab().await?;
        Ok(tab)
    }

    /// Brings a tab to the front.
    ///
    /// # Errors
    ///
    /// If it has been closed.
    pub async fn switch_to(&self, tab: &Tab) -> Result<(), Error> {
        Ok(self.client.switch_to_window(tab.0.clone()).await?)
    }

    /// Closes the tab in front.
    ///
    /// No other tab comes to the front by itself: [`switch_to`](Self::switch_to) one. The browser
    /// ends with its last tab.
    ///
    /// # Errors
    ///
    /// If it has been closed.
    pub async fn close_tab(&self) -> Result<(), Error> {
        Ok(self.client.close_window().await?)
    }

    /// Returns the cookies that the browser would send to the page's server.
    ///
    /// The cookies that scripts cannot see are among them.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn cookies(&self) -> Result<Vec<Cookie<'static>>, Error> {
        Ok(self.client.get_all_cookies().await?)
    }

    /// Returns the value of one of the [`cookies`](Self::cookies), if there is one of that name.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn cookie(&self, name: &str) -> Result<Option<String>, Error> {
        let cookies = self.cookies().await?;
        Ok(cookies
            .into_iter()
            .find(|cookie| cookie.name() == name)
            .map(|cookie| cookie.value().to_owned()))
    }

    /// Sets a cookie of the page's server, until the browser ends: `Path=/`, visible to scripts.
    ///
    /// # Errors
    ///
    /// If no page of a server is open.
    pub async fn set_cookie(&self, name: &str, value: &str) -> Result<(), Error> {
        // Not through WebDriver: fantoccini would send `"domain": null`, and chromedriver refuses
        // that.
        let url = self.client.current_url().await?;
        let cookie = json!({ "url": url.as_str(), "name": name, "value": value, "path": "/" });
        self.devtools("Network.setCookie", cookie).await?;
        Ok(())
    }

    /// Forgets all cookies of the page's server.
    ///
    /// # Errors
    ///
    /// If the browser is gone.
    pub async fn clear_cookies(&self) -> Result<(), Error> {
        Ok(self.client.delete_all_cookies().await?)
    }

    /// Returns the violations of accessibility that axe-core finds in the page.
    ///
    /// Applies axe's default rules, which are WCAG 2.0 and 2.1, levels A and AA, and best
    /// practices, and the rule `target-size` of WCAG 2.2 AA. It applies neither level AAA nor the
    /// rules that axe calls experimental. The list has nothing that axe cannot decide by itself,
    /// such as text on a picture, and nothing inside frames.
    ///
    /// axe-core is read from the path in the environment variable `AXE_MIN_JS`, or else from
    /// `crates/browser/node_modules/axe-core/axe.min.js`.
    ///
    /// # Errors
    ///
    /// If axe-core is missing: says how to install it.
    pub async fn axe(&self) -> Result<Vec<Violation>, Error> {
        let axe = read_axe(env::var_os(AXE).map(PathBuf::from))?;
        self.client.execute(&axe, Vec::new()).await?;
        let run = "axe.run(document, { rules: { 'target-size': { enabled: true } } }).then(found => found.violations)";
        let found = self.evaluate(run).await?;

        let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut violations = Vec::new();
        for rule in array(&found) {
            for node in array(&rule["nodes"]) {
                violations.push(Violation {
                    rule: text(&rule["id"]),
                    impact: text(&rule["impact"]),
                    help: text(&rule["help"]),
                    target: node["target"]
                        .as_array()
                        .map_or_else(String::new, |target| text(&target[0])),
                    html: text(&node["html"]),
                });
            }
        }
        Ok(violations)
    }

    /// Sends a command of the DevTools protocol to the tab: for what has no method here.
    ///
    /// # Errors
    ///
    /// If Chromium refuses it.
    pub async fn devtools(&self, command: &'static str, parameters: Value) -> Result<Value, Error> {
        let answer = self
            .client
            .issue_cmd(DevTools {
                command,
                parameters,
            })
            .await;
        answer.map_err(|error| Error::new(format!("{command}: {error}")))
    }

    /// Returns the WebDriver session, for keys, forms and all else that has no method here.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the directory with the profile and chromedriver's log.
    ///
    /// It is removed when the browser is dropped.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.driver.directory()
    }

    async fn begin_tab(&self) -> Result<(), Error> {
        self.size(Size::DESKTOP).await?;
        self.light().await
    }

    async fn colours(&self, scheme: &str) -> Result<(), Error> {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features)
            .await?;
        Ok(())
    }

    async fn network(&self, offline: bool) -> Result<(), Error> {
        // Chromium emulates only while it also reports.
        self.devtools("Network.enable", json!({})).await?;
        let unlimited = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.devtools("Network.emulateNetworkConditions", unlimited)
            .await?;
        Ok(())
    }
}

impl Debug for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browser")
            .field("directory", &self.directory())
            .finish_non_exhaustive()
    }
}

/// The screen of a device, in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Width of the viewport.
    pub width: u32,
    /// Height of the viewport.
    pub height: u32,
    /// How many device pixels make a CSS pixel.
    pub scale: f64,
    /// Whether the viewport is that of a phone: it follows `<meta name="viewport">`, and is 980
    /// pixels wide without it.
    pub mobile: bool,
}

impl Size {
    /// A laptop: 1280 x 800.
    pub const DESKTOP: Self = Self {
        width: 1280,
        height: 800,
        scale: 1.0,
        mobile: false,
    };
    /// A phone held upright: 390 x 844, two device pixels to a CSS pixel.
    pub const PHONE: Self = Self {
        width: 390,
        height: 844,
        scale: 2.0,
        mobile: true,
    };
}

/// One of the tabs of a [`Browser`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab(WindowHandle);

/// An element that breaks a rule of accessibility.
///
/// Its `Debug` is its `Display`: one line, for the failure message of an `assert_eq!`.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    /// axe's name of the rule, `image-alt` for instance.
    pub rule: String,
    /// `minor`, `moderate`, `serious` or `critical`.
    pub impact: String,
    /// What would be right.
    pub help: String,
    /// A CSS selector of the element.
    pub target: String,
    /// The element as HTML, shortened.
    pub html: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            impact,
            help,
            target,
            html,
        } = self;
        write!(f, "{rule} ({impact}): {help}: {target}: {html}")
    }
}

impl Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// chromedriver's own command for the DevTools protocol.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.parameters });
        (http::Method::POST, Some(body.to_string()))
    }
}

fn read_axe(elsewhere: Option<PathBuf>) -> Result<String, Error> {
    let path = elsewhere.unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("node_modules/axe-core/axe.min.js")
    });
    fs::read_to_string(&path).map_err(|error| {
        Error::new(format!(
            "axe-core is missing: cannot read {}: {error}; run `crates/setup`, or `npm ci` in `crates/browser/`, \
             or name another axe.min.js in {AXE}",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_axe_is_an_error_that_says_how_to_install_it() {
        let error = read_axe(Some("/nowhere/axe.min.js".into()))
            .unwrap_err()
            .to_string();
        for part in [
            "/nowhere/axe.min.js",
            "crates/setup",
            "npm ci",
            "AXE_MIN_JS",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
