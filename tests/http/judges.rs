//! Judges of bodies: an answer that is no JSON where JSON was promised, and several judges at once.

use std::{
    future::ready,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use test_support::{ScriptedBody, Step, secs};
use tokio::time::sleep;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_maintenance::{
    CallCounts, Maintenance, MaintenanceLayer, Outcome, Verdict,
    http::{AnswerPrefix, HttpCalls, JsonAnswer},
    testing::{assert_serving, assert_tripped},
};

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = "<!doctype html><title>Offline for maintenance</title>";

fn zuora() -> JsonAnswer {
    JsonAnswer::new().failure_when("/success", false).unwrap()
}

fn calls() -> HttpCalls {
    HttpCalls::new().judged_by_json(zuora())
}

/// An answer of the partner's.
#[derive(Clone)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
}

impl Answer {
    /// A 200 with this content type, if any.
    fn ok(content_type: &'static str, body: &'static str) -> Self {
        let kind = (!content_type.is_empty()).then_some(("content-type", content_type));
        Self {
            status: 200,
            headers: kind.into_iter().collect(),
            body,
        }
    }

    fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn response(&self) -> Response<ScriptedBody> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(*name, *value);
        }
        response.body(ScriptedBody::whole(self.body)).unwrap()
    }
}

/// Returns what the layer counts after one call that is answered so.
async fn counted(calls: HttpCalls, method: Method, answer: Answer) -> CallCounts {
    let layer = MaintenanceLayer::new("zuora");
    let partner = service_fn(move |_| ready(Ok::<_, BoxError>(answer.response())));
    let service = layer.with_protocol(calls).layer(partner);
    let request = Request::builder().method(method).body(()).unwrap();
    let answer = service.oneshot(request).await.unwrap();
    let _ = answer.into_body().collect().await.unwrap();
    layer.handle().status().calls
}

async fn outcome_by(calls: HttpCalls, method: Method, answer: Answer) -> Outcome {
    let counts = counted(calls, method, answer).await;
    match (counts.succeeded, counts.failed, counts.neutral) {
        (1, 0, 0) => Outcome::Success,
        (0, 1, 0) => Outcome::Failure,
        (0, 0, 1) => Outcome::Neutral,
        other => panic!("{other:?}"),
    }
}

async fn outcome(answer: Answer) -> Outcome {
    outcome_by(calls(), Method::GET, answer).await
}

