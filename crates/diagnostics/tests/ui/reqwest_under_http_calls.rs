use tower::{ServiceBuilder, util::BoxCloneService};
use tower_maintenance::MaintenanceLayer;

fn main() {
    let layer = MaintenanceLayer::new("zuora");
    let zuora = ServiceBuilder::new()
        .layer(layer.http_calls())
        .service(reqwest::Client::new());
    let _ = BoxCloneService::new(zuora);
}
