//! The cache-bust signal empties a real cache by tag, exactly at the recovery.

use test_support::millis;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Hold, MaintenanceHandle, MaintenanceLayer, Mode};

// The cache of the example is the cache under test.
#[path = "../../examples/caches.rs"]
#[expect(dead_code, reason = "its `main` runs by itself")]
mod caches;

use caches::Tagged;

fn layer() -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder("zuora").cache_tags(["prices", "plans"]);
    layer.seed(7).build().unwrap()
}

/// A cache that follows the signal in a task, filled with the entries that the tests look at.
fn following(handle: &MaintenanceHandle) -> Tagged {
    let cache = filled();
    tokio::spawn(cache.clone().follow(handle.cache_bust()));
    cache
}

fn filled() -> Tagged {
    let cache = Tagged::new();
    cache.insert("basic", &["prices"], "19");
    cache.insert("team", &["offers", "plans"], "5 seats");
    cache.insert("logo", &["assets"], "a picture");
    cache.insert("priceless", &["price"], "whose tag only begins like one");
    cache.insert("help", &[], "a page without tags");
    cache
}

const ALL: [&str; 5] = ["basic", "team", "logo", "priceless", "help"];

fn left(cache: &Tagged) -> Vec<&'static str> {
    ALL.into_iter()
        .filter(|key| cache.get(key).is_some())
        .collect()
}

/// Lets every task run until it waits: a millisecond of paused time passes only then.
async fn everybody_has_run() {
    sleep(millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn entries_of_the_tags_go_at_the_recovery_and_others_stay() {
    let handle = layer().handle();
    let cache = following(&handle);

    handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
    everybody_has_run().await;
    assert_eq!(left(&cache), ALL, "nothing is stale while it lasts");

    handle.release("on-call", "partner is back").unwrap();
    everybody_has_run().await;
    assert_eq!(left(&cache), ["logo", "priceless", "help"]);

    cache.insert("basic", &["prices"], "21");
    everybody_has_run().await;
    assert_eq!(
        cache.get("basic").as_deref(),
        Some("21"),
        "one signal empties it once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_empties_nothing() {
    let layer = layer();
    let handle = layer.handle();
    let cache = following(&handle);
    let answer = |answer: Result<(), &'static str>| {
        let partner = service_fn(move |()| std::future::ready(answer));
        Layer::layer(&layer, partner).oneshot(())
    };

    handle.trip("on-call", "drill").unwrap();
    for _ in 0..3 {
        handle.probe_now("on-call", "let us see").unwrap();
        assert!(answer(Err("still down")).await.is_err());
        assert_eq!(handle.mode(), Mode::Maintenance);
        everybody_has_run().await;
        assert_eq!(left(&cache), ALL);
    }

    handle.probe_now("on-call", "let us see").unwrap();
    for successes in 0..3 {
        assert_eq!(left(&cache), ALL, "after {successes} of 3 probes");
        answer(Ok(())).await.unwrap();
        everybody_has_run().await;
    }
    assert_eq!(handle.mode(), Mode::Serving);
    assert_eq!(left(&cache), ["logo", "priceless", "help"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_subscriber_is_told_and_only_once() {
    let handle = layer().handle();
    for ticket in ["ticket 1", "ticket 2"] {
        handle.engage(Hold::new("on-call", ticket)).unwrap();
        handle.release("on-call", ticket).unwrap();
    }

    let cache = following(&handle);
    everybody_has_run().await;
    assert_eq!(left(&cache), ["logo", "priceless", "help"]);

    // Of two recoveries only the newest is signalled: entries that come in afterwards stay.
    cache.insert("basic", &["prices"], "21");
    everybody_has_run().await;
    assert!(cache.get("basic").is_some());

    let mut busts = handle.cache_bust();
    let bust = busts.recv().await.unwrap();
    assert_eq!(
        (bust.episode, bust.generation),
        (2, handle.status().generation)
    );
    assert_eq!(busts.try_recv(), None);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_before_any_recovery_hears_nothing() {
    let handle = layer().handle();
    let cache = following(&handle);
    everybody_has_run().await;
    assert_eq!(left(&cache), ALL);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_the_recovery_is_not_kept() {
    let handle = layer().handle();
    let cache = following(&handle);
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    let old = async {
        handle.release("on-call", "it was a drill").unwrap();
        everybody_has_run().await;
        "of the time before".to_owned()
    };
    let loaded = cache.get_or_load("new", &["prices"], &handle, old).await;
    assert_eq!(&*loaded, "of the time before");
    assert_eq!(cache.get("new"), None);

    let fresh = async { "fresh".to_owned() };
    cache.get_or_load("new", &["prices"], &handle, fresh).await;
    assert_eq!(cache.get("new").as_deref(), Some("fresh"));
}
