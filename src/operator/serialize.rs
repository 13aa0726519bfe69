//! `Serialize` for the values that an operator sees.
//!
//! The implementations are written by hand, because scripts depend on the form on the wire and it
//! must not change with the Rust types. Times are RFC 3339. Durations are in seconds, with the unit
//! in the name. Names are in snake_case.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::{
    base::rfc3339::rfc3339,
    exemptions::{Exemption, ExemptionTable},
    facts::{
        audit::{Action, AuditEntry},
        endpoint::Placement,
        episode::Episode,
        event::{Event, EventKind},
        evidence::{Evidence, Rule},
        mode::{Cause, Mode, Switches},
        outcome::Outcome,
        partner_word::{Contradiction, PartnerReport, PartnerUnreadable},
        recovery::CacheBust,
        status::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
        totals::{ModeTimes, ProbeCounts, Totals, TripCounts},
    },
    policy::{changes::PolicyChange, rate::Rate},
};

fn time(at: SystemTime) -> Value {
    rfc3339(at).into()
}

fn time_if(at: Option<SystemTime>) -> Value {
    at.map_or(Value::Null, time)
}

fn seconds(span: Duration) -> Value {
    span.as_secs_f64().into()
}

fn seconds_if(span: Option<Duration>) -> Value {
    span.map_or(Value::Null, seconds)
}

/// Implements `Serialize` for types that are written as their `Display` text, or as the given
/// value.
macro_rules! serialize {
    ($($type:ty as text;)*) => { $(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )* };
    ($($type:ty: |$it:ident| $value:expr;)*) => { $(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $it = self;
                Serialize::serialize(&$value, serializer)
            }
        }
    )* };
}

serialize! {
    Mode as text;
    Cause as text;
    Action as text;
}

