//! OpenTelemetry: the span of a refused request is marked and is not an error. The span of a real
//! 5xx is an error.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use axum::{Router, extract::Request, middleware::Next, response::Response};
use observability_tests::{
    app::{
        AROUND_CALLS, BEFORE_ROUTES, BROKEN, IN_A_SPAN, OVERLOADED, app, block_on, layer, status_of,
    },
    opentelemetry::{RefusalsAreNoErrors, spans_to_opentelemetry},
    trace_layer::traced,
};
use opentelemetry::{
    KeyValue, Value,
    trace::{SpanKind, Status, TracerProvider},
};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, InMemorySpanExporterBuilder, SdkTracer, SdkTracerProvider, SpanData,
    SpanExporter,
};
use tower_http::trace::TraceLayer;
use tower_maintenance::{Hold, Refused};
use tracing::{Span, field::Empty};
use tracing_subscriber::{Layer, layer::SubscriberExt, registry::Registry};

/// What a span tells about the request: its path, whether it is an error, whether it is marked.
#[derive(Debug, PartialEq)]
struct Seen {
    error: bool,
    refused: bool,
}

impl Seen {
    const ERROR: Self = Self {
        error: true,
        refused: false,
    };
    const REFUSAL: Self = Self {
        error: false,
        refused: true,
    };
    const REFUSAL_AS_ERROR: Self = Self {
        error: true,
        refused: true,
    };

    fn of(span: &SpanData) -> Self {
        let is_mark = |attribute: &&KeyValue| attribute.key.as_str() == "maintenance.refused";
        let mark = span.attributes.iter().find(is_mark);
        Self {
            error: matches!(span.status, Status::Error { .. }),
            refused: mark.is_some_and(|mark| mark.value == Value::Bool(true)),
        }
    }

    /// Tells what an alert on errors asks: `status = error and not maintenance.refused`.
    fn alerts(&self) -> bool {
        self.error && !self.refused
    }
}

fn plain(tracer: SdkTracer) -> Box<dyn Layer<Registry> + Send + Sync> {
    Box::new(tracing_opentelemetry::layer().with_tracer(tracer))
}

fn recipe(tracer: SdkTracer) -> Box<dyn Layer<Registry> + Send + Sync> {
    Box::new(spans_to_opentelemetry(tracer))
}

/// Returns the server spans of requests to `paths` while an operator holds maintenance.
fn server_spans<E: SpanExporter + 'static>(
    watch: fn(Router) -> Router,
    to_opentelemetry: fn(SdkTracer) -> Box<dyn Layer<Registry> + Send + Sync>,
    around: fn(InMemorySpanExporter) -> E,
    paths: &[&str],
) -> Vec<Seen> {
    let exporter = InMemorySpanExporterBuilder::new().build();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(around(exporter.clone()))
        .build();
    let layer_of_spans = to_opentelemetry(provider.tracer("app"));
    tracing::subscriber::with_default(Registry::default().with(layer_of_spans), || {
        let layer = layer();
        let hold = Hold::new("on-call", "drill");
        layer.handle().engage(hold).unwrap();
        let app = watch(app(&layer));
        for path in paths {
            let status = block_on(status_of(&app, path));
            assert!(status.is_server_error(), "{path}: {status}");
        }
    });
    let spans = exporter.get_finished_spans().unwrap();
    let of_server = |span: &&SpanData| span.span_kind == SpanKind::Server;
    let seen: Vec<_> = spans.iter().filter(of_server).map(Seen::of).collect();
    assert_eq!(seen.len(), paths.len());
    seen
}

fn span(request: &Request) -> Span {
    tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.status_code = Empty,
        method = %request.method(),
        maintenance.refused = Empty,
    )
}

/// Adds a span that declares the mark, and nothing else.
fn only_declared(app: Router) -> Router {
    app.layer(TraceLayer::new_for_http().make_span_with(span))
}

