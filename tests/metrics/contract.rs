//! `guide::metrics` is the contract: it lists what is published, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs,
    path::Path,
    sync::Mutex,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{KeyedLayer, MaintenanceLayer};

use crate::{Does, partner, scrape::Exporter};

const PAGE: &str = include_str!("../../src/guide/metrics.md");

/// The rows of the table that has these headings, each with its cells.
fn table(headings: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let line = line.trim().trim_matches('|');
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = PAGE.lines().skip_while(|line| cells(line) != headings);
    assert!(lines.next().is_some(), "no table with {headings:?}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(cells).collect()
}

/// The head of the table of metrics.
const METRICS: [&str; 6] = [
    "metric",
    "type",
    "unit",
    "more labels",
    "meaning",
    "over keys",
];

/// The words in backticks.
fn quoted(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

/// One difference at a time is easier to read than two sets.
fn assert_same<T: Ord + Debug>(page: &BTreeSet<T>, published: &BTreeSet<T>) {
    let missing: Vec<_> = published.difference(page).collect();
    assert!(missing.is_empty(), "guide::metrics lacks {missing:#?}");
    let invented: Vec<_> = page.difference(published).collect();
    assert!(
        invented.is_empty(),
        "guide::metrics has, but nothing publishes {invented:#?}"
    );
}

// ---- metrics

/// Name, type, unit, labels.
type Described = (String, String, String, BTreeSet<String>);

/// Notes what is described, and the labels of what is registered.
#[derive(Default)]
struct Notes {
    described: Mutex<BTreeSet<(String, &'static str, String)>>,
    labels: Mutex<BTreeMap<(String, String), BTreeSet<String>>>,
}

impl Notes {
    fn describe(&self, name: &KeyName, kind: &'static str, unit: Option<Unit>) {
        let unit = unit.unwrap().as_str().to_owned();
        let described = (name.as_str().to_owned(), kind, unit);
        self.described.lock().unwrap().insert(described);
    }

    fn register(&self, key: &Key) {
        let mut labels = self.labels.lock().unwrap();
        for label in key.labels() {
            let id = (key.name().to_owned(), label.key().to_owned());
            let values = labels.entry(id).or_default();
            values.insert(label.value().to_owned());
        }
    }
}

impl Recorder for Notes {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, "counter", unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, "gauge", unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, "histogram", unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(key);
        Histogram::noop()
    }
}

/// Publishes everything there is: a layer, the keys of a keyed one, and a histogram.
async fn publish_everything() {
    let builder = MaintenanceLayer::builder("zuora").latency_histogram("zuora");
    let layer = builder.build().unwrap();
    let inner = MaintenanceLayer::new("inner");
    for does in [
        Does::Succeed,
        Does::Fail,
        Does::AnswerNeutral,
        Does::FailByOurFault,
    ] {
        let judged = layer.judged_by(crate::verdict);
        let _ = judged.layer(service_fn(partner)).oneshot(does).await;
    }
    let hanging = layer.layer(service_fn(partner)).oneshot(Does::Hang);
    let none = std::time::Duration::ZERO;
    tokio::time::timeout(none, hanging).await.unwrap_err();
    inner.handle().trip("on-call", "drill").unwrap();
    let refusing = layer.layer(inner.layer(service_fn(partner)));
    refusing.oneshot(Does::Succeed).await.unwrap_err();
    layer.handle().publish_metrics();

    let keyed = KeyedLayer::builder(|key: &u32| *key, |_: &u32| MaintenanceLayer::new("key"));
    keyed.build().unwrap().keys().publish_metrics("zuora");
}

#[tokio::test(start_paused = true)]
async fn the_guide_lists_the_metrics_that_are_published() {
    let notes = Notes::default();
    let guard = metrics::set_default_local_recorder(&notes);
    publish_everything().await;
    drop(guard);
    let described = notes.described.into_inner().unwrap();
    let labels = notes.labels.into_inner().unwrap();
    let labels_of = |metric: &str| -> BTreeSet<String> {
        let of_metric = labels.keys().filter(|(name, _)| name == metric);
        of_metric.map(|(_, label)| label.clone()).collect()
    };
    let published: BTreeSet<Described> = described
        .iter()
        .map(|(name, kind, unit)| {
            let mut more = labels_of(name);
            assert!(
                more.remove("partner"),
                "{name} has no partner, or is not published"
            );
            (name.clone(), (*kind).to_owned(), unit.clone(), more)
        })
        .collect();
    let rows = table(&METRICS);
    let page: BTreeSet<Described> = rows
        .iter()
        .map(|row| {
            let name = quoted(&row[0]).pop_first().unwrap();
            (name, row[1].clone(), row[2].clone(), quoted(&row[3]))
        })
        .collect();
    assert_same(&page, &published);
    assert!(
        page.iter()
            .all(|(name, ..)| name.starts_with("maintenance_"))
    );
    let registered: BTreeSet<_> = labels.keys().map(|(name, _)| name).collect();
    let described: BTreeSet<_> = described.iter().map(|(name, ..)| name).collect();
    assert_eq!(registered, described, "what is published is described");

    assert_same_values(labels);
}

/// Compares the values of the labels.
fn assert_same_values(mut published: BTreeMap<(String, String), BTreeSet<String>>) {
    let mut page = BTreeMap::<(String, String), BTreeSet<String>>::new();
    for row in table(&["label", "of", "values"]) {
        let label = quoted(&row[0]).pop_first().unwrap();
        for metric in quoted(&row[1]) {
            page.insert((metric, label.clone()), quoted(&row[2]));
        }
    }
    published.retain(|(_, label), _| label != "partner");
    assert_same(
        &page.into_iter().collect(),
        &published.into_iter().collect(),
    );
}

#[tokio::test(start_paused = true)]
async fn each_metric_is_described_on_the_page_of_the_exporter() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    publish_everything().await;
    let page = exporter.page();
    for name in exporter.scrape().names() {
        let name = name.strip_suffix("_count").unwrap_or(name);
        let name = name.strip_suffix("_sum").unwrap_or(name);
        assert!(
            page.contains(&format!("# HELP {name} ")),
            "{name} in {page}"
        );
        assert!(
            page.contains(&format!("# TYPE {name} ")),
            "{name} in {page}"
        );
    }
}

// ---- the dashboard and the alert rules

/// Returns the metrics and the matchers of labels in a text, without those that rules record.
fn used_in(text: &str) -> (BTreeSet<String>, BTreeSet<(String, String)>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let names = text.split(|c| !is_name(c));
    let names = names.filter(|name| name.starts_with("maintenance_"));
    let names = names.map(|name| name.strip_suffix("_bucket").unwrap_or(name));
    let mut values = BTreeSet::new();
    // In the dashboard, quotes are escaped.
    let text = text.replace('\\', "");
    for label in ["mode", "outcome", "rule", "switch"] {
        for operator in ["=", "!=", "=~"] {
            let begin = format!("{label}{operator}\"");
            for from in text.split(&begin).skip(1) {
                let (matched, _) = from.split_once('"').unwrap();
                let matched = matched.split('|');
                values.extend(matched.map(|value| (label.to_owned(), value.to_owned())));
            }
        }
    }
    (names.map(str::to_owned).collect(), values)
}

#[test]
fn the_dashboard_and_the_rules_use_metrics_and_labels_of_the_guide() {
    let rows = table(&METRICS);
    let mut metrics: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    let mut labels = BTreeSet::new();
    for row in table(&["label", "of", "values"]) {
        let label = quoted(&row[0]).pop_first().unwrap();
        labels.extend(
            quoted(&row[2])
                .into_iter()
                .map(|value| (label.clone(), value)),
        );
    }
    // The groups of rules.
    metrics.extend(["maintenance_budget", "maintenance_state"].map(str::to_owned));
    let dashboard = include_str!("../../examples/observability/grafana-dashboard.json");
    let alerts = include_str!("../../examples/observability/alerts.yml");
    let tests = include_str!("../../examples/observability/alerts_test.yml");
    for text in [dashboard, alerts, tests] {
        let (names, values) = used_in(text);
        assert!(names.len() > 4 && values.len() > 2, "{names:?} {values:?}");
        let unknown: Vec<_> = names.difference(&metrics).collect();
        assert!(unknown.is_empty(), "not in guide::metrics: {unknown:?}");
        let unknown: Vec<_> = values.difference(&labels).collect();
        assert!(unknown.is_empty(), "not in guide::metrics: {unknown:?}");
    }
    // The dashboard leaves no metric out.
    let (shown, _) = used_in(dashboard);
    let hidden = metrics
        .difference(&shown)
        .filter(|name| !["maintenance_budget", "maintenance_state"].contains(&name.as_str()));
    assert_eq!(hidden.collect::<Vec<_>>(), Vec::<&String>::new());
}

// ---- tracing

/// Level, message, fields.
type Traced = (String, String, BTreeSet<String>);

/// Returns the arguments of a macro, from what follows its opening parenthesis.
fn arguments(source: &str) -> Vec<String> {
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    let mut all = vec![String::new()];
    for c in source.chars() {
        let last = all.last_mut().unwrap();
        match c {
            _ if escaped => {}
            '"' => in_text = !in_text,
            _ if in_text => {}
            ')' if depth == 0 => break,
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = in_text && c == '\\' && !escaped;
        last.push(c);
    }
    let trimmed = all.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}

/// Returns the events that this source emits.
fn traced_in(source: &str, place: &Path, traced: &mut BTreeSet<Traced>) {
    for level in ["error", "warn", "info", "debug", "trace"] {
        for (at, found) in source.match_indices(&format!("tracing::{level}!(")) {
            // An example in the docs is code of users.
            let line = source[..at].lines().next_back().unwrap_or_default();
            if line.trim_start().starts_with("//") {
                continue;
            }
            let mut arguments = arguments(&source[at + found.len()..]);
            let target = arguments.remove(0);
            assert_eq!(target, "target: TARGET", "{}: {found}", place.display());
            let message = arguments.pop().unwrap();
            // A line may go on after a backslash.
            let lines = message.trim_matches('"').split("\\\n").map(str::trim_start);
            let message = lines.collect::<String>();
            let fields = arguments.iter().map(|field| {
                let name = field.split(" = ").next().unwrap();
                name.trim_start_matches(['%', '?']).to_owned()
            });
            traced.insert((level.to_owned(), message, fields.collect()));
        }
    }
}

fn traced_under(folder: &Path, traced: &mut BTreeSet<Traced>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // The guide shows code of users.
            if path.file_name().unwrap() != "guide" {
                traced_under(&path, traced);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            traced_in(&fs::read_to_string(&path).unwrap(), &path, traced);
        }
    }
}

#[test]
fn the_guide_lists_the_tracing_events_that_the_source_emits() {
    let mut traced = BTreeSet::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    traced_under(&src, &mut traced);
    let rows = table(&["level", "message", "fields"]);
    let page: BTreeSet<Traced> = rows
        .iter()
        .map(|row| (row[0].clone(), row[1].clone(), quoted(&row[2])))
        .collect();
    // The page has the fixed part of a message: what follows it says what to do.
    let fixed_part = |message: &str| {
        let parts = page.iter().map(|(_, part, _)| part);
        let mut parts = parts.filter(|part| {
            let rest = message.strip_prefix(part.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ';', ',']))
        });
        parts.next().cloned().unwrap_or(message.to_owned())
    };
    let traced = traced.into_iter().map(|(level, message, fields)| {
        let message = fixed_part(&message);
        (level, message, fields)
    });
    assert_same(&page, &traced.collect());
}