serialize! {
    Outcome: |it| match it {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Neutral => "neutral",
    };
    Placement: |it| match it {
        Placement::AroundCalls => "around_calls",
        Placement::BeforeRoutes => "before_routes",
    };
    Rate: |it| it.as_ratio();
    Switches: |it| json!({ "dry_run": it.dry_run, "bypass": it.bypass });
    Evidence: |it| json!({
        "rule": rule(it.rule),
        "total": it.total,
        "failed": it.failed,
        "last_code": it.last_code,
        "text": it.to_string(),
    });
    Status: |it| json!({
        "partner": &*it.partner,
        "at": time(it.at),
        "mode": it.mode,
        "explanation": it.to_string(),
        "since": time(it.since),
        "causes": it.causes,
        "read_only": it.read_only,
        "message": it.message.as_deref(),
        "promised_end": time_if(it.promised_end),
        "switches": it.switches,
        "policy": it.policy.written_out(),
        "generation": it.generation,
        "era": it.era,
        "retry_after_seconds": seconds_if(it.retry_after),
        "window": it.window,
        "probing": it.probing,
        "shadow": it.shadow,
        "evidence": it.evidence,
        "calls": it.calls,
        "totals": it.totals,
        "refused_in_mode": it.refused_in_mode,
        "episode": it.episode,
        "pings": it.pings,
        "partner_says": it.partner_says,
        "partner_unreadable": it.partner_unreadable,
    });
    CauseReport: |it| json!({
        "cause": it.cause,
        "actor": &*it.actor,
        "reason": &*it.reason,
        "since": time(it.since),
        "until": time_if(it.until),
        "read_only": it.read_only,
    });
    PartnerReport: |it| json!({
        "indicator": it.says.indicator().as_str(),
        "description": it.says.description(),
        "source": it.says.source(),
        "changed": time_if(it.says.changed()),
        "read": time(it.read),
        "age_seconds": seconds(it.age),
        "stale": it.stale,
        "contradiction": it.contradiction,
    });
    Contradiction: |it| match it {
        Contradiction::OperationalYetFailing { failure_rate } => {
            json!({ "operational_yet_failing": { "failure_rate": failure_rate } })
        }
        Contradiction::OperationalYetTripped => json!("operational_yet_tripped"),
        Contradiction::OutageYetServing { failure_rate } => {
            json!({ "outage_yet_serving": { "failure_rate": failure_rate } })
        }
    };
    PartnerUnreadable: |it| json!({ "error": &*it.error, "at": time(it.at) });
    WindowReport: |it| json!({
        "total": it.total,
        "succeeded": it.succeeded,
        "failed": it.failed,
        "slow": it.slow,
        "consecutive_failures": it.consecutive_failures,
        "given_up": it.given_up,
        "longest_wait_seconds": seconds(it.longest_wait),
        "neutral": it.neutral,
        "last_neutral_code": it.last_neutral_code,
        "ours": it.ours,
        "refused_within": it.refused_within,
        "failure_rate": it.failure_rate,
        "slow_rate": it.slow_rate,
        "window": it.window.to_string(),
    });
    ProbingReport: |it| json!({
        "in_flight": it.in_flight,
        "successes": it.successes,
        "needed": it.needed,
        "free": it.free,
        "resting": it.resting,
        "waiting_for_probe": it.waiting_for_probe,
        "without_evidence": it.without_evidence,
        "last_code": it.last_code,
        "ramp_share": it.ramp_share,
    });
    ShadowReport: |it| json!({ "since": time(it.since), "evidence": it.evidence, "wait_seconds": seconds(it.wait) });
    CallCounts: |it| json!({
        "admitted": it.admitted,
        "succeeded": it.succeeded,
        "failed": it.failed,
        "neutral": it.neutral,
        "ours": it.ours,
        "refused_within": it.refused_within,
        "abandoned": it.abandoned,
        "late": it.late,
        "refused": it.refused,
        "exempt": it.exempt,
        "reads": it.reads,
        "in_flight": it.in_flight(),
    });
    Totals: |it| json!({
        "seconds_in": it.time_in,
        "trips": it.trips,
        "episodes": it.episodes,
        "probes": it.probes,
    });
    ModeTimes: |it| json!({
        "serving": seconds(it.serving),
        "maintenance": seconds(it.maintenance),
        "probing": seconds(it.probing),
    });
    TripCounts: |it| it.by_rule().collect::<BTreeMap<_, _>>();
    ProbeCounts: |it| json!({
        "started": it.started,
        "succeeded": it.succeeded,
        "failed": it.failed,
        "without_evidence": it.without_evidence,
        "cut_off": it.cut_off,
        "in_flight": it.in_flight(),
    });
    Episode: |it| json!({
        "id": it.id,
        "causes": it.causes,
        "began": time(it.began),
        "ended": time_if(it.ended),
        "generation": it.generation,
        "evidence": it.evidence,
        "refused": it.refused,
        "exempt": it.exempt,
        "probes": it.probes,
        "timeline": it.timeline.iter().map(|(at, mode)| json!({ "at": time(*at), "mode": mode })).collect::<Vec<_>>(),
        "timeline_cut": it.timeline_cut,
    });
    Event: |it| json!({ "number": it.number, "at": time(it.at), "event": event(&it.kind) });
    AuditEntry: |it| json!({
        "number": it.number,
        "at": time(it.at),
        "actor": &*it.actor,
        "reason": &*it.reason,
        "action": it.action,
        "changed": it.changed,
        "policy_changes": &*it.policy_changes,
    });
    PolicyChange: |it| json!({ "setting": it.setting, "old": it.old, "new": it.new });
    Exemption: |it| json!({
        "placement": it.placement(),
        "endpoint": it.name(),
        "condition": it.is_condition(),
        "methods": it.methods().map(Iterator::collect::<Vec<_>>),
        "why": it.why(),
        "counted": it.is_counted(),
    });
    ExemptionTable: |it| it.iter().collect::<Vec<_>>();
    CacheBust: |it| json!({
        "generation": it.generation,
        "episode": it.episode,
        "at": time(it.at),
        "tags": &*it.tags,
        "urls": &*it.urls,
    });
}

