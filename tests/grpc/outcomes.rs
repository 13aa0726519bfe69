//! How answers are judged, when a call ends, and whose fault a failure is.

use std::{future::pending, panic::AssertUnwindSafe, pin::pin, task::Poll};

use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use test_support::{Step, millis, poll_once, secs};
use tokio::time::{sleep, timeout};
use tower_maintenance::{
    Outcome,
    grpc::{Code, GrpcCalls},
};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn every_code_is_judged_the_same_in_headers_and_in_trailers() {
    for code in 0..=16 {
        let expected = match code {
            // 1 is CANCELLED: received, while the caller still waits.
            1 | 2 | 4 | 13 | 14 | 15 => Outcome::Failure,
            7 | 8 | 16 => Outcome::Neutral,
            _ => Outcome::Success,
        };
        let code = code.to_string();
        assert_eq!(outcome(in_trailers(&code)).await, expected, "{code}");
        let only = trailers_only(status(&code));
        assert_eq!(outcome(only).await, expected, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_none_is_a_failure() {
    for odd in ["", "17", "999", "-1", "OK", "0, 14", "00", "\u{e4}"] {
        assert_eq!(outcome(in_trailers(odd)).await, Outcome::Failure, "{odd}");
        let only = trailers_only(status(odd));
        assert_eq!(outcome(only).await, Outcome::Failure, "{odd}");
    }
    let mut twice = status("0");
    twice.append("grpc-status", HeaderValue::from_static("14"));
    let body = with_body(vec![Step::Trailers(twice)]);
    assert_eq!(outcome(body).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_status_is_a_failure() {
    let other = fields(&[("x-request-id", "7")]);
    for steps in [
        vec![],
        vec![message()],
        vec![message(), message()],
        vec![message(), Step::Trailers(other)],
        vec![Step::BreaksOff],
        vec![message(), Step::BreaksOff],
    ] {
        let answer = with_body(steps.clone());
        assert_eq!(outcome(answer).await, Outcome::Failure, "{steps:?}");
    }
    // A call without any answer.
    assert_eq!(outcome(Answer::default()).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn the_trailers_have_the_last_word_over_an_ok_in_the_head() {
    let with_ok = |steps| Answer {
        http: 200,
        headers: status("0"),
        steps,
    };
    let late = with_ok(vec![message(), Step::Trailers(status("13"))]);
    assert_eq!(outcome(late).await, Outcome::Failure);
    assert_eq!(outcome(with_ok(vec![message()])).await, Outcome::Success);
    let broken = with_ok(vec![message(), Step::BreaksOff]);
    assert_eq!(outcome(broken).await, Outcome::Failure);
    // A status in the head that is not OK is final: clients read no further.
    let failed = Answer {
        http: 200,
        headers: status("14"),
        steps: vec![Step::Hangs],
    };
    let stack = Stack::new(failed);
    drop(stack.head(CHARGE).await.unwrap());
    assert_eq!(stack.counts(), (0, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_proxys_answer_is_judged_by_its_http_status() {
    for (http, expected) in [
        (502, Outcome::Failure),
        (503, Outcome::Failure),
        (408, Outcome::Failure),
        (401, Outcome::Neutral),
        (429, Outcome::Neutral),
        (404, Outcome::Success),
        (302, Outcome::Neutral),
        (407, Outcome::Neutral),
        (304, Outcome::Success),
    ] {
        let answer = by_proxy(http, HeaderMap::new());
        assert_eq!(outcome(answer).await, expected, "{http}");
    }
    // A gRPC status counts, whatever the HTTP status around it.
    assert_eq!(outcome(by_proxy(503, status("5"))).await, Outcome::Success);
    let broken = Answer {
        steps: vec![Step::BreaksOff],
        ..by_proxy(404, HeaderMap::new())
    };
    assert_eq!(outcome(broken).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_its_trailers_came() {
    let stack = Stack::new(in_trailers("0"));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    let calls = || stack.handle.status().calls;
    assert_eq!((calls().in_flight(), calls().succeeded), (1, 0));
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!((calls().in_flight(), calls().succeeded), (1, 0));
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    // The call ends at the trailers, and not at the end of the body or at its drop.
    assert_eq!((calls().in_flight(), calls().succeeded), (0, 1));
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(stack.counts(), (1, 0, 0, 0));

    // The same with a body that does not know that its trailers are the last frame.
    let steps = vec![Step::Trailers(status("0")), Step::Hangs];
    stack.answers(with_body(steps));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(stack.counts(), (2, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_judged_by_how_long_its_reader_waited() {
    let steps = vec![message(), Step::After(secs(4)), message(), Step::Hangs];
    let stack = Stack::new(with_body(steps));
    for (read, then, expected) in [
        // The default `hang_limit` is 5 s.
        (0, secs(4), (0, 0, 0, 1)),
        (0, secs(5), (0, 1, 0, 1)),
        // Each frame is a sign of life, and the wait begins anew.
        (2, secs(4), (0, 1, 0, 2)),
        (2, secs(5), (0, 2, 0, 2)),
    ] {
        let mut body = stack.head(CHARGE).await.unwrap().into_body();
        for _ in 0..read {
            body.frame().await.unwrap().unwrap();
        }
        if read == 0 {
            // The first frame is there: the reader does not wait for what it does not ask for.
            sleep(secs(60)).await;
            body.frame().await.unwrap().unwrap();
        }
        assert!(poll_once(pin!(body.frame())).is_none(), "it is not there");
        let more = timeout(then, pending::<()>()).await;
        assert!(more.is_err());
        drop(body);
        assert_eq!(stack.counts(), expected, "{read} frames, {then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_is_a_failure_while_its_reader_still_waits() {
    let stack = Stack::new(with_body(vec![message(), Step::Hangs]));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let calls = || stack.handle.status().calls;
    // The default `hang_limit` is 5 s; the wait begins when the reader asks.
    sleep(secs(3)).await;
    let almost = millis(4_999);
    assert!(timeout(almost, body.frame()).await.is_err());
    assert_eq!((calls().failed, calls().in_flight()), (0, 1));
    let brief = millis(2);
    assert!(timeout(brief, body.frame()).await.is_err());
    assert_eq!(
        stack.counts(),
        (0, 1, 0, 0),
        "and the call was not given up"
    );
    drop(body);
    assert_eq!(stack.counts(), (0, 1, 0, 0), "once");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hung_goes_on_for_its_reader() {
    let late = [
        Step::After(secs(600)),
        message(),
        Step::Trailers(status("0")),
    ];
    let stack = Stack::new(with_body(late.to_vec()));
    let body = stack.head(CHARGE).await.unwrap().into_body();
    let read = body.collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(read.to_bytes().len(), 5);
    assert_eq!(stack.counts(), (0, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_and_a_slow_stream_are_no_hang() {
    let late_message = || [Step::After(secs(4)), message()];
    let mut steps: Vec<_> = (0..20).flat_map(|_| late_message()).collect();
    steps.push(Step::Trailers(status("0")));
    let stack = Stack::new(with_body(steps));
    let mut body = stack.head(CHARGE).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
        sleep(secs(60)).await;
    }
    assert_eq!(stack.counts(), (1, 0, 0, 0));
}

// ---- whose fault --------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_panic_is_judged_by_whose_it_is() {
    // A panic in the partner's body is the partner's failure.
    let stack = Stack::new(with_body(vec![Step::Panics]));
    let read = AssertUnwindSafe(stack.call(CHARGE));
    assert!(futures_catch(read).await.is_err());
    assert_eq!(stack.counts(), (0, 1, 0, 0));

    // A panic in the user's judge, at the trailers or at the head, is neutral, however long the
    // call took.
    let judge = GrpcCalls::new().judged_by(|_, _| panic!("the judge panics"));
    let in_trailers = with_body(vec![Step::Trailers(status("0"))]);
    for answer in [in_trailers, trailers_only(status("0"))] {
        let stack = Stack::with_protocol(judge.clone(), answer);
        let read = AssertUnwindSafe(async {
            let body = stack.head(CHARGE).await.unwrap().into_body();
            // The reader is slow, which is no hang.
            sleep(secs(60)).await;
            body.collect().await
        });
        assert!(futures_catch(read).await.is_err());
        assert_eq!(stack.counts(), (0, 0, 1, 0));
    }
}

/// `catch_unwind` for a future.
async fn futures_catch<F: Future>(future: AssertUnwindSafe<F>) -> std::thread::Result<F::Output> {
    let mut future = Box::pin(future.0);
    std::future::poll_fn(move |cx| {
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_a_code_means_is_the_users_to_say() {
    let calls = GrpcCalls::new().judged_by(|code, metadata| match code {
        Code::Aborted if metadata.contains_key("x-database-gone") => Outcome::Failure.into(),
        Code::Internal => Outcome::Success.into(),
        _ => GrpcCalls::by_code(code, metadata),
    });
    let stack = Stack::with_protocol(calls, Answer::default());
    let gone = fields(&[("grpc-status", "10"), ("x-database-gone", "1")]);
    for answer in [
        with_body(vec![Step::Trailers(gone.clone())]),
        trailers_only(gone),
    ] {
        assert_eq!(stack.outcome(answer).await, Outcome::Failure);
    }
    assert_eq!(stack.outcome(in_trailers("10")).await, Outcome::Success);
    assert_eq!(stack.outcome(in_trailers("13")).await, Outcome::Success);
    assert_eq!(stack.outcome(in_trailers("14")).await, Outcome::Failure);
}

#[tokio::test(start_paused = true)]
async fn of_two_judges_both_are_asked_and_the_worse_verdict_counts() {
    let fails_at = |bad: Code| {
        move |code: Code, metadata: &HeaderMap| match code == bad {
            true => Outcome::Failure.into(),
            false => GrpcCalls::by_code(code, metadata),
        }
    };
    let both = GrpcCalls::new()
        .judged_by(fails_at(Code::Aborted))
        .judged_by(fails_at(Code::NotFound));
    let stack = Stack::with_protocol(both, Answer::default());
    for (code, expected) in [
        ("10", Outcome::Failure),
        ("5", Outcome::Failure),
        ("9", Outcome::Success),
        ("8", Outcome::Neutral),
    ] {
        assert_eq!(stack.outcome(in_trailers(code)).await, expected, "{code}");
    }
}
