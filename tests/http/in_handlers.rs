//! What customers read when a handler's call to the partner was refused, and what they never read.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request as AxumRequest,
    response::{IntoResponse, Response as AxumResponse},
    routing::{get, post},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde_json::Value;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_maintenance::{
    Hold, MaintenanceHandle, MaintenanceLayer, Refused,
    http::{Announcement, Notices, PageTexts, Refusals, refusal},
};

use crate::support::hold;

/// A partner that always answers.
async fn partner(layer: MaintenanceLayer, path: &str) -> Result<(), BoxError> {
    let client = service_fn(async |_: Request<Empty<&[u8]>>| {
        Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
    });
    let request = Request::get(path).body(Empty::new())?;
    let answer = layer.http_calls().layer(client).oneshot(request).await;
    answer?.into_body().collect().await?;
    Ok(())
}

async fn text(answer: AxumResponse) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn ask(app: &Router, request: http::request::Builder) -> AxumResponse {
    let request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap()
}

/// The word of a handler on its refusal.
type Word = fn(&Refused, AxumRequest) -> AxumResponse;

/// A checkout that charges, is refused the next call, and answers with `word`.
fn checkout(layer: &MaintenanceLayer, word: Word) -> Router {
    let layer = layer.clone();
    let handler = move |request: AxumRequest| {
        let layer = layer.clone();
        async move {
            partner(layer.clone(), "/v1/charge").await.unwrap();
            hold(&layer.handle());
            let error = partner(layer.clone(), "/v1/receipt").await.unwrap_err();
            layer.handle().release("on-call", "over").unwrap();
            word(Refused::find(&*error).unwrap(), request)
        }
    };
    Router::new().route("/checkout", post(handler))
}

/// Each way in which a handler may answer without saying more.
const WORDS: [(&str, Word); 4] = [
    ("IntoResponse", |refused, _| refused.clone().into_response()),
    ("Error", |refused, _| {
        tower_maintenance::Error::<StatusCode>::Refused(refused.clone()).into_response()
    }),
    ("refusal", |refused, _| refusal(refused)),
    ("respond", |refused, request| {
        let (head, _) = request.into_parts();
        Refusals::of(refused).respond(&head.method, &head.uri, &head.headers, refused)
    }),
];

const BROWSER: (&str, &str) = ("accept", "text/html");

