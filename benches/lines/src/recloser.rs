//! recloser.

use std::time::Duration;

use recloser::{AsyncRecloser, Error, Recloser};
use serde::Deserialize;

use crate::sdk::{BoxError, Sdk, WAIT};

pub(crate) async fn reqwest_client(request: reqwest::Request) -> Result<u16, BoxError> {
    // task: guard a reqwest client
    let breaker = AsyncRecloser::from(Recloser::default());
    let client = reqwest::Client::new();
    let answer = breaker.call(async {
        let answer = client.execute(request).await?;
        if answer.status().is_server_error() {
            return answer.error_for_status();
        }
        Ok(answer)
    });
    let answer = answer.await.map_err(|error| match error {
        Error::Inner(error) => BoxError::from(error),
        Error::Rejected => "the circuit is open".into(),
    })?;
    // end
    Ok(answer.status().as_u16())
}

/// Its error is no `std::error::Error`.
pub(crate) async fn sdk_call(sdk: Sdk) -> Result<u32, BoxError> {
    // task: guard an SDK call
    let breaker = AsyncRecloser::from(Recloser::default());
    let receipt = breaker.call(sdk.charge(500)).await;
    let receipt = receipt.map_err(|error| match error {
        Error::Inner(error) => BoxError::from(error),
        Error::Rejected => "the circuit is open".into(),
    })?;
    // end
    Ok(receipt)
}

// none: guard axum routes: its state cannot be read, and it only wraps calls
// none: read the state: only its `tracing` events tell, with a subscriber of one's own
// none: export metrics: a `tracing` subscriber of one's own, and counters at each call

pub(crate) fn policy(text: &str) -> Result<Recloser, BoxError> {
    // task: load a policy
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        failure_rate: f32,
        window_calls: usize,
        wait_seconds: u64,
    }
    let settings: Settings = serde_json::from_str(text)?;
    let breaker = Recloser::custom()
        .error_rate(settings.failure_rate)
        .closed_len(settings.window_calls)
        .open_wait(Duration::from_secs(settings.wait_seconds))
        .build();
    // end
    Ok(breaker)
}

/// Its clock is the system's.
#[cfg_attr(test, tokio::test)]
pub(crate) async fn outage() {
    let sdk = Sdk::default();
    // task: test an outage
    let breaker = Recloser::custom()
        .closed_len(5)
        .half_open_len(3)
        .open_wait(WAIT)
        .build();
    let billing = AsyncRecloser::from(breaker);
    sdk.set_down(true);
    // One more than the window has: it is judged when it is full.
    for _ in 0..6 {
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
