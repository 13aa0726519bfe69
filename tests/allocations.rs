//! R3: what goes through the gate allocates nothing, and a refusal waits for no lock.
//!
//! Both are shown with an allocator of our own. It counts, thread by thread; and it can hold a thread
//! in the midst of an allocation, which is how a test gets hold of a lock that no user's code ever
//! runs under: `status` allocates while it reads the machine.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may panic: that is how they fail"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::{Ready, ready},
    pin::pin,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{runtime::Handle, time::advance};
use tower::{Layer, Service, util::ServiceFn};
use tower_maintenance::{
    Calls, Error, Exemption, Hold, Judge, Maintenance, MaintenanceHandle, MaintenanceLayer, Mode,
    Policy,
};

// ---- the allocator ------------------------------------------------------------------------------

struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    /// How many bytes this thread has taken, less what it gave back.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    /// Whether this thread is to be held at its next allocation.
    static HOLD: Cell<bool> = const { Cell::new(false) };
}

/// Neither is there any more while a thread ends.
fn note() {
    let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
    if HOLD.try_with(|hold| hold.replace(false)).unwrap_or(false) {
        MEETING.hold_me();
    }
}

fn live(more: usize, less: usize) {
    let change = more as i64 - less as i64;
    let _ = LIVE.try_with(|live| live.set(live.get() + change));
}

// SAFETY: everything is left to the system's allocator; noting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        live(layout.size(), 0);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        live(layout.size(), 0);
        // SAFETY: as our caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        live(size, layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        live(0, layout.size());
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `f` allocates in this thread.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATED.get();
    f();
    ALLOCATED.get() - before
}

/// Where a thread that is held, and the one that acts meanwhile, meet.
struct Meeting {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Nobody,
    Held,
    Acted,
    GaveUp,
}

static MEETING: Meeting = Meeting {
    stage: Mutex::new(Stage::Nobody),
    changed: Condvar::new(),
};

/// Far longer than anybody needs who does not wait for the one that is held.
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

/// Runs `act` in another thread while this one is held in the first allocation of `held`; says what
/// came of it if it did not wait for this thread.
fn meanwhile<T: Send>(held: impl FnOnce(), act: impl FnOnce() -> T + Send) -> Option<T> {
    // One meeting at a time: the tests run in parallel.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    MEETING.set(Stage::Nobody);
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| {
            assert!(MEETING.wait_while(Stage::Nobody), "nobody was held");
            let acted = act();
            let waited = *MEETING.stage() == Stage::GaveUp;
            MEETING.set(Stage::Acted);
            (!waited).then_some(acted)
        });
        HOLD.set(true);
        held();
        HOLD.set(false);
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
        .judged(Billing)
        .exempt(Exemption::call("invoice.read", "customers may see them"))
        .exempt(Exemption::call("invoice.list", "customers may see them").counted())
        .build()
        .unwrap();
    let inner: Inner = tower::service_fn(answer);
    (layer.handle(), layer.layer(inner))
}

fn call(service: &mut Wrapped, call: Call) -> Result<(), Error<Down>> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let future = pin!(service.call(call));
    match future.poll(&mut cx) {
        Poll::Ready(called) => called,
        Poll::Pending => panic!("everything ends at once here"),
    }
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
    // Once before: thread-locals are set up, and whoever finds the state due has moved it.
    assert!(ends(call(service, which)));
    let allocated = allocations(|| {
        for _ in 0..1000 {
            assert!(ends(call(service, which)), "{which:?}");
        }
    });
    assert_eq!(allocated, 0, "{which:?}");
}

// ---- it allocates nothing -----------------------------------------------------------------------

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
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
    assert_eq!(allocations(|| (0..1000).for_each(|_| call())), 0);
    assert_eq!(layer.handle().status().calls.succeeded, 1001);
}

#[test]
fn r03_a_call_that_is_dropped_allocates_nothing() {
    let (handle, mut service) = wrapped();
    let mut begin_and_drop = || {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        drop(service.call(Call::Good));
    };
    begin_and_drop();
    assert_eq!(allocations(begin_and_drop), 0);
    assert_eq!(handle.status().calls.abandoned, 2);
}

