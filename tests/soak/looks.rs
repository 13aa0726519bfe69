//! Looks under load: a thread that only looks refuses no call, not even in a ramp.
//!
//! In a ramp a call only tries the lock of the state, and is refused if it does not get it. The
//! ramp here lets every call pass, so that a refusal can only come from a busy lock.

use std::{
    fs,
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
/// state and its journal a second, for three quarters of a second.
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
    /// How often the thread lost its core, as far as the system tells.
    preempted: AtomicU64,
}

impl Looker {
    fn new(look: fn(&MaintenanceHandle), looks: u64, apart: Duration) -> Self {
        Self {
            look,
            apart,
            looks,
            done: AtomicU64::new(0),
            preempted: AtomicU64::new(0),
        }
    }

    fn glances() -> Self {
        let look = |handle: &MaintenanceHandle| assert_eq!(handle.glance().mode(), Mode::Probing);
        Self::new(look, GLANCES, Duration::from_micros(100))
    }

    fn readings() -> Self {
        let look = |handle: &MaintenanceHandle| {
            assert_eq!(handle.status().mode, Mode::Probing);
            // The trip and the probe that led here. The episode has not ended.
            assert_eq!(handle.audit().len(), 2);
            assert_eq!(handle.episodes().len(), 0);
        };
        Self::new(look, READINGS, millis(1))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the pace of a looker in real time; no assertion rests on it"
    )]
    fn run(&self, handle: &MaintenanceHandle) {
        let _end = End(self);
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
        self.preempted.store(preemptions(), Release);
    }

    fn is_done(&self) -> bool {
        self.done.load(Acquire) == self.looks
    }
}

/// Ends the looks of a thread, also if one of them panics: the calls wait for their end.
struct End<'l>(&'l Looker);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.done.store(self.0.looks, Release);
    }
}

/// How often the system took the core from this thread; 0 where it does not tell.
fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.map_or(0, |count| count.trim().parse().unwrap())
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
    let handle = &layer.handle();
    let counted = thread::scope(|scope| {
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
    // The second looker reads.
    let readings = lookers.get(1);
    while counted.calls < least || !lookers.iter().all(Looker::is_done) {
        let before = readings.map(|looker| looker.done.load(Acquire));
        assert!(matches!(at_once(service.ready()), Some(Ok(_))));
        counted.calls += 1;
        match at_once(service.call(())) {
            Some(Ok(())) => {}
            Some(Err(Error::Refused(_))) => {
                counted.refused += 1;
                // A refused caller comes back later: after the reading that was in its way.
                while let (Some(looker), Some(before)) = (readings, before)
                    && looker.done.load(Acquire) == before
                    && !looker.is_done()
                {
                    thread::yield_now();
                }
            }
            other => panic!("the partner is healthy: {other:?}"),
        }
    }
    counted
}

#[test]
fn looks_refuse_no_call_in_a_ramp() {
    let _alone = ALONE.lock();
    let layer = in_a_ramp();
    let alone = calls(&layer, 20_000, &[]);
    let beside_glances = calls(&layer, 20_000, &[Looker::glances()]);
    let lookers = [Looker::glances(), Looker::readings()];
    let beside_both = calls(&layer, 20_000, &lookers);
    let preempted = lookers[1].preempted.load(Acquire);
    println!("alone {alone:?}, beside {GLANCES} glances {beside_glances:?}");
    println!("beside these and {READINGS} readings {beside_both:?}, {preempted} preemptions");
    assert_eq!(alone.refused, 0);
    assert_eq!(beside_glances.refused, 0, "a glance takes no lock");
    // A call waits out a reading that runs. A reader that loses its core while it holds the lock is
    // not waited for. The caller that it refuses comes back after that reading, so that it costs
    // one call. The system does not count the cores that a virtual machine loses: hence one for a
    // thousand readings.
    let most = READINGS.div_ceil(1_000) + preempted;
    assert!(
        beside_both.refused <= most,
        "{beside_both:?}, {preempted} preemptions"
    );
    assert_eq!(layer.handle().status().calls.refused, beside_both.refused);
}
