//! The user's guide: where the layer belongs, how to roll it out, what happens at 3 a.m., how to watch it.
//!
//! Nothing in here is code; every example is compiled and asserts what it says.

/// Where in the stack the layer belongs, and why.
///
/// Around calls, from the outside in:
///
/// ```text
/// your handler
///   retry               each attempt passes the gate, each attempt counts
///     timeout           drops a call that hangs
///       MAINTENANCE     sees every attempt and every drop
///         concurrency limit, rate limit
///           the client
/// ```
///
/// *Outside the limits*, so that a refusal costs nobody a permit and never queues. A refused call
/// gives back a permit it had been promised; a caller who queues for one is woken and refused when the gate shuts.
///
/// *Inside the timeout*, so that a hang is seen as what it is. The timeout drops the call; the layer counts
/// that as a failure if nothing had come from the partner for at least `hang_limit` (default 5 s).
/// **`hang_limit` must be at most the timeout**, or a hanging partner never trips:
///
/// ```
/// use std::{future::pending, time::Duration};
/// use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_maintenance::{MaintenanceLayer, Mode, Policy};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// let layer = MaintenanceLayer::builder("zuora")
///     .policy(Policy::default().with_hang_limit(Duration::from_secs(2)))
///     .build()?;
/// let mut hanging = ServiceBuilder::new()
///     .timeout(Duration::from_secs(2))
///     .layer(layer.clone())
///     .service(service_fn(async |()| pending::<Result<(), std::io::Error>>().await));
///
/// for _ in 0..5 {
///     assert!(hanging.ready().await?.call(()).await.is_err());
/// }
/// assert_eq!(layer.handle().mode(), Mode::Maintenance);
/// # Ok(())
/// # }
/// ```
///
/// A timeout *inside* the layer works too: its error counts like any other. Then the stack's errors are
/// `BoxError`, and the view for it is [`boxed`](crate::MaintenanceLayer::boxed).
///
/// *Bodies.* A tower timeout ends when the headers come. What the partner does after that is seen by the layer all the same
/// (feature `http`): headers are provisional, and a body whose reader has waited `hang_limit` for the next piece is a failure at
/// that moment, whether or not anybody gives up on it. It goes on streaming for its reader; to give up on it is the
/// reader's business, or that of a timeout which stands around the reading too. For answers that stream for ever, and on which silence is
/// no fault (server-sent events, long polling), there is `HttpCalls::judged_at_headers`, and over gRPC (feature `grpc`)
/// `GrpcCalls::streams` for the methods that stream: those are judged at their first message. One that may be silent from its start is
/// named by `GrpcCalls::subscriptions`.
///
/// # Inside or outside retry
///
/// Inside retry, as drawn, each attempt counts, and a retry that meets a shut gate ends at once. That is what
/// you want from a partner who fails now and then. It has one trap: **a poisonous request**. One customer's
/// request that the partner always answers with an error, retried five times, is five failures in a row,
/// and trips. The cure is to say that such an answer is no failure of the partner:
///
/// ```
/// use tower::{Service, ServiceBuilder, ServiceExt, retry::Policy as Retry, service_fn};
/// use tower_maintenance::{Error, MaintenanceLayer, Mode, Outcome};
/// # use std::future::{Ready, ready};
///
/// #[derive(Debug, Clone, PartialEq)]
/// enum Failed { Unprocessable, Down }
///
/// # #[derive(Clone)]
/// # struct Attempts(u32);
/// # impl Retry<u32, u32, Error<Failed>> for Attempts {
/// #     type Future = Ready<()>;
/// #     fn retry(&mut self, _: &mut u32, result: &mut Result<u32, Error<Failed>>) -> Option<Ready<()>> {
/// #         if result.is_ok() || self.0 == 1 { return None }
/// #         self.0 -= 1;
/// #         Some(ready(()))
/// #     }
/// #     fn clone_request(&mut self, request: &u32) -> Option<u32> { Some(*request) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let poison = service_fn(async |_: u32| Err::<u32, _>(Failed::Unprocessable));
///
/// // Any error is a failure: five attempts trip.
/// let layer = MaintenanceLayer::new("zuora");
/// let mut stack = ServiceBuilder::new().retry(Attempts(5)).layer(layer.clone()).service(poison);
/// let _ = stack.ready().await.unwrap().call(7).await;
/// assert_eq!(layer.handle().mode(), Mode::Maintenance);
///
/// // The partner answered; it is the request that is bad.
/// let layer = MaintenanceLayer::new("zuora").judged_by(|result: Result<&u32, &Failed>| match result {
///     Ok(_) | Err(Failed::Unprocessable) => Outcome::Success,
///     Err(Failed::Down) => Outcome::Failure,
/// });
/// let mut stack = ServiceBuilder::new().retry(Attempts(5)).layer(layer.clone()).service(poison);
/// let _ = stack.ready().await.unwrap().call(7).await;
/// assert_eq!(layer.handle().mode(), Mode::Serving);
/// # Ok(())
/// # }
/// ```
///
/// Around HTTP calls that is so by default: a 422 is an answer. Where a verdict cannot tell, put the layer
/// outside retry: then a whole retried call counts once, and the partner is asked up to five times as
/// often before the gate shuts. A retry policy should not retry a refusal at once; it says how long to wait
/// ([`Refused::retry_after`](crate::Refused::retry_after)).
///
/// # Inside or outside buffer and load shed
///
/// *Buffer*: outside it (the layer around the buffer) a refusal skips the queue. Inside, what
/// waits in the queue meets the gate when it is its turn. A service that is not `Clone` goes behind a buffer:
/// the layer takes a fresh instance for calls that it lets in while the gate is shut.
/// *Load shed*: inside the layer its `Overloaded` error counts as a failure unless the judge says that it
/// is our own and neutral; outside, what is shed never reaches the layer.
///
/// # Before routes
///
/// `Router::layer(layer.routes())` (feature `axum`) refuses what would end in a refusal anyway, before
/// authentication and parsing are paid for. It measures nothing and takes no probe slot. Both placements
/// share one state, and each has its own exemptions: our `/billing/invoices/{id}` and the partner's
/// `/v1/invoices/{id}` are different names.
pub mod stack {}

