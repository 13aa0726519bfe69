//! A policy as data: what a file can say, what each mistake is called, and what comes back out.

use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_maintenance::{MaintenanceLayer, Policy, Rate, Window};

use crate::support::{millis, secs};

const MAX: Duration = Duration::MAX;

/// A file with a policy among other things.
#[derive(Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct File {
    policy: Policy,
}

/// Reads the table `[policy]` of a TOML file with these lines.
fn read(lines: &str) -> Policy {
    let file: File = toml::from_str(&format!("[policy]\n{lines}")).unwrap();
    file.policy
}

/// Returns the line, the path and the message of the error of a file with these lines.
fn error(lines: &str) -> (usize, String, String) {
    let text = format!("[policy]\n{lines}");
    let file = toml::Deserializer::parse(&text).unwrap();
    let error = serde_path_to_error::deserialize::<_, File>(file).unwrap_err();
    let span = error.inner().span().unwrap();
    let line = text[..span.start].matches('\n').count();
    let path = error.path().to_string();
    (line, path, error.inner().message().to_owned())
}

#[test]
fn every_setting_is_read_by_the_name_of_its_setter() {
    let said = read(
        r#"
        window = "30s"
        min_calls = 20
        failure_rate = "40%"
        consecutive_failures = 7
        slow_calls = { longer_than = "1s 500ms", rate = 0.25 }
        given_up = { calls = 12, after = "750ms" }
        hang_limit = "4s"
        wait = "10s"
        wait_growing = { factor = 1.5, longest = "2min" }
        jitter = 0.1
        probes = 2
        successes_needed = 4
        lease = "20s"
        ramp = "1h 30min"
        ramp_start = "12.5%"
        ping_every = "2s"
        "#,
    );
    let built = Policy::new(Window::time(secs(30)), Rate::percent(40.0).unwrap())
        .with_min_calls(20)
        .with_consecutive_failures(7)
        .with_slow_calls(millis(1500), Rate::ratio(0.25).unwrap())
        .with_given_up(12, millis(750))
        .with_hang_limit(secs(4))
        .with_wait(secs(10))
        .with_wait_growing(1.5, secs(120))
        .with_jitter(0.1)
        .with_probes(2)
        .with_successes_needed(4)
        .with_lease(secs(20))
        .with_ramp(secs(5400))
        .with_ramp_start(Rate::percent(12.5).unwrap())
        .with_ping_every(secs(2));
    assert_eq!(said, built);
}

#[test]
fn what_is_left_out_has_the_default() {
    assert_eq!(read(""), Policy::default());
    assert_eq!(read("min_calls = 20"), Policy::default().with_min_calls(20));
    // Half of a pair too.
    let factor = read("wait_growing = { factor = 3 }");
    assert_eq!(factor.wait_growing(), (3.0, secs(300)));
    let longest = read("wait_growing = { longest = '10min' }");
    assert_eq!(longest.wait_growing(), (2.0, secs(600)));
}

#[test]
fn a_value_has_each_form_that_is_clear() {
    for (line, expected) in [
        ("failure_rate = '50%'", "50 %"),
        ("failure_rate = '50 %'", "50 %"),
        ("failure_rate = 0.5", "50 %"),
        ("failure_rate = '0.5%'", "0.5 %"),
        ("failure_rate = 1.0", "100 %"),
        ("failure_rate = '1%'", "1 %"),
    ] {
        let rate = read(line).failure_rate();
        assert_eq!(rate.map(|rate| rate.to_string()).unwrap(), expected);
    }
    for (line, window) in [
        ("window = '60s'", Window::time(secs(60))),
        ("window = '1min'", Window::time(secs(60))),
        ("window = { time = '60s' }", Window::time(secs(60))),
        (
            "window = { time = '60s', buckets = 20 }",
            Window::time(secs(60)).in_buckets(20),
        ),
        ("window = { calls = 100 }", Window::calls(100)),
        ("[policy.window]\ncalls = 100", Window::calls(100)),
    ] {
        assert_eq!(read(line).window(), window, "{line}");
    }
    assert_eq!(read("jitter = 0").jitter(), 0.0);
    assert_eq!(read("jitter = '20%'").jitter(), 0.2);
    assert_eq!(
        read("given_up = { calls = 10, after = '0s' }").given_up(),
        Some((10, Duration::ZERO))
    );
}

