//! Two layers of one name are told of, and the one there is can be had.

use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Hold, KeyedLayer, MaintenanceLayer, Mode};
use tracing::Level;

use crate::support::Log;

/// The warnings that name both remedies. A name of its own in each test: tests run side by side.
fn warnings(log: &Log, name: &str) -> usize {
    let words = [
        name,
        "second layer",
        "MaintenanceLayer::existing",
        "another name",
    ];
    log.lines(Level::WARN, &words).len()
}

#[test]
fn a_second_layer_of_a_name_is_told_of_by_one_warning_that_names_both_remedies() {
    let log = Log::new();
    let _listening = log.listen();
    let first = MaintenanceLayer::new("twins");
    assert_eq!(warnings(&log, "twins"), 0);
    let others: Vec<_> = (0..100).map(|_| MaintenanceLayer::new("twins")).collect();
    assert_eq!(warnings(&log, "twins"), 1);
    // The name is free again, and taken again.
    drop((first, others));
    let _again = MaintenanceLayer::new("twins");
    assert_eq!(warnings(&log, "twins"), 1);
    let _second = MaintenanceLayer::new("twins");
    assert_eq!(warnings(&log, "twins"), 2);
}

#[test]
fn clones_views_and_one_layer_after_another_are_not_told_of() {
    let log = Log::new();
    let _listening = log.listen();
    for _ in 0..3 {
        let layer = MaintenanceLayer::new("lonely");
        let _others = (layer.clone(), layer.boxed(), layer.nested());
        assert!(MaintenanceLayer::existing("lonely").is_some());
    }
    assert!(MaintenanceLayer::existing("lonely").is_none());
    assert!(
        MaintenanceLayer::builder("lonely")
            .generation(u64::MAX)
            .build()
            .is_err()
    );
    assert!(
        MaintenanceLayer::existing("lonely").is_none(),
        "it was not built"
    );
    assert_eq!(warnings(&log, "lonely"), 0);
}

#[test]
fn the_existing_layer_is_the_first_one_and_shares_its_state() {
    let first = MaintenanceLayer::new("first come");
    let second = MaintenanceLayer::new("first come");
    let found = MaintenanceLayer::existing("first come").unwrap();
    found
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    assert_eq!(first.handle().mode(), Mode::Maintenance);
    assert_eq!(second.handle().mode(), Mode::Serving);
    assert!(MaintenanceLayer::existing("first").is_none());
    // What was found keeps the name.
    drop(first);
    assert!(MaintenanceLayer::existing("first come").is_some());
    drop(found);
    assert!(MaintenanceLayer::existing("first come").is_none());
}

#[tokio::test]
async fn the_keys_of_a_keyed_layer_take_no_name() {
    let log = Log::new();
    let _listening = log.listen();
    let layer = KeyedLayer::builder(|key: &u32| *key, |_: &u32| MaintenanceLayer::new("tenants"));
    let layer = layer.build().unwrap();
    let partner = layer.layer(service_fn(async |key: u32| Ok::<_, ()>(key)));
    for key in 0..10 {
        partner.clone().oneshot(key).await.unwrap();
    }
    assert_eq!(layer.keys().len(), 10);
    assert!(MaintenanceLayer::existing("tenants").is_none());
    assert_eq!(warnings(&log, "tenants"), 0);
    // The layer for the partner as a whole may have it.
    let _partner = MaintenanceLayer::new("tenants");
    partner.oneshot(10).await.unwrap();
    assert_eq!(warnings(&log, "tenants"), 0);
}