/// Rolling it out: watch, read, arm.
///
/// Nobody trusts a breaker in front of billing before having watched it.
///
/// **1. Watch.** Build the layer in dry run. The rules judge, and tell what they would have done; nothing is refused.
///
/// ```
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_maintenance::{EventKind, MaintenanceLayer, Mode};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::builder("zuora").dry_run().build()?;
/// let handle = layer.handle();
/// let mut events = handle.events();
/// let mut partner = ServiceBuilder::new()
///     .layer(layer)
///     .service(service_fn(async |()| Err::<(), _>(std::io::Error::other("502"))));
///
/// for _ in 0..5 {
///     let _ = partner.ready().await.unwrap().call(()).await;
/// }
/// assert_eq!(handle.mode(), Mode::Serving);
/// assert!(matches!(events.recv().await.unwrap().kind, EventKind::WouldHaveTripped { .. }));
/// assert_eq!(
///     handle.status().to_string(),
///     "zuora is serving: 5 of 5 calls failed in 60 s; dry run; would be in maintenance: 5 calls failed in a row",
/// );
/// # Ok(())
/// # }
/// ```
///
/// **2. Read.** After a week, look at every `would have entered maintenance` in the log, and ask of each:
///
/// - Was the partner down? If not, what counted as a failure that is none? Mend the judge
///   ([`judged_by`](crate::MaintenanceLayer::judged_by)), not the threshold.
/// - Was it down and nothing was said? Then look at `hang_limit` against your timeout, and at partners that
///   fail with a 200: `HttpCalls::judged_by_json` (feature `http`) looks into the body.
/// - Which endpoints would have been refused? Decide the exemptions with the people who own them, and
///   commit the table: [`handle.exemptions()`](crate::MaintenanceHandle::exemptions) prints it.
/// - Who would have probed? A client that only ever POSTs never probes: give the layer a
///   [ping](crate::MaintenanceHandle::ping).
///
/// **3. Arm.** [`handle.arm("you", "a week of dry run, two true trips, no false one")`](crate::MaintenanceHandle::arm).
/// Rehearse once with [`engage`](crate::MaintenanceHandle::engage) and
/// [`release`](crate::MaintenanceHandle::release), and once with
/// [`release_verified`](crate::MaintenanceHandle::release_verified), while you watch what customers get.
pub mod rollout {}

