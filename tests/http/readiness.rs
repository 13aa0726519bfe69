//! The readiness route answers 200 in every mode, and says why.

use std::time::Duration;

use axum::{Router, body::Body, extract::State, response::Json, routing::get};
use http::{Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_maintenance::{Hold, MaintenanceLayer, Policy};

const SECOND: Duration = Duration::from_secs(1);

async fn ask(app: &Router, method: &str, path: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

async fn read(response: Response<Body>) -> Value {
    let body = axum::body::to_bytes(response.into_body(), 4096).await;
    serde_json::from_slice(&body.unwrap()).unwrap()
}

/// Returns the members of the answer, which is 200 and is not stored.
async fn ready(app: &Router) -> Value {
    let response = ask(app, "GET", "/health/ready").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "private, no-store");
    read(response).await
}

fn layer() -> MaintenanceLayer {
    let policy = Policy::default()
        .with_wait(Duration::from_secs(30))
        .with_jitter(0.0);
    let layer = MaintenanceLayer::builder("zuora")
        .policy(policy)
        .wall_clock(std::time::UNIX_EPOCH + Duration::from_secs(1_722_456_300))
        .generation(7);
    layer.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_is_200_in_every_mode_and_says_why_since_when_and_when_to_look_again() {
    let layer = layer();
    let handle = layer.handle();
    let app = Router::new()
        .route("/prices", get(async || "12 EUR"))
        .layer(layer.routes())
        .route("/health/ready", handle.readiness_route());
    let serving = json!({
        "partner": "zuora", "mode": "serving", "since": "2024-07-31T20:05:00.000Z", "causes": [],
        "read_only": false, "until": null, "retry_after_seconds": null, "message": null,
        "generation": 7,
    });
    assert_eq!(ready(&app).await, serving);

    tokio::time::advance(SECOND).await;
    handle.trip("on-call", "drill").unwrap();
    // Half a second later: the rest is rounded up, so that the next look is not too early.
    tokio::time::advance(SECOND / 2).await;
    let tripped = json!({
        "partner": "zuora", "mode": "maintenance", "since": "2024-07-31T20:05:01.000Z",
        "causes": ["tripped"], "read_only": false, "until": "2024-07-31T20:05:31.000Z",
        "retry_after_seconds": 30, "message": null, "generation": 7,
    });
    assert_eq!(ready(&app).await, tripped);
    assert_eq!(ask(&app, "GET", "/prices").await.status(), 503);

    // No other caller looks: the deadline passes all the same.
    tokio::time::advance(30 * SECOND).await;
    let probing = ready(&app).await;
    assert_eq!(probing["mode"], "probing");
    assert_eq!(probing["since"], "2024-07-31T20:05:01.000Z");
    assert_eq!(probing["until"], Value::Null);

    let hold = Hold::new("on-call", "ticket 4711").read_only();
    handle.engage(hold.with_message("Back at noon.")).unwrap();
    let held = ready(&app).await;
    assert_eq!(held["causes"], json!(["operator", "tripped"]));
    assert_eq!(held["read_only"], true);
    assert_eq!(held["message"], "Back at noon.");
    assert!(!held.to_string().contains("4711"), "the reason is internal");
}

#[tokio::test]
async fn it_answers_head_and_no_other_method() {
    let app = Router::new().route("/health/ready", layer().handle().readiness_route());
    let head = ask(&app, "HEAD", "/health/ready").await;
    assert_eq!(head.status(), 200);
    let body = axum::body::to_bytes(head.into_body(), 4096).await.unwrap();
    assert!(body.is_empty());
    assert_eq!(ask(&app, "POST", "/health/ready").await.status(), 405);
}

#[tokio::test]
async fn it_is_a_part_of_a_larger_answer_and_fits_a_router_with_state() {
    let layers = [
        MaintenanceLayer::new("zuora"),
        MaintenanceLayer::new("chat"),
    ];
    let handles = layers.each_ref().map(MaintenanceLayer::handle);
    handles[1].engage(Hold::new("on-call", "drill")).unwrap();
    let app = Router::new()
        .route("/zuora", handles[0].readiness_route())
        .route(
            "/all",
            get(async |State(handles): State<[_; 2]>| {
                Json(handles.map(|handle: tower_maintenance::MaintenanceHandle| handle.readiness()))
            }),
        )
        .with_state(handles);
    let all = read(ask(&app, "GET", "/all").await).await;
    assert_eq!(all[0]["mode"], "serving");
    assert_eq!(all[1]["partner"], "chat");
    assert_eq!(all[1]["mode"], "maintenance");
    assert_eq!(
        read(ask(&app, "GET", "/zuora").await).await["mode"],
        "serving"
    );
}
