//! Prometheus: the page that an exporter renders.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tower_maintenance::MaintenanceHandle;

/// Installs the exporter, once per process. The buckets are for `latency_histogram`.
pub fn exporter() -> Result<PrometheusHandle, BuildError> {
    let name = Matcher::Full("maintenance_call_seconds".to_owned());
    let buckets = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(name, &buckets)?
        .install_recorder()
}

/// Returns the page for `GET /metrics`.
pub fn page(exporter: &PrometheusHandle, layers: &[MaintenanceHandle]) -> String {
    for layer in layers {
        layer.publish_metrics();
    }
    exporter.render()
}
