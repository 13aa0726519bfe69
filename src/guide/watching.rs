//! Watching the layer: how refusals are marked, how to keep them out of error trackers, and what to
//! alert on.
//!
//! A refusal is not an error: the gate does its work, thousands of times in an outage. If an error
//! tracker or an alert counts refusals as errors, it wakes an operator for nothing and hides the
//! real errors. So each refusal is marked at every place where it could be counted:
//!
//! - *A response before routes, and every response made of a [`Refused`](crate::Refused)* has the
//!   `Refused` as an extension: `response.extensions().get::<Refused>()`.
//! - *The span that was current when that response was made* gets the field `maintenance.refused =
//!   true`, if the span declares the field: `maintenance.refused = tracing::field::Empty`.
//! - *An error around calls* is found by [`Refused::find`](crate::Refused::find), under any
//!   wrapping.
//! - *Numbers*: `status().calls.refused` and `status().refused_in_mode`. They are never part of
//!   `calls.failed` or of the window.
//! - *The log*: the layer writes no line for a refusal.
//!
//! If a handler turns errors into responses of its own, it should look for a refusal first.
//! Otherwise the mark is lost:
//!
//! ```ignore
//! match Refused::find(&error) {
//!     Some(refused) => refused.clone().into_response(),
//!     None => StatusCode::BAD_GATEWAY.into_response(),
//! }
//! ```
//!
//! Such a response says that a call was not made. It does not say that the request was not
//! processed, because the handler may have charged before. A handler that did nothing before says
//! so: `refused.clone().nothing_processed().into_response()`.
//!
//! The crate gives what is needed: a `TraceLayer` (feature `tower-http`), a filter for layers of
//! `tracing-subscriber` (feature of that name), and for other tools
//! [`Refused::is_in_event`](crate::Refused::is_in_event). The repository tests the recipes with the
//! real crates in `crates/observability/`, each beside a control that shows the noise without it.
//!
//! # Logs: tower-http
//!
//! `TraceLayer` classifies every 5xx as a failure and logs it as an error. Sentry and OpenTelemetry
//! pick that error up. `http::trace_layer` makes one that looks for the mark. Install it first,
//! whichever tools you use besides, outside the layer that refuses:
//!
//! ```ignore
//! use axum::Router;
//! use tower_maintenance::http::trace_layer;
//!
//! /// Gives each request a span that records whether the request was refused.
//! pub fn traced(app: Router) -> Router {
//!     app.layer(trace_layer())
//! }
//! ```
//!
//! Its span declares `maintenance.refused`. Where you have a `TraceLayer` of your own, take the
//! parts: the classifier `http::RefusalsAreNoFailures`, and `http::NoteRefusals` for `on_response`.
//!
//! # Sentry
//!
//! An error that is logged as a value, `tracing::error!(error = &error as &dyn Error, "...")`, can
//! be inspected before Sentry gets it. The filter below finds a refusal by its type and drops the
//! event. A refusal before routes is not logged once `TraceLayer` has the classifier.
//!
//! `before_send` is for errors that are captured without a log, by `sentry::capture_error(&error)`.
//! It sees only the names of types, and drops every error type called `Refused`, from any crate.
//! Where you can, check `Refused::find(&error).is_none()` before you capture.
//!
//! An error that is logged as text (`%error`) has lost its type, and Sentry gets it.
//!
//! ```ignore
//! use sentry::{integrations::tracing::ErrorLayer, protocol};
//! use tower_maintenance::NoRefusals;
//! use tracing::{Subscriber, level_filters::LevelFilter};
//! use tracing_subscriber::{Layer, filter::FilterExt, registry::LookupSpan};
//!
//! /// Sends events of level ERROR to Sentry, except refusals.
//! pub fn errors_to_sentry<S>() -> impl Layer<S>
//! where
//!     S: Subscriber + for<'span> LookupSpan<'span>,
//! {
//!     ErrorLayer::new().with_filter(LevelFilter::ERROR.and(NoRefusals))
//! }
//!
//! /// Drops refusals that are captured without a log. For `ClientOptions::before_send`.
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
//! The span declares the mark (`traced`, above), so it becomes the attribute `maintenance.refused`
//! of the server span.
//!
//! `tracing-opentelemetry` marks a span as an error when an error is logged in it. The classifier
//! prevents the error that `TraceLayer` logs, and the filter drops the error that a handler logs.
//!
//! The semantic conventions define every 5xx of a server as an error. If a middleware follows them,
//! the exporter can reset the status, or the alert can ask for `status = error and not
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
//! use tower_maintenance::NoRefusals;
//! use tracing::Subscriber;
//! use tracing_subscriber::{Layer, registry::LookupSpan};
//!
//! /// Sends spans to OpenTelemetry. A logged refusal does not make its span an error.
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
//! /// Wraps the exporter, if another middleware marks the span of every 5xx as an error.
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
//! Do not alert on refusals: their number depends on how many customers come, not on how bad the
//! outage is. Show it on the dashboard. Alert on these:
//!
//! - *An episode began, or the mode changed*: [`EpisodeBegan`](crate::EventKind::EpisodeBegan),
//!   [`ModeChanged`](crate::EventKind::ModeChanged). Each comes once per change, however many calls
//!   are refused.
//! - *An episode lasts longer than you can accept*: `status().episode` and its `began`. Perhaps no
//!   operator works on it.
//! - *Probes fail again and again*: [`Tripped`](crate::EventKind::Tripped) with
//!   [`Rule::ProbeFailed`](crate::Rule::ProbeFailed) or
//!   [`Rule::ProbeHung`](crate::Rule::ProbeHung). The partner is still down, or the probe sends the
//!   wrong request.
//! - *No request probes*: [`WaitingForProbe`](crate::EventKind::WaitingForProbe), or
//!   `waiting_for_probe` in `status().probing`. This does not end by itself: give the layer a
//!   [ping](crate::MaintenanceHandle::ping).
//! - *A hold without expiry, bypass, dry run*: `status().causes` and `status().switches`. An
//!   operator may have forgotten it.
//!
//! `examples/observability/alerts.yml` has these as rules for Prometheus, over the metrics of
//! [`guide::metrics`](super::metrics). It also has the burn rate of an error budget: there the
//! share of requests that were refused counts, and not their number.
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
//! Each event of the layer is one `tracing` event. Its level is WARN if an operator should look at
//! it, otherwise INFO. Long lines are wrapped here:
//!
//! ```text
//! WARN tower_maintenance: held by an operator partner=zuora number=1
//!     actor=on-call reason=ticket 4711 read_only=false
//! WARN tower_maintenance: episode began partner=zuora number=2 episode=1
//!     cause=operator
//! WARN tower_maintenance: mode changed partner=zuora number=3 from=serving
//!     to=maintenance
//! WARN tower_maintenance: the operator's hold ended partner=zuora number=4
//!     expired=false
//! INFO tower_maintenance: serving again partner=zuora number=5 from=maintenance
//! INFO tower_maintenance: recovered: caches are told partner=zuora number=6
//!     episode=1 generation=1722459420000
//! ```
//!
//! A refusal appears only where you log it, like any other error:
//!
//! ```text
//! INFO app: no account error=the call to the partner was not made
//!     error.sources=[zuora is in maintenance, retry after 1800 s]
//! ```
//!
//! The layer escapes text of operators and of the partner: control characters, line separators and
//! marks of writing direction become `\u{a}` and the like. So one line is one event, whatever the
//! text contains. The text is not quoted. If programs read your log, use a formatter that writes
//! JSON.
