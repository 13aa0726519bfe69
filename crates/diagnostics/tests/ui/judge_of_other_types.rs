use tower::{Layer, service_fn, util::BoxCloneService};
use tower_maintenance::{Judge, MaintenanceLayer};

#[derive(Clone)]
struct Charges;

impl Judge<u32, (), std::io::Error> for Charges {}

fn main() {
    let client = service_fn(async |cents: u64| Ok::<_, std::io::Error>(cents));
    let zuora = MaintenanceLayer::new("zuora").judged(Charges).layer(client);
    let _ = BoxCloneService::new(zuora);
}
