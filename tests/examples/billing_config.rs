//! `examples/billing --config FILE`: what the file decides, what each mistake in it is called, and
//! what a change of it does to the running program.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use http::Method;
use serde_json::{Value, json};
use test_support::{millis, soon};
use tokio::time::sleep;

use crate::{
    billing::run,
    program::{Program, read},
};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/billing.toml");

/// A file of its own for a test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let file = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

/// The program with a file, and the lines that it has told on stderr.
struct Shop {
    program: Program,
    told: Arc<Mutex<Vec<String>>>,
}

impl Shop {
    async fn open(file: &File) -> Self {
        let flags = ["--config", file.path()];
        let mut program = Program::start_telling(&flags, Stdio::piped()).await;
        let stderr = BufReader::new(program.child.stderr.take().unwrap());
        let told = Arc::<Mutex<Vec<String>>>::default();
        let lines = told.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { program, told }
    }

    /// Waits until the status is such.
    async fn until(&self, such: impl Fn(&Value) -> bool) -> Value {
        soon(async {
            loop {
                let status = self.program.maintenance().await;
                if such(&status) {
                    return status;
                }
                sleep(millis(20)).await;
            }
        })
        .await
    }

    /// Waits until a line with this text was told.
    async fn until_told(&self, text: &str) {
        soon(async {
            while !self
                .told
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains(text))
            {
                sleep(millis(20)).await;
            }
        })
        .await;
    }

    /// The page for a refused request.
    async fn page(&self) -> String {
        let headers = [("accept", "text/html")];
        let answer = self
            .program
            .send_with(Method::GET, "/billing/prices", &headers, "")
            .await;
        assert_eq!(answer.status(), 503);
        String::from_utf8(answer.body().to_vec()).unwrap()
    }

    async fn engage(&self) {
        let command = json!({ "actor": "on-call", "reason": "drill" });
        let answer = self.program.post("/maintenance/engage", &command).await;
        assert_eq!(answer.status(), 200);
    }

    #[cfg(unix)]
    fn hang_up(&self) {
        let id = self.program.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-HUP", &id])
            .status();
        assert!(sent.unwrap().success());
    }
}

fn loaded_at(status: &Value) -> SystemTime {
    let at = status["config"]["loaded_at"].as_str().unwrap();
    humantime::parse_rfc3339(at).unwrap()
}

const OTHER: &str = r#"
[policy]
window = { calls = 50 }
min_calls = 8
failure_rate = 0.25

[texts]
component = "Payments"

[texts.language.de]
title = "{component} wird gewartet"

[[exempt]]
route = "/maintenance"
why = "the status"

[[exempt]]
route = "/maintenance/engage"
why = "operators"

[[exempt]]
route = "/billing/purchases/{plan}"
methods = ["POST"]
why = "a test"
"#;

#[tokio::test]
async fn the_file_decides_the_policy_the_exemptions_and_the_texts() {
    let file = File::new("decides.toml", OTHER);
    let shop = Shop::open(&file).await;
    let status = shop.program.maintenance().await;
    assert_eq!(status["policy"]["window"], json!({ "calls": 50 }));
    assert_eq!(status["policy"]["min_calls"], 8);
    assert_eq!(status["policy"]["failure_rate"], 0.25);
    assert_eq!(status["policy"]["wait"], "30s", "left out: the library's");
    assert_eq!(status["config"]["error"], Value::Null);
    let at = humantime::parse_rfc3339(status["at"].as_str().unwrap()).unwrap();
    assert!(loaded_at(&status) <= at);

    shop.engage().await;
    let page = shop.page().await;
    assert!(
        page.contains("Payments is temporarily unavailable"),
        "{page}"
    );
    let german = [("accept", "text/html"), ("accept-language", "de")];
    let page = shop
        .program
        .send_with(Method::GET, "/billing/prices", &german, "")
        .await;
    let page = String::from_utf8(page.body().to_vec()).unwrap();
    assert!(page.contains("Payments wird gewartet"), "{page}");
    // Exempt here, and not without the file; and the reverse.
    let purchase = shop
        .program
        .post("/billing/purchases/gold", &Value::Null)
        .await;
    assert_eq!(purchase.status(), 404, "there is no such plan");
    assert_eq!(shop.program.get("/billing/invoices/7").await.status(), 503);
}

