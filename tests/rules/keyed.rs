//! One state per key: which keys stay, which go, and what becomes of a call when all places are
//! taken.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::Future,
    hash::Hash,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proptest::{prelude::*, sample::Index, test_runner::Config};
use tokio::{sync::oneshot, time::advance};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};
use tower_maintenance::{
    Error, Hold, KeyedLayer, Keys, MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Policy,
    Window,
};
use tracing::Level;

use crate::support::{Log, at_once, drill, panics, poll_once, secs};

const IDLE: Duration = secs(10);
/// The time between two sweeps of the same keys.
const SWEEP: Duration = Duration::from_millis(2500);

type Key = u8;

#[derive(Debug, thiserror::Error)]
#[error("down")]
struct Down;

/// What the partner does with a call.
#[derive(Debug)]
enum Does {
    Well,
    Badly,
    WhenTold(oneshot::Receiver<()>),
}

type Call = (Key, Does);
type Answer = Pin<Box<dyn Future<Output = Result<(), Down>>>>;

fn policy() -> Policy {
    Policy::default()
        .with_window(Window::time(secs(3600)))
        .with_min_calls(1_000_000)
        .with_consecutive_failures(2)
        .with_wait(secs(3600))
        .with_wait_growing(1.0, secs(3600))
}

fn made(key: &Key) -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder(&format!("tenant {key}"));
    layer.policy(policy()).build().unwrap()
}

type ByKey = fn(&Call) -> Key;

fn by_key(call: &Call) -> Key {
    call.0
}

fn layer(max_keys: usize) -> KeyedLayer<Key, ByKey> {
    let layer = KeyedLayer::builder(by_key as ByKey, made);
    layer.max_keys(max_keys).idle_after(IDLE).build().unwrap()
}

type Called = Pin<Box<dyn Future<Output = Result<(), Error<Down>>>>>;

/// The layer around a partner, called by one customer after the other.
struct Stack {
    keys: Keys<Key>,
    service: Box<dyn FnMut(Call) -> Called>,
    reached: Rc<RefCell<u32>>,
}

impl Stack {
    fn new(layer: KeyedLayer<Key, ByKey>) -> Self {
        let reached = Rc::new(RefCell::new(0));
        let partner = {
            let reached = reached.clone();
            service_fn(move |(_, does): Call| {
                *reached.borrow_mut() += 1;
                Box::pin(async move {
                    match does {
                        Does::Well => Ok(()),
                        Does::Badly => Err(Down),
                        Does::WhenTold(told) => told.await.map_err(|_| Down),
                    }
                }) as Answer
            })
        };
        let keys = layer.keys();
        let mut service = layer.layer(partner);
        let service = Box::new(move |call| {
            assert!(at_once(service.ready()).is_some());
            Box::pin(service.call(call)) as Called
        });
        Self {
            keys,
            service,
            reached,
        }
    }

    /// Returns whether the call was let in.
    fn call(&mut self, key: Key, does: Does) -> bool {
        let before = *self.reached.borrow();
        let mut future = (self.service)((key, does));
        let called = poll_once(future.as_mut()).expect("it answers at once");
        let refused = matches!(called, Err(Error::Refused(_)));
        assert_eq!(*self.reached.borrow() - before, u32::from(!refused));
        !refused
    }

    fn begin(&mut self, key: Key) -> (oneshot::Sender<()>, Called) {
        let (tell, told) = oneshot::channel();
        let mut future = (self.service)((key, Does::WhenTold(told)));
        assert!(poll_once(future.as_mut()).is_none());
        (tell, future)
    }

    fn there(&self) -> BTreeSet<Key> {
        self.keys.list().into_iter().collect()
    }

    /// Lets enough time pass for every key that may go, with looks in between.
    async fn idle(&self) {
        for span in [SWEEP, IDLE, SWEEP] {
            let _ = self.keys.len();
            advance(span).await;
        }
        let _ = self.keys.len();
    }
}