#[test]
fn a_rule_can_be_off() {
    for off in ["'off'", "false"] {
        let policy = read(&format!(
            "failure_rate = {off}\nslow_calls = {off}\ngiven_up = {off}\nramp = {off}"
        ));
        let expected = Policy::default().without_failure_rate().without_given_up();
        assert_eq!(policy, expected);
        let policy = read(&format!("consecutive_failures = {off}"));
        assert_eq!(policy, Policy::default().without_consecutive_failures());
    }
}

const RATE: &str = "a percentage in quotes such as \"50%\", above 0 % and at most 100 %, or a ratio \
     with a point such as 0.5, above 0 and at most 1";
const RATE_OR_OFF: &str = "a percentage in quotes such as \"50%\", above 0 % and at most 100 %, or a \
     ratio with a point such as 0.5, above 0 and at most 1, or \"off\"";
const TIME: &str = "a time with its unit in quotes, such as \"30s\", \"5min\" or \"250ms\"";
const TIME_OR_OFF: &str =
    "a time with its unit in quotes, such as \"30s\", \"5min\" or \"250ms\", or \"off\"";
const WINDOW: &str = "a time with its unit in quotes such as \"60s\", { time = \"60s\", buckets = \
     10 }, or { calls = 100 }";
const SLOW_CALLS: &str = "{ longer_than = \"1s\", rate = \"50%\" }, or \"off\"";
const GIVEN_UP: &str = "{ calls = 10, after = \"1s\" }, or \"off\"";
const LONGER: &str = "any time longer than 0";
const CALLS: &str = "1 to 4294967295 calls";

/// A line, what the error says of the value, and what it says is allowed.
const MISTAKES: &[(&str, &str, &str)] = &[
    // A whole number may be a percentage or a ratio.
    ("failure_rate = 50", "50", RATE_OR_OFF),
    ("failure_rate = 1", "1", RATE_OR_OFF),
    ("failure_rate = '50'", "\"50\"", RATE_OR_OFF),
    ("failure_rate = '101%'", "\"101%\"", RATE_OR_OFF),
    ("failure_rate = 1.5", "1.5", RATE_OR_OFF),
    ("ramp_start = 0.0", "0.0", RATE),
    ("ramp_start = nan", "NaN", RATE),
    ("ramp_start = 'inf%'", "\"inf%\"", RATE),
    // A number may be of seconds or of milliseconds.
    ("wait = 30", "30", TIME),
    ("wait = '30'", "\"30\"", TIME),
    ("wait = '30 parsecs'", "\"30 parsecs\"", TIME),
    ("wait = 's'", "\"s\"", TIME),
    ("wait = ''", "\"\"", TIME),
    (
        "wait = '18446744073709551615s 1000000000ns'",
        "\"18446744073709551615s 1000000000ns\"",
        TIME,
    ),
    ("wait = 'off'", "\"off\"", TIME),
    ("wait = '0s'", "0 s", LONGER),
    ("lease = [1]", "a list", TIME),
    ("ramp = true", "true", TIME_OR_OFF),
    ("ramp = '0s'", "0 s", LONGER),
    ("min_calls = 0", "0", CALLS),
    ("min_calls = -1", "-1", CALLS),
    ("min_calls = 10.0", "10.0", CALLS),
    ("min_calls = 'off'", "\"off\"", CALLS),
    ("consecutive_failures = 0", "0", "1 to 4294967295 failures"),
    ("probes = 10001", "10001", "1 to 10000 probes"),
    (
        "successes_needed = 4294967296",
        "4294967296",
        "1 to 10000 successes",
    ),
    ("jitter = 1.0", "1", "0 to less than 1"),
    (
        "jitter = 20",
        "20",
        "0 to less than 1, or a percentage in quotes such as \"20%\"",
    ),
    ("window = 60", "60", WINDOW),
    ("window = { calls = 0 }", "0", "1 to 10000000 calls"),
    (
        "window = { calls = 100, buckets = 10 }",
        "a table with `calls` and more",
        WINDOW,
    ),
    (
        "window = { buckets = 10 }",
        "a table without `time` or `calls`",
        WINDOW,
    ),
    (
        "slow_calls = { longer_than = '1s' }",
        "a table without `rate`",
        SLOW_CALLS,
    ),
    ("slow_calls = '1s'", "\"1s\"", SLOW_CALLS),
    (
        "given_up = { calls = 10, afte = '1s' }",
        "a table with `afte`",
        GIVEN_UP,
    ),
    (
        "given_up = { after = '1s' }",
        "a table without `calls`",
        GIVEN_UP,
    ),
];

