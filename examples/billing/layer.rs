//! The layer of the example `billing`: its exemptions, its policy, and what customers read.

use std::time::Duration;

use tower::BoxError;
use tower_maintenance::{
    Exemption, MaintenanceLayer, Policy, Rate, Window,
    http::{Refusals, RefusalsError},
};

use super::{
    partner::{HANG_LIMIT, SLOW},
    shop::Setup,
};

/// The routes that maintenance must not touch, and why.
const EXEMPT: [(&str, &str); 14] = [
    (
        "/billing/invoices/{id}",
        "customers may always see what they owe; the data comes from our own books",
    ),
    (
        "/webhooks/partner",
        "a refused event may be lost, and it may say that the partner is back",
    ),
    (
        "/health/live",
        "an orchestrator that gets a 503 restarts healthy processes in a loop",
    ),
    (
        "/shop",
        "the shop's page does not call the partner, and shows when there are no prices",
    ),
    ("/shop.js", "the page's own script"),
    ("/push/events", "open tabs wait for the recovery there"),
    ("/push/{script}", "the script by which open tabs wait"),
    (
        "/maintenance/notice.json",
        "the maintenance page polls it to learn of the recovery",
    ),
    (
        "/maintenance/notice.js",
        "the script that shows a notice in other pages",
    ),
    (
        "/maintenance",
        "the status is needed most during maintenance",
    ),
    (
        "/maintenance/engage",
        "operators must be able to act during maintenance",
    ),
    (
        "/maintenance/release",
        "operators must be able to act during maintenance",
    ),
    (
        "/partner",
        "it shows during maintenance that the partner gets no calls",
    ),
    (
        "/partner/{phase}",
        "it breaks and repairs the simulated partner, and is not a part of billing",
    ),
];

fn policy(ramp: u32) -> Policy {
    let policy = Policy::new(Window::time(Duration::from_secs(10)), Rate::HALF)
        .with_min_calls(4)
        .with_consecutive_failures(3)
        .with_slow_calls(SLOW, Rate::HALF)
        .with_hang_limit(HANG_LIMIT)
        .with_wait(Duration::from_secs(5))
        .with_wait_growing(1.0, Duration::from_secs(5))
        .with_jitter(0.0)
        .with_ping_every(Duration::from_secs(1));
    if ramp == 0 {
        policy
    } else {
        policy.with_ramp(Duration::from_secs(ramp.into()))
    }
}

/// Builds the layer with its exemptions. It is not private, because a test compares it with the
/// runbook.
pub(crate) fn layer(setup: &Setup) -> Result<MaintenanceLayer, BoxError> {
    let builder = MaintenanceLayer::builder("zuora")
        .policy(policy(setup.ramp))
        .refusals(refusals()?);
    let layer = EXEMPT
        .into_iter()
        .fold(builder, |builder, (route, why)| {
            builder.exempt(Exemption::route(route, why))
        })
        .cache_tags(["prices"])
        .cache_urls(["/billing/prices"])
        .build()?;
    Ok(layer)
}

/// What customers read when the gate, or a handler's call to the partner, refuses.
fn refusals() -> Result<Refusals, RefusalsError> {
    Refusals::new()
        .component("Billing")
        .still_works(["Reading your invoices"])
        .notice_url("/maintenance/notice.json")?
        .page_checks_every(Duration::from_secs(2))
}
