//! Keyed layers publish sums.

use std::time::Duration;

use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Hold, KeyedLayer, MaintenanceLayer};

use crate::{
    Does, SECOND, partner, policy,
    scrape::{Exporter, Scrape},
};

const IDLE_AFTER: Duration = Duration::from_secs(60);

macro_rules! keyed {
    () => {
        KeyedLayer::builder(
            |call: &(u32, Does)| call.0,
            |key: &u32| {
                let builder = MaintenanceLayer::builder(&format!("tenant {key}"));
                let builder = builder.policy(policy()).latency_histogram("accounts");
                builder.build().unwrap()
            },
        )
        .max_keys(64)
        .idle_after(IDLE_AFTER)
        .build()
        .unwrap()
    };
}

macro_rules! call {
    ($layer:expr, $key:expr, $does:expr) => {
        $layer
            .layer(service_fn(async |(_, does)| partner(does).await))
            .oneshot(($key, $does))
            .await
    };
}

fn of(scrape: &Scrape, name: &str, more: &str) -> f64 {
    scrape.of(&format!(
        r#"maintenance_{name}{{partner="accounts"{more}}}"#
    ))
}

#[tokio::test(start_paused = true)]
async fn there_are_sums_over_keys_and_no_label_per_key() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    let layer = keyed!();
    let keys = layer.keys();
    keys.publish_metrics("accounts");
    let scrape = exporter.scrape();
    assert_eq!(of(&scrape, "mode", r#",mode="serving""#), 0.0);
    assert_eq!(of(&scrape, "keys", ""), 0.0);

    for key in 0..5 {
        for _ in 0..4 {
            call!(layer, key, Does::Succeed).unwrap();
        }
    }
    // Key 0 trips. Key 5 has too few calls for a rate.
    for _ in 0..2 {
        call!(layer, 0, Does::Fail).unwrap_err();
    }
    call!(layer, 0, Does::Succeed).unwrap_err();
    call!(layer, 5, Does::Fail).unwrap_err();
    keys.get(&1)
        .unwrap()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    advance(SECOND).await;
    keys.publish_metrics("accounts");

    let scrape = exporter.scrape();
    assert_eq!(of(&scrape, "keys", ""), 6.0);
    assert_eq!(of(&scrape, "mode", r#",mode="serving""#), 4.0);
    assert_eq!(of(&scrape, "mode", r#",mode="maintenance""#), 2.0);
    assert_eq!(of(&scrape, "calls_total", r#",outcome="succeeded""#), 20.0);
    assert_eq!(of(&scrape, "calls_total", r#",outcome="failed""#), 3.0);
    assert_eq!(of(&scrape, "refused_total", ""), 1.0);
    assert_eq!(
        of(&scrape, "trips_total", r#",rule="consecutive_failures""#),
        1.0
    );
    assert_eq!(of(&scrape, "episodes_total", ""), 2.0);
    assert_eq!(of(&scrape, "failure_rate", ""), 2.0 / 22.0);
    assert_eq!(of(&scrape, "hold_seconds", ""), 1.0);
    assert_eq!(of(&scrape, "hold_remaining_seconds", ""), f64::INFINITY);
    let seconds = |mode: &str| of(&scrape, "mode_seconds_total", &format!(r#",mode="{mode}""#));
    assert_eq!((seconds("serving"), seconds("maintenance")), (4.0, 2.0));
    let timed = scrape.by_label("maintenance_call_seconds_count", "outcome");
    let timed: f64 = timed.iter().map(|(_, calls)| calls).sum();
    assert_eq!(timed, 23.0);
    assert!(!exporter.page().contains("tenant"), "{}", exporter.page());
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_dropped_stay_in_the_counters() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    let layer = keyed!();
    let keys = layer.keys();
    for round in 1..=3_u32 {
        for key in 0..10 {
            call!(layer, key, Does::Succeed).unwrap();
        }
        assert_eq!(keys.len(), 10);
        // Two sweeps: the first sees the use.
        for _ in 0..2 {
            advance(2 * IDLE_AFTER).await;
            keys.publish_metrics("accounts");
        }
        let scrape = exporter.scrape();
        assert_eq!(of(&scrape, "keys", ""), 0.0);
        assert_eq!(of(&scrape, "keys_evicted_total", ""), f64::from(10 * round));
        assert_eq!(of(&scrape, "keys_overflowed_total", ""), 0.0);
        let calls = of(&scrape, "calls_total", r#",outcome="succeeded""#);
        assert_eq!(calls, f64::from(10 * round));
        assert_eq!(of(&scrape, "mode", r#",mode="serving""#), 0.0);
    }
}

/// New keys find a place by dropping idle ones, between two publications.
#[tokio::test(start_paused = true)]
async fn keys_that_make_room_stay_in_the_counters() {
    let exporter = Exporter::new();
    let _installed = exporter.install();
    let layer = KeyedLayer::builder(
        |call: &(u32, Does)| call.0,
        |key: &u32| MaintenanceLayer::new(&format!("tenant {key}")),
    )
    .max_keys(8)
    .idle_after(SECOND)
    .build()
    .unwrap();
    let keys = layer.keys();
    let mut measured = 0.0;
    for key in 0..200_u32 {
        let before = keys.overflowed();
        call!(layer, key, Does::Succeed).unwrap();
        measured += if keys.overflowed() == before {
            1.0
        } else {
            0.0
        };
        advance(SECOND / 3).await;
        if key % 7 == 0 {
            keys.publish_metrics("accounts");
            let calls = of(&exporter.scrape(), "calls_total", r#",outcome="succeeded""#);
            assert_eq!(calls, measured);
        }
    }
    assert!(keys.evicted() > 100, "{}", keys.evicted());
}
