//! Sentry: a refusal that is logged or captured makes no issue.

use sentry::{integrations::tracing::ErrorLayer, protocol};
use tower_maintenance::NoRefusals;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::FilterExt, registry::LookupSpan};

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
