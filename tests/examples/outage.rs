//! The example `outage`, run as a user runs it: a process, real sockets, real time.
//!
//! An example has tests here because it is the whole product at once. Its promises stand in
//! `promises.rs`, which the example shares. They are worth something only if they break without the
//! layer, with one that always refuses, and with one that never recovers. So those are run too.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;
use tower_maintenance::testing::SimulatedPartner;

#[path = "../../examples/outage/promises.rs"]
mod promises;

/// How long a run may take. It takes 20 s at most; this is for a busy machine.
const CAP: Duration = Duration::from_secs(120);

#[test]
fn the_layer_keeps_its_promises_through_the_outage() {
    let run = outage(&["--json"]);
    let report = run.report();

    assert_eq!(promises::broken(&report), [""; 0], "{report}");
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    // The promises assume these numbers.
    for name in [
        "requests",
        "served",
        "refused",
        "failed",
        "exempt_requests",
        "exempt_refused",
        "partner_calls_during_maintenance",
        "probes",
        "entered_after_failures",
        "cache_bust_signals",
        "generation",
    ] {
        assert!(report[name].is_u64(), "{name} in {report}");
    }
    assert_eq!(report["entered_automatically"], true);
    assert_eq!(report["entered_on_status"], 200, "with `success: false`");
    assert_eq!(report["recovered"], true);
    let without = &report["without"];
    assert_eq!(report["requests"], 1200);
    assert_eq!(without["requests"], 1200);
    assert_eq!(without["refused"], 0);
    assert!(without["failed"].as_u64() >= Some(200), "{report}");
    assert!(report["failed"].as_u64() < Some(100), "{report}");
    assert!(report["took_ms"].as_u64() >= Some(19_000), "{report}");
}

#[test]
fn a_layer_that_does_nothing_breaks_the_promises() {
    assert_breaks(
        "identity",
        &[
            "maintenance begins by itself",
            "in maintenance no call reaches the partner",
            "at most a fifth of the customers fail",
        ],
    );
}

#[test]
fn a_layer_that_always_refuses_breaks_the_promises() {
    assert_breaks(
        "always-refuse",
        &[
            "nobody is refused while the partner is well",
            "maintenance begins by itself",
            "maintenance ends by itself",
        ],
    );
}

#[test]
fn a_layer_that_never_recovers_breaks_the_promises() {
    assert_breaks(
        "never-recover",
        &[
            "maintenance ends by itself",
            "caches are told once an episode",
        ],
    );
}

#[test]
fn a_layer_that_judges_by_status_alone_breaks_the_promises() {
    assert_breaks(
        "by-status",
        &[
            "an answer that says in its body that it failed counts as a failure",
            "maintenance begins earlier than by hand",
        ],
    );
}