// ---- keys that stay -----------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_idle_key_goes_and_one_that_is_used_stays() {
    let mut stack = Stack::new(layer(10));
    assert!(stack.call(1, Does::Well));
    assert!(stack.call(2, Does::Well));
    for _ in 0..20 {
        advance(SWEEP).await;
        assert!(stack.call(2, Does::Well));
        let _ = stack.keys.len();
    }
    assert_eq!(stack.there(), [2].into());
    assert_eq!(stack.keys.evicted(), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_alone_let_go_of_idle_keys() {
    let mut stack = Stack::new(layer(10));
    assert!(stack.call(1, Does::Well));
    for _ in 0..20 {
        advance(SWEEP).await;
        for _ in 0..64 {
            assert!(stack.call(2, Does::Well));
        }
    }
    assert_eq!(stack.keys.evicted(), 1);
}

/// Each of these keeps an idle key as long as it lasts, and no longer.
#[tokio::test(start_paused = true)]
async fn a_key_that_somebody_would_miss_stays() {
    type Undo = Box<dyn FnOnce(&Keys<Key>)>;
    type Case = (&'static str, fn(&mut Stack) -> Undo);
    fn command(keys: &Keys<Key>, f: impl FnOnce(&MaintenanceHandle)) {
        f(&keys.get(&1).expect("it is there"));
    }
    let cases: [Case; 10] = [
        ("held", |stack| {
            command(&stack.keys, |h| {
                drop(h.engage(Hold::new("me", "drill")).unwrap())
            });
            Box::new(|keys| command(keys, |h| drop(h.release("me", "drill").unwrap())))
        }),
        ("tripped", |stack| {
            assert!(stack.call(1, Does::Badly) && stack.call(1, Does::Badly));
            Box::new(|keys| command(keys, |h| drop(h.clear("me", "drill").unwrap())))
        }),
        ("probing", |stack| {
            assert!(stack.call(1, Does::Badly) && stack.call(1, Does::Badly));
            command(&stack.keys, |h| drop(h.probe_now("me", "drill").unwrap()));
            Box::new(|keys| command(keys, |h| drop(h.clear("me", "drill").unwrap())))
        }),
        ("in dry run", |stack| {
            command(&stack.keys, |h| drop(h.dry_run("me", "drill").unwrap()));
            Box::new(|keys| command(keys, |h| drop(h.arm("me", "drill").unwrap())))
        }),
        ("bypassed", |stack| {
            command(&stack.keys, |h| drop(h.bypass("me", "drill").unwrap()));
            Box::new(|keys| command(keys, |h| drop(h.end_bypass("me", "drill").unwrap())))
        }),
        ("held beneath a bypass", |stack| {
            command(&stack.keys, |h| {
                h.bypass("me", "drill").unwrap();
                h.engage(Hold::new("me", "drill")).unwrap();
            });
            Box::new(|keys| {
                command(keys, |h| {
                    h.release("me", "drill").unwrap();
                    h.end_bypass("me", "drill").unwrap();
                });
            })
        }),
        ("with a handle", |stack| {
            let handle = stack.keys.get(&1).unwrap();
            Box::new(|_| drop(handle))
        }),
        ("with a listener", |stack| {
            let busts = stack.keys.get(&1).unwrap().cache_bust();
            Box::new(|_| drop(busts))
        }),
        ("with a ping", |stack| {
            let handle = stack.keys.get(&1).unwrap();
            let ping = handle.ping(async || Ok::<_, Down>(()));
            Box::new(|_| drop(ping))
        }),
        ("with a call in flight", |stack| {
            let call = stack.begin(1);
            Box::new(|_| drop(call))
        }),
    ];
    for (what, keep) in cases {
        let mut stack = Stack::new(layer(10));
        assert!(stack.call(1, Does::Well));
        let undo = keep(&mut stack);
        for _ in 0..5 {
            stack.idle().await;
        }
        assert_eq!(stack.there(), [1].into(), "{what}");
        undo(&stack.keys);
        stack.idle().await;
        assert_eq!(stack.there(), [].into(), "no longer {what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_policy_was_replaced_stays() {
    let mut stack = Stack::new(layer(10));
    assert!(stack.call(1, Does::Well));
    let handle = stack.keys.get(&1).unwrap();
    handle
        .replace_policy(&Policy::default(), "me", "drill")
        .unwrap();
    drop(handle);
    stack.idle().await;
    stack.idle().await;
    assert_eq!(stack.there(), [1].into());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_built_in_dry_run_may_go_unless_it_would_be_in_maintenance() {
    let built = |_: &Key| {
        let layer = MaintenanceLayer::builder("zuora")
            .policy(policy())
            .dry_run();
        layer.build().unwrap()
    };
    let layer = KeyedLayer::builder(by_key as ByKey, built);
    let mut stack = Stack::new(layer.idle_after(IDLE).build().unwrap());
    assert!(stack.call(1, Does::Well));
    assert!(stack.call(2, Does::Badly) && stack.call(2, Does::Badly));
    stack.idle().await;
    assert_eq!(stack.there(), [2].into());
}

/// A wall clock that steps back a day with every state that is made.
#[derive(Debug, Default)]
struct WallThatStepsBack(AtomicU32);

impl WallThatStepsBack {
    fn next(&self) -> SystemTime {
        let back = secs(86_400) * self.0.fetch_add(1, Ordering::Relaxed);
        UNIX_EPOCH + secs(2_000_000_000) - back
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_begins_anew_and_its_generation_does_not_go_back() {
    let walls = WallThatStepsBack::default();
    let built = move |_: &Key| {
        let layer = MaintenanceLayer::builder("zuora").policy(policy());
        layer.wall_clock(walls.next()).build().unwrap()
    };
    let layer = KeyedLayer::builder(by_key as ByKey, built);
    let mut stack = Stack::new(layer.idle_after(IDLE).build().unwrap());
    let mut generation = 0;
    for _ in 0..3 {
        // One failure short of a trip, in each life of the key.
        assert!(stack.call(1, Does::Badly));
        let handle = stack.keys.get(&1).unwrap();
        let status = handle.status();
        assert_eq!((status.mode, status.window.failed), (Mode::Serving, 1));
        assert!(status.generation >= generation, "it went back");
        handle.engage(Hold::new("me", "drill")).unwrap();
        handle.release("me", "drill").unwrap();
        assert!(handle.generation() > generation);
        generation = handle.generation();
        drop(handle);
        stack.idle().await;
        assert!(stack.there().is_empty());
    }
}

// ---- all places taken ---------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn further_keys_pass_unmeasured_and_take_a_place_when_one_is_free() {
    let mut stack = Stack::new(layer(2));
    let kept: Vec<_> = [1, 2].map(|key| stack.keys.handle(&key).unwrap()).into();
    for _ in 0..10 {
        assert!(
            stack.call(3, Does::Badly),
            "it is not counted, and trips no layer"
        );
    }
    assert_eq!(stack.there(), [1, 2].into());
    assert_eq!(stack.keys.overflowed(), 10);
    let full = stack.keys.handle(&3).unwrap_err();
    assert_eq!(full.max_keys(), 2);
    assert!(full.to_string().contains("all 2 keys"), "{full}");
    assert_eq!(stack.keys.handle(&2).unwrap().partner(), "tenant 2");
    // A key that is held is refused, whether or not all places are taken.
    kept[0].engage(Hold::new("me", "drill")).unwrap();
    assert!(!stack.call(1, Does::Well));

    drop(kept);
    stack.idle().await;
    assert!(stack.call(3, Does::Well));
    assert_eq!(stack.there(), [1, 3].into(), "1 is held, 2 has gone");
}

#[test]
fn a_key_for_which_the_closure_panics_takes_no_place() {
    let built = |key: &Key| {
        assert_ne!(*key, 13, "unlucky");
        MaintenanceLayer::new("zuora")
    };
    let layer = KeyedLayer::builder(by_key as ByKey, built).max_keys(1);
    let mut stack = Stack::new(layer.build().unwrap());
    let keys = stack.keys.clone();
    assert!(panics(|| stack.call(13, Does::Well)));
    assert!(keys.is_empty());
    assert!(keys.handle(&1).is_ok());
}

#[test]
fn numbers_out_of_range_are_errors_that_name_them() {
    let builder = || KeyedLayer::builder(by_key as ByKey, made);
    let error = |built: Result<_, tower_maintenance::KeyedError>| match built {
        Ok(KeyedLayer { .. }) => panic!("it must not be built"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        error(builder().max_keys(1_000_001).build()),
        "max_keys is 1000001: allowed is 1 to 1000000"
    );
    assert_eq!(
        error(builder().idle_after(Duration::from_millis(999)).build()),
        "idle_after is 999ms: allowed is 1s or more"
    );
    assert!(builder().idle_after(Duration::MAX).build().is_ok());
}

// ---- views and readiness ------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_view_shares_the_states_of_its_keys() {
    let layer = layer(10);
    let lenient = layer.with_view(
        |call: &Call| call.0,
        |layer| layer.judged_by(|_: Result<&(), &Down>| Outcome::Neutral),
    );
    let mut lenient = lenient.layer(service_fn(async |_: Call| Err::<(), _>(Down)));
    for _ in 0..5 {
        let called = lenient.ready().await.unwrap().call((1, Does::Badly)).await;
        assert!(matches!(called, Err(Error::Inner(Down))));
    }
    let mut stack = Stack::new(layer);
    assert_eq!(stack.keys.get(&1).unwrap().status().calls.neutral, 5);
    assert!(stack.call(1, Does::Badly) && stack.call(1, Does::Badly));
    let called = lenient.ready().await.unwrap().call((1, Does::Badly)).await;
    assert!(
        matches!(called, Err(Error::Refused(_))),
        "tripped by the other view"
    );
}

/// The one permit is taken: an admitted call waits for it, and a refused call neither waits nor
/// takes a place.
#[tokio::test(start_paused = true)]
async fn an_admitted_call_waits_for_readiness_and_a_refused_one_does_not() {
    let layer = layer(10);
    let keys = layer.keys();
    let partner = service_fn(|(_, does): Call| async move {
        match does {
            Does::WhenTold(told) => told.await.map_err(|_| Down),
            Does::Well | Does::Badly => Ok(()),
        }
    });
    // The limit panics if an instance is called that has no permit.
    let mut service = layer.layer(ConcurrencyLimit::new(partner, 1));
    let (tell, told) = oneshot::channel();
    let first = service
        .ready()
        .await
        .unwrap()
        .call((1, Does::WhenTold(told)));
    let mut first = tokio_test::task::spawn(first);
    assert!(first.poll().is_pending());

    let held = keys.handle(&2).unwrap();
    held.engage(Hold::new("me", "drill")).unwrap();
    let call = async { service.ready().await.unwrap().call((2, Does::Well)).await };
    let refused = tokio::time::timeout(IDLE, call).await;
    let refused = refused.expect("a refusal never waits");
    assert!(matches!(refused, Err(Error::Refused(_))));

    let second = service.ready().await.unwrap().call((3, Does::Well));
    let mut second = tokio_test::task::spawn(second);
    assert!(second.poll().is_pending());
    tell.send(()).unwrap();
    assert!(first.poll().is_ready());
    drop(first);
    assert!(second.is_woken());
    assert!(matches!(second.poll(), Poll::Ready(Ok(()))));
    drop(second);

    // A refused call that had the permit has given it back.
    let refused = service.ready().await.unwrap().call((2, Does::Well)).await;
    assert!(refused.is_err());
    let mut other = service.clone();
    let fourth = other.ready().await.unwrap().call((4, Does::Well));
    assert!(tokio_test::task::spawn(fourth).poll().is_ready());
}

/// A call that waits when its key is held is refused, as without keys.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_refused_when_its_key_is_held() {
    let layer = layer(10);
    let keys = layer.keys();
    let partner = service_fn(|_: Call| std::future::pending::<Result<(), Down>>());
    let mut service = layer.layer(ConcurrencyLimit::new(partner, 1));
    let mut first = tokio_test::task::spawn(service.ready().await.unwrap().call((1, Does::Well)));
    assert!(first.poll().is_pending());
    let mut second = tokio_test::task::spawn(service.ready().await.unwrap().call((2, Does::Well)));
    assert!(second.poll().is_pending());
    keys.get(&2)
        .unwrap()
        .engage(Hold::new("me", "drill"))
        .unwrap();
    assert!(second.is_woken());
    assert!(matches!(second.poll(), Poll::Ready(Err(Error::Refused(_)))));
    assert!(first.poll().is_pending());
}

/// The caller gets the inner service's error of readiness, and it counts for the caller's key (R7).
#[tokio::test(start_paused = true)]
async fn r07_a_failing_readiness_is_a_failed_call_of_its_key() {
    #[derive(Clone)]
    struct Broken;
    impl Service<Call> for Broken {
        type Response = ();
        type Error = Down;
        type Future = std::future::Ready<Result<(), Down>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
            Poll::Ready(Err(Down))
        }
        fn call(&mut self, _: Call) -> Self::Future {
            panic!("it is not ready")
        }
    }
    let layer = layer(10);
    let keys = layer.keys();
    let mut service = layer.layer(Broken);
    let called = service.ready().await.unwrap().call((1, Does::Well)).await;
    assert!(matches!(called, Err(Error::Inner(Down))));
    assert_eq!(keys.get(&1).unwrap().status().window.failed, 1);
    keys.handle(&2)
        .unwrap()
        .engage(Hold::new("me", "drill"))
        .unwrap();
    let called = service.ready().await.unwrap().call((2, Does::Well)).await;
    assert!(matches!(called, Err(Error::Refused(_))));
}

#[test]
fn everything_is_send_and_sync_and_works_outside_a_runtime() {
    fn check<T: Send + Sync + Clone + 'static>(_: &T) {}
    let layer = KeyedLayer::builder(
        |key: &Arc<str>| key.clone(),
        |key: &Arc<str>| MaintenanceLayer::new(key),
    );
    let layer = layer.build().unwrap();
    check(&layer);
    check(&layer.keys());
    check(&layer.layer(service_fn(async |_: Arc<str>| Ok::<_, Down>(()))));
    assert!(layer.keys().get("eu.example").is_none());
    assert!(layer.keys().handle(&"eu.example".into()).is_ok());
    assert!(layer.keys().get("eu.example").is_some());
}

// ---- against a naive model ----------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Call { key: Key, well: bool },
    Begin(Key),
    End(Index),
    Advance(u64),
    Look,
    Engage(Key),
    Release(Key),
    KeepHandle(Key),
    DropHandle(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0_u8..6;
    prop_oneof![
        8 => (key.clone(), any::<bool>()).prop_map(|(key, well)| Step::Call { key, well }),
        1 => key.clone().prop_map(Step::Begin),
        2 => any::<Index>().prop_map(Step::End),
        6 => (0_u64..6_000).prop_map(Step::Advance),
        3 => Just(Step::Look),
        1 => key.clone().prop_map(Step::Engage),
        2 => key.clone().prop_map(Step::Release),
        1 => key.prop_map(Step::KeepHandle),
        2 => any::<Index>().prop_map(Step::DropHandle),
    ]
}

/// What the model knows of a key that has a state.
#[derive(Debug, Default)]
struct Known {
    last_use: Duration,
    held: bool,
    tripped: bool,
    failures: u32,
    era: u32,
    in_flight: u32,
    handles: u32,
}

impl Known {
    fn shut(&self) -> bool {
        self.held || self.tripped
    }

    fn may_go(&self, now: Duration) -> bool {
        let idle = now - self.last_use >= IDLE;
        idle && !self.shut() && self.in_flight == 0 && self.handles == 0
    }
}

type Model = BTreeMap<Key, Known>;
type Checked = Result<(), TestCaseError>;

const MOST: usize = 3;

/// Forgets the keys that have gone, and checks that each of them was free to go.
fn who_has_gone(model: &mut Model, there: &BTreeSet<Key>, now: Duration) -> Checked {
    prop_assert!(there.len() <= MOST);
    prop_assert!(
        there.iter().all(|key| model.contains_key(key)),
        "a key that was never asked for"
    );
    for (key, known) in model.iter() {
        prop_assert!(
            there.contains(key) || known.may_go(now),
            "{key} went: {known:?}"
        );
    }
    model.retain(|key, _| there.contains(key));
    Ok(())
}

async fn against_the_model(steps: Vec<Step>) -> Checked {
    let mut stack = Stack::new(layer(MOST));
    let (mut model, mut now) = (Model::new(), Duration::ZERO);
    let (mut in_flight, mut handles) = (Vec::new(), Vec::new());
    for step in steps {
        let overflowed = stack.keys.overflowed();
        match step {
            Step::Call { key, well } => {
                let shut = model.get(&key).is_some_and(Known::shut);
                let let_in = stack.call(key, if well { Does::Well } else { Does::Badly });
                prop_assert_eq!(let_in, !shut, "{} {:?}", key, model.get(&key));
                if stack.keys.overflowed() > overflowed {
                    prop_assert!(!stack.there().contains(&key));
                    who_has_gone(&mut model, &stack.there(), now)?;
                    continue;
                }
                // The key may have gone, and come back with this call: then it was free to go.
                let known = model.entry(key).or_default();
                known.last_use = now;
                if let_in && well {
                    known.failures = 0;
                } else if let_in {
                    known.failures += 1;
                    if known.failures == 2 {
                        (known.tripped, known.failures) = (true, 0);
                        known.era += 1;
                    }
                }
            }
            Step::Begin(key) => {
                if model.get(&key).is_some_and(Known::shut) {
                    continue;
                }
                let call = stack.begin(key);
                if stack.keys.overflowed() > overflowed {
                    in_flight.push((key, None, call));
                    continue;
                }
                let known = model.entry(key).or_default();
                known.last_use = now;
                known.in_flight += 1;
                in_flight.push((key, Some(known.era), call));
            }
            Step::End(_) if in_flight.is_empty() => {}
            Step::End(index) => {
                let index = index.index(in_flight.len());
                let (key, era, (tell, mut future)) = in_flight.swap_remove(index);
                tell.send(()).unwrap();
                prop_assert!(matches!(poll_once(future.as_mut()), Some(Ok(()))));
                if let Some(era) = era {
                    let known = model.get_mut(&key).unwrap();
                    known.in_flight -= 1;
                    if known.era == era {
                        known.failures = 0;
                    }
                }
            }
            Step::Advance(millis) => {
                now += Duration::from_millis(millis);
                advance(Duration::from_millis(millis)).await;
            }
            Step::Look => {
                let shut = |(key, known): (&Key, &Known)| known.shut().then_some(*key);
                let expected: BTreeSet<Key> = model.iter().filter_map(shut).collect();
                let seen: BTreeSet<Key> = stack.keys.not_serving().map(|(key, _)| key).collect();
                prop_assert_eq!(seen, expected);
            }
            Step::Engage(key) => {
                let Ok(handle) = stack.keys.handle(&key) else {
                    who_has_gone(&mut model, &stack.there(), now)?;
                    prop_assert!(!model.contains_key(&key) && model.len() == MOST);
                    continue;
                };
                handle.engage(Hold::new("me", "drill")).unwrap();
                let known = model.entry(key).or_default();
                known.era += u32::from(!known.shut());
                known.held = true;
                known.last_use = now;
                known.failures = 0;
            }
            Step::Release(key) => {
                let Some(handle) = stack.keys.get(&key) else {
                    who_has_gone(&mut model, &stack.there(), now)?;
                    prop_assert!(!model.contains_key(&key));
                    continue;
                };
                let known = model.get_mut(&key).unwrap();
                prop_assert_eq!(handle.release("me", "drill").is_ok(), known.held);
                known.era += u32::from(known.held);
                known.held = false;
                known.last_use = now;
            }
            Step::KeepHandle(key) => {
                if let Ok(handle) = stack.keys.handle(&key) {
                    let known = model.entry(key).or_default();
                    known.last_use = now;
                    known.handles += 1;
                    handles.push((key, handle));
                }
            }
            Step::DropHandle(_) if handles.is_empty() => {}
            Step::DropHandle(index) => {
                let (key, handle) = handles.swap_remove(index.index(handles.len()));
                drop(handle);
                model.get_mut(&key).unwrap().handles -= 1;
            }
        }
        who_has_gone(&mut model, &stack.there(), now)?;
    }
    // In the end every key that may go has gone, and no other.
    stack.idle().await;
    now += IDLE + 2 * SWEEP;
    who_has_gone(&mut model, &stack.there(), now)?;
    for (key, known) in model {
        prop_assert!(!known.may_go(now), "{key} is still there: {known:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn keys_are_bounded_idle_ones_go_and_those_that_are_not_serving_stay(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(against_the_model(steps))?;
    }
}

/// A partner that is called by number, and always answers.
async fn answers(_: u32) -> Result<(), Down> {
    Ok(())
}

fn by_number(number: &u32) -> u32 {
    *number
}

/// Lets a minute pass, with a look at the keys every 3 s.
async fn pass_a_minute<K: Clone + Eq + Hash + Send + Sync + 'static>(keys: &Keys<K>) {
    for _ in 0..20 {
        advance(secs(3)).await;
        let _ = keys.len();
    }
}

#[tokio::test(start_paused = true)]
async fn two_keyed_layers_in_turn_are_both_swept() {
    let make = || {
        let layer = KeyedLayer::builder(by_number, |_: &u32| MaintenanceLayer::new("zuora"));
        layer.idle_after(IDLE).build().unwrap()
    };
    let (one, other) = (make(), make());
    let keys = [one.keys(), other.keys()];
    let mut services = [one, other].map(|layer| layer.layer(service_fn(answers)));
    for key in 0..100 {
        for service in &mut services {
            service.ready().await.unwrap().call(key).await.unwrap();
        }
    }
    for _ in 0..200 {
        advance(secs(1)).await;
        for _ in 0..200 {
            for service in &mut services {
                service.ready().await.unwrap().call(0).await.unwrap();
            }
        }
    }
    assert_eq!(keys.map(|keys| keys.evicted()), [99, 99]);
}

#[tokio::test(start_paused = true)]
async fn a_handle_kept_by_make_keeps_the_key() {
    let kept: Arc<Mutex<Vec<MaintenanceHandle>>> = Arc::default();
    let keeps = kept.clone();
    let make = move |_: &u32| {
        let layer = MaintenanceLayer::new("zuora");
        keeps.lock().unwrap().push(layer.handle());
        layer
    };
    let layer = KeyedLayer::builder(by_number, make).idle_after(IDLE);
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(answers));
    service.ready().await.unwrap().call(1).await.unwrap();
    pass_a_minute(&layer.keys()).await;
    kept.lock().unwrap()[0].engage(drill()).unwrap();
    let called = service.ready().await.unwrap().call(1).await;
    assert!(called.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_key_born_held_bears_the_floor() {
    let walls = WallThatStepsBack::default();
    let make = move |key: &u32| {
        let layer = MaintenanceLayer::builder("zuora").wall_clock(walls.next());
        let layer = layer.build().unwrap();
        if *key == 2 {
            let hold = Hold::new("billing", "tenant is suspended");
            layer.handle().engage(hold).unwrap();
        }
        layer
    };
    let layer = KeyedLayer::builder(by_number, make).idle_after(IDLE);
    let layer = layer.build().unwrap();
    let keys = layer.keys();
    let mut service = layer.layer(service_fn(answers));
    service.ready().await.unwrap().call(1).await.unwrap();
    pass_a_minute(&keys).await;
    assert_eq!(keys.evicted(), 1);
    let called = service.ready().await.unwrap().call(2).await;
    let Err(Error::Refused(refused)) = called else {
        panic!("it was held when it was made")
    };
    assert_eq!(refused.generation(), keys.get(&2).unwrap().generation());
}

#[tokio::test]
async fn a_keyed_overflow_survives_a_panicking_subscriber() {
    let layer = KeyedLayer::builder(by_number, |_: &u32| MaintenanceLayer::new("zuora"));
    let layer = layer.max_keys(1).build().unwrap();
    let _kept = layer.keys().handle(&1).unwrap();
    let mut service = layer.layer(service_fn(answers));
    assert!(at_once(service.ready()).is_some());
    let log = Log::that(|| panic!("a subscriber panics"));
    let _listening = log.listen();
    assert!(!panics(|| service.call(2)));
    let told = log.lines(Level::WARN, &["max_keys"]);
    assert_eq!(told.len(), 1, "it was told of the overflow, and panicked");
}
