//! The layer of the example `billing`.

use tower_maintenance::{BuildError, MaintenanceLayer, http::Refusals};

use super::config::Config;

/// Builds the layer. A test compares the built-in one with the runbook.
pub(crate) fn layer(config: &Config, refusals: Refusals) -> Result<MaintenanceLayer, BuildError> {
    let builder = MaintenanceLayer::builder("zuora")
        .policy(config.policy.clone())
        .latency_histogram("zuora")
        .refusals(refusals);
    config
        .exempt
        .iter()
        .cloned()
        .fold(builder, |builder, exemption| builder.exempt(exemption))
        .cache_tags(["prices"])
        .cache_urls(["/billing/prices"])
        .build()
}
