//! The page for Prometheus.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tower::BoxError;

/// In seconds. The example's calls take less than the timeout.
const BUCKETS: [f64; 7] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 3.0];

/// Installs the exporter, or returns the one that is installed: a process has one, and a test with
/// a browser runs several servers in its process.
pub(crate) fn exporter() -> Result<PrometheusHandle, BoxError> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(exporter) = &*installed {
        return Ok(exporter.clone());
    }
    let name = Matcher::Full("maintenance_call_seconds".to_owned());
    let exporter = PrometheusBuilder::new()
        .set_buckets_for_metric(name, &BUCKETS)?
        .install_recorder()?;
    Ok(installed.insert(exporter).clone())
}
