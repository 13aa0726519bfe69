//! tower-resilience-circuitbreaker.

use std::time::Duration;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
};
use serde::Deserialize;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::{CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};

use crate::sdk::{BoxError, Sdk, WAIT};

pub(crate) async fn reqwest_client(request: reqwest::Request) -> Result<u16, BoxError> {
    // task: guard a reqwest client
    let breaker = CircuitBreakerLayer::builder()
        .failure_classifier(
            |result: &Result<reqwest::Response, reqwest::Error>| match result {
                Ok(answer) => answer.status().is_server_error(),
                Err(_) => true,
            },
        )
        .build()?;
    let client = breaker.layer(reqwest::Client::new());
    // end
    Ok(client.oneshot(request).await?.status().as_u16())
}

pub(crate) async fn sdk_call(sdk: Sdk) -> Result<u32, BoxError> {
    // task: guard an SDK call
    let breaker = CircuitBreakerLayer::builder().build()?;
    let mut charges = breaker.layer(service_fn(move |cents: u32| {
        let sdk = sdk.clone();
        async move { sdk.charge(cents).await }
    }));
    let receipt = charges.ready().await?.call(500).await?;
    // end
    Ok(receipt)
}

pub(crate) fn axum_routes(routes: Router) -> Result<Router, BoxError> {
    // task: guard axum routes
    let (_breaker, handle) = CircuitBreakerLayer::builder().build_with_handle()?;
    async fn gate(
        State(handle): State<CircuitBreakerHandle>,
        request: Request,
        next: Next,
    ) -> axum::response::Response {
        if handle.is_open() && request.uri().path() != "/health" {
            let seconds = [(RETRY_AFTER, "30")];
            return (StatusCode::SERVICE_UNAVAILABLE, seconds).into_response();
        }
        next.run(request).await
    }
    let routes = routes.layer(from_fn_with_state(handle, gate));
    // end
    Ok(routes)
}

pub(crate) fn state(handle: &CircuitBreakerHandle) -> CircuitState {
    // task: read the state
    let state = handle.state();
    // end
    state
}

pub(crate) fn export() -> Result<CircuitBreakerLayer, BoxError> {
    // task: export metrics
    let breaker = CircuitBreakerLayer::builder().name("zuora").build()?; // feature `metrics`
    // end
    Ok(breaker)
}

pub(crate) fn policy(text: &str) -> Result<CircuitBreakerLayer, BoxError> {
    // task: load a policy
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        failure_rate: f64,
        min_calls: usize,
        wait_seconds: u64,
    }
    let settings: Settings = serde_json::from_str(text)?;
    let breaker = CircuitBreakerLayer::builder()
        .failure_rate_threshold(settings.failure_rate)
        .minimum_number_of_calls(settings.min_calls)
        .wait_duration_in_open(Duration::from_secs(settings.wait_seconds))
        .build()?;
    // end
    Ok(breaker)
}

/// Its clock is the system's.
#[cfg_attr(test, tokio::test)]
pub(crate) async fn outage() {
    let sdk = Sdk::default();
    // task: test an outage
    let (breaker, handle) = CircuitBreakerLayer::builder()
        .minimum_number_of_calls(5)
        .sliding_window_size(5)
        .permitted_calls_in_half_open(3)
        .wait_duration_in_open(WAIT)
        .build_with_handle()
        .unwrap();
    let partner = sdk.clone();
    let billing = breaker.layer(service_fn(move |cents: u32| {
        let partner = partner.clone();
        async move { partner.charge(cents).await }
    }));
    sdk.set_down(true);
    for _ in 0..5 {
        let _ = billing.clone().oneshot(500).await;
    }
    let refused = billing.clone().oneshot(500).await.unwrap_err();
    assert!(refused.is_circuit_open());
    sdk.set_down(false);
    tokio::time::sleep(WAIT).await;
    for _ in 0..3 {
        billing.clone().oneshot(500).await.unwrap();
    }
    assert_eq!(handle.state(), CircuitState::Closed);
    // end
}
