//! The guide shows the recipes and the log lines that are tested here, word for word.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod support;

use std::{error::Error, io, time::Duration};

use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Hold, MaintenanceLayer};

/// Returns the text of `guide::watching`.
fn watching() -> String {
    let page = include_str!("../../../src/guide/watching.rs");
    let lines = page.lines().map(|line| {
        let line = line.strip_prefix("//!").unwrap_or(line);
        line.strip_prefix(' ').unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns a recipe, from its first `use` on.
fn recipe(source: &str) -> &str {
    let (_, recipe) = source.split_once("\n\n").unwrap();
    recipe.trim_end()
}

#[test]
fn the_guide_shows_the_recipes_as_they_are_tested() {
    let page = watching();
    for source in [
        include_str!("../src/trace_layer.rs"),
        include_str!("../src/sentry.rs"),
        include_str!("../src/opentelemetry.rs"),
    ] {
        let block = format!("```ignore\n{}\n```", recipe(source));
        assert!(page.contains(&block), "the guide does not show: {block}");
    }
}

#[test]
fn the_guide_shows_the_recipes_for_metrics_as_they_are_tested() {
    let page = include_str!("../../../src/guide/metrics.md");
    for source in [
        include_str!("../src/prometheus.rs"),
        include_str!("../src/publish_task.rs"),
    ] {
        let block = format!("```ignore\n{}\n```", recipe(source));
        assert!(page.contains(&block), "the guide does not show: {block}");
    }
}

#[test]
fn the_guide_shows_lines_of_the_log_as_they_are() {
    // Time is paused, so the refusal names the same wait in each run.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (layer, handle) = runtime.block_on(async {
        let layer = MaintenanceLayer::new("zuora");
        let handle = layer.handle();
        (layer, handle)
    });
    let story = async {
        let hold = Hold::new("on-call", "ticket 4711").for_at_most(Duration::from_secs(1800));
        handle.engage(hold).unwrap();
        let partner = service_fn(async |()| Ok::<_, io::Error>(()));
        let error = layer.layer(partner).oneshot(()).await.unwrap_err();
        tracing::info!(target: "app", error = &error as &dyn Error, "no account");
        handle.release("on-call", "drill over").unwrap();
    };
    let log = support::logged(|| runtime.block_on(story));
    let generation = format!("generation={}", handle.generation());
    let log = log.replace(&generation, "generation=1722459420000");
    // The guide wraps long lines, and indents their continuation.
    let page = watching().replace("\n    ", " ");
    assert_eq!(log.lines().count(), 7);
    for line in log.lines() {
        let (_time, line) = line.split_once(' ').unwrap();
        assert!(page.contains(&format!("\n{}\n", line.trim())), "{line}");
    }
}