#[tokio::test]
async fn the_sample_is_what_the_program_has_without_a_file() {
    let with = Program::start_with(&["--config", SAMPLE]).await;
    let without = Program::start().await;
    let (with, without) = (with.maintenance().await, without.maintenance().await);
    assert_eq!(with["policy"], without["policy"]);
    assert_eq!(with["policy"]["hang_limit"], "1s");
    assert_eq!(without["config"]["error"], Value::Null);
}

#[tokio::test]
async fn a_changed_file_is_taken_up_and_the_change_is_told() {
    let sample = fs::read_to_string(SAMPLE).unwrap();
    let file = File::new("changed.toml", &sample);
    let shop = Shop::open(&file).await;
    shop.engage().await;
    assert!(
        shop.page()
            .await
            .contains("Billing is temporarily unavailable")
    );
    let before = loaded_at(&shop.program.maintenance().await);

    file.write(OTHER);
    let status = shop
        .until(|status| status["policy"]["min_calls"] == 8)
        .await;
    assert_eq!(status["mode"], "maintenance", "a hold stays");
    shop.until(|status| loaded_at(status) > before).await;
    shop.until_told("min_calls 4 -> 8").await;
    shop.until_told("exemptions replaced").await;
    shop.until_told("changed.toml is in force").await;
    assert!(
        shop.page()
            .await
            .contains("Payments is temporarily unavailable")
    );
    assert_eq!(shop.program.get("/billing/invoices/7").await.status(), 503);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_told_until_it_is_mended() {
    let sample = fs::read_to_string(SAMPLE).unwrap();
    let file = File::new("bad.toml", &sample);
    let shop = Shop::open(&file).await;
    let before = shop.program.maintenance().await;

    let bad = OTHER.replace("min_calls = 8", "min_calls = 80");
    for (text, complaint) in [
        (
            &*bad,
            "bad.toml:2:1: policy.min_calls is 80: allowed is 1 to 50, the size of the window",
        ),
        ("", "bad.toml: the file is empty"),
        ("[polcy]", "bad.toml:1:2: polcy: unknown field `polcy`"),
    ] {
        file.write(text);
        let error = |status: &Value| status["config"]["error"].to_string().contains(complaint);
        let status = shop.until(error).await;
        assert_eq!(status["policy"], before["policy"]);
        assert_eq!(loaded_at(&status), loaded_at(&before));
        shop.until_told(complaint).await;
    }
    fs::remove_file(&file.0).unwrap();
    let gone = "bad.toml: cannot be read";
    shop.until(|status| status["config"]["error"].to_string().contains(gone))
        .await;
    // Nothing of a bad file was in force, its good parts neither.
    shop.engage().await;
    assert!(
        shop.page()
            .await
            .contains("Billing is temporarily unavailable")
    );
    assert_eq!(shop.program.get("/billing/invoices/7").await.status(), 200);

    file.write(&sample);
    let status = shop
        .until(|status| status["config"]["error"].is_null())
        .await;
    assert_eq!(status["policy"], before["policy"]);
    assert!(loaded_at(&status) > loaded_at(&before));
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_takes_the_file_up_at_once_even_if_it_has_not_changed() {
    let sample = fs::read_to_string(SAMPLE).unwrap();
    let file = File::new("hangup.toml", &sample);
    let shop = Shop::open(&file).await;
    let before = loaded_at(&shop.program.maintenance().await);
    shop.hang_up();
    shop.until(|status| loaded_at(status) > before).await;
    // What does not differ is not replaced.
    assert!(
        !shop
            .told
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("replaced"))
    );

    file.write("[policy]\nfailure_rate = 50");
    shop.hang_up();
    shop.until_told("hangup.toml:2:16: policy.failure_rate is 50: allowed is")
        .await;
    let answer = shop.program.get("/maintenance").await;
    let error = read(&answer)["config"]["error"].to_string();
    assert!(error.contains("policy.failure_rate is 50"), "{error}");
}

/// The text of a file, and what is said of it. Most lists begin with an entry that is right.
const BAD_FILES: &[(&str, &[&str])] = &[
    (
        "policy = 3",
        &[":1:10: policy: invalid type: integer `3`, expected a table with the settings"],
    ),
    (" \n", &[": the file is empty: allowed are the sections"]),
    ("[policy", &[":1:8: "]),
    (
        "[polcy]",
        &[":1:2: polcy: unknown field `polcy`, expected one of `policy`, `exempt`, `texts`"],
    ),
    (
        "[policy]\n\nfailure_rate = 50",
        &[":3:16: policy.failure_rate is 50: allowed is a percentage in quotes such as \"50%\""],
    ),
    (
        "[policy]\nfialure_rate = '50%'",
        &[
            ":2:1: policy.fialure_rate: ",
            "`fialure_rate` is no setting of a policy: allowed is window, min_calls",
        ],
    ),
    (
        "[policy]\nslow_calls = { longer_than = 1, rate = '50%' }",
        &[":2:14: policy.slow_calls.longer_than is 1: allowed is a time with its unit"],
    ),
    (
        "[policy]\nwindow = { calls = 5 }",
        &[":1:1: policy.min_calls is 10: allowed is 1 to 5, the size of the window"],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\nroute = '/health/*'\nwhy = 'x'",
        &[
            ":5:1: exempt[1]: the pattern `/health/*` is not valid",
            "`{*rest}`",
        ],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\nroute = '/health'",
        &[":5:1: exempt[1]: the exemption of `/health` has no reason: say why"],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\nwhy = 'x'",
        &[
            ":5:1: exempt[1]: the exemption with the reason `x` has no endpoint: give one of `route`",
        ],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\nroute = '/health'\ncall = 'health'\nwhy = 'x'",
        &[":5:1: exempt[1]: the exemption of `/health` and of `health` has two endpoints"],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\nroute = '/health'\nmethods = ['get']\nwhy = 'x'",
        &[
            ":5:1: exempt[1]: the exemption of `/health` is for the method `get`",
            "in capitals such as `GET`",
        ],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\npath = '/health'\nwhy = 'x'",
        &[
            ":6:1: exempt[1].path: ",
            "unknown field `path`, expected one of `route`, `http_call`, `call`",
        ],
    ),
    (
        "[[exempt]]\nroute = \"/shop\"\nwhy = \"its page\"\n\n[[exempt]]\nroute = '/shop'\nwhy = 'x'",
        &["exemptions: `/shop` is exempt twice before routes: list it once"],
    ),
    (
        "[texts]\ncomponent = 7",
        &[":2:13: texts.component: invalid type: integer `7`, expected a string"],
    ),
    (
        "[texts.language.german_]\ntitle = 'x'",
        &["texts.language is `german_`: allowed is a language tag such as `de` or `pt-BR`"],
    ),
];

#[test]
fn a_bad_file_at_the_start_ends_the_program_with_2_and_names_place_and_cure() {
    for (number, (text, complaints)) in BAD_FILES.iter().enumerate() {
        let file = File::new(&format!("start-{number}.toml"), text);
        let ended = run(&["--listen", "127.0.0.1:0", "--config", file.path()]);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert_eq!(ended.stdout, b"", "it has not listened");
        assert!(
            said.starts_with(&format!("billing: {}", file.path())),
            "{said}"
        );
        for complaint in *complaints {
            assert!(said.contains(complaint), "{text}\n{said}\n{complaint}");
        }
    }
    let ended = run(&["--config", "/nowhere/billing.toml"]);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        said.contains("/nowhere/billing.toml: cannot be read"),
        "{said}"
    );
    assert!(said.contains("give the path of a TOML file"), "{said}");
}
