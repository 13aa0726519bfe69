//! The synthetic ping: probes in place of customers, is idle otherwise, and keeps nothing alive.

use std::{
    cell::{Cell, RefCell},
    future::{Future, pending},
    io,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use test_support::now;
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{
    Error, EventKind, MaintenanceHandle, MaintenanceLayer, Mode, Outcome, Policy, Rule,
};

const WAIT: Duration = Duration::from_secs(30);

fn layer() -> MaintenanceLayer {
    let policy = Policy::default().with_wait(WAIT).with_jitter(0.0);
    MaintenanceLayer::builder("zuora")
        .policy(policy)
        .build()
        .unwrap()
}

/// Trips and lets the wait pass.
async fn probing(handle: &MaintenanceHandle) {
    handle.trip("test", "to probe").unwrap();
    advance(WAIT).await;
    assert_eq!(handle.mode(), Mode::Probing);
}

/// One call of a customer.
async fn customer(layer: &MaintenanceLayer) -> Result<(), Error<io::Error>> {
    let service = layer.layer(service_fn(async |()| Ok::<_, io::Error>(())));
    service.oneshot(()).await
}

#[tokio::test(start_paused = true)]
async fn it_checks_one_after_another_every_second_and_recovers() {
    let layer = layer();
    let handle = layer.handle();
    let checks = Rc::new(RefCell::new(Vec::new()));
    let ping = {
        let checks = checks.clone();
        handle.ping(move || {
            checks.borrow_mut().push(now());
            async { Ok::<_, io::Error>(()) }
        })
    };
    let mut ping = pin!(ping);
    let begin = now();

    handle.trip("test", "to probe").unwrap();
    tokio::select! {
        () = &mut ping => panic!("it ended while a layer is left"),
        () = handle.wait_until_serving() => {}
    }
    let at: Vec<_> = checks.borrow().iter().map(|check| *check - begin).collect();
    assert_eq!(at.len(), 3, "as many as are needed: {at:?}");
    assert!(
        at[0] >= WAIT && at[0] < WAIT + Duration::from_millis(5),
        "{at:?}"
    );
    assert!(
        at.windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)),
        "{at:?}"
    );
    assert!(at[2] < WAIT + Duration::from_millis(2010), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn it_is_idle_while_serving_and_in_maintenance() {
    let layer = layer();
    let handle = layer.handle();
    let checks = Rc::new(Cell::new(0));
    let ping = {
        let checks = checks.clone();
        handle.ping(move || {
            checks.set(checks.get() + 1);
            async { Outcome::Success }
        })
    };
    let mut ping = pin!(ping);
    assert!(timeout(Duration::from_secs(3600), &mut ping).await.is_err());
    handle.trip("test", "to wait").unwrap();
    assert!(
        timeout(WAIT - Duration::from_millis(1), &mut ping)
            .await
            .is_err()
    );
    assert_eq!(checks.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_it_lives_customers_do_not_probe_and_when_it_is_dropped_they_do() {
    let layer = layer();
    let handle = layer.handle();
    probing(&handle).await;
    {
        let mut ping = pin!(handle.ping(pending::<Outcome>));
        assert!(timeout(Duration::ZERO, &mut ping).await.is_err());
        assert_eq!(handle.status().pings, 1);
        assert_eq!(
            handle.status().probing.unwrap().in_flight,
            1,
            "it took an ordinary slot"
        );
        assert!(matches!(customer(&layer).await, Err(Error::Refused(_))));
    }
    assert_eq!(handle.status().pings, 0);
    assert_eq!(
        handle.status().probing.unwrap().in_flight,
        0,
        "its slot came back"
    );
    assert!(customer(&layer).await.is_ok());
    assert_eq!(handle.status().probing.unwrap().successes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_fails_when_its_lease_ends() {
    let policy = Policy::default()
        .with_jitter(0.0)
        .with_lease(Duration::from_secs(7));
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy)
        .build()
        .unwrap();
    let handle = layer.handle();
    probing(&handle).await;
    let mut events = handle.events();
    let mut ping = pin!(handle.ping(pending::<Outcome>));
    let begin = now();
    let tripped = async {
        loop {
            if let EventKind::Tripped { evidence, .. } = events.recv().await.unwrap().kind {
                return evidence.rule;
            }
        }
    };
    let rule = tokio::select! {
        () = &mut ping => panic!("it ended while a layer is left"),
        rule = tripped => rule,
    };
    assert!(matches!(rule, Rule::ProbeHung { .. }), "{rule:?}");
    assert!(now() - begin < Duration::from_millis(7010));
    assert_eq!(handle.mode(), Mode::Maintenance);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_a_failed_probe() {
    let layer = layer();
    let handle = layer.handle();
    probing(&handle).await;
    let ping = handle.ping(async || -> Outcome { panic!("the check is broken") });
    let ended = tokio::task::LocalSet::new()
        .run_until(async { tokio::task::spawn_local(ping).await })
        .await;
    assert!(ended.unwrap_err().is_panic());
    assert_eq!(handle.mode(), Mode::Maintenance);
    assert_eq!(handle.status().pings, 0, "customers probe again");
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_no_layer_service_or_handle_is_left() {
    // In each of its states: idle, in the middle of a check, and resting between two.
    for stage in ["idle", "checking", "resting"] {
        let layer = layer();
        let handle = layer.handle();
        let service = layer.layer(service_fn(async |()| Ok::<_, io::Error>(())));
        if stage != "idle" {
            probing(&handle).await;
        }
        let hangs = stage == "checking";
        let mut ping = pin!(handle.ping(move || async move {
            if hangs {
                pending::<()>().await;
            }
            Outcome::Neutral
        }));
        assert!(timeout(Duration::from_millis(1), &mut ping).await.is_err());
        drop(layer);
        drop(handle);
        assert!(
            timeout(Duration::from_millis(1), &mut ping).await.is_err(),
            "a service is left"
        );
        drop(service);
        let ended = timeout(Duration::from_millis(1), ping).await;
        assert!(ended.is_ok(), "{stage}: it went on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_was_never_polled_takes_nobodys_place() {
    let layer = layer();
    let handle = layer.handle();
    let _never = handle.ping(pending::<Outcome>);
    probing(&handle).await;
    assert!(customer(&layer).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn two_pings_share_the_slots() {
    let layer = layer();
    let handle = layer.handle();
    probing(&handle).await;
    let running = Rc::new(Cell::new(0_u32));
    let most = Rc::new(Cell::new(0_u32));
    let ping = || {
        let (running, most) = (running.clone(), most.clone());
        handle.ping(move || {
            let (running, most) = (running.clone(), most.clone());
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                sleep(Duration::from_millis(100)).await;
                running.set(running.get() - 1);
                Outcome::Success
            }
        })
    };
    let (mut one, mut two) = (pin!(ping()), pin!(ping()));
    tokio::select! {
        () = &mut one => panic!("it ended"),
        () = &mut two => panic!("it ended"),
        () = handle.wait_until_serving() => {}
    }
    assert_eq!(most.get(), 1);
}

/// The future is `Send` where its check is `Send`: it can be spawned.
#[test]
fn a_ping_can_be_spawned() {
    fn is_send(_: impl Future<Output = ()> + Send + 'static) {}
    is_send(layer().handle().ping(async || Outcome::Success));
    fn is_service<S: Service<()>>(_: &S) {}
    is_service(&layer().layer(service_fn(async |()| Ok::<_, io::Error>(()))));
}
