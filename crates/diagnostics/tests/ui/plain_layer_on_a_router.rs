use axum::{Router, routing::get};
use tower_maintenance::MaintenanceLayer;

fn main() {
    let layer = MaintenanceLayer::new("zuora");
    let _: Router = Router::new().route("/prices", get(async || "12 EUR")).layer(layer);
}
