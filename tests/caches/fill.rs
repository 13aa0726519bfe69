//! A cache that is filled while a recovery comes.

use test_support::secs;
use tower_maintenance::{Hold, MaintenanceLayer, Mode, Policy};

use crate::support::recover;

#[tokio::test(start_paused = true)]
async fn a_fill_is_current_until_a_recovery_comes() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let fill = handle.begin_fill();
    assert!(fill.is_current());
    assert_eq!(fill.generation(), handle.generation());

    // Maintenance by itself makes no data old.
    let hold = || Hold::new("on-call", "ticket 4711");
    handle.engage(hold()).unwrap();
    let during = handle.begin_fill();
    assert!(fill.is_current() && during.is_current());
    handle.release("on-call", "partner is back").unwrap();
    assert!(!fill.is_current() && !during.is_current());

    let after = handle.begin_fill();
    let copy = after.clone();
    assert!(after.is_current());
    assert!(after.generation() > fill.generation());
    recover(&handle);
    assert!(!after.is_current() && !copy.is_current());
}

/// The end of a hold may be due, and no call may have applied it yet.
#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_due_counts_at_both_ends_of_a_fill() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let hold = || Hold::new("on-call", "ticket 4711").for_at_most(secs(60));
    handle.engage(hold()).unwrap();
    let before = handle.begin_fill();
    tokio::time::advance(secs(61)).await;
    let after = handle.begin_fill();
    assert_eq!(after.generation(), handle.status().generation);
    assert!(!before.is_current() && after.is_current());

    handle.engage(hold()).unwrap();
    tokio::time::advance(secs(61)).await;
    assert!(!after.is_current());
}

/// A retrip on the way gives no signal, and makes no data old.
#[tokio::test(start_paused = true)]
async fn a_retrip_from_probing_leaves_a_fill_current() {
    let policy = Policy::default().with_wait(secs(10));
    let layer = MaintenanceLayer::builder("zuora").policy(policy).build();
    let handle = layer.unwrap().handle();
    handle.trip("on-call", "drill").unwrap();
    let fill = handle.begin_fill();
    tokio::time::advance(secs(30)).await;
    assert_eq!(handle.mode(), Mode::Probing);
    handle.trip("on-call", "drill").unwrap();
    assert!(fill.is_current());
}

/// A fill keeps no layer alive, and without a layer no recovery comes.
#[tokio::test(start_paused = true)]
async fn a_fill_outlives_the_layer() {
    let layer = MaintenanceLayer::new("zuora");
    let fill = layer.handle().begin_fill();
    let mut busts = layer.handle().cache_bust();
    drop(layer);
    assert!(busts.recv().await.is_none());
    assert!(fill.is_current());
}
