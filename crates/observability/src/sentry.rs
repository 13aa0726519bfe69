//! Sentry: a refusal that is logged or captured makes no issue.

use std::{error::Error, fmt::Debug};

use sentry::{integrations::tracing::ErrorLayer, protocol};
use tower_maintenance::Refused;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    filter::FilterExt,
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// Drops log events whose error is a refusal, under any wrapping.
#[derive(Debug, Clone, Copy)]
pub struct NoRefusals;

impl<S> Filter<S> for NoRefusals {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let mut errors = Errors { refused: false };
        event.record(&mut errors);
        !errors.refused
    }
}

struct Errors {
    refused: bool,
}

impl Visit for Errors {
    fn record_error(&mut self, _: &Field, error: &(dyn Error + 'static)) {
        self.refused |= Refused::find(error).is_some();
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Sends events of level ERROR to Sentry, except refusals.
pub fn errors_to_sentry<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    ErrorLayer::new().with_filter(LevelFilter::ERROR.and(NoRefusals))
}

/// Drops refusals that are captured without a log. For `ClientOptions::before_send`.
pub fn before_send(event: protocol::Event<'static>) -> Option<protocol::Event<'static>> {
    let is_refusal = event.exception.iter().any(|error| error.ty == "Refused");
    (!is_refusal).then_some(event)
}
