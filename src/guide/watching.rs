//! Watching it: what is marked, and how refusals stay out of error trackers and alerts.
//!
//! A refusal is no error: the gate does what it is there for, thousands of times in an outage. Whoever counts it as
//! one is woken by it, and no longer sees the errors beside it. So a refusal is marked wherever somebody may count:
//!
//! | where | the mark |
//! |---|---|
//! | a response before routes, and every response made of a [`Refused`](crate::Refused) | the `Refused` as an extension: `response.extensions().get::<Refused>()` |
//! | the span that was current when that response was made | the field `maintenance.refused = true`, if the span declares it: `maintenance.refused = tracing::field::Empty` |
//! | an error around calls | [`Refused::find`](crate::Refused::find), under any wrapping |
//! | numbers | `status().calls.refused` and `status().refused_in_mode`, never mixed with `calls.failed` or the window |
//! | the log | nothing: the layer writes no line for a refusal |
//!
//! A handler that turns an error into a response of its own should look for the refusal first, or the mark is lost:
//!
//! ```ignore
//! match Refused::find(&error) {
//!     Some(refused) => refused.clone().into_response(),
//!     None => StatusCode::BAD_GATEWAY.into_response(),
//! }
//! ```
//!
//! The recipes below are compiled and tested with the real crates in `crates/observability/` of the repository, each beside a
//! control that shows the noise without it. They are to be copied.
//!
//! # Logs: tower-http
//!
//! `TraceLayer` takes every 5xx for a failure and logs it as an error, which Sentry and OpenTelemetry take up in turn. A
//! classifier that looks for the mark is the cure, and the first thing to do whatever else watches:
//!
//! ```ignore
//! use std::{fmt::Display, time::Duration};
//!
//! use axum::{Router, extract::Request, response::Response};
//! use tower_http::{
//!     classify::{ClassifiedResponse, ClassifyResponse, ServerErrorsAsFailures, SharedClassifier},
//!     trace::TraceLayer,
//! };
//! use tower_maintenance::Refused;
//! use tracing::{Span, field::Empty};
//!
//! /// A 5xx is a failure, but for a refusal.
//! #[derive(Debug, Clone, Copy)]
//! pub struct RefusalsAreNoFailures;
//!
//! impl ClassifyResponse for RefusalsAreNoFailures {
//!     type FailureClass = <ServerErrorsAsFailures as ClassifyResponse>::FailureClass;
//!     type ClassifyEos = <ServerErrorsAsFailures as ClassifyResponse>::ClassifyEos;
//!
//!     fn classify_response<B>(
//!         self,
//!         response: &http::Response<B>,
//!     ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
//!         if response.extensions().get::<Refused>().is_some() {
//!             return ClassifiedResponse::Ready(Ok(()));
//!         }
//!         ServerErrorsAsFailures::new().classify_response(response)
//!     }
//!
//!     fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
//!         ServerErrorsAsFailures::new().classify_error(error)
//!     }
//! }
//!
//! /// Gives each request a span, which says whether it was refused.
//! pub fn traced(app: Router) -> Router {
//!     app.layer(
//!         TraceLayer::new(SharedClassifier::new(RefusalsAreNoFailures))
//!             .make_span_with(|request: &Request| {
//!                 tracing::info_span!(
//!                     "request",
//!                     otel.kind = "server",
//!                     method = %request.method(),
//!                     maintenance.refused = Empty,
//!                 )
//!             })
//!             // Also where the handler that answered was in a span of its own.
//!             .on_response(|response: &Response, _: Duration, span: &Span| {
//!                 if response.extensions().get::<Refused>().is_some() {
//!                     span.record("maintenance.refused", true);
//!                 }
//!             }),
//!     )
//! }
//! ```
//!
//! `on_response` replaces the line that `TraceLayer` writes by default on level DEBUG.
//!
//! # Sentry
//!
//! An error that is logged as an error, `tracing::error!(error = &error as &dyn Error, "...")`, can be looked into
//! before Sentry sees it, and a refusal left out by its type. A refusal before routes is never logged, once `TraceLayer`
//! has the classifier. `before_send` is for errors captured without a log, with `sentry::capture_error(&error)`. It sees
//! names of types only, and would drop an error of anybody's that is called `Refused`: where you can, ask
//! `Refused::find(&error).is_none()` and capture then. An error logged as text (`%error`) has lost its type, and arrives.
//!
//! ```ignore
//! use std::{error::Error, fmt::Debug};
//!
//! use sentry::{integrations::tracing::ErrorLayer, protocol};
//! use tower_maintenance::Refused;
//! use tracing::{
//!     Event, Metadata, Subscriber,
//!     field::{Field, Visit},
//!     level_filters::LevelFilter,
//! };
//! use tracing_subscriber::{
//!     Layer,
//!     filter::FilterExt,
//!     layer::{Context, Filter},
//!     registry::LookupSpan,
//! };
//!
//! /// Keeps out what is logged with a refusal as its error, under any wrapping.
//! #[derive(Debug, Clone, Copy)]
//! pub struct NoRefusals;
//!
//! impl<S> Filter<S> for NoRefusals {
//!     fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
//!         true
//!     }
//!
//!     fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
//!         let mut errors = Errors { refused: false };
//!         event.record(&mut errors);
//!         !errors.refused
//!     }
//! }
//!
//! struct Errors {
//!     refused: bool,
//! }
//!
//! impl Visit for Errors {
//!     fn record_error(&mut self, _: &Field, error: &(dyn Error + 'static)) {
//!         self.refused |= Refused::find(error).is_some();
//!     }
//!
//!     fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
//! }
//!
//! /// Sends what is logged as an error to Sentry, but for refusals.
//! pub fn errors_to_sentry<S>() -> impl Layer<S>
//! where
//!     S: Subscriber + for<'span> LookupSpan<'span>,
//! {
//!     ErrorLayer::new().with_filter(LevelFilter::ERROR.and(NoRefusals))
//! }
//!
//! /// Where errors are captured without a log: for `ClientOptions::before_send`.
//! pub fn before_send(event: protocol::Event<'static>) -> Option<protocol::Event<'static>> {
//!     let is_refusal = event.exception.iter().any(|error| error.ty == "Refused");
//!     (!is_refusal).then_some(event)
//! }
//! ```
//!
//! ```ignore
//! let _sentry = sentry::init((dsn, sentry::ClientOptions::default().before_send(before_send)));
//! tracing_subscriber::registry().with(errors_to_sentry()).init();
//! ```
//!
//! # OpenTelemetry
//!
//! The span declares the mark (`traced`, above), so that it becomes the attribute `maintenance.refused` of the server span.
//! `tracing-opentelemetry` makes a span an error when an error is logged in it: the classifier sees to the one that
//! `TraceLayer` logs, the filter to what a handler logs. The semantic conventions call every 5xx of a server an error;
//! where a middleware does so, the exporter can take it back, or the alert asks for `status = error and not
//! maintenance.refused`. A real 5xx stays an error.
//!
//! ```ignore
//! use std::time::Duration;
//!
//! use opentelemetry::{
//!     KeyValue,
//!     trace::{Status, Tracer},
//! };
//! use opentelemetry_sdk::{
//!     Resource,
//!     error::OTelSdkResult,
//!     trace::{SpanData, SpanExporter},
//! };
//! use tracing::Subscriber;
//! use tracing_subscriber::{Layer, registry::LookupSpan};
//!
//! use crate::sentry::NoRefusals;
//!
//! /// Sends spans to OpenTelemetry; what is logged with a refusal as its error makes none of them an error.
//! pub fn spans_to_opentelemetry<S, T>(tracer: T) -> impl Layer<S>
//! where
//!     S: Subscriber + for<'span> LookupSpan<'span>,
//!     T: Tracer<Span: Send + Sync> + Send + Sync + 'static,
//! {
//!     tracing_opentelemetry::layer()
//!         .with_tracer(tracer)
//!         .with_filter(NoRefusals)
//! }
//!
//! /// Around the exporter, where something else calls every 5xx an error.
//! #[derive(Debug)]
//! pub struct RefusalsAreNoErrors<E>(pub E);
//!
//! impl<E: SpanExporter> SpanExporter for RefusalsAreNoErrors<E> {
//!     fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
//!         let mark = KeyValue::new("maintenance.refused", true);
//!         for span in &mut batch {
//!             if span.attributes.contains(&mark) {
//!                 span.status = Status::Unset;
//!             }
//!         }
//!         self.0.export(batch)
//!     }
//!
//!     fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
//!         self.0.shutdown_with_timeout(timeout)
//!     }
//!
//!     fn force_flush(&self) -> OTelSdkResult {
//!         self.0.force_flush()
//!     }
//!
//!     fn set_resource(&mut self, resource: &Resource) {
//!         self.0.set_resource(resource);
//!     }
//! }
//! ```
//!
//! ```ignore
//! let provider = SdkTracerProvider::builder()
//!     .with_batch_exporter(RefusalsAreNoErrors(exporter))
//!     .build();
//! tracing_subscriber::registry()
//!     .with(spans_to_opentelemetry(provider.tracer("billing")))
//!     .init();
//! ```
//!
//! # What to alert on
//!
//! Not on refusals: their number says how many customers came, not how bad it is. It belongs on the dashboard.
//!
//! | alert on | where | why |
//! |---|---|---|
//! | an episode that began, any change of mode | [`EpisodeBegan`](crate::EventKind::EpisodeBegan), [`ModeChanged`](crate::EventKind::ModeChanged) | once per outage, however many are refused |
//! | an episode that lasts longer than you can bear | `status().episode` and its `began` | it may be one that nobody works on |
//! | probes that fail again and again | [`Tripped`](crate::EventKind::Tripped) with [`Rule::ProbeFailed`](crate::Rule::ProbeFailed) or [`Rule::ProbeHung`](crate::Rule::ProbeHung) | the partner is still down, or the probe asks for the wrong thing |
//! | nobody probes | [`WaitingForProbe`](crate::EventKind::WaitingForProbe), `status().probing`'s `waiting_for_probe` | it will not end by itself: give it a [ping](crate::MaintenanceHandle::ping) |
//! | a hold without expiry, bypass, dry run | `status().causes`, `status().switches` | an operator may have forgotten it |
//!
//! ```
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_maintenance::{EventKind, Hold, MaintenanceLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::new("zuora");
//! let handle = layer.handle();
//! let mut events = handle.events();
//! let partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
//!
//! handle.engage(Hold::new("on-call", "drill"))?;
//! for _ in 0..1000 {
//!     assert!(partner.clone().oneshot(()).await.is_err());
//! }
//! handle.release("on-call", "drill over")?;
//!
//! assert_eq!(handle.status().calls.refused, 1000); // for the dashboard
//! assert_eq!(handle.status().calls.failed, 0);
//! let mut alerts = 0;
//! loop {
//!     match events.recv().await.unwrap().kind {
//!         EventKind::EpisodeBegan { .. } => alerts += 1,
//!         EventKind::Recovered { .. } => break,
//!         _ => {}
//!     }
//! }
//! assert_eq!(alerts, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Lines in the log
//!
//! What happened is one `tracing` event each, on WARN what an operator should look at, on INFO the rest:
//!
//! ```text
//! WARN tower_maintenance::shared: held by an operator partner=zuora number=1 actor=on-call reason=ticket 4711 read_only=false
//! WARN tower_maintenance::shared: episode began partner=zuora number=2 episode=1 cause=operator
//! WARN tower_maintenance::shared: mode changed partner=zuora number=3 from=serving to=maintenance
//! WARN tower_maintenance::shared: the operator's hold ended partner=zuora number=4 expired=false
//! INFO tower_maintenance::shared: serving again partner=zuora number=5 from=maintenance
//! INFO tower_maintenance::shared: recovered: caches are told partner=zuora number=6 episode=1 generation=1722459420000
//! ```
//!
//! A refusal shows only where you log it, as any error:
//!
//! ```text
//! INFO app: no account error=the call was not processed error.sources=[zuora is in maintenance, retry after 1800 s]
//! ```
//!
//! Text of operators and of the partner stands in a line with control characters, line separators and marks of writing
//! direction escaped (`\u{a}`): a line is one event, whatever somebody typed. It is not quoted, though: for machines take a
//! formatter that writes JSON.