fn rule(rule: Rule) -> Value {
    match rule {
        Rule::FailureRate { threshold, window } => {
            json!({ "failure_rate": { "threshold": threshold, "window": window.to_string() } })
        }
        Rule::ConsecutiveFailures { run } => json!({ "consecutive_failures": { "run": run } }),
        Rule::SlowCalls {
            slow,
            longer_than,
            threshold,
        } => {
            json!({ "slow_calls": { "slow": slow, "longer_than_seconds": seconds(longer_than), "threshold": threshold } })
        }
        Rule::GivenUp {
            calls,
            longest_wait,
        } => {
            json!({ "given_up": { "calls": calls, "longest_wait_seconds": seconds(longest_wait) } })
        }
        Rule::ProbeFailed => json!("probe_failed"),
        Rule::ProbeHung { lease } => json!({ "probe_hung": { "lease_seconds": seconds(lease) } }),
        Rule::PartnerAsked { retry_after } => {
            json!({ "partner_asked": { "retry_after_seconds": seconds(retry_after) } })
        }
        Rule::PartnerLimits { wait } => {
            json!({ "partner_limits": { "wait_seconds": seconds(wait) } })
        }
        Rule::Command => json!("command"),
    }
}

fn event(kind: &EventKind) -> Value {
    match kind {
        EventKind::ModeChanged { from, to } => {
            json!({ "mode_changed": { "from": from, "to": to } })
        }
        EventKind::Tripped { evidence, wait } => {
            json!({ "tripped": { "evidence": evidence, "wait_seconds": seconds(*wait) } })
        }
        EventKind::HoldEngaged {
            actor,
            reason,
            until,
            read_only,
        } => json!({ "hold_engaged": {
            "actor": &**actor,
            "reason": &**reason,
            "until": time_if(*until),
            "read_only": read_only,
        } }),
        EventKind::HoldEnded { expired } => json!({ "hold_ended": { "expired": expired } }),
        EventKind::EpisodeBegan { episode, cause } => {
            json!({ "episode_began": { "episode": episode, "cause": cause } })
        }
        EventKind::Recovered {
            episode,
            generation,
        } => json!({ "recovered": { "episode": episode, "generation": generation } }),
        EventKind::WaitingForProbe
        | EventKind::CallersGaveUp { .. }
        | EventKind::ProbingWithoutEvidence { .. } => warning(kind),
        EventKind::RampBegan { duration } => {
            json!({ "ramp_began": { "duration_seconds": seconds(*duration) } })
        }
        EventKind::WouldHaveTripped { evidence, wait } => {
            json!({ "would_have_tripped": { "evidence": evidence, "wait_seconds": seconds(*wait) } })
        }
        EventKind::ShadowEnded => json!("shadow_ended"),
        EventKind::Switched { switches } => json!({ "switched": switches }),
        EventKind::PolicyReplaced { changes } => {
            json!({ "policy_replaced": { "changes": &**changes } })
        }
        EventKind::ExemptionsReplaced => json!("exemptions_replaced"),
        EventKind::WindowReset => json!("window_reset"),
    }
}

/// An event that says what the layer cannot judge.
fn warning(kind: &EventKind) -> Value {
    match kind {
        EventKind::CallersGaveUp {
            calls,
            longest_wait,
            hang_limit,
        } => json!({ "callers_gave_up": {
            "calls": calls,
            "longest_wait_seconds": seconds(*longest_wait),
            "hang_limit_seconds": seconds(*hang_limit),
        } }),
        EventKind::ProbingWithoutEvidence { ended, last_code } => {
            json!({ "probing_without_evidence": { "ended": ended, "last_code": last_code } })
        }
        _ => json!("waiting_for_probe"),
    }
}

impl ExemptionTable {
    /// Returns the table as JSON for the runbook, with a final line break.
    ///
    /// ```
    /// use tower_maintenance::{Exemption, MaintenanceLayer};
    ///
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::call("invoice.read", "customers may always see what they owe"))
    ///     .build()?
    ///     .named(|operation: &String| operation.as_str());
    /// let json = layer.handle().exemptions().to_json();
    /// assert!(json.contains(r#""endpoint": "invoice.read""#));
    /// # Ok::<(), tower_maintenance::BuildError>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", json!(self))
    }
}
