//! Sentry: refusals make no issues, and real errors still do.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::{error::Error, io, sync::Arc};

use axum::{Router, extract::Request};
use http::StatusCode;
use observability_tests::{
    app::{AROUND_CALLS, BEFORE_ROUTES, BROKEN, app, block_on, layer, status_of},
    sentry::{before_send, errors_to_sentry},
    trace_layer::traced,
};
use sentry::{
    ClientOptions,
    integrations::{
        tower::{NewSentryLayer, SentryHttpLayer},
        tracing::ErrorLayer,
    },
    protocol::Event,
    test::{with_captured_events, with_captured_events_options},
};
use tower::{BoxError, Layer as _, ServiceExt, service_fn};
use tower_http::trace::TraceLayer;
use tower_maintenance::{Hold, MaintenanceHandle, MaintenanceLayer, Refused};
use tracing::Subscriber;
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, registry::Registry};

fn with_sentry(app: Router) -> Router {
    app.layer(SentryHttpLayer::new())
        .layer(NewSentryLayer::<Request>::new_from_top())
}

/// Returns the app with Sentry as it is commonly set up.
fn without_recipe(app: Router) -> Router {
    with_sentry(app.layer(TraceLayer::new_for_http()))
}

fn with_recipe(app: Router) -> Router {
    with_sentry(traced(app))
}

fn errors_as_they_come() -> impl Subscriber + Send + Sync {
    Registry::default().with(ErrorLayer::new().with_filter(LevelFilter::ERROR))
}

fn errors_but_refusals() -> impl Subscriber + Send + Sync {
    Registry::default().with(errors_to_sentry())
}

/// Returns what Sentry receives when `paths` are requested while an operator holds maintenance.
fn issues_while_held(
    watch: fn(Router) -> Router,
    subscriber: impl Subscriber + Send + Sync + 'static,
    paths: &[(&str, StatusCode)],
) -> Vec<String> {
    issues(watch, subscriber, paths, |handle| {
        handle.engage(Hold::new("on-call", "drill")).unwrap();
    })
}

fn issues(
    watch: fn(Router) -> Router,
    subscriber: impl Subscriber + Send + Sync + 'static,
    paths: &[(&str, StatusCode)],
    prepare: fn(&MaintenanceHandle),
) -> Vec<String> {
    let events = with_captured_events(|| {
        tracing::subscriber::with_default(subscriber, || {
            let layer = layer();
            prepare(&layer.handle());
            let app = watch(app(&layer));
            for (path, status) in paths {
                assert_eq!(block_on(status_of(&app, path)), *status, "{path}");
            }
        });
    });
    events.iter().map(title).collect()
}

/// Returns the message and the innermost error.
fn title(event: &Event<'_>) -> String {
    let message = event.message.clone().unwrap_or_default();
    match event.exception.first() {
        Some(error) => format!("{message}: {}", error.value.as_deref().unwrap_or_default()),
        None => message,
    }
}

const REFUSED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

#[test]
fn without_the_recipe_a_refusal_is_one_issue_before_routes_and_two_around_calls() {
    let paths = [(BEFORE_ROUTES, REFUSED), (AROUND_CALLS, REFUSED)];
    let seen = issues_while_held(without_recipe, errors_as_they_come(), &paths);
    assert_eq!(
        seen,
        [
            "response failed",
            "no account: zuora is in maintenance",
            "response failed"
        ]
    );
}

#[test]
fn with_the_recipe_no_refusal_is_an_issue_and_a_real_error_beside_it_is() {
    let paths = [
        (BEFORE_ROUTES, REFUSED),
        (AROUND_CALLS, REFUSED),
        (BROKEN, FAILED),
    ];
    let seen = issues_while_held(with_recipe, errors_but_refusals(), &paths);
    assert_eq!(
        seen,
        ["broken: our own disk is full", "response failed"],
        "only what is broken"
    );
}

#[test]
fn with_the_recipe_the_partners_own_errors_are_issues() {
    let paths = [(AROUND_CALLS, FAILED)];
    let seen = issues(with_recipe, errors_but_refusals(), &paths, |_| ());
    assert_eq!(
        seen,
        ["no account: the partner answered 502", "response failed"]
    );
}

#[derive(Debug)]
struct Wrapped(BoxError);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the invoice cannot be made")
    }
}

impl Error for Wrapped {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Returns a refusal as the layer returns it, as a stack of boxed errors returns it, and below an
/// app's own error.
fn refusals() -> Vec<BoxError> {
    let layer = MaintenanceLayer::new("zuora");
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let partner = service_fn(|()| async { Ok::<_, io::Error>(()) });
    let plain = || block_on(layer.layer(partner).oneshot(())).unwrap_err();
    let boxed = block_on(layer.boxed().layer(partner).oneshot(())).unwrap_err();
    let shared: Arc<dyn Error + Send + Sync> = Arc::new(plain());
    vec![
        plain().into(),
        boxed,
        Box::new(Wrapped(plain().into())),
        Box::new(Wrapped(Box::new(shared))),
    ]
}

fn captured(options: ClientOptions) -> Vec<String> {
    let events = with_captured_events_options(
        || {
            for refusal in refusals() {
                assert!(Refused::find(&*refusal).is_some());
                sentry::capture_error(&*refusal);
            }
            sentry::capture_error(&Wrapped(io::Error::other("no ink").into()));
        },
        options,
    );
    events.iter().map(title).collect()
}

#[test]
fn before_send_drops_captured_refusals_under_any_wrapping_and_no_other_error() {
    assert_eq!(captured(ClientOptions::default()).len(), 5);
    let options = ClientOptions::default().before_send(before_send);
    assert_eq!(captured(options), [": no ink"]);
}

#[test]
fn a_refusal_logged_as_text_is_not_recognised_and_arrives() {
    let events = with_captured_events(|| {
        tracing::subscriber::with_default(errors_but_refusals(), || {
            for refusal in refusals() {
                tracing::error!(error = %refusal, "as text");
                tracing::error!(error = &*refusal as &dyn Error, "as an error");
            }
        });
    });
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| title(event) == "as text"));
}
