//! tower-http's `TraceLayer`: a refusal is not a failure.

use std::{fmt::Display, time::Duration};

use axum::{Router, extract::Request, response::Response};
use tower_http::{
    classify::{ClassifiedResponse, ClassifyResponse, ServerErrorsAsFailures, SharedClassifier},
    trace::TraceLayer,
};
use tower_maintenance::Refused;
use tracing::{Span, field::Empty};

/// Classifies a 5xx as a failure, unless it is a refusal.
#[derive(Debug, Clone, Copy)]
pub struct RefusalsAreNoFailures;

impl ClassifyResponse for RefusalsAreNoFailures {
    type FailureClass = <ServerErrorsAsFailures as ClassifyResponse>::FailureClass;
    type ClassifyEos = <ServerErrorsAsFailures as ClassifyResponse>::ClassifyEos;

    fn classify_response<B>(
        self,
        response: &http::Response<B>,
    ) -> ClassifiedResponse<Self::FailureClass, Self::ClassifyEos> {
        if response.extensions().get::<Refused>().is_some() {
            return ClassifiedResponse::Ready(Ok(()));
        }
        ServerErrorsAsFailures::new().classify_response(response)
    }

    fn classify_error<E: Display + 'static>(self, error: &E) -> Self::FailureClass {
        ServerErrorsAsFailures::new().classify_error(error)
    }
}

/// Gives each request a span that records whether the request was refused.
pub fn traced(app: Router) -> Router {
    app.layer(
        TraceLayer::new(SharedClassifier::new(RefusalsAreNoFailures))
            .make_span_with(|request: &Request| {
                tracing::info_span!(
                    "request",
                    otel.kind = "server",
                    method = %request.method(),
                    maintenance.refused = Empty,
                )
            })
            // The handler may have made the response in a span of its own.
            .on_response(|response: &Response, _: Duration, span: &Span| {
                if response.extensions().get::<Refused>().is_some() {
                    span.record("maintenance.refused", true);
                }
            }),
    )
}
