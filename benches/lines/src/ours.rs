//! tower-maintenance.

use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use serde::Deserialize;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn, util::BoxCloneService};
use tower_maintenance::{
    Exemption, MaintenanceHandle, MaintenanceLayer, Policy, Rate,
    testing::{SimulatedPartner, assert_serving, assert_tripped},
};

use crate::sdk::Sdk;

type Client = BoxCloneService<Request<reqwest::Body>, Response<reqwest::Body>, BoxError>;

pub(crate) async fn reqwest_client(request: Request<reqwest::Body>) -> Result<u16, BoxError> {
    // task: guard a reqwest client
    let layer = MaintenanceLayer::new("zuora");
    let client = reqwest::Client::new();
    let client = service_fn(move |request: Request<reqwest::Body>| {
        let client = client.clone();
        async move {
            let answer = client.execute(reqwest::Request::try_from(request)?).await?;
            Ok::<_, BoxError>(Response::<reqwest::Body>::from(answer))
        }
    });
    let client = layer.http_calls().boxed().layer(client);
    // end
    let client = client.map_response(|answer| answer.map(reqwest::Body::wrap));
    let client: Client = BoxCloneService::new(client);
    Ok(client.oneshot(request).await?.status().as_u16())
}

pub(crate) async fn sdk_call(sdk: Sdk) -> Result<u32, BoxError> {
    // task: guard an SDK call
    let layer = MaintenanceLayer::new("zuora");
    let mut charges = layer.layer(service_fn(move |cents: u32| {
        let sdk = sdk.clone();
        async move { sdk.charge(cents).await }
    }));
    let receipt = charges.ready().await?.call(500).await?;
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
    let status = handle.status();
    let partner = status.partner.to_string();
    for mode in ["serving", "maintenance", "probing"] {
        let is_it = f64::from(status.mode.to_string() == mode);
        metrics::gauge!("maintenance_mode", "partner" => partner.clone(), "mode" => mode)
            .set(is_it);
    }
    for (outcome, calls) in [
        ("succeeded", status.calls.succeeded),
        ("failed", status.calls.failed),
        ("neutral", status.calls.neutral),
    ] {
        let labels = [
            ("partner", partner.clone()),
            ("outcome", outcome.to_owned()),
        ];
        metrics::counter!("maintenance_calls_total", &labels).absolute(calls);
    }
    metrics::counter!("maintenance_refused_total", "partner" => partner.clone())
        .absolute(status.calls.refused);
    let rate = status.window.failure_rate.unwrap_or(f64::NAN);
    metrics::gauge!("maintenance_failure_rate", "partner" => partner).set(rate);
    // end
}

pub(crate) fn policy(text: &str) -> Result<MaintenanceLayer, BoxError> {
    // task: load a policy
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        failure_percent: f64,
        min_calls: u32,
        wait_seconds: u64,
    }
    let settings: Settings = serde_json::from_str(text)?;
    let policy = Policy::default()
        .with_failure_rate(Rate::percent(settings.failure_percent)?)
        .with_min_calls(settings.min_calls)
        .with_wait(Duration::from_secs(settings.wait_seconds));
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