/// The same of a part of a setting.
const MISTAKES_IN_PARTS: &[(&str, &str, &str, &str)] = &[
    (
        "window = { time = '60s', buckets = 3601 }",
        "window.buckets",
        "3601",
        "1 to 3600 buckets",
    ),
    (
        "window = { calls = 'many' }",
        "window.calls",
        "\"many\"",
        "1 to 10000000 calls",
    ),
    (
        "slow_calls = { longer_than = '0s', rate = '50%' }",
        "slow_calls.longer_than",
        "0 s",
        LONGER,
    ),
    (
        "slow_calls = { longer_than = '1s', rate = 50 }",
        "slow_calls.rate",
        "50",
        RATE,
    ),
    (
        "given_up = { calls = 0, after = '1s' }",
        "given_up.calls",
        "0",
        CALLS,
    ),
    (
        "wait_growing = { factor = 0.5 }",
        "wait_growing.factor",
        "0.5",
        "1 or more, and finite",
    ),
    (
        "wait_growing = { factor = 'two' }",
        "wait_growing.factor",
        "\"two\"",
        "a number, 1 or more",
    ),
    (
        "wait_growing = { longest = 300 }",
        "wait_growing.longest",
        "300",
        TIME,
    ),
];

#[test]
fn each_mistake_is_named_with_its_path_its_line_and_what_is_allowed() {
    let whole = MISTAKES.iter().map(|(line, value, allowed)| {
        let setting = line.split(' ').next().unwrap();
        (line, setting, value, allowed)
    });
    let parts = MISTAKES_IN_PARTS
        .iter()
        .map(|(line, part, value, allowed)| (line, *part, value, allowed));
    for (line, field, value, allowed) in whole.chain(parts) {
        let setting = line.split(' ').next().unwrap();
        let expected = (
            2,
            format!("policy.{setting}"),
            format!("{field} is {value}: allowed is {allowed}"),
        );
        assert_eq!(error(&format!("\n{line}")), expected);
    }
}

#[test]
fn an_unknown_setting_is_named_beside_those_that_there_are() {
    let (line, path, message) = error("min_calls = 10\nfialure_rate = '50%'");
    assert_eq!(line, 2);
    assert!(path.starts_with("policy"), "{path}");
    assert_eq!(
        message,
        "`fialure_rate` is no setting of a policy: allowed is window, min_calls, failure_rate, \
         consecutive_failures, slow_calls, given_up, hang_limit, wait, wait_growing, jitter, \
         probes, successes_needed, lease, ramp, ramp_start, ping_every"
    );
    let forged = serde_json::from_value::<Policy>(json!({ "a\nINFO all is well": 1 }));
    assert!(!forged.unwrap_err().to_string().contains('\n'));
    let value = serde_json::from_value::<Policy>(json!({ "wait": "a\nINFO all is well" }));
    assert!(!value.unwrap_err().to_string().contains('\n'));
}

