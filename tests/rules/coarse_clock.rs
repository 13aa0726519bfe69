//! The coarse clock, in real time: a layer that reads it trips, waits and recovers, and its
//! listeners sleep.

use std::{
    future::{Future, poll_fn, ready},
    pin::pin,
    time::Duration,
};

use test_support::{now, soon};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{CoarseClock, Error, EventKind, Events, MaintenanceLayer, Mode, Policy};

const WAIT: Duration = Duration::from_millis(100);

fn layer() -> MaintenanceLayer {
    let policy = Policy::default()
        .with_consecutive_failures(3)
        .with_wait_growing(1.0, WAIT)
        .with_wait(WAIT)
        .with_jitter(0.0)
        .with_probes(1)
        .with_successes_needed(1);
    MaintenanceLayer::builder("zuora")
        .policy(policy)
        .clock(CoarseClock::new())
        .build()
        .unwrap()
}

/// How the partner ends a call: it answers, or it is down.
type Called = Result<(), Error<&'static str>>;

async fn call(layer: &MaintenanceLayer, answer: Result<(), &'static str>) -> Called {
    let mut service = layer.layer(service_fn(move |()| ready(answer)));
    service.ready().await.unwrap().call(()).await
}

async fn trip(layer: &MaintenanceLayer) {
    for _ in 0..3 {
        assert!(matches!(
            call(layer, Err("502")).await,
            Err(Error::Inner(_))
        ));
    }
    assert_eq!(layer.handle().mode(), Mode::Maintenance);
}

async fn until_probing(events: &mut Events) {
    loop {
        let event = soon(events.recv()).await.unwrap();
        if let EventKind::ModeChanged {
            to: Mode::Probing, ..
        } = event.kind
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_layer_on_the_coarse_clock_trips_waits_and_recovers() {
    let layer = layer();
    let handle = layer.handle();
    let mut events = handle.events();
    let mut busts = handle.cache_bust();
    let began = now();
    trip(&layer).await;
    assert!(matches!(call(&layer, Ok(())).await, Err(Error::Refused(_))));

    until_probing(&mut events).await;
    assert!(began.elapsed() >= WAIT - CoarseClock::MAX_LAG, "it waited");
    assert_eq!(call(&layer, Ok(())).await.ok(), Some(()));
    assert_eq!(handle.mode(), Mode::Serving);
    let bust = soon(busts.recv()).await.unwrap();
    assert_eq!(bust.episode, 1);
}

/// The clock lags. A listener that slept to the exact deadline would find that it has not come yet,
/// and would be polled again and again until the next tick.
#[tokio::test]
async fn a_listener_on_the_coarse_clock_sleeps_through_the_wait() {
    // One poll at first, and one when the deadline has come.
    const POLLS: u32 = 2;
    // Ticks and timers meet differently in each wait. Where a virtual machine's tick is late, a
    // listener is rightly polled more often. That is rare: most of ten waits need two polls.
    let mut waits = Vec::new();
    for _ in 0..10 {
        let layer = layer();
        let mut events = layer.handle().events();
        trip(&layer).await;
        let mut polls = 0;
        let mut probing = pin!(until_probing(&mut events));
        poll_fn(|cx| {
            polls += 1;
            probing.as_mut().poll(cx)
        })
        .await;
        waits.push(polls);
    }
    waits.sort_unstable();
    assert!(waits[6] <= POLLS, "{waits:?} polls through each wait");
}

#[tokio::test]
async fn a_signal_of_recovery_wakes_who_waits_for_it_on_the_coarse_clock() {
    let layer = layer();
    let handle = layer.handle();
    let mut busts = handle.cache_bust();
    let waiting = tokio::spawn(async move { busts.recv().await });
    trip(&layer).await;
    until_probing(&mut handle.events()).await;
    assert!(call(&layer, Ok(())).await.is_ok());
    let bust = soon(waiting).await.unwrap().unwrap();
    assert_eq!(bust.generation, handle.status().generation);
}
