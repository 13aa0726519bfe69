//! The recipes for Prometheus, and Debian's promtool on what they publish and on the example's
//! rules.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusHandle;
use observability_tests::{prometheus, publish_task};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Hold, KeyedLayer, MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Policy,
};

const SECOND: Duration = Duration::from_secs(1);

/// The exporter of this process: a process installs one.
fn exporter() -> &'static PrometheusHandle {
    static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();
    EXPORTER.get_or_init(|| prometheus::exporter().unwrap())
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/observability")
}

/// Runs promtool in the folder of the example, with `input`. Returns what it prints.
fn promtool(arguments: &[&str], input: &str) -> Result<String, String> {
    let child = Command::new("promtool")
        .args(arguments)
        .current_dir(examples())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("crates/setup installs promtool");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

async fn call(layer: &MaintenanceLayer, outcome: Outcome) {
    let judged = layer.judged_by(move |_: Result<&(), &io::Error>| outcome);
    let partner = service_fn(async |()| Ok::<_, io::Error>(()));
    let _ = judged.layer(partner).oneshot(()).await;
}

/// A layer of this name that has had calls of each outcome, and serves.
async fn used(name: &str) -> (MaintenanceLayer, MaintenanceHandle) {
    let builder = MaintenanceLayer::builder(name).policy(Policy::default());
    let layer = builder.latency_histogram(name).build().unwrap();
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Neutral] {
        call(&layer, outcome).await;
    }
    let handle = layer.handle();
    (layer, handle)
}

/// A layer in each mode, one under a hold, and the keys of a keyed layer.
async fn every_mode() -> Vec<MaintenanceHandle> {
    let (_, serving) = used("serving").await;
    let (tripping, tripped) = used("tripped").await;
    for _ in 0..5 {
        call(&tripping, Outcome::Failure).await;
    }
    let (_, probing) = used("probing").await;
    probing.trip("on-call", "drill").unwrap();
    probing.probe_now("on-call", "drill").unwrap();
    let (_, held) = used("held").await;
    held.engage(Hold::new("on-call", "drill")).unwrap();
    let keyed = KeyedLayer::builder(|key: &u32| *key, |_: &u32| MaintenanceLayer::new("key"));
    let keys = keyed.build().unwrap().keys();
    keys.handle(&7).unwrap();
    // Makes sure that the recorder is there.
    exporter();
    keys.publish_metrics("keys");

    let layers = vec![serving, tripped, probing, held];
    let modes: Vec<_> = layers.iter().map(MaintenanceHandle::mode).collect();
    let (maintenance, probing) = (Mode::Maintenance, Mode::Probing);
    assert_eq!(modes, [Mode::Serving, maintenance, probing, maintenance]);
    layers
}

#[tokio::test]
async fn the_recipe_renders_the_state_of_the_moment() {
    exporter();
    let (layer, handle) = used("recipe").await;
    let layers = [handle.clone()];
    let has = |line: &str| {
        let page = prometheus::page(exporter(), &layers);
        assert!(page.lines().any(|it| it == line), "no {line} in {page}");
    };
    has(r#"maintenance_mode{partner="recipe",mode="serving"} 1"#);
    has(r#"maintenance_calls_total{partner="recipe",outcome="failed"} 1"#);
    has(r#"maintenance_call_seconds_count{partner="recipe",outcome="failed"} 1"#);
    has(r#"maintenance_call_seconds_bucket{partner="recipe",outcome="failed",le="0.05"} 1"#);
    for _ in 0..4 {
        call(&layer, Outcome::Failure).await;
    }
    has(r#"maintenance_mode{partner="recipe",mode="serving"} 0"#);
    has(r#"maintenance_mode{partner="recipe",mode="maintenance"} 1"#);
    has(r#"maintenance_trips_total{partner="recipe",rule="consecutive_failures"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn the_task_publishes_again_and_again() {
    exporter();
    let (_layer, handle) = used("task").await;
    let task = tokio::spawn(publish_task::publish(vec![handle.clone()]));
    let shows = |line: &str| exporter().render().lines().any(|it| it == line);
    tokio::time::sleep(SECOND).await;
    assert!(shows(
        r#"maintenance_mode{partner="task",mode="serving"} 1"#
    ));
    handle.trip("on-call", "drill").unwrap();
    tokio::time::sleep(6 * SECOND).await;
    assert!(shows(
        r#"maintenance_mode{partner="task",mode="maintenance"} 1"#
    ));
    task.abort();
}

#[tokio::test]
#[ignore = "needs promtool"]
async fn promtool_finds_no_fault_in_a_page_of_every_mode() {
    let layers = every_mode().await;
    let page = prometheus::page(exporter(), &layers);
    for partner in ["serving", "tripped", "probing", "held", "keys"] {
        let label = format!(r#"partner="{partner}""#);
        assert!(page.contains(&label), "no {label} in {page}");
    }
    promtool(&["check", "metrics"], &page).unwrap_or_else(|error| panic!("{error}\n{page}"));
    // It does find faults.
    let fault = "# HELP calls A counter.\n# TYPE calls counter\ncalls 1\n";
    promtool(&["check", "metrics"], fault).unwrap_err();
}

#[test]
#[ignore = "needs promtool"]
fn promtool_runs_the_tests_of_the_rules() {
    let said = promtool(&["check", "rules", "alerts.yml"], "").unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
    let said = promtool(&["test", "rules", "alerts_test.yml"], "").unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
}

/// The queries of the dashboard, each as a rule.
#[test]
#[ignore = "needs promtool"]
fn promtool_parses_the_queries_of_the_dashboard() {
    let dashboard = fs::read_to_string(examples().join("grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<_> = targets
        .enumerate()
        .map(|(number, target)| {
            let query = target["expr"].as_str().unwrap();
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h");
            BTreeMap::from([("record", format!("query_{number}")), ("expr", query)])
        })
        .collect();
    assert!(rules.len() > 20, "{} queries", rules.len());
    let groups = serde_json::json!({ "groups": [{ "name": "queries", "rules": rules }] });
    // JSON is YAML.
    let name = format!("tower-maintenance-queries-{}.yml", std::process::id());
    let file = std::env::temp_dir().join(name);
    fs::write(&file, groups.to_string()).unwrap();
    let said = promtool(&["check", "rules", file.to_str().unwrap()], "");
    fs::remove_file(&file).unwrap();
    said.unwrap();
}
