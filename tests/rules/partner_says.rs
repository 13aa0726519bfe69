//! What the partner says about itself is shown beside what was measured, and decides nothing.

use std::{
    io,
    time::{Duration, SystemTime},
};

use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Contradiction, Error, Hold, Indicator, MaintenanceHandle, MaintenanceLayer, Mode,
    PartnerStatus, Policy,
};

const OPERATIONAL: &str = "All Systems Operational";

fn layer() -> MaintenanceLayer {
    let policy = Policy::default().with_jitter(0.0);
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    layer.build().unwrap()
}

/// A call that ends as it is told.
async fn call(layer: &MaintenanceLayer, succeeds: bool) -> Result<(), Error<io::Error>> {
    let partner = service_fn(async |succeeds: bool| match succeeds {
        true => Ok(()),
        false => Err(io::Error::other("502")),
    });
    layer.layer(partner).oneshot(succeeds).await
}

/// Ten calls, `failed` of which fail, with a success between any two failures where possible.
async fn ten_calls(layer: &MaintenanceLayer, failed: u32) {
    for n in 0..10 {
        let fails = n % 2 == 0 && n / 2 < failed;
        let _ = call(layer, !fails).await;
    }
}

fn says(handle: &MaintenanceHandle, indicator: Indicator, description: &str) {
    handle.report_partner_status(PartnerStatus::new(indicator, description));
}

fn contradiction(handle: &MaintenanceHandle) -> Option<Contradiction> {
    handle.status().partner_says.unwrap().contradiction
}

#[tokio::test(start_paused = true)]
async fn partner_says_operational_and_we_see_40_percent_failures() {
    let layer = layer();
    let handle = layer.handle();
    says(&handle, Indicator::Operational, OPERATIONAL);
    assert_eq!(
        handle.status().to_string(),
        "zuora is serving: no calls in 60 s; the partner says: All Systems Operational"
    );
    ten_calls(&layer, 4).await;
    let seen = contradiction(&handle).unwrap();
    assert!(
        matches!(seen, Contradiction::OperationalYetFailing { failure_rate, .. } if failure_rate == 0.4)
    );
    assert_eq!(
        handle.status().to_string(),
        "zuora is serving: 4 of 10 calls failed in 60 s; the partner says: All Systems Operational, \
         but we see 40 % failures"
    );
}

#[tokio::test(start_paused = true)]
async fn a_few_failures_and_a_few_calls_contradict_nobody() {
    for failed in [0, 1] {
        let layer = layer();
        says(&layer.handle(), Indicator::Operational, OPERATIONAL);
        ten_calls(&layer, failed).await;
        assert_eq!(contradiction(&layer.handle()), None, "{failed} of 10");
    }
    let layer = layer();
    says(&layer.handle(), Indicator::Operational, OPERATIONAL);
    for _ in 0..4 {
        let _ = call(&layer, false).await;
    }
    assert_eq!(contradiction(&layer.handle()), None, "4 calls are too few");
}

#[tokio::test(start_paused = true)]
async fn partner_says_operational_and_our_calls_tripped() {
    let layer = layer();
    let handle = layer.handle();
    says(&handle, Indicator::Operational, OPERATIONAL);
    for _ in 0..5 {
        let _ = call(&layer, false).await;
    }
    assert_eq!(
        handle.status().to_string(),
        "zuora is in maintenance: 5 calls failed in a row; 30 s left; the partner says: \
         All Systems Operational, but our calls failed"
    );
    advance(Duration::from_secs(30)).await;
    assert_eq!(handle.mode(), Mode::Probing);
    assert_eq!(
        contradiction(&handle),
        Some(Contradiction::OperationalYetTripped)
    );
    // The partner admits the outage: there is no contradiction any more.
    says(&handle, Indicator::Minor, "Degraded");
    assert_eq!(contradiction(&handle), None);
}

