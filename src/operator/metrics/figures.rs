//! The numbers of a layer as they are published, and their sums over the keys of a keyed layer.

use std::{sync::Arc, time::SystemTime};

use metrics::{Key, Label, Level, Metadata, Recorder, Unit};

use super::contract::{self, Metric};
use crate::facts::{
    mode::{Cause, Mode},
    status::{CallCounts, Status},
    totals::Totals,
};

pub(super) const METADATA: Metadata<'static> =
    Metadata::new("tower_maintenance", Level::INFO, Some("tower_maintenance"));

/// The numbers to publish: those of one layer, or those of all keys together.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    now: Now,
    sums: Sums,
}

/// The state at the moment.
#[derive(Debug, Default)]
struct Now {
    /// How many layers are in each mode.
    serving: u64,
    maintenance: u64,
    probing: u64,
    in_flight: u64,
    /// Failures, slow calls and all calls, of the windows that have a rate.
    failed: u64,
    slow: u64,
    judged: u64,
    generation: u64,
    hold_seconds: f64,
    hold_remaining: f64,
    waiting_for_probe: u64,
    dry_run: u64,
    bypass: u64,
}

/// What only grows.
#[derive(Debug)]
pub(crate) struct Sums(Vec<Sum>);

#[derive(Debug)]
struct Sum {
    metric: &'static Metric,
    label: Option<&'static str>,
    /// In nanoseconds if the metric is in seconds, so that sums over keys lose no fraction.
    value: u128,
}

/// What a keyed layer counts beside its keys.
#[derive(Debug)]
pub(crate) struct KeyFigures {
    pub(crate) keys: u64,
    pub(crate) evicted: u64,
    pub(crate) overflowed: u64,
}

impl Figures {
    pub(crate) fn of(status: &Status) -> Self {
        Self {
            now: Now::of(status),
            sums: Sums::of(status),
        }
    }

    /// Adds the state and the sums of another key.
    pub(crate) fn add(&mut self, other: &Self) {
        self.now.add(&other.now);
        self.sums.add(&other.sums);
    }

    /// Adds the sums of keys that are no longer there.
    pub(crate) fn add_sums(&mut self, gone: &Sums) {
        self.sums.add(gone);
    }

    pub(crate) fn publish(&self, partner: &Arc<str>) {
        metrics::with_recorder(|recorder| {
            contract::describe(recorder);
            let to = Target { recorder, partner };
            self.now.publish(&to);
            for sum in &self.sums.0 {
                let value = match sum.metric.unit {
                    Unit::Seconds => sum.value / 1_000_000_000,
                    _ => sum.value,
                };
                let value = u64::try_from(value).unwrap_or(u64::MAX);
                to.counter(sum.metric, sum.label, value);
            }
        });
    }
}

impl KeyFigures {
    pub(crate) fn publish(&self, partner: &Arc<str>) {
        metrics::with_recorder(|recorder| {
            let to = Target { recorder, partner };
            to.gauge(&contract::KEYS, None, self.keys as f64);
            to.counter(&contract::KEYS_EVICTED, None, self.evicted);
            to.counter(&contract::KEYS_OVERFLOWED, None, self.overflowed);
        });
    }
}

