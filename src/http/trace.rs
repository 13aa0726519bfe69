//! tower-http's `TraceLayer`: a refusal is no failure.

use std::{fmt::Display, time::Duration};

use http::{Request, Response};
use tower_http::{
    classify::{ClassifiedResponse, ClassifyResponse, ServerErrorsAsFailures, SharedClassifier},
    trace::{DefaultOnRequest, DefaultOnResponse, MakeSpan, OnResponse, TraceLayer},
};
use tracing::{Span, field::Empty};

use crate::facts::refused::Refused;

/// Makes a `TraceLayer` that does not log refusals as failures.
///
/// `TraceLayer::new_for_http()` classifies every 5xx as a failure and logs it at level ERROR, from
/// where error trackers pick it up. This one is the same but for three things:
///
/// - A response that is a [`Refused`] is no failure ([`RefusalsAreNoFailures`]).
/// - The span has the field `maintenance.refused`, which is `true` for a refusal. It is at level
///   INFO and has the method and the path, not the query ([`RequestSpan`]).
/// - The response is noted in that span ([`NoteRefusals`]), then logged as by default.
///
/// Add it outside the layer that refuses. Every part can be replaced: `.on_response(..)`,
/// `.make_span_with(..)`.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use tower::ServiceExt;
/// use tower_maintenance::{Hold, MaintenanceLayer, http::trace_layer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let app: Router = Router::new()
///     .route("/prices", get(async || "12 EUR"))
///     .layer(layer.routes())
///     .layer(trace_layer());
///
/// layer.handle().engage(Hold::new("on-call", "drill"))?;
/// let refused = app.oneshot(Request::get("/prices").body(Body::empty())?).await?;
/// assert_eq!(refused.status(), 503); // and nothing at level ERROR is in the log
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn trace_layer()
-> TraceLayer<SharedClassifier<RefusalsAreNoFailures>, RequestSpan, DefaultOnRequest, NoteRefusals>
{
    TraceLayer::new(SharedClassifier::new(RefusalsAreNoFailures::default()))
        .make_span_with(RequestSpan)
        .on_response(NoteRefusals::default())
}

/// Classifies responses as another classifier does, but a refusal is a success.
///
/// [`trace_layer`] has it around the default classifier, for which a 5xx is a failure. With another
/// classifier, such as `GrpcErrorsAsFailures`: `TraceLayer::new(SharedClassifier::new(
/// RefusalsAreNoFailures::of(classifier)))`.
///
/// An error of the service is what the other classifier says: behind a server refusals are
/// responses.
#[derive(Debug, Clone, Copy)]
pub struct RefusalsAreNoFailures<C = ServerErrorsAsFailures>(C);

impl<C> RefusalsAreNoFailures<C> {
    /// Classifies by `others` what is no refusal.
    #[must_use]
    pub const fn of(others: C) -> Self {
        Self(others)
    }
}

impl Default for RefusalsAreNoFailures {
    fn default() -> Self {
        Self(ServerErrorsAsFailures::new())
    }
}

impl<C: ClassifyResponse> ClassifyResponse for RefusalsAreNoFailures<C> {
    type FailureClass = C::FailureClass;
    type ClassifyEos = C::ClassifyEos;

    fn classify_response<B>(
        self,
        response: &Response<B>,
    ) -> ClassifiedResponse<C::FailureClass, C::ClassifyEos> {
        if is_refusal(response) {
            return ClassifiedResponse::Ready(Ok(()));
        }
        self.0.classify_response(response)
    }

    fn classify_error<E: Display + 'static>(self, error: &E) -> C::FailureClass {
        self.0.classify_error(error)
    }
}

fn is_refusal<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Refused>().is_some()
}

/// Makes the span of a request: `request`, at level INFO, with `otel.kind`, `method`, `path` and
/// the field `maintenance.refused`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestSpan;

impl<B> MakeSpan<B> for RequestSpan {
    fn make_span(&mut self, request: &Request<B>) -> Span {
        tracing::info_span!(
            "request",
            otel.kind = "server",
            method = %request.method(),
            path = request.uri().path(),
            maintenance.refused = Empty,
        )
    }
}

/// Records `maintenance.refused = true` in the span of a request whose response is a refusal, and
/// then does what another `OnResponse` does.
///
/// The layer records it in the span that is current when it makes the response. This finds the
/// request's span also if a handler has made the response in a span of its own.
#[derive(Debug, Clone, Default)]
pub struct NoteRefusals<R = DefaultOnResponse>(R);

impl<R> NoteRefusals<R> {
    /// Does `next` afterwards.
    #[must_use]
    pub const fn then(next: R) -> Self {
        Self(next)
    }
}

impl<B, R: OnResponse<B>> OnResponse<B> for NoteRefusals<R> {
    fn on_response(self, response: &Response<B>, latency: Duration, span: &Span) {
        if is_refusal(response) {
            span.record("maintenance.refused", true);
        }
        self.0.on_response(response, latency, span);
    }
}
