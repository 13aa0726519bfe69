//! A real exporter, and its page as numbers.

use std::collections::BTreeMap;

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub(crate) struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

/// The values on a page, by name and labels.
#[derive(Debug)]
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Exporter {
    pub(crate) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// Takes what this thread publishes, until the guard is dropped.
    pub(crate) fn install(&self) -> LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.recorder)
    }

    pub(crate) fn page(&self) -> String {
        self.handle.render()
    }

    pub(crate) fn scrape(&self) -> Scrape {
        let page = self.page();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter_map(|line| line.rsplit_once(' '));
        let values = lines.map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
        Scrape(values.collect())
    }
}

impl Scrape {
    /// Returns the value of a name with its labels, in the order in which they are published.
    pub(crate) fn of(&self, name: &str) -> f64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// Returns the values of a metric by one of its labels.
    pub(crate) fn by_label(&self, metric: &str, label: &str) -> Vec<(String, f64)> {
        let of_metric = self.0.iter().filter_map(|(name, value)| {
            let labels = name.strip_prefix(metric)?.strip_prefix('{')?;
            let (_, from) = labels.split_once(&format!("{label}=\""))?;
            let (label, _) = from.split_once('"')?;
            Some((label.to_owned(), *value))
        });
        of_metric.collect()
    }

    /// Returns the names, without labels.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| name.split('{').next().unwrap())
    }
}
