//! The metrics that are published. `guide::metrics` says the same to users, and a test compares
//! the two.

use metrics::{Recorder, Unit};

/// A metric: its labels are `partner` and, if it has one, `label`.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    kind: Kind,
    pub(super) unit: Unit,
    pub(super) label: Option<&'static str>,
    help: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal $unit:ident [$($label:literal)?] $help:literal;)*) => {
        $(
            pub(super) static $id: Metric = Metric {
                name: $name,
                kind: $kind,
                unit: Unit::$unit,
                label: metrics!(@label $($label)?),
                help: $help,
            };
        )*
        static ALL: &[&Metric] = &[$(&$id),*];
    };
    (@label) => { None };
    (@label $label:literal) => { Some($label) };
}

metrics! {
    MODE: Gauge "maintenance_mode" Count ["mode"]
        "1 in the mode that the layer is in, else 0. Of keys: how many are in the mode.";
    MODE_SECONDS: Counter "maintenance_mode_seconds_total" Seconds ["mode"]
        "How long the layer was in the mode, in whole seconds.";
    CALLS: Counter "maintenance_calls_total" Count ["outcome"]
        "Calls that were admitted and have ended, each in one outcome.";
    REFUSED: Counter "maintenance_refused_total" Count []
        "Requests that were refused.";
    EXEMPT: Counter "maintenance_exempt_total" Count []
        "Requests that passed because they are exempt.";
    READS: Counter "maintenance_reads_total" Count []
        "Reads that passed under a read-only hold.";
    LATE: Counter "maintenance_late_total" Count []
        "Calls that ended after the mode in which they began. They are in calls_total too.";
    IN_FLIGHT: Gauge "maintenance_in_flight" Count []
        "Calls that were admitted and have not ended.";
    FAILURE_RATE: Gauge "maintenance_failure_rate" Count []
        "Share of failures in the window, 0 to 1. NaN below min_calls.";
    SLOW_RATE: Gauge "maintenance_slow_rate" Count []
        "Share of slow calls in the window, 0 to 1. NaN below min_calls.";
    TRIPS: Counter "maintenance_trips_total" Count ["rule"]
        "Trips, by the rule that fired.";
    EPISODES: Counter "maintenance_episodes_total" Count []
        "Episodes that began.";
    GENERATION: Gauge "maintenance_generation" Count []
        "The generation of what callers may have cached. It grows at each recovery.";
    HOLD_SECONDS: Gauge "maintenance_hold_seconds" Seconds []
        "How long the operator's hold has been in force. 0 without a hold.";
    HOLD_REMAINING: Gauge "maintenance_hold_remaining_seconds" Seconds []
        "How long until the operator's hold expires: +Inf without expiry, 0 without a hold.";
    PROBES: Counter "maintenance_probes_total" Count ["outcome"]
        "Probes that have ended, pings among them, each in one outcome.";
    WAITING: Gauge "maintenance_waiting_for_probe" Count []
        "1 if a whole wait has passed in Probing without a request that may probe, else 0.";
    SWITCH: Gauge "maintenance_switch" Count ["switch"]
        "1 if the switch is on, else 0: dry_run, bypass.";
    KEYS: Gauge "maintenance_keys" Count []
        "Keys of a keyed layer.";
    KEYS_EVICTED: Counter "maintenance_keys_evicted_total" Count []
        "Keys of a keyed layer that were dropped because they were idle.";
    KEYS_OVERFLOWED: Counter "maintenance_keys_overflowed_total" Count []
        "Calls that passed unmeasured because a keyed layer had no place for their key.";
    CALL_SECONDS: Histogram "maintenance_call_seconds" Seconds ["outcome"]
        "How long the callers waited for the partner, by the outcome of the call. Opt-in.";
}

/// Describes all metrics.
///
/// It is done at each publication, because a recorder may be installed late. A recorder keeps the
/// first description of a name, so that describing again changes nothing.
pub(super) fn describe(recorder: &dyn Recorder) {
    for metric in ALL {
        let (name, unit) = (metric.name.into(), Some(metric.unit));
        let help = metric.help.into();
        match metric.kind {
            Counter => recorder.describe_counter(name, unit, help),
            Gauge => recorder.describe_gauge(name, unit, help),
            Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}
