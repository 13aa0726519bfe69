use std::time::Duration;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_maintenance::MaintenanceLayer;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let zuora = ServiceBuilder::new()
        .layer(MaintenanceLayer::new("zuora"))
        .timeout(Duration::from_secs(3))
        .service(service_fn(async |cents: u32| Ok::<_, BoxError>(cents)));
    zuora.oneshot(1200).await?;
    Ok(())
}
