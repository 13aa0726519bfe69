//! Dry run and bypass. They are switches of the layer as a whole, and no rule has their number.

use tokio::time::advance;
use tower_maintenance::{EventKind, Mode, ShadowReport};

use crate::support::*;

fn shadow(rig: &Rig) -> Option<ShadowReport> {
    rig.handle.status().shadow
}

fn dry() -> Rig {
    Rig::built(builder(policy()).dry_run())
}

#[tokio::test(start_paused = true)]
async fn dry_run_opens_a_shadow_where_a_rule_would_trip_and_moves_nothing() {
    let rig = dry();
    let mut busts = rig.handle.cache_bust();
    let before = rig.handle.status();
    rig.calls(5, Say::Down).await;
    let after = rig.handle.status();
    assert_eq!(after.mode, Mode::Serving);
    assert_eq!(
        (after.era, after.generation),
        (before.era, before.generation)
    );
    assert_eq!(after.shadow.unwrap().wait, secs(30));
    rig.calls(5, Say::Ok).await;
    assert_eq!(rig.total(), 10, "the window records on");
    advance(secs(60)).await;
    assert_eq!(shadow(&rig), None);
    assert_eq!(busts.try_recv(), None);
    assert_eq!(rig.handle.episodes(), []);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_ends_when_its_wait_is_over_and_no_rule_would_trip() {
    let rig = dry();
    let mut events = rig.handle.events();
    rig.calls(5, Say::Down).await;
    advance(secs(30)).await;
    assert!(shadow(&rig).is_some(), "5 in a row are still in the window");
    rig.calls(5, Say::Down).await;
    advance(secs(1000)).await;
    let kinds = drain(&mut events);
    let [opened, ended] = &kinds[..] else {
        panic!("while one is open no other opens: {kinds:?}");
    };
    assert!(matches!(opened.kind, EventKind::WouldHaveTripped { .. }));
    assert_eq!(ended.kind, EventKind::ShadowEnded);
    assert_eq!(since_start(ended), secs(90), "when the window let go");
}

#[tokio::test(start_paused = true)]
async fn dry_run_switched_on_ends_a_trip_with_its_one_signal() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.trip().await;
    rig.handle.dry_run("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Serving);
    assert_eq!(busts.try_recv().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_under_dry_run_is_real_in_everything() {
    let rig = dry();
    let mut busts = rig.handle.cache_bust();
    rig.handle.engage(drill()).unwrap();
    assert!(is_refused(&rig.call(read()).await));
    rig.handle.release("on-call", "drill").unwrap();
    assert_eq!(busts.try_recv().unwrap().episode, 1);
}

#[tokio::test(start_paused = true)]
async fn bypass_refuses_nothing_and_shows_the_holds_beneath() {
    let rig = Rig::new(policy());
    let mut busts = rig.handle.cache_bust();
    rig.handle.engage(drill()).unwrap();
    rig.handle.bypass("on-call", "drill").unwrap();
    let status = rig.handle.status();
    assert_eq!((status.mode, status.causes.len()), (Mode::Serving, 1));
    rig.calls(20, Say::Down).await;
    assert!(shadow(&rig).is_some());
    assert_eq!(busts.try_recv().unwrap().episode, 1, "it began for real");

    rig.handle.end_bypass("on-call", "drill").unwrap();
    assert_eq!(rig.mode(), Mode::Maintenance, "the hold shows again");
    assert!(is_refused(&rig.call(read()).await));
}
