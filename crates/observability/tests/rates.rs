//! Refusals are counted separately, and never as failures.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod support;

use std::io;

use observability_tests::app::{BEFORE_ROUTES, app, block_on, status_of};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Error, Hold, MaintenanceLayer, Policy};

const REFUSALS: u64 = 10_000;

#[test]
fn ten_thousand_refusals_are_counted_as_refusals_and_leave_failures_and_window_alone() {
    let policy = Policy::default().with_min_calls(4);
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    let partner = layer.layer(service_fn(async |ok: bool| {
        ok.then_some(()).ok_or(io::Error::other("502"))
    }));
    let call = |ok| block_on(partner.clone().oneshot(ok));
    for ok in [true, true, false, true] {
        assert_eq!(call(ok).is_ok(), ok);
    }
    let app = app(&layer);
    let receipt = handle.engage(Hold::new("on-call", "drill")).unwrap();
    let before = receipt.status().clone();
    assert_eq!(before.window.failure_rate, Some(0.25));

    let log = support::logged(|| {
        for _ in 0..REFUSALS / 2 {
            assert!(matches!(call(false), Err(Error::Refused(_))));
            assert_eq!(block_on(status_of(&app, BEFORE_ROUTES)), 503);
        }
    });

    let after = handle.status();
    assert_eq!(after.calls.refused, before.calls.refused + REFUSALS);
    assert_eq!(after.refused_in_mode, REFUSALS);
    assert_eq!(after.window, before.window);
    let mut but_refused = after.calls;
    but_refused.refused = before.calls.refused;
    assert_eq!(but_refused, before.calls);
    assert_eq!(log, "", "no line a refusal");

    // After the maintenance the next failure is the first of its window.
    handle.release("on-call", "drill over").unwrap();
    assert!(matches!(call(false), Err(Error::Inner(_))));
    let serving = handle.status();
    assert_eq!(serving.calls.failed, before.calls.failed + 1);
    assert_eq!((serving.window.failed, serving.window.total), (1, 1));
}
