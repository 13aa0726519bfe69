use tower::{Layer, service_fn};
use tower_maintenance::MaintenanceLayer;

fn main() {
    let layer = MaintenanceLayer::builder("zuora").dry_run();
    let _ = layer.layer(service_fn(async |cents: u32| Ok::<_, std::io::Error>(cents)));
}
