//! Background jobs: `while_serving` and `modes`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_test::{assert_pending, assert_ready_eq, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Cause, Error, Hold, MaintenanceHandle, MaintenanceLayer, Mode, Policy};

fn hold(handle: &MaintenanceHandle) {
    handle.engage(Hold::new("on-call", "drill")).unwrap();
}

fn release(handle: &MaintenanceHandle) {
    handle.release("on-call", "drill over").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_begins_when_the_mode_is_serving() {
    let handle = MaintenanceLayer::new("zuora").handle();
    hold(&handle);
    let polls = AtomicU32::new(0);
    let mut job = task::spawn(handle.while_serving(async {
        polls.fetch_add(1, Ordering::Relaxed);
        "done"
    }));
    assert_pending!(job.poll());
    assert_eq!(polls.load(Ordering::Relaxed), 0);
    release(&handle);
    assert!(job.is_woken());
    assert_eq!(job.await.unwrap(), "done");
    assert_eq!(polls.into_inner(), 1);
}

/// Tells of its drop.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_dropped_when_the_gate_shuts_and_learns_why() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Dropped(dropped.clone());
    let mut job = task::spawn(handle.while_serving(async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    }));
    assert_pending!(job.poll());
    hold(&handle);
    assert!(job.is_woken());
    let interrupted = job.await.unwrap_err();
    assert!(dropped.load(Ordering::Relaxed));
    assert_eq!(interrupted.glance().mode(), Mode::Maintenance);
    assert_eq!(interrupted.glance().causes(), [Cause::Operator]);
    assert_eq!(
        interrupted.to_string(),
        "the job was interrupted, because zuora is no longer serving: maintenance"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_come_is_not_thrown_away() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let (send, answer) = oneshot::channel();
    let mut job = task::spawn(handle.while_serving(answer));
    assert_pending!(job.poll());
    // Both before the job is polled again.
    send.send("paid").unwrap();
    hold(&handle);
    assert_eq!(job.await.unwrap(), Ok("paid"));
}

#[tokio::test(start_paused = true)]
async fn maintenance_that_is_over_before_the_poll_does_not_interrupt() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let (send, answer) = oneshot::channel();
    let mut job = task::spawn(handle.while_serving(answer));
    assert_pending!(job.poll());
    hold(&handle);
    release(&handle);
    assert_pending!(job.poll());
    send.send(()).unwrap();
    assert_eq!(job.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_interrupted_by_the_trip_of_its_own_calls_and_resumes_after_the_recovery() {
    let policy = Policy::default().with_consecutive_failures(2);
    let layer = MaintenanceLayer::builder("zuora").policy(policy);
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    let down = Arc::new(AtomicBool::new(true));
    let partner = {
        let down = down.clone();
        let answer = move |()| {
            let down = down.load(Ordering::Relaxed);
            async move { if down { Err(()) } else { Ok(()) } }
        };
        layer.layer(service_fn(answer))
    };
    let ping = tokio::spawn(handle.ping({
        let down = down.clone();
        move || {
            std::future::ready(if down.load(Ordering::Relaxed) {
                Err(())
            } else {
                Ok(())
            })
        }
    }));
    let mut interruptions = 0;
    loop {
        let job = async {
            while partner.clone().oneshot(()).await.is_err() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        match handle.while_serving(job).await {
            Ok(()) => break,
            Err(_) => interruptions += 1,
        }
        down.store(false, Ordering::Relaxed);
    }
    assert_eq!(interruptions, 1);
    ping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_job_begins_after_the_gate_shut_is_refused() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    let partner = layer.layer(service_fn(async |()| Ok::<_, ()>(())));
    let (send, next) = oneshot::channel();
    let mut job = task::spawn(handle.while_serving(async move {
        next.await.unwrap();
        partner.oneshot(()).await
    }));
    assert_pending!(job.poll());
    send.send(()).unwrap();
    hold(&handle);
    let refused = job.await.expect("it ends by itself");
    assert!(matches!(refused, Err(Error::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn modes_begin_with_the_present_one_and_never_repeat_one() {
    let layer = MaintenanceLayer::new("zuora");
    let handle = layer.handle();
    hold(&handle);
    let mut modes = handle.modes();
    assert_eq!(modes.recv().await, Some(Mode::Maintenance));
    let mut next = task::spawn(modes.recv());
    assert_pending!(next.poll());
    release(&handle);
    assert!(next.is_woken());
    // Maintenance again before the subscriber looks: nothing new.
    hold(&handle);
    assert_pending!(next.poll());
    release(&handle);
    assert_ready_eq!(next.poll(), Some(Mode::Serving));
}

#[tokio::test(start_paused = true)]
async fn modes_see_deadlines_pass_without_calls() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let mut modes = handle.modes();
    assert_eq!(modes.recv().await, Some(Mode::Serving));
    let hold = Hold::new("on-call", "drill").for_at_most(Duration::from_secs(60));
    handle.engage(hold).unwrap();
    assert_eq!(modes.recv().await, Some(Mode::Maintenance));
    assert_eq!(modes.recv().await, Some(Mode::Serving));
    handle.trip("on-call", "drill").unwrap();
    assert_eq!(modes.recv().await, Some(Mode::Maintenance));
    assert_eq!(modes.recv().await, Some(Mode::Probing));
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_is_dropped_loses_no_mode() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let mut modes = handle.modes();
    assert_eq!(modes.recv().await, Some(Mode::Serving));
    {
        let mut dropped = task::spawn(modes.recv());
        assert_pending!(dropped.poll());
        hold(&handle);
    }
    assert_eq!(modes.recv().await, Some(Mode::Maintenance));
}

#[tokio::test(start_paused = true)]
async fn modes_end_with_the_layer_and_stay_ended() {
    let handle = MaintenanceLayer::new("zuora").handle();
    let mut modes = handle.modes();
    assert_eq!(modes.recv().await, Some(Mode::Serving));
    let mut next = task::spawn(modes.recv());
    assert_pending!(next.poll());
    drop(handle);
    assert_ready_eq!(next.poll(), None);
    drop(next);
    assert_eq!(modes.recv().await, None);
}

#[test]
fn jobs_and_modes_can_move_and_be_shared_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let handle = MaintenanceLayer::new("zuora").handle();
    is_send(&handle.while_serving(async {}));
    is_send(&handle.modes());
    is_sync(&handle.modes());
}
