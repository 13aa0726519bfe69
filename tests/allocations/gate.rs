//! R3: a call through the gate allocates nothing, and a refusal waits for no lock.
//!
//! Both are shown with the shared allocator. It counts by thread, and it can stop a thread in the
//! middle of an allocation. That is how a test holds the layer's lock, under which no user's code
//! ever runs: `status` allocates while it reads the machine.

use std::{
    future::{Future, Ready, ready},
    pin::pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use test_support::{HOUR, allocations_in, at_next_allocation, at_once, bytes};
use tokio::{runtime::Handle, time::advance};
use tower::{Layer, Service, ServiceExt, util::ServiceFn};
use tower_maintenance::{
    Calls, Error, Exemption, Hold, Judge, Maintenance, MaintenanceHandle, MaintenanceLayer, Mode,
    Policy,
};

// ---- held in the midst of an allocation ---------------------------------------------------------

/// The meeting place of a thread that is held, and of the thread that acts meanwhile.
struct Meeting {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Empty,
    Held,
    Acted,
    GaveUp,
}

static MEETING: Meeting = Meeting {
    stage: Mutex::new(Stage::Empty),
    changed: Condvar::new(),
};

/// How long a thread is held. Far longer than any act that does not wait for it.
const PATIENCE: Duration = Duration::from_secs(20);

impl Meeting {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stage: Stage) {
        *self.stage() = stage;
        self.changed.notify_all();
    }

    fn wait_while(&self, stage: Stage) -> bool {
        let waits = |now: &mut Stage| *now == stage;
        let waited = self
            .changed
            .wait_timeout_while(self.stage(), PATIENCE, waits);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn hold_me(&self) {
        self.set(Stage::Held);
        if !self.wait_while(Stage::Held) {
            self.set(Stage::GaveUp);
        }
    }
}

/// Runs `act` in another thread while this one is held in the first allocation of `held`. Returns
/// the output of `act`, or `None` if that waited for this thread.
fn meanwhile<T: Send>(held: impl FnOnce(), act: impl FnOnce() -> T + Send) -> Option<T> {
    // One meeting at a time, because the tests run in parallel.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    MEETING.set(Stage::Empty);
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            assert!(MEETING.wait_while(Stage::Empty), "no thread was held");
            let acted = act();
            let waited = *MEETING.stage() == Stage::GaveUp;
            MEETING.set(Stage::Acted);
            (!waited).then_some(acted)
        });
        at_next_allocation(Some(|| MEETING.hold_me()));
        held();
        at_next_allocation(None);
        acting.join().unwrap()
    })
}

// ---- a layer ------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Good,
    Bad,
    Invoice,
    Counted,
    Charge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("down")]
struct Down;

#[derive(Debug, Clone, Copy)]
struct Billing;

impl Judge<Call, (), Down> for Billing {
    fn name<'r>(&self, call: &'r Call) -> Option<&'r str> {
        Some(match call {
            Call::Good | Call::Bad => "price.read",
            Call::Invoice => "invoice.read",
            Call::Counted => "invoice.list",
            Call::Charge => "card.charge",
        })
    }

    fn may_probe(&self, call: &Call) -> bool {
        *call != Call::Charge
    }
}

type Inner = ServiceFn<fn(Call) -> Ready<Result<(), Down>>>;
type Wrapped = Maintenance<Inner, Calls<Billing>>;

fn answer(call: Call) -> Ready<Result<(), Down>> {
    ready(if call == Call::Bad { Err(Down) } else { Ok(()) })
}

fn wrapped() -> (MaintenanceHandle, Wrapped) {
    let policy = Policy::default()
        .with_jitter(0.0)
        .with_consecutive_failures(1_000_000)
        .with_min_calls(1_000_000)
        .with_successes_needed(10_000);
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy)
        .exempt(Exemption::call("invoice.read", "customers may see them"))
        .exempt(Exemption::call("invoice.list", "customers may see them").counted())
        .build()
        .unwrap()
        .judged(Billing);
    let inner: Inner = tower::service_fn(answer);
    (layer.handle(), layer.layer(inner))
}

fn call(service: &mut Wrapped, call: Call) -> Result<(), Error<Down>> {
    assert!(at_once(service.ready()).is_some());
    at_once(service.call(call)).expect("everything ends at once here")
}

fn refused(called: Result<(), Error<Down>>) -> bool {
    matches!(called, Err(Error::Refused(_)))
}

/// Asserts that the call ends so, and allocates nothing.
fn allocates_nothing(
    service: &mut Wrapped,
    which: Call,
    ends: fn(Result<(), Error<Down>>) -> bool,
) {
    // Once before it counts: thread-locals are set up, and a state that is due has moved.
    assert!(ends(call(service, which)));
    let allocated = allocations_in(|| {
        for _ in 0..1000 {
            assert!(ends(call(service, which)), "{which:?}");
        }
    });
    assert_eq!(allocated, 0, "{which:?}");
}

// ---- it allocates nothing -----------------------------------------------------------------------

#[test]
fn the_counter_counts() {
    assert_eq!(
        allocations_in(|| drop(std::hint::black_box(Box::new(1)))),
        1
    );
}

#[test]
fn r03_an_admitted_call_allocates_nothing() {
    let (handle, mut service) = wrapped();
    allocates_nothing(&mut service, Call::Good, |called| called == Ok(()));
    allocates_nothing(&mut service, Call::Bad, |called| {
        called == Err(Error::Inner(Down))
    });
    assert_eq!(handle.status().calls.succeeded, 1001);
    assert_eq!(handle.status().calls.failed, 1001);
}