#[test]
fn r03_a_refusal_under_a_hold_allocates_nothing() {
    let (handle, mut service) = wrapped();
    handle.engage(Hold::new("on-call", "drill")).unwrap();
    allocates_nothing(&mut service, Call::Good, refused);
    let hour = Duration::from_secs(3600);
    handle
        .engage(Hold::new("on-call", "drill").for_at_most(hour))
        .unwrap();
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

/// Calls in a thread of its own, at the paused time of `clock`, while this thread is in the midst of `look`.
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
async fn r03_a_call_that_would_move_time_only_tries_the_lock() {
    let (handle, mut service) = wrapped();
    handle.trip("on-call", "drill").unwrap();
    advance(Duration::from_secs(30)).await;
    let called = call_meanwhile(&mut service, || drop(handle.status()));
    let called = called.expect("it did not wait");
    assert!(refused(called), "somebody else is moving the state");
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

/// 10 buckets of the default window. The window's length has no part in it.
#[test]
fn a_layer_takes_at_most_128_bytes_a_core_and_bucket_and_2_kib() {
    // Whatever is asked for only once, and the clock.
    drop(MaintenanceLayer::new("partner"));
    let before = LIVE.get();
    let layer = MaintenanceLayer::new("partner");
    let bytes = LIVE.get() - before;
    drop(layer);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    // One core has two lanes, as for itself so for the thread that starts the others.
    let most = 128 * 10 * cores.max(2) + 2048;
    assert!(bytes <= most as i64, "{bytes} bytes, {most} at most");
}

#[cfg(feature = "last-good")]
mod last_good {
    use bytes::Bytes;
    use http::{Method, Request, Response};
    use http_body::Body;
    use http_body_util::Full;
    use tower_maintenance::http::LastGoodLayer;

    use super::*;

    #[test]
    fn a_request_that_is_not_opted_in_allocates_nothing_for_the_last_good_answer() {
        let layer = LastGoodLayer::builder()
            .path("/prices")
            .only(|request| request.uri.query().is_none())
            .keyed_by(|_| Some("everybody".to_owned()))
            .build()
            .unwrap();
        let inner = tower::service_fn(|_: Request<Full<Bytes>>| {
            let answer = Response::new(Full::from(Bytes::from_static(b"12 EUR")));
            ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let mut service = layer.layer(inner);
        let mut count = |method: Method, uri: &'static str| {
            let mut request = Request::new(Full::default());
            *request.method_mut() = method;
            *request.uri_mut() = http::Uri::from_static(uri);
            allocations(|| {
                let mut cx = Context::from_waker(Waker::noop());
                assert!(pin!(service.call(request)).poll(&mut cx).is_ready());
            })
        };
        assert_eq!(count(Method::GET, "/purchases"), 0);
        assert_eq!(count(Method::POST, "/purchases"), 0);
        assert_eq!(count(Method::OPTIONS, "/prices"), 0);
        assert_eq!(count(Method::GET, "/prices?currency=usd"), 0);
        assert!(
            count(Method::GET, "/prices") > 0,
            "what is opted in is remembered"
        );
    }

    /// By the allocator's word, not by the cache's own: what moka has let go of counts until it is given back.
    #[test]
    fn what_is_kept_takes_no_more_memory_than_its_bound_and_a_little() {
        const TOTAL: i64 = 4 * 1024 * 1024;
        let layer = LastGoodLayer::builder().path("/prices");
        let layer = layer.max_total_bytes(TOTAL as u64).build().unwrap();
        let large = Bytes::from(vec![b'x'; 200_000]);
        let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
            let answer = Response::new(Full::from(large.clone()));
            ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let mut service = layer.layer(inner);
        let mut cx = Context::from_waker(Waker::noop());
        let before = LIVE.get();
        let mut most = 0;
        for n in 0..1000 {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = format!("/prices?x={n}").parse().unwrap();
            let mut answer = pin!(service.call(request));
            let Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else {
                panic!("it is there at once")
            };
            let mut body = pin!(answer.into_body());
            while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
                frame.unwrap();
            }
            most = most.max(LIVE.get() - before);
        }
        assert_eq!(layer.counts().stored, 1000);
        println!("at most {most} bytes");
        assert!(most < TOTAL * 3 / 2, "{most} bytes");
    }
}
