//! `run`: a call that is a name and a future keeps the rules of a call through a service.

use std::{
    cell::Cell,
    future::{Future, pending},
    io,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use tokio::time::{advance, timeout};
use tower::BoxError;
use tower_maintenance::{
    CallCounts, Class, Error, Exemption, Hold, Judge, KeyedLayer, MaintenanceLayer, Mode, Origin,
    Outcome, Policy, Rate, Refused, Verdict,
};
use tracing::Level;

use crate::support::{Failed, Log, drill, is_refused, panics, policy, poll_once, secs};

const WHY: &str = "the partner retries for days what we drop";

fn layer() -> MaintenanceLayer {
    let exempt = Exemption::call("webhook.ack", WHY);
    let builder = MaintenanceLayer::builder("zuora").policy(policy());
    builder.exempt(exempt).build().unwrap()
}

fn counts<P>(layer: &MaintenanceLayer<P>) -> CallCounts {
    layer.handle().status().calls
}

async fn fails() -> Result<(), Failed> {
    Err(Failed::Down)
}

async fn works() -> Result<(), Failed> {
    Ok(())
}

/// Trips the layer, and waits until it probes.
async fn probing<P>(layer: &MaintenanceLayer<P>) {
    let handle = layer.handle();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    assert_eq!(handle.mode(), Mode::Probing);
}

/// A future that tells how often it was polled, and whether it is there.
struct Watched {
    polls: Rc<Cell<u32>>,
    _there: Rc<()>,
}

impl Future for Watched {
    type Output = Result<(), Failed>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls.set(self.polls.get() + 1);
        Poll::Ready(Ok(()))
    }
}

// ---- refused, admitted, exempt ------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn every_err_is_a_failure_and_five_in_a_row_trip() {
    let layer = layer();
    for _ in 0..5 {
        let failed = layer.run("charge", fails()).await;
        assert_eq!(failed, Err(Error::Inner(Failed::Down)));
    }
    assert_eq!(layer.handle().mode(), Mode::Maintenance);
    assert!(is_refused(&layer.run("charge", works()).await));

    // Three probes bring it back.
    layer.handle().probe_now("on-call", "drill").unwrap();
    for _ in 0..3 {
        assert_eq!(layer.handle().mode(), Mode::Probing);
        assert_eq!(layer.run("price.read", works()).await, Ok(()));
    }
    assert_eq!(layer.handle().mode(), Mode::Serving);
    let counts = counts(&layer);
    assert_eq!((counts.succeeded, counts.failed, counts.refused), (3, 5, 1));
}