#[tokio::test(start_paused = true)]
async fn a_handler_that_charged_before_does_not_say_that_nothing_was_processed() {
    for (case, word) in WORDS {
        // With the notice's address the page speaks of the way back.
        let refusals = Refusals::new().notice_url("/notice.json").unwrap();
        let layer = MaintenanceLayer::builder("zuora").refusals(refusals);
        let layer = layer.build().unwrap();
        let app = checkout(&layer, word);
        let mut pages = vec![ask(&app, Request::post("/checkout")).await];
        if case == "respond" {
            let browser = Request::post("/checkout").header(BROWSER.0, BROWSER.1);
            pages.push(ask(&app, browser).await);
        }
        for answer in pages {
            assert_eq!(answer.status(), 503, "{case}");
            assert_eq!(answer.headers()["cache-control"], "private, no-store");
            assert!(answer.extensions().get::<Refused>().is_some(), "{case}");
            let text = text(answer).await.to_lowercase();
            for never in [
                "not processed",
                "safe to repeat",
                "safely",
                "nothing",
                "processed\":",
            ] {
                assert!(!text.contains(never), "{case} says `{never}`: {text}");
            }
            assert!(!text.contains("once more"), "{case}: {text}");
            assert!(!text.contains("zuora"), "{case}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_did_nothing_before_says_so() {
    let layer = MaintenanceLayer::new("zuora");
    let app = checkout(&layer, |refused, _| {
        refused.clone().nothing_processed().into_response()
    });
    let answer = text(ask(&app, Request::post("/checkout")).await).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["processed"], false);
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.ends_with("The request was not processed, and it is safe to repeat it."));

    let app = checkout(&layer, |refused, request| {
        let (head, _) = request.into_parts();
        let refused = refused.clone().nothing_processed();
        layer_free_respond(head, refused)
    });
    let browser = Request::post("/checkout").header(BROWSER.0, BROWSER.1);
    let page = text(ask(&app, browser).await).await;
    assert!(page.contains("Your request was not processed"), "{page}");
}

fn layer_free_respond(
    head: http::request::Parts,
    refused: tower_maintenance::http::HandlerRefusal,
) -> AxumResponse {
    Refusals::new().respond(&head.method, &head.uri, &head.headers, refused)
}

/// Everything that a customer can get of a layer: both placements, both forms, and the notice.
async fn all_that_customers_get(layer: &MaintenanceLayer, language: &str) -> Vec<(String, String)> {
    let handler = {
        let layer = layer.clone();
        move |request: AxumRequest| async move {
            let refused = partner(layer, "/v1/prices").await.unwrap_err();
            let refused = Refused::find(&*refused).unwrap();
            let (head, _) = request.into_parts();
            Refusals::of(refused).respond::<Body>(&head.method, &head.uri, &head.headers, refused)
        }
    };
    let short = {
        let layer = layer.clone();
        move || async move {
            let refused = partner(layer, "/v1/prices").await.unwrap_err();
            Refused::find(&*refused).unwrap().clone().into_response()
        }
    };
    let notices = Notices::new(&layer.handle(), layer.handle().refusals());
    let app = Router::new()
        .route("/handler", get(handler))
        .route("/short", get(short))
        .route_service("/notice.json", notices.json())
        .merge(
            Router::new()
                .route("/gate", get(async || "open"))
                .layer(layer.routes()),
        );
    let mut all = Vec::new();
    for path in ["/gate", "/handler", "/short", "/notice.json"] {
        for accept in ["application/json", "text/html"] {
            let request = Request::get(path).header("accept", accept);
            let answer = ask(&app, request.header("accept-language", language)).await;
            let headers = format!("{:?}", answer.headers());
            all.push((format!("{path} as {accept}"), headers + &text(answer).await));
        }
    }
    all
}

fn german() -> PageTexts {
    let mut texts = PageTexts::english();
    texts.title = "{component} wird gewartet".into();
    texts.notice_maintenance = "{component} wird gewartet.".into();
    texts.unnamed = "dieser Dienst".into();
    texts
}

#[tokio::test(start_paused = true)]
async fn the_layers_refusals_hold_at_both_placements_and_the_partners_name_is_in_none() {
    let refusals = Refusals::new()
        .component("Billing")
        .support_email("billing@example.com", "always")
        .unwrap()
        .language("de", german())
        .unwrap();
    let refusals = Arc::new(refusals);
    let layer = MaintenanceLayer::builder("zuora").refusals(refusals.clone());
    let layer = layer.build().unwrap();
    hold(&layer.handle());
    for (what, text) in all_that_customers_get(&layer, "de").await {
        assert!(text.contains("Billing"), "{what}: {text}");
        assert!(!text.contains("zuora"), "{what}: {text}");
        if !what.starts_with("/notice") {
            assert!(text.contains("billing@example.com"), "{what}: {text}");
        }
        if what == "/gate as text/html" || what == "/handler as text/html" {
            assert!(
                text.contains("<h1>Billing wird gewartet</h1>"),
                "{what}: {text}"
            );
        }
    }

    // Notices without a name of their own take the layer's.
    let notices = Notices::new(&layer.handle(), &Refusals::new());
    let answer = notices.json().oneshot(Request::new(())).await.unwrap();
    assert!(
        answer.body().contains("Billing is temporarily"),
        "{}",
        answer.body()
    );

    // A view's own settings are the view's.
    let ours = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let view = layer
        .paths()
        .with_refusals(Refusals::new().component("Ledger"));
    let answer = view.layer(ours).oneshot(Request::new(())).await.unwrap();
    assert!(
        answer.body().contains("Ledger is temporarily"),
        "{}",
        answer.body()
    );
}

#[test]
fn two_layers_of_one_builder_have_their_own_refusals() {
    let builder = MaintenanceLayer::builder("zuora");
    let [first, second] = ["First", "Second"].map(|name| {
        let builder = builder.clone().refusals(Refusals::new().component(name));
        builder.build().unwrap().handle()
    });
    let name = |handle: &MaintenanceHandle| format!("{:?}", handle.refusals());
    assert!(name(&first).contains("First") && name(&second).contains("Second"));
}

#[tokio::test(start_paused = true)]
async fn without_any_setting_the_component_is_this_service() {
    let layer = MaintenanceLayer::builder("zuora");
    let layer = layer.build().unwrap();
    hold(&layer.handle());
    for (what, text) in all_that_customers_get(&layer, "en").await {
        let said = "This service is temporarily unavailable for maintenance";
        assert!(text.contains(said), "{what}: {text}");
        assert!(!text.contains("zuora"), "{what}: {text}");
    }
    // Within a sentence it has no capital, in any language.
    let notices = Notices::new(
        &layer.handle(),
        &Refusals::new().language("de", german()).unwrap(),
    );
    layer.handle().release("on-call", "over").unwrap();
    notices.announce(Announcement::new("Invoices move.").unwrap());
    let notice = async |language: &str| {
        let request = Request::get("/").header("accept-language", language);
        let answer = notices.json().oneshot(request.body(()).unwrap()).await;
        let said: Value = serde_json::from_str(answer.unwrap().body()).unwrap();
        said["notice"]["text"].as_str().unwrap().to_owned()
    };
    let planned = "Maintenance of this service is planned. Invoices move.";
    assert_eq!(notice("en").await, planned);
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    assert_eq!(notice("de").await, "Dieser Dienst wird gewartet.");
}
