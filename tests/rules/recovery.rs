//! R16 to R18: the recovery signal.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use tokio::time::advance;
use tower_maintenance::{EventKind, MaintenanceLayer, Mode};
use tracing::Level;

use crate::support::*;

// ---- R16 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r16_one_signal_per_episode_when_serving_returns() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    let mut events = rig.handle.events();
    rig.trip_and_wait().await;
    assert_eq!(busts.try_recv(), None);
    rig.prove().await;
    let bust = busts.try_recv().unwrap();
    assert_eq!((bust.episode, bust.at), (1, wall(secs(30))));
    assert_eq!(bust.generation, rig.handle.status().generation);
    rig.calls(10, Say::Ok).await;
    assert_eq!(busts.try_recv(), None);
    let recovered = |event: &tower_maintenance::Event| {
        matches!(event.kind, EventKind::Recovered { episode: 1, .. })
    };
    assert_eq!(
        drain(&mut events).iter().filter(|e| recovered(e)).count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn r16_several_causes_make_one_episode_and_one_signal() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.trip().await;
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(busts.try_recv(), None, "the trip lies beneath the hold");
    rig.wait_out().await;
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(busts.try_recv(), None);
    rig.prove().await;
    assert_eq!(busts.try_recv().unwrap().episode, 1);
    assert_eq!(busts.try_recv(), None);
    assert_eq!(rig.handle.episodes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r16_no_signal_on_a_trip_from_probing() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.trip_and_wait().await;
    for _ in 0..3 {
        rig.calls(2, Say::Ok).await;
        rig.calls(1, Say::Down).await;
        rig.wait_out().await;
    }
    assert_eq!(busts.try_recv(), None);
    assert_eq!(rig.handle.status().episode.unwrap().id, 1);
}

#[tokio::test(start_paused = true)]
async fn r16_the_flag_clears_before_the_signal_fires() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.handle.engage(drill()).unwrap();

    // The listener calls as soon as it hears the signal: the first refill of a cache must not be
    // refused.
    let heard: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (calls, service) = (heard.clone(), rig.service.clone());
    let waker = OnWake::does(move || {
        let called = at_once(tower::ServiceExt::oneshot(service.clone(), read()));
        calls.lock().unwrap().push(called == Some(Ok(7)));
    });
    let mut recv = InFlight::begin(async move { busts.recv().await });
    assert!(recv.poll_with(&waker.clone().into()).is_none());
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(*heard.lock().unwrap(), [true]);
    assert_eq!(recv.ended().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn r16_a_subscriber_who_comes_late_learns_the_newest_generation() {
    let rig = Rig::new(policy());
    for _ in 0..2 {
        rig.handle.engage(drill()).unwrap();
        rig.handle.release("on-call", "drill").unwrap();
    }
    let mut late = rig.handle.cache_bust();
    let bust = at_once(late.recv()).unwrap().unwrap();
    assert_eq!(bust.generation, rig.handle.status().generation);
    assert_eq!(bust.episode, 2);
    assert_eq!(late.try_recv(), None, "once");
}

#[tokio::test(start_paused = true)]
async fn r16_a_subscriber_who_lags_learns_the_newest_generation() {
    let rig = Rig::new(policy());
    let mut lagging = rig.handle.cache_bust();
    for _ in 0..1000 {
        rig.handle.engage(drill()).unwrap();
        rig.handle.release("on-call", "drill").unwrap();
    }
    let bust = lagging.try_recv().unwrap();
    assert_eq!(bust.generation, rig.handle.status().generation);
    assert_eq!(bust.episode, 1000);
}

#[tokio::test(start_paused = true)]
async fn r16_the_signal_says_what_to_drop() {
    let builder = builder(policy())
        .cache_tags(["prices", "subscriptions"])
        .cache_urls(["/billing/prices"]);
    let rig = Rig::built(builder);
    let mut busts = rig.handle.cache_bust();
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    let bust = busts.recv().await.unwrap();
    assert_eq!(*bust.tags, ["prices", "subscriptions"]);
    assert_eq!(*bust.urls, ["/billing/prices"]);
}

// ---- R17 ----------------------------------------------------------------------------------------

const START: u64 = 1_700_000_000_000;

fn recover(rig: &Rig) -> u64 {
    rig.handle.engage(drill()).unwrap();
    rig.handle.release("on-call", "drill").unwrap();
    let generation = rig.handle.status().generation;
    assert_eq!(rig.handle.generation(), generation, "without the lock");
    generation
}

#[tokio::test(start_paused = true)]
async fn r17_the_generation_starts_at_the_wall_clock_and_follows_it() {
    let rig = Rig::new(policy());
    assert_eq!(rig.handle.status().generation, START);
    advance(secs(10)).await;
    assert_eq!(recover(&rig), START + 10_000);
}

#[tokio::test(start_paused = true)]
async fn r17_it_grows_at_each_recovery_even_within_a_millisecond() {
    let rig = Rig::new(policy());
    assert_eq!(recover(&rig), START + 1);
    assert_eq!(recover(&rig), START + 2);
    assert_eq!(recover(&rig), START + 3);
}

#[tokio::test(start_paused = true)]
async fn r17_it_grows_at_recoveries_only() {
    let rig = Rig::new(policy());
    rig.trip_and_wait().await;
    rig.calls(1, Say::Down).await;
    rig.handle.reset("on-call", "drill").unwrap();
    let generation = rig.handle.status().generation;
    advance(secs(10)).await;
    rig.handle.reset("on-call", "drill").unwrap();
    rig.handle.engage(drill()).unwrap();
    assert_eq!(rig.handle.status().generation, generation);
}

#[tokio::test(start_paused = true)]
async fn r17_a_wall_clock_that_steps_back_does_not_lower_it() {
    let rig = Rig::new(policy());
    advance(secs(3600)).await;
    let generation = recover(&rig);
    rig.handle.wall_clock_stepped(wall(secs(0)));
    assert_eq!(rig.handle.status().generation, generation);
    assert_eq!(recover(&rig), generation + 1);
}

#[tokio::test(start_paused = true)]
async fn r17_a_persisted_generation_is_taken_up_as_it_is() {
    for persisted in [0, 7, START + 3_600_000] {
        let rig = Rig::built(builder(policy()).generation(persisted));
        assert_eq!(rig.handle.status().generation, persisted);
        assert_eq!(recover(&rig), START.max(persisted + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn r17_a_restart_does_not_lower_it() {
    let before = Rig::new(policy());
    advance(secs(60)).await;
    let generation = recover(&before);
    // Without a persisted generation the wall clock has gone on. With one, it is given.
    let wall_clock = before.handle.status().at;
    let after = Rig::built(builder(policy()).wall_clock(wall_clock));
    assert!(after.handle.status().generation >= generation);
    let slow_clock = Rig::built(builder(policy()).generation(generation));
    assert_eq!(recover(&slow_clock), generation + 1);
}

#[tokio::test(start_paused = true)]
async fn r17_a_generation_beyond_42_bits_is_an_error() {
    let largest = (1 << 42) - 1;
    builder(policy()).generation(largest).build().unwrap();
    let error = builder(policy())
        .generation(largest + 1)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "generation is 4398046511104: allowed is 0 to 4398046511103, which fits 42 bits"
    );
}

/// Beyond what a generation can say: the year 2109.
const TOO_LATE: Duration = Duration::from_secs(4_500_000_000);

#[tokio::test(start_paused = true)]
async fn r17_a_wall_clock_that_cannot_be_used_is_not_used() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    for unusable in [UNIX_EPOCH + TOO_LATE, UNIX_EPOCH - secs(1), UNIX_EPOCH] {
        let before = rig.handle.generation();
        rig.handle.wall_clock_stepped(unusable);
        assert_eq!(recover(&rig), before + 1, "{unusable:?}");
        assert_eq!(busts.try_recv().unwrap().generation, before + 1);
    }
    // Set right again, it is followed again.
    rig.handle.wall_clock_stepped(wall(secs(100)));
    assert_eq!(recover(&rig), START + 100_000);
    assert!(busts.try_recv().is_some());
}

#[tokio::test(start_paused = true)]
async fn r17_at_birth_a_wall_clock_that_cannot_be_used_means_1_and_one_warning() {
    for unusable in [UNIX_EPOCH + TOO_LATE, UNIX_EPOCH - secs(1), UNIX_EPOCH] {
        let log = Log::new();
        let _listening = log.listen();
        let rig = Rig::built(builder(policy()).wall_clock(unusable));
        assert_eq!(rig.handle.status().generation, 1);
        assert_eq!(recover(&rig), 2);
        assert_eq!(log.lines(Level::WARN, &["the wall clock"]).len(), 1);
    }
    let log = Log::new();
    let _listening = log.listen();
    let given = Rig::built(builder(policy()).wall_clock(UNIX_EPOCH).generation(7));
    assert_eq!(given.handle.status().generation, 7);
    assert_eq!(log.lines(Level::WARN, &["the wall clock"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn r17_refusals_bear_the_generation_of_the_last_recovery() {
    let rig = Rig::new(policy());
    let generation = recover(&rig);
    rig.handle.engage(drill()).unwrap();
    let refused = rig.call(read()).await.unwrap_err();
    assert_eq!(refused.refused().unwrap().generation(), generation);
}

// ---- R18 ----------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn r18_a_panicking_listener_harms_no_call_and_no_other_listener() {
    let rig = Rig::new(policy());
    let mut events = rig.handle.events();
    let panicking = tokio::spawn(async move {
        let _ = events.recv().await;
        panic!("a listener panics");
    });
    let mut others = rig.handle.cache_bust();
    let other = tokio::spawn(async move { others.recv().await });
    tokio::task::yield_now().await;
    rig.handle.engage(drill()).unwrap();
    assert!(panicking.await.unwrap_err().is_panic());
    assert!(is_refused(&rig.call(read()).await));
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(rig.call(read()).await, Ok(7));
    assert_eq!(other.await.unwrap().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn r18_a_panicking_waker_harms_no_call() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    let waker = OnWake::does(|| panic!("a waker panics"));
    let mut recv = InFlight::begin(async move { busts.recv().await });
    assert!(recv.poll_with(&waker.clone().into()).is_none());
    rig.trip().await;
    assert_eq!(waker.woken(), 1, "by the call that tripped");
    rig.handle.clear("on-call", "drill").unwrap();
    rig.calls(3, Say::Ok).await;
}

#[tokio::test(start_paused = true)]
async fn r18_a_panicking_subscriber_of_tracing_harms_no_call() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    let armed = Arc::new(AtomicBool::new(true));
    let panics = armed.clone();
    let log = Log::that(move || assert!(!panics.load(Ordering::SeqCst), "tracing panics"));
    let listening = log.listen();
    rig.trip().await;
    advance(secs(30)).await;
    assert_eq!(rig.call(read()).await, Ok(7), "moves time, and is admitted");
    rig.calls(2, Say::Ok).await;
    assert_eq!(busts.try_recv().unwrap().episode, 1);
    armed.store(false, Ordering::SeqCst);
    drop(listening);
}

#[tokio::test(start_paused = true)]
async fn r18_a_slow_listener_delays_nobody_and_misses_nothing_that_is_kept() {
    let rig = Rig::new(policy());
    let mut slow = rig.handle.events();
    for _ in 0..100 {
        rig.handle.engage(drill()).unwrap();
        assert!(is_refused(&rig.call(read()).await));
        rig.handle.release("on-call", "drill").unwrap();
        assert_eq!(rig.call(read()).await, Ok(7));
    }
    // Five or six events each time. The last 512 are kept, and the numbers show the gap.
    let seen = drain(&mut slow);
    assert_eq!(seen.len(), 512);
    assert!(seen[0].number > 1);
    let gapless = seen
        .windows(2)
        .all(|two| two[1].number == two[0].number + 1);
    assert!(gapless);
}

#[tokio::test(start_paused = true)]
async fn r18_a_listener_keeps_nothing_alive() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let (mut busts, mut events) = (handle.cache_bust(), handle.events());
    drop((layer, handle));
    assert_eq!(busts.recv().await, None);
    assert_eq!(events.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn r18_listeners_see_one_order() {
    let rig = Rig::new(policy());
    let (mut one, mut other) = (rig.handle.events(), rig.handle.events());
    rig.trip_and_wait().await;
    rig.prove().await;
    let seen = drain(&mut one);
    assert_eq!(seen, drain(&mut other));
    assert_eq!(
        modes(&seen),
        [
            (secs(0), Mode::Maintenance),
            (secs(30), Mode::Probing),
            (secs(30), Mode::Serving),
        ]
    );
}
