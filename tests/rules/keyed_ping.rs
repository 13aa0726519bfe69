//! The pings of a keyed layer: one future for all keys, which keeps none of them.

use std::{
    collections::BTreeMap,
    future::{pending, ready},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use test_support::now;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Error, KeyedLayer, Keys, MaintenanceLayer, Mode, Policy, Rule};

use crate::support::secs;

const WAIT: Duration = secs(30);

fn policy() -> Policy {
    Policy::default()
        .with_wait(WAIT)
        .with_wait_growing(1.0, WAIT)
        .with_jitter(0.0)
}

/// A layer by number, whose keys have this policy.
fn layer(policy: Policy) -> KeyedLayer<u32, fn(&u32) -> u32> {
    let key: fn(&u32) -> u32 = |key| *key;
    let made = move |key: &u32| {
        let layer = MaintenanceLayer::builder(&format!("account {key}")).policy(policy.clone());
        layer.build().unwrap()
    };
    KeyedLayer::builder(key, made)
        .idle_after(secs(60))
        .build()
        .unwrap()
}

async fn call(layer: &KeyedLayer<u32, fn(&u32) -> u32>, key: u32) -> Result<(), Error<io::Error>> {
    let partner = service_fn(async |_: u32| Ok::<_, io::Error>(()));
    layer.layer(partner).oneshot(key).await
}

fn trip(keys: &Keys<u32>, all: impl IntoIterator<Item = u32>) {
    for key in all {
        keys.handle(&key).unwrap().trip("on-call", "drill").unwrap();
    }
}

fn mode(keys: &Keys<u32>, key: u32) -> Mode {
    keys.get(&key).unwrap().mode()
}

/// When each key was checked.
type Checks = Arc<Mutex<BTreeMap<u32, Vec<Instant>>>>;

fn noting(checks: &Checks) -> impl Fn(&u32) + Clone + use<> {
    let checks = checks.clone();
    move |key| checks.lock().unwrap().entry(*key).or_default().push(now())
}

#[tokio::test(start_paused = true)]
async fn each_key_that_is_probed_is_checked_and_no_other() {
    let layer = layer(policy());
    let keys = layer.keys();
    let checks = Checks::default();
    let note = noting(&checks);
    tokio::spawn(keys.ping(move |key: &u32| {
        note(key);
        let answer = if *key == 7 {
            Err(io::Error::other("500"))
        } else {
            Ok(())
        };
        async { answer }
    }));
    for key in [6, 7, 8] {
        call(&layer, key).await.unwrap();
    }
    let begin = now();
    trip(&keys, [6, 7]);
    sleep(secs(29)).await;
    assert!(checks.lock().unwrap().is_empty(), "no key is probed yet");
    sleep(secs(8)).await;
    assert_eq!(
        [6, 7, 8].map(|key| mode(&keys, key)),
        [Mode::Serving, Mode::Maintenance, Mode::Serving]
    );
    {
        let checks = checks.lock().unwrap();
        let (good, bad) = (&checks[&6], &checks[&7]);
        assert_eq!((good.len(), bad.len(), checks.len()), (3, 1, 2));
        assert!(good[0] - begin >= WAIT && good[0] - begin <= WAIT + secs(2));
        assert!(good.windows(2).all(|pair| pair[1] - pair[0] >= secs(1)));
    }
    let evidence = keys.get(&7).unwrap().status().evidence.unwrap();
    assert_eq!(evidence.rule, Rule::ProbeFailed);
    // A key that comes later is checked too.
    trip(&keys, [9]);
    sleep(secs(40)).await;
    assert_eq!(
        (mode(&keys, 9), checks.lock().unwrap()[&9].len()),
        (Mode::Serving, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn it_keeps_no_key_and_ends_with_the_layer() {
    let layer = layer(policy());
    let keys = layer.keys();
    let ping = tokio::spawn(keys.ping(|_: &u32| ready(Ok::<_, io::Error>(()))));
    for key in 0..20 {
        call(&layer, key).await.unwrap();
    }
    trip(&keys, [3]);
    for _ in 0..4 {
        sleep(secs(25)).await;
        let _ = keys.len(); // sweeps
    }
    // The tripped key recovered, and was idle for less long than the others.
    assert_eq!((keys.len(), keys.evicted()), (0, 20));

    trip(&keys, [3]);
    assert!(!ping.is_finished());
    drop((layer, keys));
    sleep(secs(2)).await;
    assert!(ping.is_finished());
    ping.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_it_lives_requests_do_not_probe() {
    // A slot stays free beside the ping's.
    let layer = layer(policy().with_probes(2));
    let keys = layer.keys();
    let ping = tokio::spawn(keys.ping(|_: &u32| pending::<Result<(), io::Error>>()));
    sleep(secs(1)).await;
    trip(&keys, [7]);
    sleep(WAIT + secs(1)).await;
    assert_eq!(mode(&keys, 7), Mode::Probing);
    assert!(
        call(&layer, 7).await.is_err(),
        "the ping probes in its place"
    );

    ping.abort();
    assert!(ping.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        assert_eq!(mode(&keys, 7), Mode::Probing);
        call(&layer, 7).await.unwrap();
    }
    assert_eq!(mode(&keys, 7), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn so_many_checks_run_at_a_time_and_each_key_has_its_turn() {
    let layer = layer(policy());
    let keys = layer.keys();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, highest) = (running.clone(), most.clone());
    tokio::spawn(keys.ping(move |_: &u32| {
        let running = seen.clone();
        let now = running.fetch_add(1, Relaxed) + 1;
        highest.fetch_max(now, Relaxed);
        async move {
            sleep(Duration::from_millis(200)).await;
            running.fetch_sub(1, Relaxed);
            Ok::<_, io::Error>(())
        }
    }));
    trip(&keys, 0..200);
    sleep(WAIT + secs(15)).await;
    assert_eq!(keys.not_serving().count(), 0);
    assert_eq!((most.load(Relaxed), running.load(Relaxed)), (32, 0));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_at_the_end_of_its_lease_and_harms_no_other_key() {
    let layer = layer(policy().with_lease(secs(10)));
    let keys = layer.keys();
    tokio::spawn(keys.ping(|key: &u32| {
        let hangs = *key == 7;
        async move {
            if hangs {
                pending::<()>().await;
            }
            Ok::<_, io::Error>(())
        }
    }));
    trip(&keys, [6, 7]);
    sleep(WAIT + secs(6)).await;
    assert_eq!(
        (mode(&keys, 6), mode(&keys, 7)),
        (Mode::Serving, Mode::Probing)
    );
    sleep(secs(6)).await;
    assert_eq!(mode(&keys, 7), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn the_pause_between_the_checks_of_a_key_is_that_of_its_policy() {
    let layer = layer(policy().with_ping_every(secs(5)));
    let keys = layer.keys();
    let checks = Checks::default();
    let note = noting(&checks);
    tokio::spawn(keys.ping(move |key: &u32| {
        note(key);
        async { Ok::<_, io::Error>(()) }
    }));
    trip(&keys, [7]);
    sleep(WAIT + secs(20)).await;
    assert_eq!(mode(&keys, 7), Mode::Serving);
    let checks = checks.lock().unwrap();
    let pauses = checks[&7].windows(2).map(|pair| pair[1] - pair[0]);
    assert!(
        pauses
            .clone()
            .all(|pause| pause >= secs(5) && pause <= secs(6))
    );
    assert_eq!(pauses.count(), 2);
}
