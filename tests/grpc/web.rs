//! gRPC-Web: the status in the body.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use test_support::{ScriptedBody, Step, secs};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};
use tower_maintenance::{Hold, MaintenanceLayer, Outcome};

use crate::{
    streams::{WATCH, streaming},
    support::*,
};

const WEB: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// An answer whose trailers, if it has any, are a part of its body.
fn web(content_type: &str, steps: Vec<Step>) -> Answer {
    Answer {
        headers: fields(&[("content-type", content_type)]),
        ..with_body(steps)
    }
}

/// Trailers in the body that say 0, OK.
fn web_ok() -> Step {
    Step::data(b"\x80\0\0\0\x0fgrpc-status:0\r\n")
}

/// Trailers in the body that say 14, UNAVAILABLE.
fn web_down() -> Step {
    Step::data(b"\x80\0\0\0\x10grpc-status:14\r\n")
}

#[tokio::test(start_paused = true)]
async fn in_grpc_web_the_status_is_read_from_the_body() {
    for (content_type, steps, expected) in [
        (WEB, vec![message(), web_ok()], Outcome::Success),
        (WEB, vec![message(), web_down()], Outcome::Failure),
        // In one frame with the message; and cut in two.
        (
            WEB,
            vec![Step::data(b"\0\0\0\0\0\x80\0\0\0\x0fgrpc-status:5\r\n")],
            Outcome::Success,
        ),
        (
            WEB,
            vec![
                Step::data(b"\x80\0\0\0\x0fgrpc-st"),
                Step::data(b"atus:8\r\n"),
            ],
            Outcome::Neutral,
        ),
        (
            TEXT,
            vec![
                Step::data(b"AAAAAAA="),
                Step::data(b"gAAAAA9ncnBjLXN0YXR1czowDQo="),
            ],
            Outcome::Success,
        ),
        (
            TEXT,
            vec![Step::data(b"AAAAAAA=gAAAABBncnBjLXN0YXR1czoxNA0K")],
            Outcome::Failure,
        ),
        // As an inner layer has translated it: trailers, but still the type of gRPC-Web.
        (
            WEB,
            vec![message(), Step::Trailers(status("14"))],
            Outcome::Failure,
        ),
        (
            WEB,
            vec![message(), Step::Trailers(status("0"))],
            Outcome::Success,
        ),
        // No trailers, half of them, and trailers without a status.
        (WEB, vec![message()], Outcome::Failure),
        (
            WEB,
            vec![Step::data(b"\x80\0\0\0\x0fgrpc-st")],
            Outcome::Failure,
        ),
        (
            WEB,
            vec![Step::data(b"\x80\0\0\0\x05a:b\r\n")],
            Outcome::Failure,
        ),
        (WEB, vec![message(), Step::BreaksOff], Outcome::Failure),
        // Compressed trailers may say anything.
        (
            WEB,
            vec![message(), Step::data(b"\x81\0\0\0\x02zz")],
            Outcome::Neutral,
        ),
        // The control: in plain gRPC these bytes are no status.
        (
            "application/grpc",
            vec![message(), web_ok()],
            Outcome::Failure,
        ),
    ] {
        let answer = web(content_type, steps);
        assert_eq!(outcome(answer.clone()).await, expected, "{answer:?}");
    }
    // A retry delay in such trailers counts as well.
    let stack = Stack::new(web(
        WEB,
        vec![Step::data(
            b"\x80\0\0\0\x2fgrpc-status:14\r\ngrpc-retry-pushback-ms:900000\r\n",
        )],
    ));
    for _ in 0..3 {
        stack.call(CHARGE).await;
    }
    assert_eq!(stack.handle.status().retry_after, Some(secs(900)));
}

#[tokio::test(start_paused = true)]
async fn a_web_stream_is_judged_at_its_first_message_too() {
    for (steps, wanted) in [
        (vec![message(), web_down()], (1, 0, 0, 0)),
        // Trailers are no message.
        (vec![web_down(), Step::Hangs], (0, 1, 0, 0)),
        (vec![Step::Hangs], (0, 1, 0, 0)),
    ] {
        let stack = streaming(web(WEB, steps.clone()));
        let _ = timeout(secs(60), stack.call(WATCH)).await;
        assert_eq!(stack.counts(), wanted, "{steps:?}");
    }
}

/// The body of `tonic-web`'s client over HTTP/2: the decoded body is at its end while its trailers
/// are still to come.
#[tokio::test(start_paused = true)]
async fn trailers_behind_an_end_are_waited_for() {
    /// A body that says that it is at its end when only trailers are left.
    #[derive(Default)]
    struct Early(ScriptedBody);

    impl Body for Early {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, io::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            !self.0.left().any(|step| matches!(step, Step::Data(_)))
        }
    }

    for (content_type, code, wanted) in [
        (WEB, "0", (1, 0)),
        (WEB, "14", (0, 1)),
        // The control: plain gRPC ends where its body says so, for readers that do not ask once
        // more.
        ("application/grpc", "0", (0, 1)),
    ] {
        let layer = MaintenanceLayer::new("zuora");
        let channel = service_fn(async |_: Request<()>| {
            let steps = ScriptedBody::of([message(), Step::Trailers(status(code))]);
            let mut answer = Response::new(Early(steps));
            *answer.headers_mut() = fields(&[("content-type", content_type)]);
            Ok::<_, Infallible>(answer)
        });
        let request = Request::post(format!("http://partner{CHARGE}"));
        let answer = layer
            .grpc_calls()
            .layer(channel)
            .oneshot(request.body(()).unwrap());
        let mut body = answer.await.unwrap().into_body();
        while let Some(frame) = body.frame().await {
            frame.unwrap();
        }
        let calls = layer.handle().status().calls;
        assert_eq!(
            (calls.succeeded, calls.failed),
            wanted,
            "{content_type} {code}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_of_the_type_that_was_asked_in() {
    let layer = MaintenanceLayer::new("zuora");
    layer
        .handle()
        .engage(Hold::new("on-call", "drill"))
        .unwrap();
    let ours = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(ScriptedBody::default()))
    });
    for (asked, expected) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc"),
        ("application/grpc-web", WEB),
        ("application/grpc-web+proto", WEB),
        ("Application/gRPC-Web; x=\"y\"", WEB),
        (
            "application/grpc-web-text",
            "application/grpc-web-text+proto",
        ),
        (
            "application/grpc-web-text+proto",
            "application/grpc-web-text+proto",
        ),
        ("text/html", "application/grpc"),
    ] {
        let request = || {
            let request = Request::post(format!("http://here{CHARGE}"));
            request.header("content-type", asked).body(()).unwrap()
        };
        let routes = layer.grpc_routes().layer(ours).oneshot(request());
        let calls = layer.grpc_calls().layer(ours).oneshot(request());
        let heads = [
            routes.await.unwrap().into_parts().0,
            calls.await.unwrap().into_parts().0,
        ];
        for head in heads {
            assert_eq!(head.status, 200);
            assert_eq!(head.headers["content-type"], expected, "{asked}");
            assert_eq!(head.headers["grpc-status"], "14");
        }
    }
}
