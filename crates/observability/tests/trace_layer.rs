//! tower-http's `TraceLayer`: a refusal is not logged as a failure, but a real 5xx is.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod support;

use axum::Router;
use observability_tests::{
    app::{BEFORE_ROUTES, BROKEN, IN_A_SPAN, OVERLOADED, app, block_on, layer, status_of},
    trace_layer::traced,
};
use tower_http::trace::TraceLayer;
use tower_maintenance::Hold;

/// Returns the lines of level ERROR that a request to `path` leaves while an operator holds
/// maintenance.
fn errors(watch: fn(Router) -> Router, path: &str) -> Vec<String> {
    let layer = layer();
    let hold = Hold::new("on-call", "drill");
    layer.handle().engage(hold).unwrap();
    let log = support::logged(|| {
        let status = block_on(status_of(&watch(app(&layer)), path));
        assert!(status.is_server_error());
    });
    let errors = log.lines().filter(|line| line.contains(" ERROR "));
    errors.map(str::to_owned).collect()
}

fn as_it_is(app: Router) -> Router {
    app.layer(TraceLayer::new_for_http())
}

#[test]
fn without_the_recipe_each_refusal_is_logged_as_a_failure() {
    for path in [BEFORE_ROUTES, IN_A_SPAN] {
        let errors = errors(as_it_is, path);
        let [line] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert!(line.contains("response failed classification=Status code: 503"));
    }
}

#[test]
fn with_the_recipe_a_refusal_is_no_failure_and_a_503_of_our_own_is_one() {
    for path in [BEFORE_ROUTES, IN_A_SPAN] {
        assert_eq!(errors(traced, path), [""; 0], "{path}");
    }
    for (path, status) in [(OVERLOADED, 503), (BROKEN, 500)] {
        let failure = format!("response failed classification=Status code: {status}");
        let errors = errors(traced, path);
        let failures = errors.iter().filter(|line| line.contains(&failure));
        assert_eq!(failures.count(), 1, "{path}: {errors:?}");
    }
}
