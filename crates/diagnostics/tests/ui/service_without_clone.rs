use tower::{Layer, service_fn, util::BoxService};
use tower_maintenance::MaintenanceLayer;

fn main() {
    let client = BoxService::new(service_fn(async |cents: u32| Ok::<_, std::io::Error>(cents)));
    let _ = MaintenanceLayer::new("zuora").layer(client);
}
