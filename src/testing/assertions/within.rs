//! Assertions that wait until the layer trips or recovers.

use std::{future::Future, panic::Location, time::Duration};

use super::mode::tripped;
use crate::{
    facts::{event::EventKind, evidence::Evidence},
    operator::handle::MaintenanceHandle,
};

/// Asserts that the layer trips before `cap` is over, and returns the evidence; at once if it has
/// tripped.
///
/// It waits for the event in tokio's time: under a paused clock an hour passes at once.
///
/// ```
/// use std::time::Duration;
/// use tower::ServiceExt;
/// use tower_maintenance::MaintenanceLayer;
/// use tower_maintenance::testing::{Phase, SimulatedPartner, assert_trips_within};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// partner.switch_to(Phase::failing(1.0).with_status(502))?;
/// let layer = MaintenanceLayer::new("zuora");
/// let billing = tower::Layer::layer(&layer, partner);
/// let customers = tokio::spawn(async move {
///     loop {
///         let _ = billing.clone().oneshot("a call").await;
///         tokio::time::sleep(Duration::from_secs(2)).await;
///     }
/// });
///
/// assert_trips_within(&layer.handle(), Duration::from_secs(60)).await;
/// # customers.abort();
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Cancel safe: dropping the future only ends the wait.
///
/// # Panics
///
/// If the layer has not tripped by then, or if there is no tokio runtime with time enabled.
#[track_caller]
pub fn assert_trips_within(
    handle: &MaintenanceHandle,
    cap: Duration,
) -> impl Future<Output = Evidence> + '_ {
    let asserted = Location::caller();
    async move {
        // Subscribed before the status is read, so that no trip is missed in between.
        let mut events = handle.events();
        if let Some(evidence) = tripped(&handle.status()) {
            return evidence;
        }
        let trip = async {
            loop {
                // Never `None`: the handle keeps the layer alive.
                let event = events.recv().await.map(|event| event.kind);
                if let Some(EventKind::Tripped { evidence, .. }) = event {
                    return evidence;
                }
            }
        };
        match tokio::time::timeout(cap, trip).await {
            Ok(evidence) => evidence,
            Err(_elapsed) => panic!(
                "expected {} to trip within {cap:?}; {} (asserted at {asserted})",
                handle.partner(),
                handle.status()
            ),
        }
    }
}

/// Asserts that the layer serves before `cap` is over; at once if it does.
///
/// It waits for the event in tokio's time, and applies what falls due meanwhile. It does not call
/// the partner: a customer's call or a [ping](MaintenanceHandle::ping) must probe.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::MaintenanceLayer;
/// use tower_maintenance::testing::{SimulatedPartner, assert_recovers_within, assert_serving};
/// # use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// let handle = MaintenanceLayer::new("zuora").handle();
/// tokio::spawn(handle.ping(move || partner.clone().oneshot("a ping")));
///
/// handle.trip("on-call", "drill")?;
/// assert_recovers_within(&handle, Duration::from_secs(60)).await;
/// assert_serving(&handle);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Cancel safe: dropping the future only ends the wait.
///
/// # Panics
///
/// If the layer does not serve by then, or if there is no tokio runtime with time enabled.
#[track_caller]
pub fn assert_recovers_within(
    handle: &MaintenanceHandle,
    cap: Duration,
) -> impl Future<Output = ()> + '_ {
    let asserted = Location::caller();
    async move {
        let recovered = tokio::time::timeout(cap, handle.wait_until_serving()).await;
        assert!(
            recovered.is_ok(),
            "expected {} to recover within {cap:?}; {} (asserted at {asserted})",
            handle.partner(),
            handle.status()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{super::support::held, *};

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_in_time_is_told_with_the_place_that_asked() {
        let handle = held();
        let waits = tokio::spawn(async move {
            assert_recovers_within(&handle, Duration::from_secs(60)).await;
        });
        let panic = waits.await.unwrap_err().into_panic();
        let text = panic.downcast::<String>().unwrap();
        assert!(
            text.starts_with(
                "expected zuora to recover within 60s; \
                 zuora is in maintenance: held by on-call (ticket 4711) (asserted at "
            ) && text.contains("within.rs:"),
            "{text}"
        );
        let handle = super::super::support::handle();
        let trips =
            tokio::spawn(
                async move { assert_trips_within(&handle, Duration::from_secs(60)).await },
            );
        let panic = trips.await.unwrap_err().into_panic();
        let text = panic.downcast::<String>().unwrap();
        assert!(text.starts_with("expected zuora to trip within 60s; zuora is serving: no calls"));
    }
}
