//! The state of a layer in the recorder of the `metrics` facade.
//!
//! The layer writes nothing by itself. The machine counts anyway, and [`Figures`] copies its sums
//! into the recorder when the exporter is about to render. So the request path does not know of
//! metrics, and a counter in the recorder is never ahead of the status.

mod contract;
mod figures;
mod histogram;

pub(crate) use self::{
    figures::{Figures, KeyFigures, Sums},
    histogram::CallHistogram,
};
use crate::operator::handle::MaintenanceHandle;

impl MaintenanceHandle {
    /// Writes the state of the layer into the recorder that is installed for the crate [`metrics`].
    ///
    /// Call it before the exporter renders, or every few seconds from a task. The counters are sums
    /// since the layer was built, so that a scrape misses no trip, however short it was. All names
    /// begin with `maintenance_`, and the label `partner` is the layer's name: give each layer a
    /// name of its own. [`guide::metrics`](crate::guide::metrics) lists the names, units and
    /// labels, and has a recipe for `metrics-exporter-prometheus`.
    ///
    /// It takes the lock of the layer as [`status`](Self::status) does, and allocates. Calls write
    /// nothing to the recorder. Without a recorder nothing is written.
    ///
    /// ```
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// let recorder = PrometheusBuilder::new().build_recorder();
    /// let exporter = recorder.handle();
    /// # metrics::with_local_recorder(&recorder, || {
    /// // With a recorder installed, for each scrape:
    /// handle.publish_metrics();
    /// let page = exporter.render();
    /// # assert!(page.contains(r#"maintenance_mode{partner="zuora",mode="serving"} 1"#), "{page}");
    /// # });
    /// ```
    pub fn publish_metrics(&self) {
        Figures::of(&self.status()).publish(self.shared().partner());
    }
}