#[test]
fn settings_that_do_not_go_together_are_an_error_of_the_whole() {
    for (lines, message) in [
        (
            "window = { calls = 10 }\nmin_calls = 11",
            "min_calls is 11: allowed is 1 to 10, the size of the window",
        ),
        (
            "min_calls = 11\nwindow = { calls = 10 }",
            "min_calls is 11: allowed is 1 to 10, the size of the window",
        ),
        (
            "wait_growing = { longest = '9s' }\nwait = '10s'",
            "wait_growing.longest is 9 s: allowed is at least the wait, 10 s",
        ),
        (
            "failure_rate = 'off'\nconsecutive_failures = 'off'\ngiven_up = 'off'",
            "rules is all off: allowed is at least one of failure_rate, consecutive_failures, \
             slow_calls, given_up on",
        ),
    ] {
        let (_, path, said) = error(lines);
        assert_eq!((&*path, &*said), ("policy", message));
    }
    // What goes together is no error, in any order.
    read("wait = '20min'\nwait_growing = { longest = '30min' }");
    read("min_calls = 500\nwindow = { calls = 1000 }");
    read("window = { calls = 5 }\nmin_calls = 5");
}

#[test]
fn a_setting_that_is_given_twice_is_an_error_in_every_format() {
    let twice = serde_json::from_str::<Policy>(r#"{ "wait": "1s", "wait": "2s" }"#);
    let said = twice.unwrap_err().to_string();
    assert!(said.starts_with("duplicate field `wait`"), "{said}");
    let null = serde_json::from_value::<Policy>(json!({ "ramp": null }));
    let said = null.unwrap_err().to_string();
    assert!(said.starts_with("ramp is null: allowed is"), "{said}");
    let list = serde_json::from_value::<Policy>(json!(["60s"]));
    let said = list.unwrap_err().to_string();
    assert!(
        said.contains("a table with the settings of a policy"),
        "{said}"
    );
}

#[test]
fn windows_and_rates_are_read_by_themselves() {
    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Alone {
        window: Window,
        rate: Rate,
    }
    let alone: Alone = toml::from_str("window = { calls = 7 }\nrate = '5%'").unwrap();
    assert_eq!(alone.window, Window::calls(7));
    assert_eq!(alone.rate, Rate::percent(5.0).unwrap());
    let text = toml::to_string(&alone).unwrap();
    assert_eq!(toml::from_str::<Alone>(&text).unwrap(), alone);
    let said = toml::from_str::<Alone>("window = '0s'\nrate = 0.5").unwrap_err();
    assert!(said.message().starts_with("window is 0 s"), "{said}");
    let said = toml::from_str::<Alone>("window = '1s'\nrate = 5").unwrap_err();
    assert!(said.message().starts_with("rate is 5: allowed"), "{said}");
}

#[test]
fn the_status_shows_the_policy_in_force_with_every_number() {
    let layer = MaintenanceLayer::builder("zuora")
        .policy(read("min_calls = 20\nwindow = { calls = 100 }"))
        .build()
        .unwrap();
    let handle = layer.handle();
    assert_eq!(handle.status().policy, handle.policy());
    let status = serde_json::to_value(handle.status()).unwrap();
    assert_eq!(
        status["policy"],
        json!({
            "window": { "calls": 100 },
            "min_calls": 20,
            "failure_rate": 0.5,
            "consecutive_failures": 5,
            "slow_calls": "off",
            "given_up": { "calls": 20, "after": "1s" },
            "hang_limit": "5s",
            "wait": "30s",
            "wait_growing": { "factor": 2.0, "longest": "5m" },
            "jitter": 0.2,
            "probes": 1,
            "successes_needed": 3,
            "lease": "30s",
            "ramp": "off",
            "ramp_start": 0.1,
            "ping_every": "1s",
        })
    );
    // It can be read as it is shown, and acts alike.
    let shown: Policy = serde_json::from_value(status["policy"].clone()).unwrap();
    assert_eq!(handle.policy().changes(&shown), []);
}

#[test]
fn a_replacement_is_written_as_its_changes() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let mut events = handle.events();
    let new = Policy::default().without_consecutive_failures();
    handle
        .replace_policy(&new, "on-call", "ticket 4711")
        .unwrap();
    let changes = json!([{ "setting": "consecutive_failures", "old": "5", "new": "off" }]);
    let event = serde_json::to_value(events.try_recv().unwrap()).unwrap();
    assert_eq!(
        event["event"],
        json!({ "policy_replaced": { "changes": changes } })
    );
    let entry = serde_json::to_value(handle.audit().pop().unwrap()).unwrap();
    assert_eq!(entry["policy_changes"], changes);
}

