//! Looks under load: a thread that only looks refuses no call, not even in a ramp.
//!
//! In a ramp a call only tries the lock of the state, and is refused if it does not get it. The
//! ramp here lets every call pass, so that a refusal can only come from a busy lock.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
    thread,
    time::{Duration, Instant},
};

use test_support::{HOUR, at_once, millis};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_maintenance::{Error, MaintenanceHandle, MaintenanceLayer, Mode, Policy, Rate};

use crate::{ALONE, Failed};

/// How long the looks go on in each part, by their number: 10,000 glances and 1,000 readings of the
/// status a second, for three quarters of a second.
const GLANCES: u64 = 7_500;
const READINGS: u64 = 750;

fn policy() -> Policy {
    Policy::default()
        .with_successes_needed(1)
        .with_ramp(HOUR)
        .with_ramp_start(Rate::percent(100.0).unwrap())
}

/// What one part of the test counted.
#[derive(Debug, Clone, Copy)]
struct Counted {
    calls: u64,
    refused: u64,
}

/// How a thread looks, how often, and how many looks it has finished.
struct Looker {
    look: fn(&MaintenanceHandle),
    apart: Duration,
    looks: u64,
    done: AtomicU64,
}

impl Looker {
    fn new(look: fn(&MaintenanceHandle), looks: u64, apart: Duration) -> Self {
        Self {
            look,
            apart,
            looks,
            done: AtomicU64::new(0),
        }
    }

    fn glances() -> Self {
        let look = |handle: &MaintenanceHandle| assert_eq!(handle.glance().mode(), Mode::Probing);
        Self::new(look, GLANCES, Duration::from_micros(100))
    }

    fn readings() -> Self {
        let look = |handle: &MaintenanceHandle| assert_eq!(handle.status().mode, Mode::Probing);
        Self::new(look, READINGS, millis(1))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the pace of a looker in real time; no assertion rests on it"
    )]
    fn run(&self, handle: &MaintenanceHandle) {
        let mut due = Instant::now();
        for _ in 0..self.looks {
            while let Some(early) = due.checked_duration_since(Instant::now())
                && !early.is_zero()
            {
                thread::park_timeout(early);
            }
            (self.look)(handle);
            self.done.fetch_add(1, Release);
            due += self.apart;
        }
    }

    fn is_done(&self) -> bool {
        self.done.load(Acquire) == self.looks
    }
}

/// A layer in a ramp that lets every call pass.
fn in_a_ramp() -> MaintenanceLayer {
    let layer = MaintenanceLayer::builder("zuora").policy(policy());
    let layer = layer.build().unwrap();
    let handle = layer.handle();
    handle.trip("soak", "to see a ramp").unwrap();
    handle.probe_now("soak", "to see a ramp").unwrap();
    let probe = layer.layer(service_fn(async |()| Ok::<_, Failed>(())));
    assert!(matches!(at_once(probe.oneshot(())), Some(Ok(()))));
    let probing = handle.status().probing.unwrap();
    assert_eq!(probing.ramp_share, Some(1.0));
    layer
}

/// Calls at least `least` times, and until all lookers are done.
fn calls(layer: &MaintenanceLayer, least: u64, lookers: &[Looker]) -> Counted {
    let counted = thread::scope(|scope| {
        let handle = &layer.handle();
        for looker in lookers {
            scope.spawn(move || looker.run(handle));
        }
        call(layer, least, lookers)
    });
    assert_eq!(layer.handle().status().calls.in_flight(), 0);
    counted
}

fn call(layer: &MaintenanceLayer, least: u64, lookers: &[Looker]) -> Counted {
    let mut service = layer.layer(service_fn(async |()| Ok::<_, Failed>(())));
    let mut counted = Counted {
        calls: 0,
        refused: 0,
    };
    while counted.calls < least || !lookers.iter().all(Looker::is_done) {
        let before = looks(lookers);
        assert!(matches!(at_once(service.ready()), Some(Ok(_))));
        counted.calls += 1;
        match at_once(service.call(())) {
            Some(Ok(())) => {}
            Some(Err(Error::Refused(_))) => {
                counted.refused += 1;
                // A refused caller comes back later: it waits for the look that was in its way.
                while looks(lookers) == before && !lookers.iter().all(Looker::is_done) {
                    thread::yield_now();
                }
            }
            other => panic!("the partner is healthy: {other:?}"),
        }
    }
    counted
}

fn looks(lookers: &[Looker]) -> u64 {
    lookers.iter().map(|looker| looker.done.load(Acquire)).sum()
}

#[test]
fn looks_refuse_no_call_in_a_ramp() {
    let _alone = ALONE.lock();
    let layer = in_a_ramp();
    let alone = calls(&layer, 100_000, &[]);
    let beside_glances = calls(&layer, 100_000, &[Looker::glances()]);
    let beside_both = calls(&layer, 100_000, &[Looker::glances(), Looker::readings()]);
    println!("alone {alone:?}, beside {GLANCES} glances {beside_glances:?}");
    println!("beside {GLANCES} glances and {READINGS} readings {beside_both:?}");
    assert_eq!(alone.refused, 0);
    assert_eq!(beside_glances.refused, 0, "a glance takes no lock");
    // A reading holds the lock for as long as a call tries to get it. Only a reader that loses its
    // core while it holds the lock can refuse a call, which is rare and costs each caller one call.
    let most = READINGS.div_ceil(1_000);
    assert!(beside_both.refused <= most, "{beside_both:?}");
    assert_eq!(layer.handle().status().calls.refused, beside_both.refused);
}
