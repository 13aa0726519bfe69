//! The body of a gRPC answer: judged by its trailers, or if it is a stream by its first message.

use std::any::Any;

use bytes::Buf;
use http::HeaderMap;

use super::{Code, first_message::FirstMessage, judge::JudgeStatus, web, wire};
use crate::{
    facts::outcome::{Outcome, Verdict},
    http::calls::{judged_errors::JudgedErrors, measured_body::measured_body, streamed::Reading},
};

measured_body! {
    /// The body of a partner's answer. The call is in flight until the trailers came.
    ///
    /// The body holds nothing back. How it ends decides the verdict on the call:
    ///
    /// | the body | the call |
    /// |---|---|
    /// | brings its trailers | what their `grpc-status` says |
    /// | is gRPC-Web and brings trailers as a frame | the same, at that moment |
    /// | ends without a `grpc-status` | failure |
    /// | breaks off | failure, unless the error is [ours](crate::fault) |
    /// | hangs: nothing comes while its reader waits for `hang_limit` | failure, at that moment |
    /// | is dropped while the partner is silent for `hang_limit` | failure |
    /// | is dropped before its end otherwise | neutral: the reader stopped, not the partner |
    ///
    /// A body that hangs goes on for its reader, with frames that come late. A gRPC-Web body has
    /// ended when its reader was told so: the last frame alone may not be the end.
    ///
    /// Only the time in which the reader waits counts as a hang.
    /// [`http::GrpcCallBody`](crate::http::GrpcCallBody) says which timer measures it, and what
    /// happens without one.
    ///
    /// For a [stream](super::GrpcCalls::streams) the table holds until its first message came. The
    /// message is a success, and nothing of the body counts after it. For a
    /// [subscription](super::GrpcCalls::subscriptions), silence says nothing either: it does not
    /// hang, and is neutral if it is dropped.
    ///
    /// # Panics
    ///
    /// If the inner body or a judge of statuses panics.
    pub struct GrpcCallBody<B>, read by Answer
}

/// Judges an answer as its body passes.
pub(super) struct Answer {
    pub(super) judge: JudgeStatus,
    pub(super) errors: JudgedErrors,
    /// The verdict if the body comes to its end and nothing in it says otherwise.
    pub(super) otherwise: Verdict,
    /// For a stream, how much of its first message came.
    pub(super) first: Option<FirstMessage>,
    /// For gRPC-Web, the frames of the body.
    pub(super) web: Option<Box<web::Frames>>,
    pub(super) silence: Silence,
}

/// What the silence of the partner means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Silence {
    #[default]
    Hangs,
    SaysNothing,
}

impl Answer {
    fn first_message_came(&self) -> bool {
        match (&self.first, &self.web) {
            (None, _) => false,
            (Some(first), None) => first.is_whole(),
            // In gRPC-Web the trailers are a frame too, and the whole body may be base64.
            (Some(_), Some(web)) => web.message_came(),
        }
    }
}

impl Reading for Answer {
    fn saw(&mut self, data: &impl Buf) {
        match (&mut self.web, &mut self.first) {
            (Some(web), _) => web.saw(data),
            (None, Some(first)) => first.saw(data),
            (None, None) => {}
        }
    }

    fn early(&mut self) -> Option<Verdict> {
        if self.first_message_came() {
            // Without the judge, which judges statuses: this call has no status yet.
            let code = Code::Ok.http_status().as_u16();
            return Some(Verdict::from(Outcome::Success).with_code(code));
        }
        let trailers = self.web.as_ref()?.trailers()?;
        Some(self.judge.verdict(wire::code(trailers)?, trailers))
    }

    fn ended(mut self, trailers: Option<&HeaderMap>) -> Verdict {
        if let Some(trailers) = trailers
            && let Some(code) = wire::code(trailers)
        {
            return self.judge.verdict(code, trailers);
        }
        // The last frame may have completed the first message, or brought the trailers of gRPC-Web.
        let otherwise = if self.web.as_ref().is_some_and(|web| web.is_lost()) {
            Outcome::Neutral.into()
        } else {
            self.otherwise
        };
        self.early().unwrap_or(otherwise)
    }

    fn broke_off(&self, error: &impl Any) -> Verdict {
        self.errors.verdict_of_body(error)
    }

    fn code(&self) -> Option<u16> {
        self.otherwise.code
    }

    fn hangs(&self) -> bool {
        self.silence == Silence::Hangs
    }

    fn may_still_speak(&self) -> bool {
        self.web.is_some() && self.otherwise.outcome == Outcome::Failure
    }
}