#[tokio::test(start_paused = true)]
async fn what_dry_run_kept_from_being_real_contradicts_too() {
    let layer = MaintenanceLayer::builder("zuora")
        .dry_run()
        .build()
        .unwrap();
    says(&layer.handle(), Indicator::Operational, OPERATIONAL);
    for _ in 0..5 {
        let _ = call(&layer, false).await;
    }
    assert_eq!(layer.handle().mode(), Mode::Serving);
    assert_eq!(
        contradiction(&layer.handle()),
        Some(Contradiction::OperationalYetTripped)
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_commands_contradicts_nobody() {
    let handle = layer().handle();
    says(&handle, Indicator::Operational, OPERATIONAL);
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    assert_eq!(contradiction(&handle), None);
    handle.clear("on-call", "over").unwrap();
    handle.trip("on-call", "drill").unwrap();
    assert_eq!(contradiction(&handle), None);
}

#[tokio::test(start_paused = true)]
async fn partner_says_outage_and_we_see_none() {
    for (indicator, contradicts) in [
        (Indicator::Critical, true),
        (Indicator::Major, true),
        (Indicator::Minor, false),
        (Indicator::Maintenance, false),
        (Indicator::Operational, false),
    ] {
        let layer = layer();
        says(&layer.handle(), indicator, "so it is");
        ten_calls(&layer, 0).await;
        assert_eq!(
            contradiction(&layer.handle()).is_some(),
            contradicts,
            "{indicator}"
        );
    }
    let layer = layer();
    let handle = layer.handle();
    says(&handle, Indicator::Critical, "Major System Outage");
    assert_eq!(contradiction(&handle), None, "nothing was measured");
    ten_calls(&layer, 0).await;
    assert_eq!(
        handle.status().to_string(),
        "zuora is serving: 0 of 10 calls failed in 60 s; the partner says: Major System Outage (critical), \
         but we see 0 % failures"
    );
    // The outage has reached us.
    ten_calls(&layer, 1).await;
    assert_eq!(contradiction(&handle), None, "1 of 20");
}

#[tokio::test(start_paused = true)]
async fn an_old_word_says_how_old_it_is_and_contradicts_nothing() {
    let layer = layer();
    let handle = layer.handle();
    says(&handle, Indicator::Operational, OPERATIONAL);
    let read = handle.status().partner_says.unwrap().read;
    advance(Duration::from_secs(300)).await;
    ten_calls(&layer, 4).await;
    let report = handle.status().partner_says.unwrap();
    assert_eq!((report.read, report.age), (read, Duration::from_secs(300)));
    assert!(!report.stale && report.contradiction.is_some());

    advance(Duration::from_secs(1)).await;
    let status = handle.status();
    let report = status.partner_says.clone().unwrap();
    assert!(report.stale && report.contradiction.is_none());
    assert_eq!(
        status.to_string(),
        "zuora is serving: 4 of 10 calls failed in 60 s; the partner said 301 s ago (stale): All Systems Operational"
    );
    // The page is read again, and says the same.
    says(&handle, Indicator::Operational, OPERATIONAL);
    let report = handle.status().partner_says.unwrap();
    assert!(report.age.is_zero() && report.contradiction.is_some());
    assert_eq!(report.read, read + Duration::from_secs(301));

    let brief = PartnerStatus::new(Indicator::Operational, "").fresh_for(Duration::from_secs(9));
    handle.report_partner_status(brief);
    advance(Duration::from_secs(10)).await;
    assert!(handle.status().partner_says.unwrap().stale);
}

#[tokio::test(start_paused = true)]
async fn when_it_was_read_follows_a_wall_clock_that_was_stepped() {
    let handle = layer().handle();
    says(&handle, Indicator::Operational, OPERATIONAL);
    advance(Duration::from_secs(7)).await;
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_722_427_200);
    handle.wall_clock_stepped(noon);
    let report = handle.status().partner_says.unwrap();
    assert_eq!(report.read, noon - Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn whatever_it_says_nothing_trips_and_nothing_is_refused() {
    let layer = layer();
    let handle = layer.handle();
    let mut events = handle.events();
    let before = handle.status();
    for minute in 0..60 {
        match minute % 4 {
            0 => handle.partner_unreadable("connection refused"),
            1 => says(&handle, Indicator::Maintenance, "planned"),
            _ => says(&handle, Indicator::Critical, "Major System Outage"),
        }
        ten_calls(&layer, 0).await;
        advance(Duration::from_secs(60)).await;
    }
    let after = handle.status();
    assert_eq!((after.mode, after.era), (Mode::Serving, before.era));
    assert_eq!(after.generation, before.generation);
    assert_eq!((after.calls.succeeded, after.calls.refused), (600, 0));
    assert!(events.try_recv().is_none());
    assert!(handle.audit().is_empty() && handle.episodes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stands_beside_the_last_word_until_it_is_read_again() {
    let handle = layer().handle();
    handle.partner_unreadable("connection\r\nrefused");
    let status = handle.status();
    assert_eq!(status.partner_says, None);
    assert_eq!(
        status.to_string(),
        "zuora is serving: no calls in 60 s; its own status cannot be read: connection refused"
    );

    says(&handle, Indicator::Minor, "Degraded");
    assert_eq!(handle.status().partner_unreadable, None);
    advance(Duration::from_secs(5)).await;
    handle.partner_unreadable("timeout");
    let status = handle.status();
    assert_eq!(status.partner_unreadable.clone().unwrap().at, status.at);
    assert_eq!(
        status.partner_says.clone().unwrap().age,
        Duration::from_secs(5)
    );
    assert_eq!(
        status.to_string(),
        "zuora is serving: no calls in 60 s; the partner says: Degraded (minor); its own status cannot be read: timeout"
    );
}

#[tokio::test(start_paused = true)]
async fn a_receipt_shows_it_too() {
    let handle = layer().handle();
    says(&handle, Indicator::Critical, "Major System Outage");
    let receipt = handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
    assert_eq!(
        receipt.status().to_string(),
        "zuora is in maintenance: held by on-call (ticket 4711); the partner says: Major System Outage (critical)"
    );
}

#[test]
fn no_text_of_the_partners_reaches_a_log_raw() {
    for (text, shown) in [
        ("a\nb\r\nc\td", "a b c d"),
        ("\u{1b}[2J\u{7}all\u{0} well\u{9b}", "[2J all well"),
        // Line separators, and characters that turn the writing or hide.
        ("a\u{2028}b\u{2029}c", "a b c"),
        ("\u{202e}lla\u{2066}well\u{200b}\u{feff}", "lla well"),
        ("  All   Systems  ", "All Systems"),
        ("Störung", "Störung"),
        ("", "operational"),
        (" \n", "operational"),
    ] {
        let says = PartnerStatus::new(Indicator::Operational, text);
        assert_eq!(says.description(), shown, "{text:?}");
    }
    let long = PartnerStatus::new(Indicator::Operational, &"ä ".repeat(100_000));
    assert_eq!(long.description().chars().count(), 257);
    assert!(long.description().ends_with('…'));
    let exact = "x".repeat(256);
    assert_eq!(
        PartnerStatus::new(Indicator::Minor, &exact).description(),
        exact
    );
    let source = PartnerStatus::new(Indicator::Minor, "").with_source("https://a\n.example");
    assert_eq!(source.source(), Some("https://a .example"));
}

#[cfg(feature = "serde")]
#[tokio::test(start_paused = true)]
async fn it_is_written_as_json() {
    use serde_json::{Value, json};

    let layer = layer();
    let handle = layer.handle();
    let status = serde_json::to_value(handle.status()).unwrap();
    assert_eq!(
        (&status["partner_says"], &status["partner_unreadable"]),
        (&Value::Null, &Value::Null)
    );

    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_722_427_200);
    handle.wall_clock_stepped(noon);
    let word = PartnerStatus::new(Indicator::Operational, OPERATIONAL)
        .with_source("https://status.zuora.com")
        .changed_at(noon - Duration::from_secs(3600));
    handle.report_partner_status(word);
    ten_calls(&layer, 4).await;
    advance(Duration::from_secs(2)).await;
    handle.partner_unreadable("timeout");
    let status = serde_json::to_value(handle.status()).unwrap();
    assert_eq!(
        status["partner_says"],
        json!({
            "indicator": "none",
            "description": "All Systems Operational",
            "source": "https://status.zuora.com",
            "changed": "2024-07-31T11:00:00.000Z",
            "read": "2024-07-31T12:00:00.000Z",
            "age_seconds": 2.0,
            "stale": false,
            "contradiction": { "operational_yet_failing": { "failure_rate": 0.4 } },
        })
    );
    assert_eq!(
        status["partner_unreadable"],
        json!({ "error": "timeout", "at": "2024-07-31T12:00:02.000Z" })
    );
}
