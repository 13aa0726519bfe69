//! The recovery signal and the events: receivers that lag, come late or leave, and harm no other.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::timeout;
use tower_maintenance::{EventKind, Hold, MaintenanceHandle, MaintenanceLayer, Mode};

fn handle() -> MaintenanceHandle {
    MaintenanceLayer::new("zuora").handle()
}

/// Makes one episode by hand.
fn episode(handle: &MaintenanceHandle) {
    handle.engage(Hold::new("test", "an episode")).unwrap();
    handle.release("test", "its end").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_signal_carries_generation_episode_tags_and_urls() {
    let layer = MaintenanceLayer::builder("zuora")
        .cache_tags(["prices", "plans"])
        .cache_urls(["/billing/prices"])
        .build()
        .unwrap();
    let handle = layer.handle();
    let mut busts = handle.cache_bust();
    let before = handle.generation();
    episode(&handle);
    let bust = busts.recv().await.unwrap();
    assert_eq!(bust.episode, 1);
    assert!(bust.generation > before);
    assert_eq!(bust.generation, handle.generation());
    assert_eq!(&*bust.tags, ["prices", "plans"]);
    assert_eq!(&*bust.urls, ["/billing/prices"]);
    assert_eq!(handle.episodes()[0].generation, Some(bust.generation));
    assert_eq!(handle.episodes()[0].ended, Some(bust.at));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_each_signal_once_and_none_without_an_episode() {
    let handle = handle();
    let mut busts = handle.cache_bust();
    assert_eq!(busts.try_recv(), None);
    for n in 1..=3 {
        episode(&handle);
        assert_eq!(busts.recv().await.unwrap().episode, n);
        assert_eq!(busts.try_recv(), None);
    }
    assert!(
        timeout(Duration::from_secs(3600), busts.recv())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_lags_or_comes_late_learns_the_newest_generation() {
    let handle = handle();
    let mut lagging = handle.cache_bust();
    for _ in 0..3 {
        episode(&handle);
    }
    let mut late = handle.cache_bust();
    for busts in [&mut lagging, &mut late] {
        let bust = busts.recv().await.unwrap();
        assert_eq!((bust.episode, bust.generation), (3, handle.generation()));
        assert_eq!(busts.try_recv(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_was_dropped_in_the_midst_of_recv_loses_nothing() {
    let handle = handle();
    let mut busts = handle.cache_bust();
    let mut events = handle.events();
    assert!(timeout(Duration::from_secs(1), busts.recv()).await.is_err());
    assert!(
        timeout(Duration::from_secs(1), events.recv())
            .await
            .is_err()
    );
    episode(&handle);
    assert!(timeout(Duration::from_secs(1), busts.recv()).await.is_ok());
    assert!(timeout(Duration::from_secs(1), events.recv()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn receivers_keep_nothing_alive_and_end_when_nobody_is_left() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let (mut busts, mut events) = (handle.cache_bust(), handle.events());
    drop(layer);
    {
        let mut pending = pin!(busts.recv());
        assert!(timeout(Duration::from_secs(1), &mut pending).await.is_err());
        drop(handle);
        assert_eq!(pending.await, None);
    }
    assert_eq!(events.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn everybody_sees_the_events_in_one_order_and_a_gap_shows_in_the_numbers() {
    let handle = handle();
    let (mut one, mut two) = (handle.events(), handle.events());
    episode(&handle);
    let mut seen = Vec::new();
    while let Some(event) = one.try_recv() {
        assert_eq!(two.recv().await.unwrap(), event);
        seen.push(event);
    }
    let numbers: Vec<_> = seen.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(matches!(seen[0].kind, EventKind::HoldEngaged { .. }));
    assert!(matches!(
        seen[1].kind,
        EventKind::EpisodeBegan { episode: 1, .. }
    ));
    assert!(matches!(
        seen.last().unwrap().kind,
        EventKind::Recovered { episode: 1, .. }
    ));

    // 512 events are kept; a subscriber that lags goes on at the oldest of them.
    for _ in 0..512 {
        episode(&handle);
    }
    let first = one.try_recv().unwrap();
    let mut newest = first.number;
    while let Some(event) = one.try_recv() {
        assert_eq!(event.number, newest + 1);
        newest = event.number;
    }
    assert_eq!(newest - first.number + 1, 512);
    assert!(first.number > numbers.len() as u64 + 1, "there is a gap");
}

/// A waker that panics neither fails the command that wakes it nor keeps the news from others.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_harms_no_command() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a listener's executor is broken");
        }
    }
    let handle = handle();
    let mut busts = handle.cache_bust();
    let mut pending = Box::pin(busts.recv());
    let waker = Waker::from(std::sync::Arc::new(Panics));
    assert!(matches!(
        pending.as_mut().poll(&mut Context::from_waker(&waker)),
        Poll::Pending
    ));
    handle.engage(Hold::new("test", "an episode")).unwrap();
    assert_eq!(handle.mode(), Mode::Maintenance);
    drop(pending);
    handle.release("test", "its end").unwrap();
    assert_eq!(busts.try_recv().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn audit_and_episodes_are_bounded() {
    let handle = handle();
    for _ in 0..300 {
        episode(&handle);
    }
    let audit = handle.audit();
    assert_eq!(audit.len(), 256);
    assert_eq!(audit.last().unwrap().number, 600);
    let episodes = handle.episodes();
    assert_eq!(episodes.len(), 64);
    assert_eq!(episodes.last().unwrap().id, 300);
}

#[test]
fn a_handle_may_be_used_on_either_side_of_a_caught_panic() {
    let handle = handle();
    let caught = std::panic::catch_unwind(|| {
        episode(&handle);
        panic!("a test of a user's");
    });
    assert!(caught.is_err());
    assert_eq!(handle.episodes().len(), 1);
}
