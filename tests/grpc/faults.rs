//! Whose fault an error is: CANCELLED, errors of the channel, and errors of an answer's body.

use std::{future::ready, io};

use http::{Request, Response};
use http_body_util::BodyExt;
use test_support::{ScriptedBody, Step, secs};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};
use tower_maintenance::{
    MaintenanceLayer, Mode, Origin, Outcome,
    grpc::{Code, GrpcCalls},
};

use crate::{
    streams::{WATCH, streaming},
    support::*,
};

/// Trailers of gRPC-Web that say 1, CANCELLED.
fn web_cancelled() -> Answer {
    Answer {
        headers: fields(&[("content-type", "application/grpc-web+proto")]),
        ..with_body(vec![
            message(),
            Step::data(b"\x80\0\0\0\x0fgrpc-status:1\r\n"),
        ])
    }
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_cancels_while_the_caller_waits_trips() {
    for answer in [
        trailers_only(status("1")),
        in_trailers("1"),
        with_body(vec![Step::Trailers(status("1"))]),
        web_cancelled(),
    ] {
        let stack = Stack::new(answer);
        for _ in 0..3 {
            stack.call(CHARGE).await;
        }
        assert_eq!(stack.counts(), (0, 3, 0, 0));
        assert_eq!(stack.handle.mode(), Mode::Maintenance);
    }
    // A stream until its first message, and no more after it.
    let stack = streaming(trailers_only(status("1")));
    stack.call(WATCH).await;
    stack.answers(with_body(vec![Step::Trailers(status("1"))]));
    stack.call(WATCH).await;
    assert_eq!(stack.counts(), (0, 2, 0, 0));
    stack.answers(in_trailers("1"));
    stack.call(WATCH).await;
    assert_eq!(stack.counts(), (1, 2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_cancels_trips_nothing() {
    for steps in [vec![Step::Hangs], vec![message(), Step::Hangs]] {
        let stack = Stack::new(with_body(steps));
        for _ in 0..20 {
            let cancelled = timeout(secs(1) / 2, stack.call(CHARGE)).await;
            assert!(cancelled.is_err());
        }
        assert_eq!(stack.counts(), (0, 0, 0, 20));
        assert_eq!(stack.handle.mode(), Mode::Serving);
    }
}

#[tokio::test(start_paused = true)]
async fn the_judge_of_statuses_may_say_otherwise_of_cancelled() {
    let calls = GrpcCalls::new().judged_by(|code, metadata| match code {
        Code::Cancelled => Outcome::Neutral.into(),
        _ => GrpcCalls::by_code(code, metadata),
    });
    let stack = Stack::with_protocol(calls, Answer::default());
    assert_eq!(stack.outcome(in_trailers("1")).await, Outcome::Neutral);
    assert_eq!(stack.outcome(web_cancelled()).await, Outcome::Neutral);
    assert_eq!(stack.outcome(in_trailers("4")).await, Outcome::Failure);
}

/// Makes one call of a channel that gives this, and returns the numbers of failed, neutral and own
/// calls.
async fn told<B, E>(
    calls: GrpcCalls,
    answer: impl Fn() -> Result<Response<B>, E> + Clone + Send + 'static,
) -> (u64, u64, u64)
where
    B: http_body::Body<Error: 'static> + Default + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let layer = MaintenanceLayer::new("zuora");
    let channel = service_fn(move |_: Request<()>| ready(answer()));
    let channel = BoxCloneService::new(channel);
    let request = Request::post("http://partner/billing.v1.Billing/Charge")
        .body(())
        .unwrap();
    let view = layer.with_protocol(calls).nested();
    if let Ok(answer) = view.layer(channel).oneshot(request).await {
        let _ = answer.into_body().collect().await;
    }
    let calls = layer.handle().status().calls;
    assert_eq!(calls.in_flight(), 0);
    (calls.failed, calls.neutral, calls.ours)
}

#[derive(Debug, thiserror::Error)]
#[error("the channel failed")]
struct Failed(#[source] io::Error);

#[tokio::test(start_paused = true)]
async fn an_error_of_the_channel_has_an_origin() {
    type Answer<E> = Result<Response<ScriptedBody>, E>;
    let wrapped = || Answer::Err(io::Error::other(Failed(io::Error::from_raw_os_error(24))));
    assert_eq!(told(GrpcCalls::new(), wrapped).await, (0, 0, 1));
    let reset = || Answer::Err(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(told(GrpcCalls::new(), reset).await, (1, 0, 0));
    let own = || Answer::Err(Failed(io::Error::from_raw_os_error(24)));
    assert_eq!(told(GrpcCalls::new(), own).await, (0, 0, 1));
    let by_closure = GrpcCalls::new().judged_errors(|_: &io::Error| Some(Outcome::Neutral));
    assert_eq!(told(by_closure, reset).await, (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_closure_is_neutral() {
    let layer = MaintenanceLayer::new("zuora");
    let calls = GrpcCalls::new().judged_errors(|_: &io::Error| -> Option<Origin> { panic!("no") });
    let channel = service_fn(|_: Request<()>| ready(Err::<Response<ScriptedBody>, _>(reset())));
    let channel = layer
        .with_protocol(calls)
        .nested()
        .layer(BoxCloneService::new(channel));
    let request = Request::post("http://partner/billing.v1.Billing/Charge")
        .body(())
        .unwrap();
    let call = tokio::spawn(async move { channel.oneshot(request).await.map(drop) });
    assert!(call.await.unwrap_err().is_panic());
    let calls = layer.handle().status().calls;
    assert_eq!((calls.neutral, calls.in_flight()), (1, 0));
}

fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}