/// What happens at 3 a.m.
///
/// | time | what happens | what you see |
/// |---|---|---|
/// | 03:00:00 | the partner begins to answer 502 | failures in `status().window` |
/// | 03:00:04 | the fifth failure in a row, or half of at least ten calls: **tripped** | warning `tripped`, with the evidence in one sentence |
/// | 03:00:04 | customers get 503 with `Retry-After`; invoices, webhooks and health checks pass | `calls.refused`, `calls.exempt` grow |
/// | 03:00:34 | the wait is over: **probing**; one probe at a time, or your ping | `mode changed`, `status().probing` |
/// | 03:00:35 | the probe fails: maintenance again, for 60 s, then 120 s, at most 5 min (each +-20 %) | warning `tripped`, "a probe failed, last: 502" |
/// | 03:41:10 | three probes in a row succeed: **serving** | `recovered`, one cache-bust signal with a new generation |
///
/// You may sleep through all of it. If you are up:
///
/// - *What is going on?* `handle.status()` says it in one sentence; `handle.episodes()` and
///   `handle.audit()` have the rest.
/// - *The partner says it is back.* [`probe_now`](crate::MaintenanceHandle::probe_now): do not wait, but verify.
/// - *It must stay down, whatever the probes say.* [`engage`](crate::MaintenanceHandle::engage), with an expiry if
///   you want to go back to bed. An operator beats everything automatic.
/// - *It is up, and I can prove it.* [`clear`](crate::MaintenanceHandle::clear).
/// - *The breaker itself is wrong.* [`bypass`](crate::MaintenanceHandle::bypass): nothing is refused until
///   [`end_bypass`](crate::MaintenanceHandle::end_bypass), and it goes on telling what it would have done.
/// - *It says `waiting_for_probe`.* Nobody who may probe has come for a whole wait. Give it a
///   [ping](crate::MaintenanceHandle::ping), let more requests [probe](crate::MaintenanceLayer::may_probe), or `clear`.
///
/// What does *not* happen: no charge is sent as a probe unless you say so; a refused request was not
/// processed, and may be repeated safely; a request that timed out at the partner is **unknown**, not failed: reconcile it.
pub mod at_3_am {}

/// For those who come from another breaker.
///
/// The words: closed is `Serving`, open is `Maintenance`, half-open is `Probing`.
///
/// # tower-resilience
///
/// | there | here |
/// |---|---|
/// | `CircuitBreakerLayer::builder().failure_rate_threshold(0.5)` | `Policy::default().with_failure_rate(Rate::ratio(0.5)?)` |
/// | `.sliding_window_size(100)` | `.with_window(Window::calls(100))`; it slides by the call |
/// | `.sliding_window_type(TimeBased)`, `.sliding_window_duration(d)` | `.with_window(Window::time(d))` |
/// | `.minimum_number_of_calls(10)` | `.with_min_calls(10)` |
/// | `.wait_duration_in_open(d)` | `.with_wait(d)`; it grows, so `.with_wait_growing(1.0, d)` for a fixed one, and `.with_jitter(0.0)` |
/// | `.permitted_calls_in_half_open(3)` | `.with_probes(3).with_successes_needed(3)` |
/// | `.slow_call_duration_threshold(d)`, `.slow_call_rate_threshold(r)` | `.with_slow_calls(d, Rate::ratio(r)?)` |
/// | `failure_classifier` | [`judged_by`](crate::MaintenanceLayer::judged_by), with a third answer, `Neutral` |
/// | `force_open`, `force_closed`, `reset` | `engage`, `bypass`, `reset`, each with actor and reason |
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{MaintenanceLayer, Policy, Rate, Window};
///
/// let policy = Policy::new(Window::calls(100), Rate::ratio(0.5)?)
///     .without_consecutive_failures()
///     .with_min_calls(10)
///     .with_wait_growing(1.0, Duration::from_secs(30))
///     .with_jitter(0.0)
///     .with_probes(3)
///     .with_successes_needed(3);
/// let layer = MaintenanceLayer::builder("zuora").policy(policy).build()?;
/// # let _ = layer;
/// # Ok::<(), tower_maintenance::BuildError>(())
/// ```
///
/// # failsafe
///
/// | there | here |
/// |---|---|
/// | `failure_policy::consecutive_failures(3, backoff)` | `.without_failure_rate().with_consecutive_failures(3)` |
/// | `success_rate_over_time_window(0.8, 10, 60 s, backoff)` | `.with_failure_rate(Rate::ratio(0.2)?).with_min_calls(10).with_window(Window::time(60 s))` |
/// | `backoff::exponential(10 s, 60 s)` | `.with_wait(10 s).with_wait_growing(2.0, 60 s)` |
/// | `backoff::equal_jittered`, `full_jittered` | `.with_jitter(0.2)` |
/// | `Error::Rejected` | [`Error::Refused`](crate::Error::Refused), which says why and until when |
/// | `FailurePredicate` | [`judged_by`](crate::MaintenanceLayer::judged_by) |
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::Policy;
///
/// Policy::default()
///     .without_failure_rate()
///     .with_consecutive_failures(3)
///     .with_wait(Duration::from_secs(10))
///     .with_wait_growing(2.0, Duration::from_secs(60))
///     .check()?;
/// # Ok::<(), tower_maintenance::PolicyError>(())
/// ```
///
/// # recloser
///
/// | there | here |
/// |---|---|
/// | `Recloser::custom().error_rate(0.5).closed_len(100)` | `Policy::new(Window::calls(100), Rate::ratio(0.5)?).with_min_calls(100)` |
/// | `.half_open_len(10)` | `.with_probes(10).with_successes_needed(10)`; all must succeed |
/// | `.open_wait(d)` | `.with_wait(d).with_wait_growing(1.0, d)` |
/// | `recloser.call(future)` | a layer around the service; `tower::service_fn` makes one of any closure |
/// | `Error::Rejected` | [`Error::Refused`](crate::Error::Refused) |
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{Policy, Rate, Window};
///
/// Policy::new(Window::calls(100), Rate::ratio(0.5)?)
///     .with_min_calls(100)
///     .without_consecutive_failures()
///     .with_wait(Duration::from_secs(30))
///     .with_wait_growing(1.0, Duration::from_secs(30))
///     .with_probes(10)
///     .with_successes_needed(10)
///     .check()?;
/// # Ok::<(), tower_maintenance::PolicyError>(())
/// ```
pub mod coming_from {}

