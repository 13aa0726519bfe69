//! failsafe.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
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
use failsafe::{
    Config, Error, Instrument, backoff,
    failure_policy::{self, ConsecutiveFailures},
    futures::CircuitBreaker,
};
use serde::Deserialize;

use crate::sdk::{BoxError, Sdk, WAIT};

pub(crate) async fn reqwest_client(request: reqwest::Request) -> Result<u16, BoxError> {
    // task: guard a reqwest client
    let breaker = Config::new().build();
    let client = reqwest::Client::new();
    let answer = breaker.call(async {
        let answer = client.execute(request).await?;
        if answer.status().is_server_error() {
            return answer.error_for_status();
        }
        Ok(answer)
    });
    let answer = answer.await?;
    // end
    Ok(answer.status().as_u16())
}

pub(crate) async fn sdk_call(sdk: Sdk) -> Result<u32, BoxError> {
    // task: guard an SDK call
    let breaker = Config::new().build();
    let receipt = breaker.call(sdk.charge(500)).await?;
    // end
    Ok(receipt)
}

/// A look at it by `is_call_permitted` may move it to half-open, so an instrument keeps its state.
pub(crate) fn axum_routes(routes: Router) -> Router {
    // task: guard axum routes
    #[derive(Clone, Default)]
    struct IsOpen(Arc<AtomicU8>);
    impl Instrument for IsOpen {
        fn on_call_rejected(&self) {}
        fn on_open(&self) {
            self.0.store(1, Ordering::Relaxed);
        }
        fn on_half_open(&self) {
            self.0.store(0, Ordering::Relaxed);
        }
        fn on_closed(&self) {
            self.0.store(0, Ordering::Relaxed);
        }
    }
    let is_open = IsOpen::default();
    let _breaker = Config::new().instrument(is_open.clone()).build();
    async fn gate(
        State(is_open): State<IsOpen>,
        request: Request,
        next: Next,
    ) -> axum::response::Response {
        if is_open.0.load(Ordering::Relaxed) == 1 && request.uri().path() != "/health" {
            let seconds = [(RETRY_AFTER, "30")];
            return (StatusCode::SERVICE_UNAVAILABLE, seconds).into_response();
        }
        next.run(request).await
    }
    let routes = routes.layer(from_fn_with_state(is_open, gate));
    // end
    routes
}

pub(crate) fn state() -> u8 {
    // task: read the state
    #[derive(Clone, Default)]
    struct Watched(Arc<AtomicU8>);
    impl Instrument for Watched {
        fn on_call_rejected(&self) {}
        fn on_closed(&self) {
            self.0.store(0, Ordering::Relaxed);
        }
        fn on_open(&self) {
            self.0.store(1, Ordering::Relaxed);
        }
        fn on_half_open(&self) {
            self.0.store(2, Ordering::Relaxed);
        }
    }
    let watched = Watched::default();
    let _breaker = Config::new().instrument(watched.clone()).build();
    let state = watched.0.load(Ordering::Relaxed);
    // end
    state
}

/// Calls that pass or fail are not told to an instrument. Their caller counts them.
pub(crate) async fn export(sdk: Sdk) -> Result<u32, BoxError> {
    // task: export metrics
    struct Exported;
    impl Instrument for Exported {
        fn on_call_rejected(&self) {
            metrics::counter!("refused_total").increment(1);
        }
        fn on_open(&self) {
            metrics::gauge!("state").set(1.0);
        }
        fn on_half_open(&self) {
            metrics::gauge!("state").set(2.0);
        }
        fn on_closed(&self) {
            metrics::gauge!("state").set(0.0);
        }
    }
    let breaker = Config::new().instrument(Exported).build();
    let result = breaker.call(sdk.charge(500)).await;
    match &result {
        Ok(_) => metrics::counter!("calls_total", "outcome" => "succeeded").increment(1),
        Err(Error::Inner(_)) => {
            metrics::counter!("calls_total", "outcome" => "failed").increment(1)
        }
        Err(Error::Rejected) => {}
    }
    // end
    Ok(result?)
}

pub(crate) fn policy(
    text: &str,
) -> Result<ConsecutiveFailures<std::iter::Repeat<Duration>>, BoxError> {
    // task: load a policy
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        consecutive_failures: u32,
        wait_seconds: u64,
    }
    let settings: Settings = serde_json::from_str(text)?;
    let wait = backoff::constant(Duration::from_secs(settings.wait_seconds));
    let policy = failure_policy::consecutive_failures(settings.consecutive_failures, wait);
    // end
    Ok(policy)
}

/// Its clock is the system's.
#[cfg_attr(test, tokio::test)]
pub(crate) async fn outage() {
    let sdk = Sdk::default();
    // task: test an outage
    let policy = failure_policy::consecutive_failures(5, backoff::constant(WAIT));
    let billing = Config::new().failure_policy(policy).build();
    sdk.set_down(true);
    for _ in 0..5 {
        let _ = billing.call(sdk.charge(500)).await;
    }
    let refused = billing.call(sdk.charge(500)).await;
    assert!(matches!(refused, Err(Error::Rejected)));
    sdk.set_down(false);
    tokio::time::sleep(WAIT).await;
    for _ in 0..3 {
        billing.call(sdk.charge(500)).await.unwrap();
    }
    // end
}
