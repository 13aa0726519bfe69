//! OpenTelemetry: the span of a refused request is not an error.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    trace::{Status, Tracer},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use tower_maintenance::NoRefusals;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

/// Sends spans to OpenTelemetry. A logged refusal does not make its span an error.
pub fn spans_to_opentelemetry<S, T>(tracer: T) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    T: Tracer<Span: Send + Sync> + Send + Sync + 'static,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_filter(NoRefusals)
}

/// Wraps the exporter, if another middleware marks the span of every 5xx as an error.
#[derive(Debug)]
pub struct RefusalsAreNoErrors<E>(pub E);

impl<E: SpanExporter> SpanExporter for RefusalsAreNoErrors<E> {
    fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let mark = KeyValue::new("maintenance.refused", true);
        for span in &mut batch {
            if span.attributes.contains(&mark) {
                span.status = Status::Unset;
            }
        }
        self.0.export(batch)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
