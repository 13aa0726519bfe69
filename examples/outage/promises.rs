//! What the crate promises, checked on the object that `--json` prints.
//!
//! They are checked on that object and not on the values behind it, so that a reader of the output
//! can check them too. The result of this function is the exit status of the example.
//! `tests/examples/outage.rs` also calls it, on the output of the example.

use serde_json::Value;

/// The most failures before the layer enters maintenance. The rules need five in a row or half of
/// ten; the other calls were in flight at that time.
const MOST_FAILURES_BEFORE_ENTRY: u64 = 60;

/// The promises that a run has broken, each in one sentence; empty if it kept them all.
pub(crate) fn broken(report: &Value) -> Vec<String> {
    let mut broken = Broken(Vec::new());
    let without = &report["without"];

    broken.unless(
        count(report, "requests") > 0,
        "customers came",
        &report["requests"],
    );
    for (run, name) in [(report, "with"), (without, "without")] {
        let parts = ["served", "refused", "failed"].map(|part| count(run, part));
        broken.unless(
            parts.iter().sum::<u64>() == count(run, "requests"),
            &format!("{name} the layer every request was served, refused or failed"),
            &run["requests"],
        );
    }
    let mut is = |run: &Value, name: &str, wanted: u64, promise: &str| {
        broken.unless(count(run, name) == wanted, promise, &run[name]);
    };
    is(report, "exempt_refused", 0, "exempt traffic is not refused");
    is(
        report,
        "exempt_served",
        count(report, "exempt_requests"),
        "all exempt traffic is served",
    );
    is(
        report,
        "partner_calls_during_maintenance",
        0,
        "in maintenance no call reaches the partner",
    );
    for disagreement in report["disagreements"].as_array().into_iter().flatten() {
        let disagreement = disagreement.as_str().unwrap_or("cannot be read");
        broken.0.push(format!("the books agree: {disagreement}"));
    }
    if without.is_null() {
        // A real partner: it is unknown whether it fails, and there is nothing to compare with.
        return broken.0;
    }

    let mut is = |name: &str, wanted: bool, promise: &str| {
        broken.unless(report[name] == wanted, promise, &report[name]);
    };
    is(
        "entered_automatically",
        true,
        "maintenance begins by itself",
    );
    is("recovered", true, "maintenance ends by itself");
    let failures = &report["entered_after_failures"];
    broken.unless(
        failures
            .as_u64()
            .is_some_and(|n| (1..=MOST_FAILURES_BEFORE_ENTRY).contains(&n)),
        "maintenance begins after a few failures, and not before",
        failures,
    );
    broken.unless(
        report["entered_on_status"] == 200,
        "an answer that says in its body that it failed counts as a failure",
        &report["entered_on_status"],
    );
    broken.unless(
        report["entered_before_people_did"] == true,
        "maintenance begins earlier than by hand",
        &report["entered_after_ms"],
    );
    broken.unless(
        count(report, "refused_while_healthy") == 0,
        "nobody is refused while the partner is well",
        &report["refused_while_healthy"],
    );
    broken.unless(
        count(report, "refused") > 0,
        "customers are refused in maintenance",
        &report["refused"],
    );
    broken.unless(
        count(report, "background_job_refused") > 0,
        "calls that come from no route are refused in maintenance",
        &report["background_job_refused"],
    );
    broken.unless(
        count(report, "probes") >= 3,
        "probes prove the recovery",
        &report["probes"],
    );
    broken.unless(
        count(report, "episodes") > 0
            && count(report, "cache_bust_signals") == count(report, "episodes"),
        "caches are told once an episode",
        &report["cache_bust_signals"],
    );
    broken.unless(
        count(report, "generation") > count(report, "generation_before"),
        "the generation grows",
        &report["generation"],
    );

    // Compared with the same day without the layer.
    broken.unless(
        count(report, "requests") == count(without, "requests")
            && count(report, "exempt_requests") == count(without, "exempt_requests"),
        "both runs get the same visits",
        &without["requests"],
    );
    let at_most_a_fifth = |name: &str| {
        let (with, without) = (count(report, name), count(without, name));
        without > 0 && with * 5 <= without
    };
    for (name, promise) in [
        ("failed", "at most a fifth of the customers fail"),
        ("stale_prices", "at most a fifth see stale prices"),
        (
            "partner_calls_during_outage",
            "at most a fifth of the calls reach the failing partner",
        ),
    ] {
        broken.unless(at_most_a_fifth(name), promise, &report[name]);
    }
    broken.unless(
        count(without, "partner_calls_during_maintenance") > 0,
        "without the layer calls would have reached the partner",
        &without["partner_calls_during_maintenance"],
    );
    broken.0
}

/// A promise that is not kept is told with what was found instead.
struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, kept: bool, promise: &str, found: &Value) {
        if !kept {
            self.0.push(format!("{promise}: found {found}"));
        }
    }
}

fn count(run: &Value, name: &str) -> u64 {
    run[name].as_u64().unwrap_or(0)
}
