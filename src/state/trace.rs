//! One tracing event per event of the machine.

use crate::{
    base::one_line::OneLine,
    facts::{
        event::{Event, EventKind},
        mode::Mode,
    },
};

/// Emits the tracing event for what happened. A warning is what an operator should look at.
pub(super) fn trace(partner: &str, event: &Event) {
    let (partner, number) = (OneLine(partner), event.number);
    match &event.kind {
        EventKind::ModeChanged {
            from,
            to: Mode::Serving,
        } => tracing::info!(%partner, number, %from, "serving again"),
        EventKind::ModeChanged { from, to } => {
            tracing::warn!(%partner, number, %from, %to, "mode changed")
        }
        EventKind::Tripped { evidence, wait } => {
            tracing::warn!(%partner, number, %evidence, ?wait, "tripped")
        }
        EventKind::WouldHaveTripped { evidence, wait } => {
            tracing::warn!(%partner, number, %evidence, ?wait, "would have entered maintenance")
        }
        EventKind::WaitingForProbe => tracing::warn!(
            %partner,
            number,
            "no request that may probe has come for a whole wait: give the layer a synthetic ping, or let more requests probe with `may_probe`"
        ),
        EventKind::EpisodeBegan { episode, cause } => {
            tracing::warn!(%partner, number, episode, %cause, "episode began")
        }
        EventKind::Recovered {
            episode,
            generation,
        } => tracing::info!(
            %partner,
            number,
            episode,
            generation,
            "recovered: caches are told"
        ),
        EventKind::RampBegan { duration } => {
            tracing::info!(%partner, number, ?duration, "traffic grows")
        }
        EventKind::ShadowEnded => tracing::info!(%partner, number, "would be serving again"),
        EventKind::HoldEngaged { .. }
        | EventKind::HoldEnded { .. }
        | EventKind::Switched { .. }
        | EventKind::PolicyReplaced
        | EventKind::ExemptionsReplaced
        | EventKind::WindowReset => trace_command(partner, event),
    }
}

/// Emits the tracing event for what an operator did, or for a hold that expired.
fn trace_command(partner: OneLine<'_>, event: &Event) {
    let number = event.number;
    match &event.kind {
        EventKind::HoldEngaged {
            actor,
            reason,
            read_only,
            ..
        } => {
            tracing::warn!(%partner, number, actor = %OneLine(actor), reason = %OneLine(reason), read_only, "held by an operator")
        }
        EventKind::HoldEnded { expired } => {
            tracing::warn!(%partner, number, expired, "the operator's hold ended")
        }
        EventKind::Switched { switches } => tracing::warn!(
            %partner,
            number,
            dry_run = switches.dry_run,
            bypass = switches.bypass,
            "switched"
        ),
        EventKind::PolicyReplaced => tracing::info!(%partner, number, "policy replaced"),
        EventKind::ExemptionsReplaced => tracing::info!(%partner, number, "exemptions replaced"),
        EventKind::WindowReset => tracing::info!(%partner, number, "window reset"),
        _ => {}
    }
}
