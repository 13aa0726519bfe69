//! seatbelt.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn_with_state},
    response::IntoResponse,
};
use layered::{Execute, Service, Stack};
use opentelemetry::metrics::MeterProvider;
use seatbelt::{
    RecoveryInfo, ResilienceContext,
    breaker::{Breaker, BreakerConfig, HalfOpenMode},
};
use tick::{Clock, ClockControl};
use tower::{Layer, ServiceExt};

use crate::sdk::{BoxError, Sdk, SdkError};

type Context = ResilienceContext<u32, Result<u32, SdkError>>;

pub(crate) async fn reqwest_client(request: reqwest::Request) -> Result<u16, BoxError> {
    // task: guard a reqwest client
    let context = ResilienceContext::new(Clock::new_tokio());
    let breaker = Breaker::layer("zuora", &context)
        .recovery_with(
            |result: &Result<reqwest::Response, reqwest::Error>, _| match result {
                Ok(answer) if !answer.status().is_server_error() => RecoveryInfo::never(),
                _ => RecoveryInfo::retry(),
            },
        )
        .rejected_input(|_, _| {
            let mut refused = http::Response::new("");
            *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            Ok(refused.into())
        });
    let client = breaker.layer(reqwest::Client::new());
    // end
    Ok(client.oneshot(request).await?.status().as_u16())
}

pub(crate) async fn sdk_call(sdk: Sdk) -> Result<u32, BoxError> {
    // task: guard an SDK call
    let context = ResilienceContext::new(Clock::new_tokio());
    let charges = (
        Breaker::layer("zuora", &context)
            .recovery_with(|result: &Result<u32, SdkError>, _| match result {
                Ok(_) => RecoveryInfo::never(),
                Err(_) => RecoveryInfo::retry(),
            })
            .rejected_input_error(|_, _| SdkError("the circuit is open")),
        Execute::new(move |cents: u32| {
            let sdk = sdk.clone();
            async move { sdk.charge(cents).await }
        }),
    )
        .into_service();
    let receipt = charges.execute(500).await?;
    // end
    Ok(receipt)
}

pub(crate) fn axum_routes(context: &Context, routes: Router) -> Router {
    // task: guard axum routes
    let is_open = Arc::new(AtomicBool::new(false));
    let (opened, closed) = (is_open.clone(), is_open.clone());
    let _breaker = Breaker::layer("zuora", context)
        .recovery_with(|result: &Result<u32, SdkError>, _| match result {
            Ok(_) => RecoveryInfo::never(),
            Err(_) => RecoveryInfo::retry(),
        })
        .rejected_input_error(|_, _| SdkError("the circuit is open"))
        .on_opened(move |_, _| opened.store(true, Ordering::Relaxed))
        .on_closed(move |_, _| closed.store(false, Ordering::Relaxed));
    async fn gate(
        State(is_open): State<Arc<AtomicBool>>,
        request: Request,
        next: Next,
    ) -> axum::response::Response {
        if is_open.load(Ordering::Relaxed) && request.uri().path() != "/health" {
            let seconds = [(RETRY_AFTER, "30")];
            return (StatusCode::SERVICE_UNAVAILABLE, seconds).into_response();
        }
        next.run(request).await
    }
    let routes = routes.layer(from_fn_with_state(is_open, gate));
    // end
    routes
}

/// It has callbacks, and no state that can be read.
pub(crate) fn state(context: &Context) -> u8 {
    // task: read the state
    const CLOSED: u8 = 0;
    const OPEN: u8 = 1;
    const PROBING: u8 = 2;
    let state = Arc::new(AtomicU8::new(CLOSED));
    let [opened, probing, closed] = [(); 3].map(|()| state.clone());
    let _breaker = Breaker::layer("zuora", context)
        .on_opened(move |_, _| opened.store(OPEN, Ordering::Relaxed))
        .on_probing(move |_, _| probing.store(PROBING, Ordering::Relaxed))
        .on_closed(move |_, _| closed.store(CLOSED, Ordering::Relaxed));
    let state = state.load(Ordering::Relaxed);
    // end
    state
}

pub(crate) fn export(provider: &dyn MeterProvider) -> Context {
    // task: export metrics
    let context = ResilienceContext::new(Clock::new_tokio()).use_metrics(provider);
    // end
    context
}

pub(crate) fn policy(context: &Context, text: &str) -> Result<(), BoxError> {
    // task: load a policy
    let config: BreakerConfig = serde_json::from_str(text)?; // feature `serde`
    let breaker = Breaker::layer("zuora", context).config(&config);
    // end
    drop(breaker);
    Ok(())
}

#[cfg_attr(test, tokio::test)]
pub(crate) async fn outage() {
    let sdk = Sdk::default();
    // task: test an outage
    let clock = ClockControl::new();
    let context = Context::new(clock.to_clock());
    let partner = sdk.clone();
    let billing = (
        Breaker::layer("zuora", &context)
            .recovery_with(|result: &Result<u32, SdkError>, _| match result {
                Ok(_) => RecoveryInfo::never(),
                Err(_) => RecoveryInfo::retry(),
            })
            .rejected_input_error(|_, _| SdkError("the circuit is open"))
            .min_throughput(5)
            .break_duration(Duration::from_secs(30))
            .half_open_mode(HalfOpenMode::quick()),
        Execute::new(move |cents: u32| {
            let partner = partner.clone();
            async move { partner.charge(cents).await }
        }),
    )
        .into_service();
    sdk.set_down(true);
    for _ in 0..5 {
        let _ = billing.execute(500).await;
    }
    let refused = billing.execute(500).await.unwrap_err();
    assert_eq!(refused, SdkError("the circuit is open"));
    sdk.set_down(false);
    clock.advance(Duration::from_secs(31));
    for _ in 0..3 {
        billing.execute(500).await.unwrap();
    }
    // end
}
