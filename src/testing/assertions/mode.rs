//! Assertions on the mode of a layer and its causes.

use crate::{
    facts::{
        evidence::Evidence,
        mode::{Cause, Mode},
        status::Status,
    },
    operator::handle::MaintenanceHandle,
};

/// Asserts that the layer serves: requests pass.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer};
/// use tower_maintenance::testing::{assert_in_maintenance, assert_serving};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// assert_serving(&handle);
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// assert_in_maintenance(&handle);
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
///
/// # Panics
///
/// If the mode is another.
#[track_caller]
pub fn assert_serving(handle: &MaintenanceHandle) {
    assert_mode(handle, Mode::Serving);
}

/// Asserts that the layer is in maintenance, for any cause: requests are refused.
///
/// Once the wait of a trip is over, the mode is [`Probing`](Mode::Probing) and no longer
/// `Maintenance`.
///
/// ```should_panic
/// use tower_maintenance::{MaintenanceLayer, testing::assert_in_maintenance};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// // Panics with "expected zuora to be in maintenance; zuora is serving: no calls in 60 s".
/// assert_in_maintenance(&handle);
/// ```
///
/// # Panics
///
/// If the mode is another.
#[track_caller]
pub fn assert_in_maintenance(handle: &MaintenanceHandle) {
    assert_mode(handle, Mode::Maintenance);
}

/// Asserts that the layer is probing the partner.
///
/// ```
/// use tower_maintenance::{MaintenanceLayer, testing::assert_probing};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// handle.trip("on-call", "drill")?;
/// handle.probe_now("on-call", "let us see")?;
/// assert_probing(&handle);
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
///
/// # Panics
///
/// If the mode is another.
#[track_caller]
pub fn assert_probing(handle: &MaintenanceHandle) {
    assert_mode(handle, Mode::Probing);
}

#[track_caller]
fn assert_mode(handle: &MaintenanceHandle, expected: Mode) {
    let status = handle.status();
    let in_words = match expected {
        Mode::Serving => "serving",
        Mode::Maintenance => "in maintenance",
        Mode::Probing => "probing",
    };
    assert!(
        status.mode == expected,
        "expected {} to be {in_words}; {status}",
        status.partner
    );
}

/// Asserts that the layer has tripped, and returns the evidence. An operator may hold it too.
///
/// ```
/// use tower::ServiceExt;
/// use tower_maintenance::MaintenanceLayer;
/// use tower_maintenance::testing::{SimulatedPartner, assert_tripped};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let partner = SimulatedPartner::healthy();
/// let layer = MaintenanceLayer::new("zuora");
/// let billing = tower::Layer::layer(&layer, partner.clone());
///
/// partner.break_down();
/// for _ in 0..5 {
///     let _ = billing.clone().oneshot("a call").await;
/// }
/// let evidence = assert_tripped(&layer.handle());
/// assert_eq!(evidence.to_string(), "5 calls failed in a row");
/// # }
/// ```
///
/// # Panics
///
/// If the layer has not tripped, or has recovered.
#[track_caller]
#[expect(
    clippy::must_use_candidate,
    reason = "an assertion is complete without its result"
)]
pub fn assert_tripped(handle: &MaintenanceHandle) -> Evidence {
    let status = handle.status();
    match tripped(&status) {
        Some(evidence) => evidence,
        None => panic!("expected {} to have tripped; {status}", status.partner),
    }
}

pub(super) fn tripped(status: &Status) -> Option<Evidence> {
    let held = status
        .causes
        .iter()
        .any(|held| held.cause == Cause::Tripped);
    status.evidence.filter(|_| held)
}

/// Asserts that this operator holds maintenance.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer, testing::assert_held_by};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// assert_held_by(&handle, "on-call");
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
///
/// # Panics
///
/// If there is no hold, or it is another operator's.
#[track_caller]
pub fn assert_held_by(handle: &MaintenanceHandle, operator: &str) {
    let status = handle.status();
    let held = status
        .causes
        .iter()
        .any(|held| held.cause == Cause::Operator && &*held.actor == operator);
    assert!(
        held,
        "expected {} to be held by {operator}; {status}",
        status.partner
    );
}

#[cfg(test)]
mod tests {
    use super::{
        super::support::{complaint, handle, held},
        *,
    };

    #[test]
    fn a_failed_assertion_quotes_the_status() {
        assert_eq!(
            complaint(|| assert_serving(&held())),
            "expected zuora to be serving; zuora is in maintenance: held by on-call (ticket 4711)"
        );
        let handle = handle();
        assert_eq!(
            complaint(|| assert_probing(&handle)),
            format!("expected zuora to be probing; {}", handle.status())
        );
        assert_eq!(
            complaint(|| assert_held_by(&held(), "somebody")),
            "expected zuora to be held by somebody; zuora is in maintenance: held by on-call (ticket 4711)"
        );
    }

    #[test]
    fn a_hold_is_no_trip_and_a_trip_beneath_a_hold_is_one() {
        let handle = held();
        assert_eq!(
            complaint(|| assert_tripped(&handle)),
            "expected zuora to have tripped; zuora is in maintenance: held by on-call (ticket 4711)"
        );
        handle.trip("on-call", "drill").unwrap();
        assert_in_maintenance(&handle);
        assert_tripped(&handle);
    }
}
