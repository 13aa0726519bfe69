//! A key's memory is bounded, comes back when it goes, and a call of a known key allocates nothing.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{Layer, Service, service_fn};
use tower_maintenance::{KeyedLayer, MaintenanceLayer};

use crate::gate::{ALLOCATED, LIVE};

const KEYS: u32 = 5_000;

fn call<S: Service<u32>>(service: &mut S, key: u32) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let future = pin!(service.call(key));
    assert!(matches!(future.poll(&mut cx), Poll::Ready(Ok(_))));
}

/// 4 KiB for the layer and the key, and 400 bytes for each lane: one for each core, up to 64, and one more.
#[tokio::test(start_paused = true)]
async fn a_key_costs_a_bounded_number_of_bytes_and_gives_them_back() {
    let built = KeyedLayer::builder(|key: &u32| *key, |_: &u32| MaintenanceLayer::new("partner"));
    let layer = match built.build() {
        Ok(layer) => layer,
        Err(error) => panic!("{error}"),
    };
    let mut service = layer.layer(service_fn(async |key: u32| Ok::<_, std::io::Error>(key)));
    let before = LIVE.get();
    for key in 0..KEYS {
        call(&mut service, key);
    }
    let a_key = (LIVE.get() - before) / i64::from(KEYS);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let lanes = i64::try_from(cores.min(64) + 1).unwrap_or(65);
    let most = 4096 + 400 * lanes;
    assert!(a_key <= most, "{a_key} bytes a key, {most} at most");

    let allocated = ALLOCATED.get();
    for key in 0..KEYS {
        call(&mut service, key);
    }
    assert_eq!(ALLOCATED.get() - allocated, 0, "calls of known keys");

    let quarter = Duration::from_secs(150);
    for _ in 0..7 {
        assert!(layer.keys().len() <= KEYS as usize);
        tokio::time::advance(quarter).await;
    }
    assert!(layer.keys().is_empty());
    let left = LIVE.get() - before;
    assert!(left < 100_000, "{left} bytes are left of {KEYS} keys");
}
