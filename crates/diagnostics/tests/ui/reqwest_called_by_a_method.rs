// The compiler names the bound that fails, and no more: the docs of `Protocol` have the cures.
use tower::{Layer, Service};
use tower_maintenance::MaintenanceLayer;

fn call(request: reqwest::Request) {
    let layer = MaintenanceLayer::new("zuora").http_calls();
    let _ = layer.layer(reqwest::Client::new()).call(request);
}

fn main() {}
