//! The promises of the harness, on real pages: the page sees each thing that the harness does, and
//! nothing of it is left, however a test ends.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use axum::{
    Router,
    http::header::SET_COOKIE,
    response::{AppendHeaders, Html, IntoResponse},
    routing::get,
};
use browser_tests::{Browser, CAP, Size};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::{sleep, timeout},
};

const GOOD: &str = r#"<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Prices</title>
  <style>
    :root { color-scheme: light dark; }
    body { background: #ffffff; color: #202020; font: 1.2rem sans-serif; }
    @media (prefers-color-scheme: dark) { body { background: #101010; color: #eeeeee; } }
  </style>
</head>
<body>
  <main>
    <h1>Prices</h1>
    <p>A month costs <b id="price">12 EUR</b>.</p>
    <img alt="a red square" width="60" height="60"
         src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><rect width='60' height='60' fill='red'/></svg>">
  </main>
</body>
</html>"#;

/// Sees without a picture what a sighted person sees with it; otherwise like the good one.
fn bad() -> String {
    GOOD.replace(r#"alt="a red square""#, "")
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn a_page_is_opened_read_and_asked() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();

    assert_eq!(browser.text("h1").await.unwrap(), "Prices");
    assert_eq!(browser.text("#price").await.unwrap(), "12 EUR");
    assert_eq!(
        browser
            .evaluate("document.images.length + 1")
            .await
            .unwrap(),
        2
    );
    let fetched = "fetch('/count').then(answer => answer.text())";
    assert_eq!(
        browser.evaluate(fetched).await.unwrap(),
        "answer",
        "a promise is awaited"
    );

    let error = browser.text("h7").await.unwrap_err().to_string();
    assert!(error.contains("`h7`"), "{error}");
    let error = browser
        .evaluate("nothing.here")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`nothing.here`") && error.contains("nothing is not defined"),
        "{error}"
    );
    // A port without a listener: it is bound here, so that no other program can listen on it. And
    // a port that browsers refuse.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}/", bound.local_addr().unwrap());
    for url in [closed.as_str(), "http://127.0.0.1:1/"] {
        let error = browser.open(url).await.unwrap_err().to_string();
        assert!(error.contains(url), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn what_a_page_does_later_is_waited_for() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();
    // As after a message from the server. The test starts it, because loading the page may take
    // longer than the change.
    let later = "setTimeout(() => document.querySelector('h1').textContent = 'Late', 500)";
    browser.evaluate(later).await.unwrap();
    browser
        .wait_until("document.querySelector('h1').textContent === 'Late'")
        .await
        .unwrap();
    assert_eq!(browser.text("h1").await.unwrap(), "Late");

    // Through a navigation, and while the condition throws: the page without `#price` comes first.
    let away = format!("setTimeout(() => location = '{}', 300)", site.url("/good"));
    browser.open(&site.url("/cookie")).await.unwrap();
    browser.evaluate(&away).await.unwrap();
    browser
        .wait_until("document.querySelector('#price').textContent === '12 EUR'")
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn dark_and_light_are_seen_by_the_page() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();
    let seen = "[matchMedia('(prefers-color-scheme: dark)').matches, getComputedStyle(document.body).backgroundColor]";
    let light = json!([false, "rgb(255, 255, 255)"]);
    let dark = json!([true, "rgb(16, 16, 16)"]);

    assert_eq!(
        browser.evaluate(seen).await.unwrap(),
        light,
        "a tab begins in light colours"
    );
    browser.dark().await.unwrap();
    assert_eq!(browser.evaluate(seen).await.unwrap(), dark);
    browser.reload().await.unwrap();
    assert_eq!(
        browser.evaluate(seen).await.unwrap(),
        dark,
        "also after a reload"
    );
    browser.light().await.unwrap();
    assert_eq!(browser.evaluate(seen).await.unwrap(), light);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_size_is_seen_by_the_page_and_is_the_size_of_a_screenshot() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    let pictures = tempfile::tempdir().unwrap();
    // To look at them: `SCREENSHOTS=some/directory`.
    let pictures = env::var_os("SCREENSHOTS").map_or(pictures.path().to_owned(), PathBuf::from);
    browser.open(&site.url("/good")).await.unwrap();
    let seen = "[innerWidth, innerHeight, devicePixelRatio]";

    assert_eq!(
        browser.evaluate(seen).await.unwrap(),
        json!([1280, 800, 1]),
        "a tab begins as a desktop"
    );
    let desktop = pictures.join("new/desktop.png");
    browser.screenshot(&desktop).await.unwrap();
    assert_eq!(png_size(&desktop), (1280, 800));

    browser.size(Size::PHONE).await.unwrap();
    browser.dark().await.unwrap();
    // Another site, so another process.
    browser
        .open(&site.url("/good").replace("127.0.0.1", "localhost"))
        .await
        .unwrap();
    assert_eq!(
        browser.evaluate(seen).await.unwrap(),
        json!([390, 844, 2]),
        "also after a navigation"
    );
    let phone = pictures.join("new/phone.png");
    browser.screenshot(&phone).await.unwrap();
    assert_eq!(png_size(&phone), (780, 1688));

    browser.open(&site.url("/cookie")).await.unwrap();
    assert_eq!(
        browser.evaluate("innerWidth").await.unwrap(),
        980,
        "a phone does not trust a page without viewport"
    );
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn axe_finds_a_picture_without_text_and_nothing_on_a_good_page() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();
    assert_eq!(browser.axe().await.unwrap(), []);
    browser.dark().await.unwrap();
    assert_eq!(browser.axe().await.unwrap(), [], "nor in the dark");

    browser.open(&site.url("/bad")).await.unwrap();
    let found = browser.axe().await.unwrap();
    assert_eq!(
        found
            .iter()
            .map(|found| found.rule.as_str())
            .collect::<Vec<_>>(),
        ["image-alt"],
        "{found:#?}"
    );
    let line = found[0].to_string();
    assert!(
        line.starts_with("image-alt (critical): Images must have alternative text: img: <img "),
        "{line}"
    );

    // Best practices, and the rule for fingers that axe leaves out.
    let add = "document.querySelector('main').insertAdjacentHTML('afterend', `<h4>aside</h4>
        <button style='width: 8px; height: 8px; padding: 0' aria-label='one'></button
        ><button style='width: 8px; height: 8px; padding: 0' aria-label='two'></button>`)";
    browser.open(&site.url("/good")).await.unwrap();
    browser.evaluate(add).await.unwrap();
    let found = browser.axe().await.unwrap();
    for rule in ["heading-order", "region", "target-size"] {
        assert!(
            found.iter().any(|found| found.rule == rule),
            "{rule}: {found:#?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn tabs_live_side_by_side_and_share_a_profile() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();
    let first = browser.tab().await.unwrap();
    browser
        .evaluate("new BroadcastChannel('news').onmessage = news => document.title = news.data")
        .await
        .unwrap();
    browser.dark().await.unwrap();

    let second = browser.open_tab().await.unwrap();
    assert_ne!(first, second);
    assert_eq!(browser.tab().await.unwrap(), second);
    browser.open(&site.url("/bad")).await.unwrap();
    assert_eq!(
        browser.evaluate("innerWidth").await.unwrap(),
        1280,
        "a second tab begins as a desktop, too"
    );
    let dark = "matchMedia('(prefers-color-scheme: dark)').matches";
    assert_eq!(
        browser.evaluate(dark).await.unwrap(),
        false,
        "and in light colours"
    );
    browser
        .evaluate("new BroadcastChannel('news').postMessage('heard')")
        .await
        .unwrap();

    browser.switch_to(&first).await.unwrap();
    browser
        .wait_until("document.title === 'heard'")
        .await
        .unwrap();
    assert_eq!(
        browser.evaluate(dark).await.unwrap(),
        true,
        "each tab keeps its own colours"
    );

    browser.switch_to(&second).await.unwrap();
    browser.close_tab().await.unwrap();
    assert!(browser.text("h1").await.is_err());
    browser.switch_to(&first).await.unwrap();
    assert_eq!(browser.text("h1").await.unwrap(), "Prices");
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn cookies_are_read_set_and_forgotten() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/cookie")).await.unwrap();
    assert_eq!(
        browser.cookie("session").await.unwrap().as_deref(),
        Some("s1"),
        "HttpOnly ones, too"
    );
    assert_eq!(browser.cookie("none").await.unwrap(), None);
    let cookies = browser.cookies().await.unwrap();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(cookies[0].http_only(), Some(true));

    browser.set_cookie("generation", "7").await.unwrap();
    assert_eq!(
        browser.evaluate("document.cookie").await.unwrap(),
        "generation=7"
    );
    browser.clear_cookies().await.unwrap();
    assert!(browser.cookies().await.unwrap().is_empty());

    // A profile of its own: what one browser has another one does not see.
    browser.set_cookie("generation", "8").await.unwrap();
    let other = Browser::start().await.unwrap();
    other.open(&site.url("/good")).await.unwrap();
    assert!(other.cookies().await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn offline_is_seen_by_the_page_until_it_is_online_again() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();
    let reached = "fetch('/count').then(() => 'reached', () => 'cut off')";

    browser.offline().await.unwrap();
    assert_eq!(browser.evaluate(reached).await.unwrap(), "cut off");
    assert_eq!(browser.evaluate("navigator.onLine").await.unwrap(), false);
    browser.online().await.unwrap();
    assert_eq!(browser.evaluate(reached).await.unwrap(), "reached");
    assert_eq!(browser.evaluate("navigator.onLine").await.unwrap(), true);
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn nothing_is_left_after_a_test() {
    let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
    browser.open(&site.url("/good")).await.unwrap();
    let left = Left::of(&browser);
    drop(browser);
    left.assert_nothing();
}

#[test]
#[ignore = "needs chromium"]
fn nothing_is_left_after_a_panic() {
    let mut left = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (browser, site) = (Browser::start().await.unwrap(), Site::start().await);
            browser.open(&site.url("/good")).await.unwrap();
            left = Some(Left::of(&browser));
            assert_eq!(browser.text("h1").await.unwrap(), "not this", "on purpose");
        });
    }));
    assert!(panicked.is_err());
    left.unwrap().assert_nothing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium"]
async fn nothing_is_left_after_a_task_that_panics_or_is_aborted() {
    for panics in [true, false] {
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let browser = Browser::start().await.unwrap();
            tell.send(Left::of(&browser)).unwrap();
            assert!(!panics, "on purpose");
            std::future::pending::<()>().await;
        });
        let left = told.await.unwrap();
        if !panics {
            task.abort();
        }
        assert_eq!(task.await.unwrap_err().is_panic(), panics);
        left.assert_nothing();
    }
}

/// The name of the next test, and of the variable that makes it the victim.
const KILLED: &str = "nothing_is_left_when_the_test_process_is_killed";

/// A test that hangs is killed by the program that runs it, and then no value in it is dropped.
#[tokio::test]
#[ignore = "needs chromium"]
async fn nothing_is_left_when_the_test_process_is_killed() {
    if env::var_os(KILLED).is_some() {
        let browser = Browser::start().await.unwrap();
        println!("\nvictim {}", browser.directory().display());
        std::future::pending::<()>().await;
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", KILLED])
        .env(KILLED, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let directory = lines
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("victim ").map(PathBuf::from));
    let left = Left::in_directory(&directory.unwrap());
    victim.kill().unwrap();
    victim.wait().unwrap();

    // This test does not wait for the keeper, and the keeper ends after it has removed the
    // directory.
    let gone = timeout(CAP, async {
        while left.directory.exists() || !left.still_running().is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let _ = gone.await;
    left.assert_nothing();
}

#[test]
#[ignore = "needs chromium"]
fn without_its_programs_a_test_fails_and_says_what_to_install() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "a_page_is_opened_read_and_asked"])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("apt-get install -y chromium chromium-driver"),
        "{said}"
    );
}

/// A web site on a free port of 127.0.0.1, closed when dropped.
struct Site {
    port: u16,
    server: JoinHandle<()>,
}

impl Site {
    async fn start() -> Self {
        let cookie = AppendHeaders([(SET_COOKIE, "session=s1; Path=/; HttpOnly; SameSite=Lax")]);
        let app = Router::new()
            .route("/good", get(async || Html(GOOD)))
            .route("/bad", get(async || Html(bad())))
            .route("/count", get(async || "answer"))
            .route(
                "/cookie",
                get(async move || (cookie, Html("<title>cookie</title>")).into_response()),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { port, server }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What a browser would leave: noted while it runs, by other means than the harness has.
#[derive(Debug)]
struct Left {
    directory: PathBuf,
    processes: BTreeMap<u32, Process>,
}

#[derive(Clone, Debug, PartialEq)]
struct Process {
    name: String,
    parent: u32,
    /// With the id it names a process for good: ids come again.
    started: String,
}

impl Left {
    fn of(browser: &Browser) -> Self {
        Self::in_directory(browser.directory())
    }

    /// All processes with the directory in their environment or command line, and those below them.
    fn in_directory(directory: &Path) -> Self {
        let all = processes();
        let name = directory.to_str().unwrap();
        let mentions = |pid: &u32| {
            ["environ", "cmdline"].iter().any(|file| {
                let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&content).contains(name)
            })
        };
        let mut ours: Vec<u32> = all.keys().copied().filter(mentions).collect();
        let mut at = 0;
        while at < ours.len() {
            let below = all
                .iter()
                .filter(|(_, process)| process.parent == ours[at])
                .map(|(pid, _)| *pid);
            let new: Vec<u32> = below.filter(|pid| !ours.contains(pid)).collect();
            ours.extend(new);
            at += 1;
        }
        let processes: BTreeMap<_, _> = ours
            .into_iter()
            .map(|pid| (pid, all[&pid].clone()))
            .collect();

        // That the look finds them at all.
        for name in ["chromedriver", "chromium", "chrome_crashpad", "bash"] {
            assert!(
                processes.values().any(|process| process.name == name),
                "{name}: {processes:#?}"
            );
        }
        assert!(directory.join("profile").is_dir());
        Self {
            directory: directory.to_owned(),
            processes,
        }
    }

    fn still_running(&self) -> Vec<(&u32, &Process)> {
        let now = processes();
        self.processes
            .iter()
            .filter(|(pid, process)| {
                now.get(pid)
                    .is_some_and(|now| now.started == process.started)
            })
            .collect()
    }

    fn assert_nothing(&self) {
        let left = self.still_running();
        assert!(left.is_empty(), "{left:#?}");
        assert!(!self.directory.exists(), "{}", self.directory.display());
    }
}

/// What runs now. What has ended and was only not yet fetched by its parent does not.
fn processes() -> BTreeMap<u32, Process> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse() else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let (head, tail) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = tail.split(' ').collect();
        if matches!(fields[0], "Z" | "X") {
            continue;
        }
        let name = head.split_once('(').unwrap().1.to_owned();
        found.insert(
            pid,
            Process {
                name,
                parent: fields[1].parse().unwrap(),
                started: fields[19].to_owned(),
            },
        );
    }
    found
}

/// Width and height from the header of a PNG.
fn png_size(path: &Path) -> (u32, u32) {
    let png = fs::read(path).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&png[12..16], b"IHDR");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}