#[tokio::test(start_paused = true)]
async fn the_future_of_a_refused_call_is_dropped_unpolled() {
    let layer = layer();
    layer.handle().engage(drill()).unwrap();
    let (polls, there) = (Rc::default(), Rc::new(()));
    let watched = Watched {
        polls: Rc::clone(&polls),
        _there: Rc::clone(&there),
    };
    assert!(is_refused(&layer.run("charge", watched).await));
    assert_eq!((polls.get(), Rc::strong_count(&there)), (0, 1));

    let watched = Watched {
        polls,
        _there: there,
    };
    let polls = watched.polls.clone();
    layer.handle().release("on-call", "drill").unwrap();
    assert_eq!(layer.run("charge", watched).await, Ok(()));
    assert_eq!(polls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_begins_when_it_is_awaited() {
    let layer = layer();
    let made_before = layer.run("charge", works());
    drop(layer.run("charge", fails()));
    assert_eq!(counts(&layer).admitted, 0);

    layer.handle().engage(drill()).unwrap();
    assert!(is_refused(&made_before.await), "the gate has shut since");
}

#[tokio::test(start_paused = true)]
async fn an_exempt_name_passes_in_every_mode_and_is_not_counted() {
    let layer = layer();
    assert_eq!(layer.run("webhook.ack", works()).await, Ok(()));
    layer.handle().engage(drill()).unwrap();
    assert_eq!(layer.run("webhook.ack", works()).await, Ok(()));
    assert!(is_refused(&layer.run("webhook", works()).await));
    layer.handle().release("on-call", "drill").unwrap();
    probing(&layer).await;
    for _ in 0..9 {
        let failed = layer.run("webhook.ack", fails()).await;
        assert_eq!(failed, Err(Error::Inner(Failed::Down)));
    }
    assert_eq!(layer.handle().mode(), Mode::Probing, "it is no probe");
    let counts = counts(&layer);
    assert_eq!((counts.exempt, counts.succeeded, counts.failed), (11, 0, 0));

    let charge = Exemption::call("charge", "promised to a customer");
    let handle = layer.handle();
    let replaced = handle.replace_exemptions([charge], "on-call", "drill");
    replaced.unwrap();
    handle.engage(drill()).unwrap();
    assert!(is_refused(&layer.run("webhook.ack", works()).await));
    assert_eq!(layer.run("charge", works()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn exempt_names_in_a_layer_whose_calls_have_none_are_one_warning() {
    let log = Log::new();
    let _listening = log.listen();
    let warnings = || {
        let words = [
            "webhook.ack",
            "`named(|request| ...)`",
            "`run(name, future)`",
        ];
        log.lines(Level::WARN, &words).len()
    };
    let ran = layer();
    let _ = ran.run("charge", works()).await;
    ran.handle().engage(drill()).unwrap();
    let named = layer();
    let _named = named.named(|call: &String| call.as_str());
    named.handle().engage(drill()).unwrap();
    assert_eq!(warnings(), 0);

    let neither = layer();
    for _ in 0..2 {
        neither.handle().engage(drill()).unwrap();
        neither.handle().release("on-call", "drill").unwrap();
    }
    assert_eq!(warnings(), 1);
    // Once it was told, later calls by name work all the same.
    neither.handle().engage(drill()).unwrap();
    assert_eq!(neither.run("webhook.ack", works()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_future_may_borrow_and_may_be_spawned() {
    let layer = layer();
    let mut charged = 0;
    let charge = async {
        charged += 1;
        Ok::<_, Failed>(charged)
    };
    assert_eq!(layer.run("charge", charge).await, Ok(1));

    let name = String::from("charge");
    let spawned = tokio::spawn(async move {
        layer
            .run(&name, async {
                tokio::task::yield_now().await;
                Ok::<_, Failed>(2)
            })
            .await
    });
    assert_eq!(spawned.await.unwrap(), Ok(2));
}

/// An `async fn` would keep the future twice: as its argument, and where it polls it.
#[tokio::test(start_paused = true)]
async fn a_large_future_is_stored_once() {
    let layer = layer();
    let large = async {
        let bytes = [1_u8; 10_000];
        tokio::task::yield_now().await;
        Ok::<_, Failed>(bytes.len())
    };
    let own = size_of_val(&large);
    let run = layer.run("charge", large);
    assert!(size_of_val(&run) < own + 256, "{}", size_of_val(&run));
    assert_eq!(run.await, Ok(10_000));
}

// ---- how a call ends ----------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_the_hang_limit_failed_and_one_before_it_is_neutral() {
    let layer = layer();
    let hangs = || layer.run("charge", pending::<Result<(), Failed>>());
    assert!(timeout(secs(4), hangs()).await.is_err());
    let ended = counts(&layer);
    assert_eq!((ended.failed, ended.abandoned), (0, 1));

    for n in 1..=5 {
        assert_eq!(layer.handle().mode(), Mode::Serving);
        assert!(timeout(secs(5), hangs()).await.is_err());
        assert_eq!(counts(&layer).failed, n);
    }
    assert_eq!(layer.handle().mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_slot_back() {
    let layer = layer();
    probing(&layer).await;
    let mut probe = Box::pin(layer.run("price.read", pending::<Result<(), Failed>>()));
    assert_eq!(poll_once(probe.as_mut()), None);
    assert!(is_refused(&layer.run("price.read", works()).await));
    drop(probe);
    assert_eq!(layer.run("price.read", works()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_future_failed_and_a_panicking_judge_is_neutral() {
    let layer = layer();
    let run = layer.run("charge", async {
        if layer.handle().mode() == Mode::Serving {
            panic!("the SDK has a bug");
        }
        Ok::<(), Failed>(())
    });
    let mut run = pin!(run);
    assert!(panics(AssertUnwindSafe(|| poll_once(run.as_mut()))));
    assert_eq!((counts(&layer).failed, counts(&layer).neutral), (1, 0));

    let judge = |_: Result<&(), &Failed>| -> Outcome { panic!("the judge has a bug") };
    let judged = layer.judged_by(judge);
    let mut run = Box::pin(judged.run("charge", works()));
    assert!(panics(AssertUnwindSafe(|| poll_once(run.as_mut()))));
    assert_eq!((counts(&layer).failed, counts(&layer).neutral), (1, 1));
}

// ---- the views ----------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn only_the_names_that_may_probe_do() {
    let layer = layer().may_probe(|name: &str| name.ends_with(".read"));
    probing(&layer).await;
    assert!(is_refused(&layer.run("charge", works()).await));
    for _ in 0..3 {
        assert_eq!(layer.run("price.read", works()).await, Ok(()));
    }
    assert_eq!(layer.run("charge", works()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn reads_pass_under_a_read_only_hold() {
    let layer = layer().reads(|name: &str| name.ends_with(".read"));
    let hold = Hold::new("on-call", "drill").read_only();
    layer.handle().engage(hold).unwrap();
    assert_eq!(layer.run("price.read", works()).await, Ok(()));
    assert!(is_refused(&layer.run("charge", works()).await));
}

#[tokio::test(start_paused = true)]
async fn the_views_judge_judges() {
    let declined = |result: Result<&(), &Failed>| match result {
        Ok(()) | Err(Failed::OurFault) => Outcome::Success,
        Err(_) => Outcome::Failure,
    };
    let layer = layer()
        .judged_by(declined)
        .judged_errors(|error: &Failed| match error {
            Failed::NeverSent => Some(Origin::Ourselves),
            _ => None,
        });
    for _ in 0..5 {
        let answered = layer.run("charge", async { Err(Failed::OurFault) }).await;
        assert_eq!(answered, Err(Error::Inner(Failed::OurFault)));
        let _ = layer.run("charge", async { Err(Failed::NeverSent) }).await;
    }
    assert_eq!(layer.handle().mode(), Mode::Serving);
    let ended = counts(&layer);
    assert_eq!((ended.succeeded, ended.ours, ended.failed), (5, 5, 0));
    for _ in 0..5 {
        let _ = layer.run("charge", fails()).await;
    }
    assert_eq!(layer.handle().mode(), Mode::Maintenance);
}

/// Judges calls by their name.
#[derive(Debug, Clone, Copy)]
struct ByName;

impl Judge<str, u32, Failed> for ByName {
    fn name<'r>(&self, name: &'r str) -> Option<&'r str> {
        name.split(':').next_back()
    }

    fn may_probe(&self, name: &str) -> bool {
        name.ends_with("read")
    }

    fn class(&self, name: &str) -> Class {
        match name {
            "settle" => Class::Never,
            _ => Class::Write,
        }
    }

    fn verdict(&self, result: Result<&u32, &Failed>) -> Verdict {
        match result {
            Ok(402) => Outcome::Neutral.into(),
            Ok(_) => Outcome::Success.into(),
            Err(_) => Outcome::Failure.into(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_of_names_judges_everything() {
    let layer = layer().judged(ByName);
    let answers = |status| async move { Ok::<_, Failed>(status) };
    assert_eq!(layer.run("charge", answers(402)).await, Ok(402));
    assert_eq!(counts(&layer).neutral, 1);
    probing(&layer).await;
    assert!(is_refused(&layer.run("settle", answers(200)).await));
    assert!(is_refused(&layer.run("charge", answers(200)).await));
    assert_eq!(layer.run("eu:webhook.ack", answers(1)).await, Ok(1));
    assert_eq!(counts(&layer).exempt, 1);
    assert_eq!(layer.run("read", answers(200)).await, Ok(200));
}

#[tokio::test(start_paused = true)]
async fn a_nested_view_opens_errors_and_a_boxed_one_boxes_refusals() {
    let no_file = || async { Err::<(), _>(io::Error::from_raw_os_error(24)) };
    let nested = layer().nested();
    let _ = nested.run("charge", no_file()).await;
    assert_eq!((counts(&nested).ours, counts(&nested).failed), (1, 0));

    let boxed = layer().boxed();
    let with_limit = async {
        timeout(secs(1), pending::<()>()).await?;
        Ok::<_, BoxError>(())
    };
    assert!(boxed.run("charge", with_limit).await.is_err());
    assert!(boxed.run("charge", no_file()).await.is_err());
    assert_eq!((counts(&boxed).ours, counts(&boxed).failed), (1, 1));
    boxed.handle().engage(drill()).unwrap();
    let refused = boxed.run("charge", no_file()).await.unwrap_err();
    assert!(Refused::find(&*refused).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_further_in_is_neutral() {
    let (account, zuora) = (layer(), layer());
    zuora.handle().engage(drill()).unwrap();
    for _ in 0..9 {
        let refused = account.run("charge", zuora.run("charge", works())).await;
        assert!(matches!(refused, Err(Error::Inner(Error::Refused(_)))));
    }
    assert_eq!(account.handle().mode(), Mode::Serving);
    assert_eq!(counts(&account).refused_within, 9);
}

// ---- keyed --------------------------------------------------------------------------------------

fn keyed(max_keys: usize) -> KeyedLayer<u32, fn(&u32) -> u32> {
    let keyed = KeyedLayer::builder((|key| *key) as fn(&u32) -> u32, |_: &u32| layer());
    keyed.max_keys(max_keys).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_trips_alone() {
    let accounts = keyed(10);
    for _ in 0..5 {
        let _ = accounts.run(7, "charge", fails()).await;
    }
    assert!(is_refused(&accounts.run(7, "charge", works()).await));
    assert_eq!(accounts.run(7, "webhook.ack", works()).await, Ok(()));
    assert_eq!(accounts.run(8, "charge", works()).await, Ok(()));
    drop(accounts.run(9, "charge", works()));
    assert_eq!(accounts.keys().len(), 2, "an unpolled call makes no key");
}

#[tokio::test(start_paused = true)]
async fn a_view_of_a_keyed_layer_judges_and_names_may_probe() {
    let accounts = keyed(10);
    let judged = accounts.with_view(
        |key: &u32| *key,
        |layer| {
            let layer = layer.may_probe(|name: &str| name != "charge");
            layer.judged_by(|_: Result<&(), &Failed>| Outcome::Success)
        },
    );
    for _ in 0..5 {
        let _ = judged.run(7, "charge", fails()).await;
    }
    let handle = accounts.keys().handle(&7).unwrap();
    assert_eq!(handle.mode(), Mode::Serving);
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    assert!(is_refused(&judged.run(7, "charge", works()).await));
    assert_eq!(judged.run(7, "price.read", works()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn while_the_keys_are_pinged_no_call_of_a_customer_probes() {
    let accounts = keyed(10);
    let handle = accounts.keys().handle(&7).unwrap();
    let ping = accounts.keys();
    let ping = ping.ping(|_: &u32| pending::<Result<(), io::Error>>());
    let mut ping = Box::pin(ping);
    assert!(poll_once(ping.as_mut()).is_none());
    // The ping looks again in a second, so the slot is free.
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    assert!(is_refused(&accounts.run(7, "price.read", works()).await));
    drop(ping);
    assert_eq!(accounts.run(7, "price.read", works()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_key_without_a_place_passes() {
    let accounts = keyed(1);
    accounts.keys().handle(&7).unwrap().engage(drill()).unwrap();
    assert!(is_refused(&accounts.run(7, "charge", works()).await));
    for _ in 0..9 {
        let failed = accounts.run(8, "charge", fails()).await;
        assert_eq!(failed, Err(Error::Inner(Failed::Down)));
    }
    assert_eq!(accounts.keys().overflowed(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_call_around_a_global_one_is_neutral_when_that_refuses() {
    let (accounts, zuora) = (keyed(10), layer());
    zuora.handle().engage(drill()).unwrap();
    for _ in 0..9 {
        let _ = accounts
            .run(7, "charge", zuora.run("charge", works()))
            .await;
    }
    let status = accounts.keys().get(&7).unwrap().status();
    assert_eq!(status.mode, Mode::Serving);
    assert_eq!(status.calls.refused_within, 9);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_one_whose_wait_was_long() {
    let policy = Policy::default().with_slow_calls(secs(2), Rate::percent(50.0).unwrap());
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy)
        .build()
        .unwrap();
    let slow = async {
        tokio::time::sleep(secs(3)).await;
        Ok::<_, Failed>(())
    };
    let mut run = Box::pin(layer.run("charge", slow));
    // Time before the first poll is no wait for the partner.
    advance(secs(60)).await;
    assert_eq!(poll_once(run.as_mut()), None);
    run.await.unwrap();
    assert_eq!(layer.handle().status().window.slow, 1);
}
