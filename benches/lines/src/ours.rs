//! tower-maintenance.

use axum::Router;
use tower::{BoxError, Layer, ServiceExt};
use tower_maintenance::{
    Exemption, MaintenanceHandle, MaintenanceLayer, Policy,
    testing::{SimulatedPartner, assert_serving, assert_tripped},
};

use crate::sdk::Sdk;

pub(crate) async fn reqwest_client(request: reqwest::Request) -> Result<u16, BoxError> {
    // task: guard a reqwest client
    let layer = MaintenanceLayer::new("zuora");
    let client = layer.reqwest(reqwest::Client::new());
    let answer = client.execute(request).await?;
    // end
    Ok(answer.status().as_u16())
}

pub(crate) async fn sdk_call(sdk: Sdk) -> Result<u32, BoxError> {
    // task: guard an SDK call
    let layer = MaintenanceLayer::new("zuora");
    let receipt = layer.run("charge", sdk.charge(500)).await?;
    // end
    Ok(receipt)
}

pub(crate) fn axum_routes(routes: Router) -> Result<Router, BoxError> {
    // task: guard axum routes
    let layer = MaintenanceLayer::builder("zuora")
        .exempt(Exemption::route("/health", "the load balancer asks it"))
        .build()?;
    let routes = routes.layer(layer.routes());
    // end
    Ok(routes)
}

pub(crate) fn state(layer: &MaintenanceLayer) -> String {
    // task: read the state
    let state = layer.handle().status().to_string();
    // end
    state
}

pub(crate) fn export(handle: &MaintenanceHandle) {
    // task: export metrics
    handle.publish_metrics();
    // end
}

pub(crate) fn policy(text: &str) -> Result<MaintenanceLayer, BoxError> {
    // task: load a policy
    let policy: Policy = serde_json::from_str(text)?;
    let layer = MaintenanceLayer::builder("zuora").policy(policy).build()?;
    // end
    Ok(layer)
}

#[cfg_attr(test, tokio::test(start_paused = true))]
pub(crate) async fn outage() {
    // task: test an outage
    let partner = SimulatedPartner::healthy();
    let layer = MaintenanceLayer::new("zuora");
    let billing = layer.layer(partner.clone());
    partner.break_down();
    for _ in 0..5 {
        let _ = billing.clone().oneshot("charge").await;
    }
    let refused = billing.clone().oneshot("charge").await.unwrap_err();
    assert_tripped(&layer.handle());
    partner.mend();
    tokio::time::sleep(refused.refused().unwrap().retry_after().unwrap()).await;
    for _ in 0..3 {
        billing.clone().oneshot("charge").await.unwrap();
    }
    assert_serving(&layer.handle());
    // end
}
