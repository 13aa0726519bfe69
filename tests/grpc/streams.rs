//! Streams and subscriptions, which may be silent for long.

use std::pin::pin;

use http::HeaderMap;
use http_body_util::BodyExt;
use test_support::{Step, poll_once, secs};
use tokio::time::{sleep, timeout};
use tower_maintenance::{Hold, Mode, grpc::GrpcCalls};

use crate::support::*;

pub(crate) const WATCH: &str = "/billing.v1.Billing/WatchPrices";

pub(crate) fn streaming(answer: Answer) -> Stack {
    Stack::with_protocol(GrpcCalls::new().streams([WATCH]).unwrap(), answer)
}

#[tokio::test(start_paused = true)]
async fn quiet_streams_do_not_trip_a_healthy_partner() {
    let quiet = || with_body(vec![message(), Step::Hangs]);
    for (stack, wanted) in [
        (streaming(quiet()), (5, 0, 0, 0)),
        // The control: a method that is not declared as a stream.
        (Stack::new(quiet()), (0, 3, 0, 0)),
    ] {
        for _ in 0..5 {
            let mut body = stack.head(WATCH).await.unwrap().into_body();
            if stack.handle.mode() != Mode::Serving {
                break;
            }
            body.frame().await.unwrap().unwrap();
            let more = timeout(secs(10), body.frame()).await;
            assert!(more.is_err());
        }
        assert_eq!(stack.counts(), wanted);
        let trips = wanted.1 > 0;
        assert_eq!(stack.handle.mode() == Mode::Maintenance, trips);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_a_success_at_its_first_message_and_says_nothing_more() {
    for then in [
        vec![Step::Hangs],
        vec![Step::BreaksOff],
        vec![Step::Trailers(status("14"))],
        vec![Step::After(secs(7200)), message(), Step::BreaksOff],
        vec![],
    ] {
        let stack = streaming(with_body([vec![message()], then.clone()].concat()));
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        let calls = || stack.handle.status().calls;
        assert_eq!((calls().succeeded, calls().in_flight()), (0, 1));
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(stack.counts(), (1, 0, 0, 0), "{then:?}");
        let _ = timeout(secs(86_400), body.collect()).await;
        assert_eq!(stack.counts(), (1, 0, 0, 0), "{then:?}");
    }
    // The judge of statuses is not asked where there is no status.
    let judge = GrpcCalls::new().judged_by(|_, _| panic!("there is no status"));
    let stack = Stack::with_protocol(judge.streams([WATCH]).unwrap(), in_trailers("0"));
    let mut body = stack.head(WATCH).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(stack.counts(), (1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn before_its_first_message_a_stream_is_judged_as_any_other_call() {
    for (answer, wanted) in [
        (trailers_only(status("5")), (1, 0, 0, 0)),
        (trailers_only(status("8")), (0, 0, 1, 0)),
        (trailers_only(status("14")), (0, 1, 0, 0)),
        (with_body(vec![Step::Trailers(status("0"))]), (1, 0, 0, 0)),
        (with_body(vec![Step::Trailers(status("13"))]), (0, 1, 0, 0)),
        (with_body(vec![]), (0, 1, 0, 0)),
        (with_body(vec![Step::BreaksOff]), (0, 1, 0, 0)),
        (Answer::default(), (0, 1, 0, 0)),
        // A proxy's page is no message.
        (
            with_body(vec![Step::data(b"<!doctype html><p>busy"), Step::Hangs]),
            (0, 1, 0, 0),
        ),
        (by_proxy(404, HeaderMap::new()), (1, 0, 0, 0)),
        (by_proxy(502, HeaderMap::new()), (0, 1, 0, 0)),
        (
            Answer {
                steps: vec![message(), Step::BreaksOff],
                ..by_proxy(404, HeaderMap::new())
            },
            (0, 1, 0, 0),
        ),
        // Reading goes on for a minute, without a message.
        (with_body(vec![Step::Hangs]), (0, 1, 0, 0)),
    ] {
        let stack = streaming(answer.clone());
        let _ = timeout(secs(60), stack.call(WATCH)).await;
        assert_eq!(stack.counts(), wanted, "{answer:?}");
    }
    // A hang counts while the reader waits. A drop counts by how long the reader had waited.
    let stack = streaming(with_body(vec![Step::Hangs]));
    let mut body = stack.head(WATCH).await.unwrap().into_body();
    assert!(timeout(secs(6), body.frame()).await.is_err());
    assert_eq!(stack.counts(), (0, 1, 0, 0));
    for (span, wanted) in [(secs(4), (0, 1, 0, 1)), (secs(5), (0, 2, 0, 1))] {
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        assert!(poll_once(pin!(body.frame())).is_none(), "it is not there");
        sleep(span).await;
        drop(body);
        assert_eq!(stack.counts(), wanted, "{span:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_of_the_first_message_is_waited_for() {
    let head = || vec![Step::data(b"\0\0\0"), Step::data(b"\0\x04ab")];
    for (then, frames, wanted) in [
        (vec![Step::data(b"cd")], 3, (1, 0, 0, 0)),
        // The last part of the message, and the beginning of the next one.
        (vec![Step::data(b"cd\0\0")], 3, (1, 0, 0, 0)),
        (vec![Step::BreaksOff], 2, (0, 1, 0, 0)),
        (vec![Step::Hangs], 2, (0, 1, 0, 0)),
    ] {
        let stack = streaming(with_body([head(), then.clone()].concat()));
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        for read in 0..frames {
            assert_eq!(stack.handle.status().calls.in_flight(), 1, "{read}");
            body.frame().await.unwrap().unwrap();
        }
        if frames == 2 {
            let _ = timeout(secs(6), body.frame()).await;
        }
        assert_eq!(stack.counts(), wanted, "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_silent_from_its_start_says_nothing() {
    let subscribed =
        |answer| Stack::with_protocol(GrpcCalls::new().subscriptions([WATCH]).unwrap(), answer);
    let silent = || with_body(vec![Step::Hangs]);
    for (stack, wanted) in [
        (subscribed(silent()), (0, 0, 5, 0)),
        // The control: a stream that is not declared as a subscription.
        (streaming(silent()), (0, 3, 0, 0)),
    ] {
        for _ in 0..5 {
            let mut body = stack.head(WATCH).await.unwrap().into_body();
            if stack.handle.mode() != Mode::Serving {
                break;
            }
            let more = timeout(secs(10), body.frame()).await;
            assert!(more.is_err());
        }
        assert_eq!(stack.counts(), wanted);
    }
    // The body was never read.
    let stack = subscribed(silent());
    let body = stack.head(WATCH).await.unwrap().into_body();
    sleep(secs(3600)).await;
    assert_eq!(stack.handle.status().calls.in_flight(), 1);
    drop(body);
    assert_eq!(stack.counts(), (0, 0, 1, 0));
    // Anything but silence is judged as on any stream. Half a message is silence.
    let late = |step| with_body(vec![Step::After(secs(3600)), step]);
    for (answer, wanted) in [
        (late(message()), (1, 0, 0, 0)),
        (late(Step::Trailers(status("0"))), (1, 0, 0, 0)),
        (late(Step::Trailers(status("14"))), (0, 1, 0, 0)),
        (late(Step::BreaksOff), (0, 1, 0, 0)),
        (with_body(vec![]), (0, 1, 0, 0)),
        (trailers_only(status("13")), (0, 1, 0, 0)),
        (
            with_body(vec![Step::data(b"\0\0"), Step::Hangs]),
            (0, 0, 1, 0),
        ),
        (by_proxy(502, HeaderMap::new()), (0, 1, 0, 0)),
    ] {
        let stack = subscribed(answer.clone());
        let _ = timeout(secs(7200), stack.call(WATCH)).await;
        assert_eq!(stack.counts(), wanted, "{answer:?}");
    }
    // A proxy's page is no subscription, and hangs like any other answer. So does another method.
    let page = Answer {
        steps: vec![Step::Hangs],
        ..by_proxy(404, HeaderMap::new())
    };
    for (answer, method) in [(page, WATCH), (silent(), CHARGE)] {
        let stack = subscribed(answer);
        let _ = timeout(secs(60), stack.call(method)).await;
        assert_eq!(stack.counts(), (0, 1, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_reads_passes_under_a_read_only_hold_and_does_not_probe() {
    let speaks = GrpcCalls::new().reads([WATCH, PRICES]).unwrap();
    let stack = Stack::with_protocol(speaks.subscriptions([WATCH]).unwrap(), in_trailers("0"));
    stack
        .handle
        .engage(Hold::new("on-call", "the ledger moves").read_only())
        .unwrap();
    assert!(!stack.is_refused(WATCH).await);
    stack.handle.release("on-call", "drill").unwrap();
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "drill").unwrap();
    assert!(stack.is_refused(WATCH).await);
    assert!(!stack.is_refused(PRICES).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_probes_gives_its_slot_back_at_its_first_message() {
    let speaks = GrpcCalls::new().reads([WATCH]).unwrap();
    let speaks = speaks.streams([WATCH]).unwrap();
    let stack = Stack::with_protocol(speaks, with_body(vec![message(), Step::Hangs]));
    stack.handle.trip("on-call", "drill").unwrap();
    stack.handle.probe_now("on-call", "let us see").unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        assert_eq!(stack.handle.mode(), Mode::Probing);
        let mut body = stack.head(WATCH).await.unwrap().into_body();
        assert!(stack.is_refused(WATCH).await, "one probe at a time");
        body.frame().await.unwrap().unwrap();
        open.push(body);
    }
    assert_eq!(stack.handle.mode(), Mode::Serving);
}

#[tokio::test(start_paused = true)]
async fn a_method_streams_by_its_exact_path_and_others_do_not() {
    let stack = streaming(with_body(vec![message(), Step::Trailers(status("14"))]));
    stack.call(WATCH).await;
    assert_eq!(stack.counts(), (1, 0, 0, 0));
    for other in [CHARGE, "/billing.v1.Billing/watchprices"] {
        stack.call(other).await;
    }
    assert_eq!(stack.counts(), (1, 2, 0, 0));
}