fn rates() -> impl Strategy<Value = Rate> {
    (1..=1_000_000u32).prop_map(|parts| Rate::ratio(f64::from(parts) / 1e6).unwrap())
}

/// Spans from one nanosecond on, short ones and long ones.
fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..5_000_000_000u64).prop_map(Duration::from_nanos),
        (1..1_000_000u64).prop_map(Duration::from_secs),
        (any::<u64>(), 1..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        Just(MAX),
    ]
}

fn windows() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1..=10_000_000u32).prop_map(Window::calls),
        // At least one nanosecond per bucket.
        (spans(), 1..=3600u32).prop_map(|(length, buckets)| {
            Window::time(length.max(Duration::from_nanos(3600))).in_buckets(buckets)
        }),
        Just(Window::time(secs(60))),
    ]
}

prop_compose! {
    fn rules()(
        window in windows(),
        failure_rate in proptest::option::of(rates()),
        run in proptest::option::of(any::<u32>()),
        slow in proptest::option::of((spans(), rates())),
        given_up in prop_oneof![
            Just(None),
            Just(Some(None)),
            (1..=u32::MAX, spans()).prop_map(|numbers| Some(Some(numbers))),
        ],
        min_calls in any::<u32>(),
    ) -> Policy {
        let most = match window {
            Window::Calls(size) => size,
            _ => u32::MAX,
        };
        let mut policy = Policy::default()
            .with_window(window)
            .with_min_calls(min_calls.clamp(1, most));
        policy = match failure_rate {
            Some(rate) => policy.with_failure_rate(rate),
            None => policy.without_failure_rate(),
        };
        policy = match run {
            Some(run) => policy.with_consecutive_failures(run.clamp(1, most)),
            None => policy.without_consecutive_failures(),
        };
        if let Some((longer_than, rate)) = slow {
            policy = policy.with_slow_calls(longer_than, rate);
        }
        match given_up {
            None => policy.without_given_up(),
            Some(None) => policy,
            Some(Some((calls, after))) => policy.with_given_up(calls, after),
        }
    }
}

prop_compose! {
    fn policies()(
        rules in rules(),
        (hang_limit, wait, lease, ping_every) in (spans(), spans(), spans(), spans()),
        growing in proptest::option::of((1.0..1e9f64, spans())),
        jitter in 0.0..1.0f64,
        (probes, needed) in (1..=10_000u32, 1..=10_000u32),
        ramp in proptest::option::of(spans()),
        ramp_start in rates(),
    ) -> Policy {
        let mut policy = rules
            .with_hang_limit(hang_limit)
            .with_wait(wait)
            .with_lease(lease)
            .with_ping_every(ping_every)
            .with_jitter(jitter)
            .with_probes(probes)
            .with_successes_needed(needed)
            .with_ramp_start(ramp_start);
        if let Some((factor, longest)) = growing {
            policy = policy.with_wait_growing(factor, longest.max(wait));
        }
        match ramp {
            Some(ramp) => policy.with_ramp(ramp),
            None => policy,
        }
    }
}

/// Texts that are times, nearly times, or times that do not fit.
const TEXTS: &str = "[0-9]{1,20}(s|ms|ns|h|years|[.]5min| |x){1,3}([0-9]{1,20}(s|ns|m)){0,3}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_that_is_written_and_read_is_the_same(policy in policies()) {
        prop_assume!(policy.check().is_ok());
        let file = File { policy };
        let text = toml::to_string(&file).unwrap();
        prop_assert_eq!(&toml::from_str::<File>(&text).unwrap(), &file, "{}", text);
        // As a value: without its feature `float_roundtrip`, `serde_json` reads some numbers one
        // unit in the last place off.
        let value = serde_json::to_value(&file).unwrap();
        prop_assert_eq!(&serde_json::from_value::<File>(value).unwrap(), &file);
    }

    #[test]
    fn no_text_of_a_time_panics(text in TEXTS) {
        let _ = serde_json::from_value::<Policy>(json!({ "wait": text }));
    }
}
