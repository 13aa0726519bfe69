//! One tracing event per event of the machine.

use crate::{
    base::{one_line::OneLine, target::TARGET},
    facts::{
        event::{Event, EventKind},
        mode::Mode,
    },
    policy::changes::InOneLine,
};

/// Emits the tracing event for `event`. It is a warning if an operator should look at it.
pub(super) fn trace(partner: &str, event: &Event) {
    let (partner, number) = (OneLine(partner), event.number);
    match &event.kind {
        EventKind::ModeChanged {
            from,
            to: Mode::Serving,
        } => tracing::info!(target: TARGET, %partner, number, %from, "serving again"),
        EventKind::ModeChanged { from, to } => {
            tracing::warn!(target: TARGET, %partner, number, %from, %to, "mode changed")
        }
        EventKind::Tripped { evidence, wait } => {
            tracing::warn!(target: TARGET, %partner, number, %evidence, ?wait, "tripped")
        }
        EventKind::WouldHaveTripped { evidence, wait } => {
            tracing::warn!(target: TARGET, %partner, number, %evidence, ?wait, "would have entered maintenance")
        }
        EventKind::EpisodeBegan { episode, cause } => {
            tracing::warn!(target: TARGET, %partner, number, episode, %cause, "episode began")
        }
        EventKind::Recovered {
            episode,
            generation,
        } => tracing::info!(target: TARGET, %partner,
            number,
            episode,
            generation,
            "recovered: caches are told"
        ),
        EventKind::RampBegan { duration } => {
            tracing::info!(target: TARGET, %partner, number, ?duration, "traffic grows")
        }
        EventKind::ShadowEnded => {
            tracing::info!(target: TARGET, %partner, number, "would be serving again")
        }
        EventKind::WaitingForProbe
        | EventKind::CallersGaveUp { .. }
        | EventKind::ProbingWithoutEvidence { .. } => trace_warning(partner, event),
        EventKind::HoldEngaged { .. }
        | EventKind::HoldEnded { .. }
        | EventKind::Switched { .. }
        | EventKind::PolicyReplaced { .. }
        | EventKind::ExemptionsReplaced
        | EventKind::WindowReset => trace_command(partner, event),
    }
}

/// Emits the warning for an event that tells what the layer cannot judge.
fn trace_warning(partner: OneLine<'_>, event: &Event) {
    let number = event.number;
    match &event.kind {
        EventKind::WaitingForProbe => tracing::warn!(target: TARGET, %partner,
            number,
            "no request that may probe has come for a whole wait: give the layer a synthetic ping, or let more requests probe with `may_probe`"
        ),
        EventKind::CallersGaveUp {
            calls,
            longest_wait,
            hang_limit,
        } => tracing::warn!(target: TARGET, %partner,
            number,
            calls,
            ?longest_wait,
            ?hang_limit,
            "callers give up and nothing comes from the partner: a time-out around the layer that is shorter than `hang_limit` hides a hanging partner"
        ),
        EventKind::ProbingWithoutEvidence { ended, last_code } => {
            tracing::warn!(target: TARGET, %partner, number, ended, ?last_code, "a whole wait of probes proved nothing: the partner may refuse the credentials, redirect, or limit the probes")
        }
        _ => {}
    }
}

/// Warns of a layer that refused its own probe.
pub(super) fn warn_stacked(partner: &str) {
    tracing::warn!(target: TARGET, partner = %OneLine(partner),
        "the layer stands twice around a call: the outer one takes the probe's slot and the inner one \
         refuses the probe, so probing never ends; leave one of the two out"
    );
}

/// Warns of a second layer of one name.
#[cold]
pub(super) fn warn_of_twin(partner: &str) {
    tracing::warn!(target: TARGET, partner = %OneLine(partner),
        "a second layer of this name was built while the first one lives: each has a state of its own and sees \
         only its own calls; share the first one (clone it, or get it by `MaintenanceLayer::existing`), or give \
         the second one another name"
    );
}

/// Emits the tracing event for a command of an operator, or for a hold that expired.
fn trace_command(partner: OneLine<'_>, event: &Event) {
    let number = event.number;
    match &event.kind {
        EventKind::HoldEngaged {
            actor,
            reason,
            read_only,
            ..
        } => {
            tracing::warn!(target: TARGET, %partner, number, actor = %OneLine(actor), reason = %OneLine(reason), read_only, "held by an operator")
        }
        EventKind::HoldEnded { expired } => {
            tracing::warn!(target: TARGET, %partner, number, expired, "the operator's hold ended")
        }
        EventKind::Switched { switches } => tracing::warn!(target: TARGET, %partner,
            number,
            dry_run = switches.dry_run,
            bypass = switches.bypass,
            "switched"
        ),
        EventKind::PolicyReplaced { changes } => {
            tracing::info!(target: TARGET, %partner, number, changes = %InOneLine(changes), "policy replaced")
        }
        EventKind::ExemptionsReplaced => {
            tracing::info!(target: TARGET, %partner, number, "exemptions replaced")
        }
        EventKind::WindowReset => tracing::info!(target: TARGET, %partner, number, "window reset"),
        _ => {}
    }
}

/// Warns that a layer was built while the wall clock could not be used.
pub(super) fn warn_of_wall_clock(partner: &str) {
    tracing::warn!(target: TARGET, partner = %OneLine(partner),
        "the wall clock stands before 1970 or after 2109, so that the first generation is 1: caches may keep what an earlier process told them, unless the last generation is given to the builder"
    );
}

/// Warns that exemptions by route cannot apply, because the view is not told the route.
#[cold]
pub(super) fn trace_unrouted(partner: &str) {
    tracing::warn!(target: TARGET, partner = %OneLine(partner),
        "a request came without a `MatchedPath`, so no exemption by route applies to it: add `routes()` by `Router::layer`, inside the router, or use `paths()` around a service"
    );
}

/// Warns that exemptions by name cannot apply, because calls have no names.
#[cold]
pub(super) fn trace_unnamed(partner: &str, name: &str) {
    tracing::warn!(target: TARGET, partner = %OneLine(partner), exempt = %OneLine(name),
        "a call is exempt by its name, and no view has given names to calls so far, so it would be refused: \
         take `named(|request| ...)` on the layer, or `run(name, future)`"
    );
}