/// Watching it: what is marked, and how refusals stay out of error trackers and alerts.
///
/// A refusal is no error: the gate does what it is there for, thousands of times in an outage. Whoever counts it as
/// one is woken by it, and no longer sees the errors beside it. So a refusal is marked wherever somebody may count:
///
/// | where | the mark |
/// |---|---|
/// | a response before routes, and every response made of a [`Refused`](crate::Refused) | the `Refused` as an extension: `response.extensions().get::<Refused>()` |
/// | the span that was current when that response was made | the field `maintenance.refused = true`, if the span declares it: `maintenance.refused = tracing::field::Empty` |
/// | an error around calls | [`Refused::find`](crate::Refused::find), under any wrapping |
/// | numbers | `status().calls.refused` and `status().refused_in_mode`, never mixed with `calls.failed` or the window |
/// | the log | nothing: the layer writes no line for a refusal |
///
/// A handler that turns an error into a response of its own should look for the refusal first, or the mark is lost:
///
/// ```ignore
/// match Refused::find(&error) {
///     Some(refused) => refused.clone().into_response(),
///     None => StatusCode::BAD_GATEWAY.into_response(),
/// }
/// ```
///
/// The recipes below are compiled and tested with the real crates in `crates/observability/` of the repository, each beside a
/// control that shows the noise without it. They are to be copied.
///
/// # Logs: tower-http
///
/// `TraceLayer` takes every 5xx for a failure and logs it as an error, which Sentry and OpenTelemetry take up in turn. A
/// classifier that looks for the mark is the cure, and the first thing to do whatever else watches:
///
/// ```ignore
/// use std::{fmt::Display, time::Duration};
///
/// use axum::{Router, extract::Request, response::Response};
/// use tower_http::{
///     classify::{ClassifiedResponse, ClassifyResponse, ServerErrorsAsFailures, SharedClassifier},
///     trace::TraceLayer,
/// };
/// use tower_maintenance::Refused;
/// use tracing::{Span, field::Empty};
///
/// /// A 5xx is a failure, but for a refusal.
/// #[derive(Debug, Clone, Copy)]
/// pub struct RefusalsAreNoFailures;
///
/// impl ClassifyResponse for RefusalsAreNoFailures {
///     type FailureClass = <ServerErrorsAsFailures as ClassifyResponse>::FailureClass;
///     type ClassifyEos = <ServerErrorsAsFailures as ClassifyResponse>::ClassifyEos;
///
///     fn classify_response<B>(
///         self,
///         response: &http::Response<B>,
///     ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
///         if response.extensions().get::<Refused>().is_some() {
///             return ClassifiedResponse::Ready(Ok(()));
///         }
///         ServerErrorsAsFailures::new().classify_response(response)
///     }
///
///     fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
///         ServerErrorsAsFailures::new().classify_error(error)
///     }
/// }
///
/// /// Gives each request a span, which says whether it was refused.
/// pub fn traced(app: Router) -> Router {
///     app.layer(
///         TraceLayer::new(SharedClassifier::new(RefusalsAreNoFailures))
///             .make_span_with(|request: &Request| {
///                 tracing::info_span!(
///                     "request",
///                     otel.kind = "server",
///                     method = %request.method(),
///                     maintenance.refused = Empty,
///                 )
///             })
///             // Also where the handler that answered was in a span of its own.
///             .on_response(|response: &Response, _: Duration, span: &Span| {
///                 if response.extensions().get::<Refused>().is_some() {
///                     span.record("maintenance.refused", true);
///                 }
///             }),
///     )
/// }
/// ```
///
/// `on_response` replaces the line that `TraceLayer` writes by default on level DEBUG.
///
/// # Sentry
///
/// An error that is logged as an error, `tracing::error!(error = &error as &dyn Error, "...")`, can be looked into
/// before Sentry sees it, and a refusal left out by its type. A refusal before routes is never logged, once `TraceLayer`
/// has the classifier. `before_send` is for errors captured without a log, with `sentry::capture_error(&error)`. It sees
/// names of types only, and would drop an error of anybody's that is called `Refused`: where you can, ask
/// `Refused::find(&error).is_none()` and capture then. An error logged as text (`%error`) has lost its type, and arrives.
///
/// ```ignore
/// use std::{error::Error, fmt::Debug};
///
/// use sentry::{integrations::tracing::ErrorLayer, protocol};
/// use tower_maintenance::Refused;
/// use tracing::{
///     Event, Metadata, Subscriber,
///     field::{Field, Visit},
///     level_filters::LevelFilter,
/// };
/// use tracing_subscriber::{
///     Layer,
///     filter::FilterExt,
///     layer::{Context, Filter},
///     registry::LookupSpan,
/// };
///
/// /// Keeps out what is logged with a refusal as its error, under any wrapping.
/// #[derive(Debug, Clone, Copy)]
/// pub struct NoRefusals;
///
/// impl<S> Filter<S> for NoRefusals {
///     fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
///         true
///     }
///
///     fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
///         let mut errors = Errors { refused: false };
///         event.record(&mut errors);
///         !errors.refused
///     }
/// }
///
/// struct Errors {
///     refused: bool,
/// }
///
/// impl Visit for Errors {
///     fn record_error(&mut self, _: &Field, error: &(dyn Error + 'static)) {
///         self.refused |= Refused::find(error).is_some();
///     }
///
///     fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
/// }
///
/// /// Sends what is logged as an error to Sentry, but for refusals.
/// pub fn errors_to_sentry<S>() -> impl Layer<S>
/// where
///     S: Subscriber + for<'span> LookupSpan<'span>,
/// {
///     ErrorLayer::new().with_filter(LevelFilter::ERROR.and(NoRefusals))
/// }
///
/// /// Where errors are captured without a log: for `ClientOptions::before_send`.
/// pub fn before_send(event: protocol::Event<'static>) -> Option<protocol::Event<'static>> {
///     let is_refusal = event.exception.iter().any(|error| error.ty == "Refused");
///     (!is_refusal).then_some(event)
/// }
/// ```
///
/// ```ignore
/// let _sentry = sentry::init((dsn, sentry::ClientOptions::default().before_send(before_send)));
/// tracing_subscriber::registry().with(errors_to_sentry()).init();
/// ```
///
/// # OpenTelemetry
///
/// The span declares the mark (`traced`, above), so that it becomes the attribute `maintenance.refused` of the server span.
/// `tracing-opentelemetry` makes a span an error when an error is logged in it: the classifier sees to the one that
/// `TraceLayer` logs, the filter to what a handler logs. The semantic conventions call every 5xx of a server an error;
/// where a middleware does so, the exporter can take it back, or the alert asks for `status = error and not
/// maintenance.refused`. A real 5xx stays an error.
///
/// ```ignore
/// use std::time::Duration;
///
/// use opentelemetry::{
///     KeyValue,
///     trace::{Status, Tracer},
/// };
/// use opentelemetry_sdk::{
///     Resource,
///     error::OTelSdkResult,
///     trace::{SpanData, SpanExporter},
/// };
/// use tracing::Subscriber;
/// use tracing_subscriber::{Layer, registry::LookupSpan};
///
/// use crate::sentry::NoRefusals;
///
/// /// Sends spans to OpenTelemetry; what is logged with a refusal as its error makes none of them an error.
/// pub fn spans_to_opentelemetry<S, T>(tracer: T) -> impl Layer<S>
/// where
///     S: Subscriber + for<'span> LookupSpan<'span>,
///     T: Tracer<Span: Send + Sync> + Send + Sync + 'static,
/// {
///     tracing_opentelemetry::layer()
///         .with_tracer(tracer)
///         .with_filter(NoRefusals)
/// }
///
/// /// Around the exporter, where something else calls every 5xx an error.
/// #[derive(Debug)]
/// pub struct RefusalsAreNoErrors<E>(pub E);
///
/// impl<E: SpanExporter> SpanExporter for RefusalsAreNoErrors<E> {
///     fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
///         let mark = KeyValue::new("maintenance.refused", true);
///         for span in &mut batch {
///             if span.attributes.contains(&mark) {
///                 span.status = Status::Unset;
///             }
///         }
///         self.0.export(batch)
///     }
///
///     fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
///         self.0.shutdown_with_timeout(timeout)
///     }
///
///     fn force_flush(&self) -> OTelSdkResult {
///         self.0.force_flush()
///     }
///
///     fn set_resource(&mut self, resource: &Resource) {
///         self.0.set_resource(resource);
///     }
/// }
/// ```
///
/// ```ignore
/// let provider = SdkTracerProvider::builder()
///     .with_batch_exporter(RefusalsAreNoErrors(exporter))
///     .build();
/// tracing_subscriber::registry()
///     .with(spans_to_opentelemetry(provider.tracer("billing")))
///     .init();
/// ```
///
/// # What to alert on
///
/// Not on refusals: their number says how many customers came, not how bad it is. It belongs on the dashboard.
///
/// | alert on | where | why |
/// |---|---|---|
/// | an episode that began, any change of mode | [`EpisodeBegan`](crate::EventKind::EpisodeBegan), [`ModeChanged`](crate::EventKind::ModeChanged) | once per outage, however many are refused |
/// | an episode that lasts longer than you can bear | `status().episode` and its `began` | it may be one that nobody works on |
/// | probes that fail again and again | [`Tripped`](crate::EventKind::Tripped) with [`Rule::ProbeFailed`](crate::Rule::ProbeFailed) or [`Rule::ProbeHung`](crate::Rule::ProbeHung) | the partner is still down, or the probe asks for the wrong thing |
/// | nobody probes | [`WaitingForProbe`](crate::EventKind::WaitingForProbe), `status().probing`'s `waiting_for_probe` | it will not end by itself: give it a [ping](crate::MaintenanceHandle::ping) |
/// | a hold without expiry, bypass, dry run | `status().causes`, `status().switches` | an operator may have forgotten it |
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_maintenance::{EventKind, Hold, MaintenanceLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let handle = layer.handle();
/// let mut events = handle.events();
/// let partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
///
/// handle.engage(Hold::new("on-call", "drill"))?;
/// for _ in 0..1000 {
///     assert!(partner.clone().oneshot(()).await.is_err());
/// }
/// handle.release("on-call", "drill over")?;
///
/// assert_eq!(handle.status().calls.refused, 1000); // for the dashboard
/// assert_eq!(handle.status().calls.failed, 0);
/// let mut alerts = 0;
/// loop {
///     match events.recv().await.unwrap().kind {
///         EventKind::EpisodeBegan { .. } => alerts += 1,
///         EventKind::Recovered { .. } => break,
///         _ => {}
///     }
/// }
/// assert_eq!(alerts, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Lines in the log
///
/// What happened is one `tracing` event each, on WARN what an operator should look at, on INFO the rest:
///
/// ```text
/// WARN tower_maintenance::shared: held by an operator partner=zuora number=1 actor=on-call reason=ticket 4711 read_only=false
/// WARN tower_maintenance::shared: episode began partner=zuora number=2 episode=1 cause=operator
/// WARN tower_maintenance::shared: mode changed partner=zuora number=3 from=serving to=maintenance
/// WARN tower_maintenance::shared: the operator's hold ended partner=zuora number=4 expired=false
/// INFO tower_maintenance::shared: serving again partner=zuora number=5 from=maintenance
/// INFO tower_maintenance::shared: recovered: caches are told partner=zuora number=6 episode=1 generation=1722459420000
/// ```
///
/// A refusal shows only where you log it, as any error:
///
/// ```text
/// INFO app: no account error=the call was not processed error.sources=[zuora is in maintenance, retry after 1800 s]
/// ```
///
/// Text of operators and of the partner stands in a line with control characters, line separators and marks of writing
/// direction escaped (`\u{a}`): a line is one event, whatever somebody typed. It is not quoted, though: for machines take a
/// formatter that writes JSON.
pub mod watching {}

/// What a call costs: where each nanosecond goes, what was tried and did not pay, how exact it is.
///
/// | path | clock reads | atomic read-modify-writes | locks | allocations |
/// |---|---|---|---|---|
/// | admitted, answered at the first poll | 1 | 1, on a line of its own core | 0 | 0 |
/// | admitted, answered later | 2 | 1, the same | 0 | 0 |
/// | admitted, in a count window, or next after a failure | 2 | those of a lock | 1 | 0 |
/// | failed, slow, dropped | 1 to 3 | those of a lock | 1 | 0 |
/// | refused, no deadline pending (a hold without expiry) | 0 | 0 | 0 | 0 |
/// | refused, a deadline pending | 1 | 0 | 0 | 0 |
/// | exempt, not counted | 0 | 0 | 0 | 0 |
/// | keyed | as above | two more, on a line of its own thread | as above | 0 |
///
/// That is for a thread that calls through the same layer again. A thread that goes from layer to layer counts two references more
/// for each call, on lines of its own core, and divides to find its bucket.
///
/// What that comes to, on 2 vCPU of an AMD EPYC, Rust 1.95, 21 November 2026, a partner that answers at once
/// (`cargo run --release -p peers`, which prints the peers beside it; instructions by callgrind):
///
/// | call | ns | instructions |
/// |---|---|---|
/// | the partner alone | 1.0 | 17 |
/// | admitted | 32.0 | 231 |
/// | admitted, `CoarseClock` | 12.5 | 228 |
/// | admitted, count window | 94.3 | 1,079 |
/// | refused, a wait pending | 28.3 | 223 |
/// | refused, held without expiry | 4.7 | 114 |
/// | exempt by one of 1,000 patterns; the matcher alone 55.1 and 757 | 111.2 | 1,322 |
///
/// Of the 32 ns of an admitted call tokio's clock takes about 25, the compare-exchange that counts it 5, and all else, with which the processor
/// does not wait for either, 2: reading the
/// gate, taking and leaving the hold on the layer's state, judging the answer. With `CoarseClock` (feature `coarse-clock`) the clock takes 6. A refusal
/// with a deadline pending is the clock and 4 ns.
/// Instructions are kept by `cargo run --release -p peers -- --check-instructions`; that nothing is allocated by the tests named
/// `r03_an_admitted_call_allocates_nothing`, `r03_a_refusal_under_a_hold_allocates_nothing`,
/// `r03_an_exempt_call_allocates_nothing_in_any_mode`. None of this grows with the length of the window, with traffic, subscribers or readers: the case `growth`.
///
/// *An HTTP call* that passes and is judged by its head takes 637 instructions more than the partner alone (case `http`). One that is exempt by its path, 565 more than the matcher:
/// 128 to ask it and to see that nobody reads the path in another way, 96 to find the exemptions in force and to count, and the rest, as for every call, to move request, future and answer along.
///
/// *Before an axum router's routes*, in a real server (`axum::serve`, a connection that is kept, a router of two routes; without the kernel's):
///
/// | a request | instructions | of the router alone | by `oneshot` |
/// |---|---|---|---|
/// | the router alone | 13,989 | 1.00 | 5,489 |
/// | with a layer that does nothing | 14,835 | 1.06 | 6,335 |
/// | with this one, `routes()` | 15,400 | 1.10 | 6,908 |
/// | the same, and an exemption to look for | 15,424 | 1.10 | 6,921 |
/// | this one around the router, `paths()`, and the exemption | 14,589 | 1.04 | 6,082 |
///
/// The larger part is not this layer's: axum clones a layered route for each request and boxes its future once more, whatever the layer is. Who minds puts it around the
/// router: it knows paths then, not the router's own decision, and refuses what no route takes, too. In time little of it is seen: such a request takes 22,240 ns on loopback, with a layer that
/// does nothing 22,300, and with this one 22,390. The cases `axum_served` and `axum`.
///
/// # What was tried and did not pay
///
/// - *One counter that all cores share*: 6 ns alone, 30 when two threads meet. So each core counts on a line of its own, and whoever
///   judges adds up.
/// - *One `Arc` for each call*: 14 ns alone, 62 when two threads meet. A call that ends leaves its hold to the next on
///   its thread.
/// - *A window scanned by calls*: the ring of buckets belongs to whoever has the lock. Calls count by the bucket, and the buckets
///   keep totals.
/// - *Undated successes*, one clock read for several calls: the clock is most of what is left. But a core would
///   misplace up to all but one of them, into an older bucket or a newer, and could so delay a trip or cause one.
/// - *A lock-free slot for the hold that a call leaves*, in place of a thread-local: a read-modify-write to take it and one to give it back, which is
///   what it was to save.
/// - *Comparing short paths eight bytes at a time*, to see whether they are plain: the compiler took the eight apart. A copy that is filled up to sixteen costs less.
/// - *A hash for names that is cheaper than the standard library's*: bisection by length and then by name takes as little, and nothing of one's own.
/// - *As many lanes as cores*: the thread that starts a runtime calls too, and then one of its workers had none of its own. Two threads did 1.66 of one.
/// - *Not looking for an exemption while serving*, before one's own routes, where all pass anyway: 100 instructions less, 190 around the router. But exempt requests are counted at all times.
/// - *An enum of what two clocks show*: it was written in halves and read as a whole, and the processor waited 5 ns for its
///   own stores. So each clock has code of its own.
///
/// # How exact it is
///
/// - *`CoarseClock`* lags by a tick, at most `CoarseClock::MAX_LAG` (16 ms): so do buckets, waits and limits. Listeners sleep longer by as much,
///   rather than look again and again: `a_listener_on_the_coarse_clock_sleeps_through_the_wait`.
/// - *Counting without the lock* loses nothing and counts nothing twice or in another bucket:
///   `what_lands_is_drained_once_where_it_landed`, `nothing_is_lost_among_threads`, `successes_between_failures_are_counted_exactly`. A bucket is known by the low 32 bits of its number,
///   so at the narrowest width of 1 ms a success may lie for 49 days with nobody taking the lock before it is taken for a newer one:
///   `a_bucket_is_known_by_its_low_bits`.
/// - *`status()`* sees every call that had ended before it was asked; of those that land this very moment some, and a call
///   may be counted as admitted and not yet as succeeded: `status_sees_every_call_that_ended_before_it`.
/// - *A thread keeps the state of one layer*, the one that it called through last, until it calls through another or ends:
///   `a_thread_keeps_one_layer_at_most_after_it_is_gone`, `a_thread_that_ends_lets_go`. What it keeps is never taken for another layer's:
///   `a_thread_that_calls_many_layers_by_turns_counts_each_call_in_its_own`.
/// - *Count windows* take the lock for every call, for they must know the order; so does the success after a failure, which ends a run.
///
/// # Many partners, many cores
///
/// `cargo bench --bench many_cores` holds a model of cache lines against real runs of one and two threads, and then gives it 128 cores. What it says, with 100 ns for a line to come
/// from another core (an assumption; nothing beyond two cores was measured):
///
/// - *Memory.* 3.4 KB and 392 bytes for each lane, of which there is one for each core, up to 64, and one more: 28,888 bytes on 64 cores or
///   more, 289 MB for 10,000 layers. From two cores on that is within 128 bytes a core and bucket and 2 KiB: `a_layer_takes_at_most_128_bytes_a_core_and_bucket_and_2_kib`.
/// - *10,000 partners, 1,000,000 calls a second in all*: 100 a second for each. No line is fought for. A call costs what fetching its ten
///   lines from memory does, some hundred nanoseconds: a quarter of one core of 128.
/// - *1,000,000 calls a second for each* are 10,000,000,000: 12.8 ns a call and core, which is less than the clock takes. That much no breaker that reads a clock does;
///   128 cores do about a third of it where nothing is shared.
/// - *One layer, all cores.* Admitting shares nothing up to 65 threads: 32 ns a call on 64 cores as on one. Beyond that threads share
///   lanes by twos: 230 ns on 128 cores, which do 550 million calls a second; one counter for all does 10 million, one `Arc` 5, one lock 3.
/// - *What breaks first* is cloning the service for each call, for all clones count in one place, which every call reads: 3 million a second through one layer, however many cores.
///   Keep a service for each worker or connection where one partner gets more; an axum server clones its router, and with it every layer of it, for each request.
/// - *Then failures.* One takes the lock, adds up all lanes and closes them, the next success opens them: about 20 µs with 65 lanes, so some 50,000 failures a second through one layer. With one
///   failure in 1,000 calls 64 cores do 61 million calls a second, with one in 100 they do 5 million.
/// - *Refusing and exempting* share nothing but what is read. A thread that refuses for many layers by turns counts references of each layer's notice, one count for all cores.
/// - *Keyed layers* share nothing between calls but the turn of the sweep, eight additions in 64 calls of a thread.
pub mod costs {}