/// Runs the example with something else in the layer's place, and asserts that the promises break.
#[track_caller]
fn assert_breaks(layer: &str, promises: &[&str]) {
    let run = outage(&["--json", "--speed", "4", "--layer", layer]);
    let report = run.report();
    let broken = promises::broken(&report);
    for promise in promises {
        assert!(
            broken.iter().any(|told| told.starts_with(promise)),
            "`{promise}` holds with {layer}: {report}"
        );
    }
    assert_eq!(run.code, Some(1), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_partner_can_be_wrapped() {
    let server = SimulatedPartner::healthy().listen().await.unwrap();
    let url = format!("{}/v2/prices?currency=EUR", server.url());
    let run =
        tokio::task::spawn_blocking(move || outage(&["--json", "--speed=2", "--partner", &url]));

    // The partner breaks while customers call, and is mended after the layer has pinged it in vain:
    // five failed calls are the customers', and at least one is a ping.
    let partner = server.partner();
    let course = async {
        partner.until(|counts| counts.calls >= 20).await;
        partner.break_down();
        partner.until(|counts| counts.failed >= 7).await;
        partner.mend();
    };
    tokio::time::timeout(CAP, course).await.unwrap();

    let run = run.await.unwrap();
    let report = run.report();
    assert_eq!(run.code, Some(0), "{} {report}", run.stderr);
    assert_eq!(report["without"], Value::Null);
    assert_eq!(report["entered_automatically"], true, "{report}");
    assert_eq!(report["recovered"], true, "{report}");
    let log = server.log();
    for call in &log {
        // The target is sent as it was given, and nothing is written to a real partner.
        assert_eq!(call.target.as_deref(), Some("GET /v2/prices?currency=EUR"));
    }
    let left = report["partner_calls"].as_u64().unwrap() + report["probes"].as_u64().unwrap();
    assert!((30..=left).contains(&(log.len() as u64)), "{report}");
}

#[test]
fn wrong_arguments_are_told_what_would_be_right() {
    for (args, told) in [
        (&["--speed", "0"][..], "--speed is `0`: allowed is 0.1 to 5"),
        (&["--speed=fast"], "--speed is `fast`: allowed is 0.1 to 5"),
        (
            &["--seed", "-1"],
            "--seed is `-1`: allowed is a whole number",
        ),
        (&["--seed"], "--seed is the last word: its value is missing"),
        (&["--json=yes"], "--json takes no value, but is given `yes`"),
        (
            &["--partner", "ftp://a"],
            "--partner is `ftp://a`: it must begin with http://",
        ),
        (
            &["--partner", "https://a/"],
            "--partner is `https://a/`: this example speaks plain http",
        ),
        (
            &["--layer", "none"],
            "--layer is `none`: allowed is one of maintenance, identity",
        ),
        (&["--fast"], "`--fast` is not an argument"),
    ] {
        let run = outage(args);
        assert!(run.stderr.starts_with(told), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains("--help"));
        assert_eq!((run.code, &*run.stdout), (Some(2), ""), "{args:?}");
    }
    let help = outage(&["--help"]);
    assert!(help.stdout.contains("--speed N"), "{}", help.stdout);
    assert_eq!(help.code, Some(0));
}

// ---- running it ---------------------------------------------------------------------------------

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// The one JSON object that is all of standard output.
    #[track_caller]
    fn report(&self) -> Value {
        let report: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr));
        assert!(report.is_object(), "{report}");
        report
    }
}

/// Runs the built example to its end.
#[track_caller]
fn outage(args: &[&str]) -> Ran {
    let mut child = Command::new(built_example())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it has just been found");
    let stdout = read(child.stdout.take());
    let stderr = read(child.stderr.take());
    let ended = (stdout.recv_timeout(CAP), stderr.recv_timeout(CAP));
    let (Ok(stdout), Ok(stderr)) = ended else {
        let _ = child.kill();
        panic!("the example with {args:?} has not ended by itself in {CAP:?}");
    };
    let status = child.wait().expect("it was spawned here");
    Ran {
        code: status.code(),
        stdout,
        stderr,
    }
}

/// Reads to the end, on a thread of its own.
fn read(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let mut stream = stream.expect("it is piped");
    std::thread::spawn(move || {
        let mut text = String::new();
        // What was read is sent in any case. The receiver may have given up.
        let _ = stream.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    receiver
}

/// The path of the built example. Cargo puts examples beside the tests, and builds them for `cargo
/// test`, but not for `--test` alone.
#[track_caller]
fn built_example() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("<profile>/deps/<test>");
    let example = profile
        .join("examples")
        .join("outage")
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        is_fresh(&example).unwrap_or(false),
        "{} is missing, or older than its source: \
         cargo build --example outage --features axum,testing",
        example.display()
    );
    example
}

/// Returns whether the example is newer than its sources, as Cargo lists them: `outage: main.rs
/// app.rs ...`.
fn is_fresh(example: &Path) -> io::Result<bool> {
    let built = fs::metadata(example)?.modified()?;
    let list = fs::read_to_string(example.with_extension("d"))?;
    for source in list.split_whitespace().filter(|name| name.ends_with(".rs")) {
        if fs::metadata(source)?.modified()? > built {
            return Ok(false);
        }
    }
    Ok(true)
}