#[tokio::test(start_paused = true)]
async fn a_page_under_200_trips_where_json_was_promised() {
    for calls in [calls(), HttpCalls::new().judged_by_json(JsonAnswer::new())] {
        let layer = MaintenanceLayer::new("zuora");
        let page = Answer::ok(HTML, PAGE);
        let partner = service_fn(move |_| ready(Ok::<_, BoxError>(page.response())));
        let service = layer.with_protocol(calls).layer(partner);
        for _ in 0..5 {
            assert_serving(&layer.handle());
            let answer = service.clone().oneshot(Request::new(())).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, PAGE, "the reader gets the page");
        }
        assert_eq!(assert_tripped(&layer.handle()).last_code, Some(200));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_json_under_json_html_plain_text_or_nothing_fails() {
    for kind in [
        JSON,
        "Application/JSON;charset=UTF-8",
        "application/problem+json",
        HTML,
        "TEXT/HTML",
        "text/plain",
        "",
        "json",
    ] {
        for body in [
            PAGE,
            "",
            " \r\n",
            "OK",
            "12 EUR",
            r#"{"success": true"#,
            r#"{"success": tr"#,
            r#"{"success": true}<!-- cached -->"#,
            "{success: true}",
            "\u{feff}",
            "NaN",
        ] {
            let answer = Answer::ok(kind, body);
            assert_eq!(outcome(answer).await, Outcome::Failure, "{kind}: {body}");
        }
        for body in [
            "{}",
            "null",
            "true",
            "12",
            r#""ok""#,
            "[]",
            "\r\n\t {\"success\": true} \r\n",
            "\u{feff}{\"success\": true}",
        ] {
            let answer = Answer::ok(kind, body);
            assert_eq!(outcome(answer).await, Outcome::Success, "{kind}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_2xx_that_has_a_whole_body_must_be_json() {
    for (status, expected) in [
        (201, Outcome::Failure),
        (202, Outcome::Failure),
        (203, Outcome::Failure),
        (299, Outcome::Failure),
        (204, Outcome::Success),
        (205, Outcome::Success),
        (206, Outcome::Success),
        (304, Outcome::Success),
        (404, Outcome::Success),
        (302, Outcome::Neutral),
        (429, Outcome::Neutral),
        (502, Outcome::Failure),
    ] {
        for body in [PAGE, ""] {
            let answer = Answer::ok(HTML, body).with_status(status);
            assert_eq!(outcome(answer).await, expected, "{status}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_declared_type_and_an_encoded_body_stay_as_the_status_says() {
    for kind in [
        "application/pdf",
        "text/csv; charset=utf-8",
        "image/png",
        "application/xml",
        "text/xml",
        "application/octet-stream",
        "text/event-stream",
        "application/x-ndjson",
    ] {
        for body in ["%PDF-1.7", ""] {
            let answer = Answer::ok(kind, body);
            assert_eq!(outcome(answer).await, Outcome::Success, "{kind}: {body}");
        }
        // The rules still apply.
        let answer = Answer::ok(kind, r#"{"success": false}"#);
        assert_eq!(outcome(answer).await, Outcome::Failure, "{kind}");
    }
    for coding in ["gzip", "BR", "identity, zstd", "x-unknown"] {
        let answer = Answer::ok(JSON, "\u{1f}\u{8b}").with("content-encoding", coding);
        assert_eq!(outcome(answer).await, Outcome::Success, "{coding}");
    }
    for coding in ["identity", "", "Identity, identity"] {
        let answer = Answer::ok(JSON, PAGE).with("content-encoding", coding);
        assert_eq!(outcome(answer).await, Outcome::Failure, "{coding}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_has_no_body_to_judge() {
    for body in ["", PAGE] {
        let answer = Answer::ok(JSON, body);
        let head = outcome_by(calls(), Method::HEAD, answer.clone()).await;
        assert_eq!(head, Outcome::Success, "{body}");
        let boxed = MaintenanceLayer::new("zuora");
        let partner = service_fn(move |_| ready(Ok::<_, BoxError>(answer.response())));
        let service = boxed.with_protocol(calls().boxed()).layer(partner);
        let answer = service.oneshot(Request::head("/").body(()).unwrap()).await;
        let _ = answer.unwrap().into_body().collect().await.unwrap();
        assert_eq!(boxed.handle().status().calls.succeeded, 1, "{body}");
    }
    // The judge is asked about what is there: the head.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = seen.clone();
    let judge = move |answer: &AnswerPrefix<'_>| {
        let seen = (answer.bytes().len(), answer.is_whole());
        noting.lock().unwrap().push(seen);
        answer
            .headers()
            .contains_key("x-down")
            .then_some(Outcome::Failure.into())
    };
    let calls = HttpCalls::new().judged_by_body(judge);
    let down = Answer::ok(JSON, "").with("x-down", "1");
    assert_eq!(
        outcome_by(calls, Method::HEAD, down).await,
        Outcome::Failure
    );
    assert_eq!(*seen.lock().unwrap(), [(0, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_longer_than_its_prefix_is_judged_by_what_came() {
    let long = r#"{"prices": [1, 2, 3, 4, 5, 6, 7, 8, 9], "success": false}"#;
    for (prefix, expected) in [
        (10, Outcome::Success),
        (long.len() - 10, Outcome::Success),
        // The value of the rule came.
        (long.len() - 1, Outcome::Failure),
        (long.len() + 1, Outcome::Failure),
    ] {
        let calls = calls().with_body_prefix(prefix);
        let said = outcome_by(calls, Method::GET, Answer::ok(JSON, long)).await;
        assert_eq!(said, expected, "{prefix}");
    }
    // It is not known what follows: not even a page is judged by its beginning.
    let page = Answer::ok(HTML, PAGE);
    let cut = outcome_by(calls().with_body_prefix(20), Method::GET, page).await;
    assert_eq!(cut, Outcome::Success);
    // A body that breaks off is a failure by that.
    let layer = MaintenanceLayer::new("zuora");
    let partner = service_fn(|_| {
        let steps = vec![Step::Data(Bytes::from_static(b"{\"succ")), Step::BreaksOff];
        ready(Ok::<_, BoxError>(Response::new(ScriptedBody::of(steps))))
    });
    let service = layer.with_protocol(calls()).layer(partner);
    let answer = service.oneshot(Request::new(())).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    assert_eq!(layer.handle().status().calls.failed, 1);
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_an_answer_that_is_no_json_can_be_set() {
    for outcome in [Outcome::Success, Outcome::Neutral, Outcome::Failure] {
        let calls = HttpCalls::new().judged_by_json(zuora().when_no_json(outcome));
        let page = Answer::ok(HTML, PAGE);
        assert_eq!(outcome_by(calls.clone(), Method::GET, page).await, outcome);
        // A rule that says something worse still counts.
        let half = Answer::ok(JSON, r#"{"success": false, "#);
        assert_eq!(outcome_by(calls, Method::GET, half).await, Outcome::Failure);
    }
}

// ---- several judges -----------------------------------------------------------------------------

/// Says the same of every body.
fn says(verdict: impl Into<Verdict>) -> impl Fn(&AnswerPrefix<'_>) -> Option<Verdict> {
    let verdict = verdict.into();
    move |_| Some(verdict)
}

/// What these calls make of a good answer, of one that says that it failed, and of a page.
fn said(calls: &HttpCalls) -> [Outcome; 3] {
    let headers = HeaderMap::new();
    [r#"{"success": true}"#, r#"{"success": false}"#, PAGE].map(|body| {
        let answer = AnswerPrefix::whole(StatusCode::OK, &headers, body.as_bytes());
        calls.judge(&answer).outcome
    })
}

fn page_fails(answer: &AnswerPrefix<'_>) -> Option<Verdict> {
    let is_page = answer.bytes().starts_with(b"<!doctype");
    is_page.then_some(Outcome::Failure.into())
}

#[test]
fn of_two_judges_both_are_asked_and_the_worse_counts() {
    use Outcome::{Failure, Neutral, Success};
    let lenient = || zuora().when_no_json(Success);
    let new = HttpCalls::new;
    let both = [Success, Failure, Failure];
    for calls in [
        calls().judged_by_body(page_fails),
        new().judged_by_json(lenient()).judged_by_body(page_fails),
        new().judged_by_body(page_fails).judged_by_json(lenient()),
        calls().judged_by_json(JsonAnswer::new()),
        calls().judged_by_body(says(Success)),
    ] {
        assert_eq!(said(&calls), both);
    }
    for calls in [
        calls().judged_by_body(says(Neutral)),
        new().judged_by_body(says(Neutral)).judged_by_json(zuora()),
    ] {
        assert_eq!(said(&calls), [Neutral, Failure, Failure]);
    }
    for calls in [
        new().judged_by_body(page_fails).judged_by_body(|_| None),
        new().judged_by_body(|_| None).judged_by_body(page_fails),
    ] {
        assert_eq!(said(&calls), [Success, Success, Failure]);
    }
    let three = new()
        .judged_by_body(says(Neutral))
        .judged_by_body(says(Success));
    assert_eq!(said(&three.judged_by_body(says(Failure))), [Failure; 3]);
}

#[test]
fn of_two_verdicts_the_longer_wait_and_the_worse_code_count() {
    let judged = |one: Verdict, other: Verdict| {
        let headers =
            HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("7"))]);
        let calls = HttpCalls::new()
            .judged_by_body(says(one))
            .judged_by_body(says(other));
        let verdict = calls.judge(&AnswerPrefix::whole(StatusCode::OK, &headers, b""));
        (verdict.outcome, verdict.code, verdict.retry_after)
    };
    let failed = Verdict::from(Outcome::Failure);
    let busy = Verdict::from(Outcome::Neutral)
        .with_code(429)
        .with_retry_after(secs(20));
    for (one, other) in [(failed, busy), (busy, failed)] {
        // Not the code of the neutral one: the status stands in for a failure without a code.
        let expected = (Outcome::Failure, Some(200), Some(secs(20)));
        assert_eq!(judged(one, other), expected);
    }
    let coded = failed.with_code(61).with_retry_after(secs(10));
    let expected = (Outcome::Failure, Some(61), Some(secs(10)));
    assert_eq!(judged(failed, coded), expected);
    assert_eq!(judged(coded, failed), expected);
    // Without a wait of their own: that of the answer.
    let expected = (Outcome::Failure, Some(200), Some(secs(7)));
    assert_eq!(judged(failed, failed), expected);
    // A verdict of our own doing is neutral, also if it names a failure.
    let ours = Verdict::ours();
    assert_eq!(ours.or_worse(failed), failed);
    assert_eq!(failed.or_worse(ours), failed);
    assert_eq!(ours.or_worse(Outcome::Success.into()), ours);
}

#[test]
fn of_two_judges_of_the_head_both_are_asked_too() {
    let missing = |status: StatusCode, headers: &HeaderMap| match status {
        StatusCode::NOT_FOUND => Outcome::Failure.into(),
        _ => HttpCalls::by_status(status, headers),
    };
    let gone = |status: StatusCode, headers: &HeaderMap| match status {
        StatusCode::GONE => Outcome::Failure.into(),
        _ => HttpCalls::by_status(status, headers),
    };
    for calls in [
        HttpCalls::new().judged_by(missing).judged_by(gone),
        HttpCalls::new().judged_by(gone).judged_by(missing),
    ] {
        let headers = HeaderMap::new();
        for (status, expected) in [
            (404, Outcome::Failure),
            (410, Outcome::Failure),
            (409, Outcome::Success),
            (401, Outcome::Neutral),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let answer = AnswerPrefix::whole(status, &headers, b"");
            assert_eq!(calls.judge(&answer).outcome, expected, "{status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn judged_at_headers_a_judge_of_bodies_still_runs() {
    for calls in [
        calls().with_body_prefix(40).judged_at_headers(),
        HttpCalls::new()
            .judged_at_headers()
            .judged_by_json(zuora())
            .with_body_prefix(40),
    ] {
        let first = |text: &'static str| move || Step::Data(Bytes::from_static(text.as_bytes()));
        let good = first(r#"{"success": true, "id": "A-0000000001"}.."#);
        let bad = first(r#"{"success": false, "id": "A-000000001"}.."#);
        let service = |layer: &MaintenanceLayer, steps: Vec<Step>| {
            let partner = service_fn(move |_: Request<()>| {
                let body = ScriptedBody::of(steps.clone());
                ready(Ok::<_, BoxError>(Response::new(body)))
            });
            layer.with_protocol(calls.clone()).layer(partner)
        };
        // A stream that is silent after its first event: judged by that, and no hang.
        for (step, expected) in [(&good as &dyn Fn() -> Step, (1, 0)), (&bad, (0, 1))] {
            let layer = MaintenanceLayer::new("zuora");
            let stream: Maintenance<_, _> = service(&layer, vec![step(), Step::Hangs]);
            let mut body = stream.oneshot(Request::new(())).await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            let counts = || layer.handle().status().calls;
            assert_eq!((counts().succeeded, counts().failed), expected);
            assert_eq!(counts().in_flight(), 0);
        }
        // One that is silent from its start says nothing.
        let layer = MaintenanceLayer::new("zuora");
        let stream = service(&layer, vec![Step::Hangs]);
        let mut body = stream.oneshot(Request::new(())).await.unwrap().into_body();
        tokio::select! {
            _ = body.frame() => panic!("it hangs"),
            () = sleep(secs(3600)) => {}
        }
        drop(body);
        let counts = layer.handle().status().calls;
        assert_eq!((counts.failed, counts.neutral), (0, 1));
    }
}