#[test]
fn r03_a_call_that_is_answered_at_its_second_poll_allocates_nothing() {
    let layer = MaintenanceLayer::new("zuora");
    let answered_later = |_: ()| {
        let mut polled = false;
        std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(Ok::<_, Down>(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    };
    let mut service = layer.layer(tower::service_fn(answered_later));
    let mut call = || {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        let mut future = pin!(service.call(()));
        assert!(future.as_mut().poll(&mut cx).is_pending());
        assert_eq!(future.poll(&mut cx), Poll::Ready(Ok(())));
    };
    // Once before: thread-locals are set up.
    call();
    assert_eq!(allocations_in(|| (0..1000).for_each(|_| call())), 0);
    assert_eq!(layer.handle().status().calls.succeeded, 1001);
}

#[test]
fn r03_a_call_that_is_dropped_allocates_nothing() {
    let (handle, mut service) = wrapped();
    let mut begin_and_drop = || {
        assert!(at_once(service.ready()).is_some());
        drop(service.call(Call::Good));
    };
    begin_and_drop();
    assert_eq!(allocations_in(begin_and_drop), 0);
    assert_eq!(handle.status().calls.abandoned, 2);
}

#[test]
fn r03_a_refusal_under_a_hold_allocates_nothing() {
    let (handle, mut service) = wrapped();
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    allocates_nothing(&mut service, Call::Good, refused);
    let hold = Hold::new("on-call", "drill").for_at_most(HOUR);
    handle.engage(hold).unwrap();
    allocates_nothing(&mut service, Call::Good, refused);
}

#[test]
fn r03_a_refusal_while_a_trip_waits_allocates_nothing() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    allocates_nothing(&mut service, Call::Good, refused);
}

#[test]
fn r03_a_refusal_while_probing_allocates_nothing() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    allocates_nothing(&mut service, Call::Charge, refused);
}

#[test]
fn r03_a_probe_allocates_nothing() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    allocates_nothing(&mut service, Call::Good, |called| called == Ok(()));
    assert_eq!(handle.status().probing.unwrap().successes, 1001);
}

#[test]
fn r03_an_exempt_call_allocates_nothing_in_any_mode() {
    let (handle, mut service) = wrapped();
    let mut all_modes = |which| {
        allocates_nothing(&mut service, which, |called| called == Ok(()));
        handle.engage(Hold::new("on-call", "drill")).unwrap();
        allocates_nothing(&mut service, which, |called| called == Ok(()));
        handle.release_verified("on-call", "drill").unwrap();
        assert_eq!(handle.mode(), Mode::Probing);
        allocates_nothing(&mut service, which, |called| called == Ok(()));
        handle.clear("on-call", "drill").unwrap();
    };
    all_modes(Call::Invoice);
    all_modes(Call::Counted);
}

// ---- it waits for no lock -----------------------------------------------------------------------

/// Calls in a thread of its own, at the paused time of `clock`, while this thread is held in
/// `look`.
fn call_meanwhile(service: &mut Wrapped, look: impl FnOnce()) -> Option<Result<(), Error<Down>>> {
    let clock = Handle::current();
    meanwhile(look, || {
        let _paused = clock.enter();
        call(service, Call::Good)
    })
}

#[tokio::test(start_paused = true)]
async fn r03_a_refusal_does_not_wait_for_the_lock_under_a_hold() {
    let (handle, mut service) = wrapped();
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    let called = call_meanwhile(&mut service, || drop(handle.status()));
    assert!(refused(called.expect("it did not wait")));
}

#[tokio::test(start_paused = true)]
async fn a_glance_takes_no_lock_and_allocates_nothing() {
    let (handle, _service) = wrapped();
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    let looked = meanwhile(
        || drop(handle.status()),
        || (handle.glance().mode(), handle.mode()),
    );
    let modes = looked.expect("it did not wait");
    assert_eq!(modes, (Mode::Maintenance, Mode::Maintenance));
    assert_eq!(allocations_in(|| drop(handle.glance())), 0);
}

#[tokio::test(start_paused = true)]
async fn r03_a_call_that_would_move_time_only_tries_the_lock() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    advance(Duration::from_secs(30)).await;
    let called = call_meanwhile(&mut service, || drop(handle.status()));
    let called = called.expect("it did not wait");
    assert!(refused(called), "another thread is moving the state");
    assert_eq!(handle.mode(), Mode::Probing);
}

#[tokio::test(start_paused = true)]
async fn r03_a_call_that_would_take_a_slot_only_tries_the_lock() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    handle.probe_now("on-call", "drill").unwrap();
    let called = call_meanwhile(&mut service, || drop(handle.status()));
    assert!(refused(called.expect("it did not wait")));
    assert_eq!(handle.status().probing.unwrap().free, 1);
}

#[tokio::test(start_paused = true)]
async fn r03_a_call_that_moves_time_does_not_wait_for_a_reader_of_the_audit_trail() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    advance(Duration::from_secs(30)).await;
    let called = call_meanwhile(&mut service, || drop(handle.audit()));
    assert!(called.is_some(), "it waited");
}

/// The default window has 10 buckets. Its length makes no difference.
#[test]
fn a_layer_takes_at_most_128_bytes_a_core_and_bucket_and_2_and_a_half_kib() {
    // A layer before, for what is allocated once in the process, and for the clock.
    drop(MaintenanceLayer::new("partner"));
    let before = bytes();
    let layer = MaintenanceLayer::new("partner");
    let taken = bytes() - before;
    drop(layer);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    // One core has two lanes: one for itself, and one for the thread that starts the others.
    let most = 128 * 10 * cores.max(2) + 2560;
    assert!(taken <= most as i64, "{taken} bytes, {most} at most");
}
