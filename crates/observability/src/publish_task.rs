//! Metrics that are published by a task.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tower_maintenance::MaintenanceHandle;

/// Publishes every five seconds, for as long as the process runs. Spawn it once.
pub async fn publish(layers: Vec<MaintenanceHandle>) {
    let mut ticks = interval(Duration::from_secs(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for layer in &layers {
            layer.publish_metrics();
        }
    }
}