impl Now {
    fn of(status: &Status) -> Self {
        let is_in = |mode| u64::from(status.mode == mode);
        let window = &status.window;
        let has_rate = window.failure_rate.is_some();
        let if_rated = |calls: u64| if has_rate { calls } else { 0 };
        let held = status.causes.iter().find(|it| it.cause == Cause::Operator);
        let waits = status.probing.is_some_and(|it| it.waiting_for_probe);
        Self {
            serving: is_in(Mode::Serving),
            maintenance: is_in(Mode::Maintenance),
            probing: is_in(Mode::Probing),
            in_flight: status.calls.in_flight(),
            failed: if_rated(window.failed),
            slow: if_rated(window.slow),
            judged: if_rated(window.total),
            generation: status.generation,
            hold_seconds: held.map_or(0.0, |held| seconds_between(held.since, status.at)),
            hold_remaining: held.map_or(0.0, |held| match held.until {
                Some(until) => seconds_between(status.at, until),
                None => f64::INFINITY,
            }),
            waiting_for_probe: waits.into(),
            dry_run: status.switches.dry_run.into(),
            bypass: status.switches.bypass.into(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.serving += other.serving;
        self.maintenance += other.maintenance;
        self.probing += other.probing;
        self.in_flight += other.in_flight;
        self.failed += other.failed;
        self.slow += other.slow;
        self.judged += other.judged;
        self.generation = self.generation.max(other.generation);
        self.hold_seconds = self.hold_seconds.max(other.hold_seconds);
        self.hold_remaining = self.hold_remaining.max(other.hold_remaining);
        self.waiting_for_probe += other.waiting_for_probe;
        self.dry_run += other.dry_run;
        self.bypass += other.bypass;
    }

    fn publish(&self, to: &Target<'_>) {
        to.gauge(&contract::MODE, Some("serving"), self.serving as f64);
        let maintenance = self.maintenance as f64;
        to.gauge(&contract::MODE, Some("maintenance"), maintenance);
        to.gauge(&contract::MODE, Some("probing"), self.probing as f64);
        to.gauge(&contract::IN_FLIGHT, None, self.in_flight as f64);
        // Without a judged call 0 / 0 is NaN, as it should be.
        let rate = |part: u64| part as f64 / self.judged as f64;
        to.gauge(&contract::FAILURE_RATE, None, rate(self.failed));
        to.gauge(&contract::SLOW_RATE, None, rate(self.slow));
        to.gauge(&contract::GENERATION, None, self.generation as f64);
        to.gauge(&contract::HOLD_SECONDS, None, self.hold_seconds);
        to.gauge(&contract::HOLD_REMAINING, None, self.hold_remaining);
        to.gauge(&contract::WAITING, None, self.waiting_for_probe as f64);
        to.gauge(&contract::SWITCH, Some("dry_run"), self.dry_run as f64);
        to.gauge(&contract::SWITCH, Some("bypass"), self.bypass as f64);
    }
}

impl Sums {
    pub(crate) fn of(status: &Status) -> Self {
        Self::new(&status.totals, &status.calls)
    }

    fn new(totals: &Totals, calls: &CallCounts) -> Self {
        let plain = |metric, value: u64| Sum {
            metric,
            label: None,
            value: value.into(),
        };
        let labelled = |metric, (label, value): (&'static str, u64)| Sum {
            label: Some(label),
            ..plain(metric, value)
        };
        let times = totals.time_in.by_mode().map(|(mode, lasted)| Sum {
            metric: &contract::MODE_SECONDS,
            label: Some(match mode {
                Mode::Serving => "serving",
                Mode::Maintenance => "maintenance",
                Mode::Probing => "probing",
            }),
            value: lasted.as_nanos(),
        });
        let by_outcome = calls.by_outcome();
        let by_rule = totals.trips.by_rule();
        let probes = totals.probes.by_outcome();
        let sums = times
            .chain(by_outcome.map(|it| labelled(&contract::CALLS, it)))
            .chain([
                plain(&contract::REFUSED, calls.refused),
                plain(&contract::EXEMPT, calls.exempt),
                plain(&contract::READS, calls.reads),
                plain(&contract::LATE, calls.late),
                plain(&contract::EPISODES, totals.episodes),
            ])
            .chain(by_rule.map(|it| labelled(&contract::TRIPS, it)))
            .chain(probes.map(|it| labelled(&contract::PROBES, it)));
        Self(sums.collect())
    }

    /// Adds the sums of another layer.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both lists come from `new`, in the same order.
        for (sum, other) in self.0.iter_mut().zip(&other.0) {
            sum.value = sum.value.saturating_add(other.value);
        }
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self::new(&Totals::default(), &CallCounts::default())
    }
}

/// Where the numbers of one partner go.
struct Target<'t> {
    recorder: &'t dyn Recorder,
    partner: &'t Arc<str>,
}

impl Target<'_> {
    fn counter(&self, metric: &Metric, label: Option<&'static str>, value: u64) {
        let key = key(metric, self.partner, label);
        self.recorder
            .register_counter(&key, &METADATA)
            .absolute(value);
    }

    fn gauge(&self, metric: &Metric, label: Option<&'static str>, value: f64) {
        let key = key(metric, self.partner, label);
        self.recorder.register_gauge(&key, &METADATA).set(value);
    }
}

/// Returns the key of a metric, with the value of its own label.
pub(super) fn key(metric: &Metric, partner: &Arc<str>, label: Option<&'static str>) -> Key {
    let own = metric.label.zip(label);
    let own = own.map(|(name, value)| Label::from_static_parts(name, value));
    let partner = Label::new("partner", partner.clone());
    let labels: Vec<_> = [partner].into_iter().chain(own).collect();
    Key::from_parts(metric.name, labels)
}

fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}
