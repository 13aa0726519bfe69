//! Memory by key: each key costs a bounded number of bytes and gives them back when it goes, and a
//! call of a known key allocates nothing.

use test_support::{allocations, at_once, bytes, secs};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{KeyedLayer, MaintenanceLayer};

const KEYS: u32 = 5_000;

fn call<S: Service<u32>>(service: &mut S, key: u32) {
    assert!(at_once(service.ready()).is_some());
    assert!(matches!(at_once(service.call(key)), Some(Ok(_))));
}

/// 4 KiB for the layer and the key, and 400 bytes for each lane: one per core, up to 64, and one
/// more.
#[tokio::test(start_paused = true)]
async fn a_key_costs_a_bounded_number_of_bytes_and_gives_them_back() {
    let built = KeyedLayer::builder(|key: &u32| *key, |_: &u32| MaintenanceLayer::new("partner"));
    let layer = built.build().unwrap();
    let mut service = layer.layer(service_fn(async |key: u32| Ok::<_, std::io::Error>(key)));
    let before = bytes();
    for key in 0..KEYS {
        call(&mut service, key);
    }
    let a_key = (bytes() - before) / i64::from(KEYS);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let lanes = i64::try_from(cores.min(64) + 1).unwrap_or(65);
    let most = 4096 + 400 * lanes;
    assert!(a_key <= most, "{a_key} bytes a key, {most} at most");

    let allocated = allocations();
    for key in 0..KEYS {
        call(&mut service, key);
    }
    assert_eq!(allocations() - allocated, 0, "calls of known keys");

    let quarter = secs(150);
    for _ in 0..7 {
        assert!(layer.keys().len() <= KEYS as usize);
        tokio::time::advance(quarter).await;
    }
    assert!(layer.keys().is_empty());
    let left = bytes() - before;
    assert!(left < 100_000, "{left} bytes are left of {KEYS} keys");
}