/// Adds another middleware, which marks every 5xx as an error, as the semantic conventions ask.
fn by_status(app: Router) -> Router {
    let judge = async |request: Request, next: Next| -> Response {
        let response = next.run(request).await;
        if response.status().is_server_error() {
            Span::current().record("otel.status_code", "ERROR");
        }
        response
    };
    only_declared(app.layer(axum::middleware::from_fn(judge)))
}

#[test]
fn without_the_recipe_the_span_of_a_refusal_is_an_error_marked_where_the_field_is_declared() {
    let bare = |app: Router| {
        app.layer(
            TraceLayer::new_for_http()
                .make_span_with(|_: &Request| tracing::info_span!("request", otel.kind = "server")),
        )
    };
    let paths = [BEFORE_ROUTES, AROUND_CALLS];
    let seen = server_spans(bare, plain, |exporter| exporter, &paths);
    assert_eq!(seen, [Seen::ERROR, Seen::ERROR]);
    let seen = server_spans(only_declared, plain, |exporter| exporter, &paths);
    assert_eq!(seen, [Seen::REFUSAL_AS_ERROR, Seen::REFUSAL_AS_ERROR]);
}

#[test]
fn with_the_recipe_the_span_of_a_refusal_is_marked_and_no_error_and_a_real_5xx_is_one() {
    let paths = [BEFORE_ROUTES, AROUND_CALLS, BROKEN, OVERLOADED];
    let seen = server_spans(traced, recipe, |exporter| exporter, &paths);
    assert_eq!(
        seen,
        [Seen::REFUSAL, Seen::REFUSAL, Seen::ERROR, Seen::ERROR]
    );
}

#[test]
fn without_the_filter_a_refusal_logged_as_an_error_makes_the_span_one() {
    let seen = server_spans(traced, plain, |exporter| exporter, &[AROUND_CALLS]);
    assert_eq!(seen, [Seen::REFUSAL_AS_ERROR]);
}

#[test]
fn a_refusal_answered_within_a_handlers_own_span_marks_the_requests_span_on_response() {
    // Without `on_response` the mark goes to the handler's span, which has no such field.
    let seen = server_spans(only_declared, recipe, |exporter| exporter, &[IN_A_SPAN]);
    assert_eq!(seen, [Seen::ERROR]);
    let seen = server_spans(traced, recipe, |exporter| exporter, &[IN_A_SPAN]);
    assert_eq!(seen, [Seen::REFUSAL]);
}

#[test]
fn an_alert_filtered_by_the_mark_sees_real_errors_only_whoever_calls_a_503_an_error() {
    let paths = [BEFORE_ROUTES, BROKEN, OVERLOADED];
    let seen = server_spans(by_status, plain, |exporter| exporter, &paths);
    assert_eq!(
        seen,
        [Seen::REFUSAL_AS_ERROR, Seen::ERROR, Seen::ERROR],
        "without a filter all three would alert"
    );
    let alerts: Vec<_> = seen.iter().map(Seen::alerts).collect();
    assert_eq!(alerts, [false, true, true]);
}

#[test]
fn the_exporter_takes_the_error_from_marked_spans_whoever_put_it_there() {
    let paths = [BEFORE_ROUTES, AROUND_CALLS, BROKEN, OVERLOADED];
    let seen = server_spans(by_status, plain, RefusalsAreNoErrors, &paths);
    assert_eq!(
        seen,
        [Seen::REFUSAL, Seen::REFUSAL, Seen::ERROR, Seen::ERROR]
    );
}

/// The mark that all of these tests depend on.
#[test]
fn only_a_refusal_carries_the_mark_as_an_extension() {
    use tower::ServiceExt;
    let layer = layer();
    let hold = Hold::new("on-call", "drill");
    layer.handle().engage(hold).unwrap();
    let app = app(&layer);
    for (path, marked) in [
        (BEFORE_ROUTES, true),
        (AROUND_CALLS, true),
        (OVERLOADED, false),
    ] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let Ok(response) = block_on(app.clone().oneshot(request));
        assert_eq!(response.status(), 503);
        let mark = response.extensions().get::<Refused>();
        assert_eq!(mark.is_some(), marked, "{path}");
    }
}
