//! The body of a gRPC answer: judged by its trailers, or where it is a stream by its first message.

use std::{
    fmt,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{Code, calls::JudgeStatus, web, wire};
use crate::{
    call::ticket::Ticket,
    facts::outcome::{Outcome, Verdict},
    http::calls::streamed::{Measuring, Reading},
};

pin_project! {
    /// The body of a partner's answer; the call is in flight until its trailers came. Nothing is held back.
    ///
    /// | the body | the call |
    /// |---|---|
    /// | brings its trailers | what their `grpc-status` says |
    /// | ends without a `grpc-status` | failure; of gRPC-Web once its reader has asked to the end, for its last frame may not be all |
    /// | is gRPC-Web, and brings its trailers as a part of itself | the same, at that moment |
    /// | breaks off | failure |
    /// | hangs: its reader has waited `hang_limit` for the next frame | failure, at that moment; the body goes on for its reader, late frames included |
    /// | is dropped before its end | failure if the partner had been silent for at least `hang_limit`, otherwise neutral: a reader who stops early says nothing about the partner |
    ///
    /// Of a [stream](super::GrpcCalls::streams) all of this holds until its first message came: that is a success, and what
    /// becomes of the body then says nothing more.
    ///
    /// Of a [subscription](super::GrpcCalls::subscriptions) silence says nothing either: it neither hangs, nor is it more than neutral when it is dropped.
    ///
    /// Only time in which the reader waits counts as a hang. The timer, and where there is none, is that of
    /// [`http::Measured`](crate::http::Measured).
    ///
    /// # Panics
    ///
    /// If the inner body or a judge of statuses panics.
    pub struct Measured<B> {
        #[pin]
        inner: Measuring<B, Answer>,
    }
}

impl<B> Measured<B> {
    pub(super) fn new(inner: B, ticket: Ticket, answer: Answer) -> Self {
        let inner = Measuring::new(inner, ticket, answer);
        Self { inner }
    }

    pub(super) fn settled(inner: B) -> Self {
        let inner = Measuring::settled(inner);
        Self { inner }
    }

    /// The body itself.
    pub fn get_ref(&self) -> &B {
        self.inner.get_ref()
    }

    /// The body itself, to be read to its end by somebody who is not measured: the call ends here, neutral
    /// unless the partner had been silent for `hang_limit`.
    pub fn into_inner(self) -> B {
        self.inner.into_inner()
    }
}

impl<B: Body> Body for Measured<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for Measured<B> {
    fn default() -> Self {
        Self::settled(B::default())
    }
}

impl<B> fmt::Debug for Measured<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured")
            .field("settled", &self.inner.is_settled())
            .finish_non_exhaustive()
    }
}

/// What an answer is judged by.
pub(super) struct Answer {
    pub(super) judge: JudgeStatus,
    /// What the call is if the body comes to its end, and nothing in it says otherwise.
    pub(super) otherwise: Verdict,
    /// Of a stream, what came of its first message.
    pub(super) first: Option<FirstMessage>,
    /// Of gRPC-Web, the frames that the body is made of.
    pub(super) web: Option<Box<web::Frames>>,
    pub(super) silence: Silence,
}

/// What it says of the partner that nothing comes.
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
            // There the trailers are a frame like any other, and all of it may be base64.
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
            // Not asked of the judge: it judges statuses, and this call has none yet.
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
        // The first message, or a body's own trailers, may have been the last frame.
        let otherwise = if self.web.as_ref().is_some_and(|web| web.is_lost()) {
            Outcome::Neutral.into()
        } else {
            self.otherwise
        };
        self.early().unwrap_or(otherwise)
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

/// Before each message: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;

/// How much of a body's first message came.
///
/// The whole of it is waited for, not its first byte: what streams send first is often their largest (all that there is,
/// and then what changes), and a proxy's page in place of it is no message at all.
#[derive(Debug, Default)]
pub(super) struct FirstMessage {
    prefix: [u8; PREFIX],
    /// How much of the prefix is known.
    known: usize,
    came: u64,
}

impl FirstMessage {
    fn saw(&mut self, data: &impl Buf) {
        // More than one slice only where a frame is put together of several buffers.
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = data.chunks_vectored(&mut slices);
        for byte in slices[..filled].iter().flat_map(|slice| slice.iter()) {
            let Some(unknown) = self.prefix.get_mut(self.known) else {
                break;
            };
            *unknown = *byte;
            self.known += 1;
        }
        self.came = self.came.saturating_add(data.remaining() as u64);
    }

    fn is_whole(&self) -> bool {
        if self.known < PREFIX {
            // More came than is to be seen without taking it from the reader: it cannot be measured, and is let count.
            return self.came > self.known as u64;
        }
        let [_, length @ ..] = self.prefix;
        self.came >= PREFIX as u64 + u64::from(u32::from_be_bytes(length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::calls::answer_prefix::tests::Shy;

    proptest! {
        #[test]
        fn a_message_is_whole_when_its_last_byte_came_however_it_is_cut(
            length in 0_u32..600,
            more in 0_usize..20,
            cuts in proptest::collection::vec((0_usize..40, 0_usize..40), 0..60),
        ) {
            let mut wire = vec![1];
            wire.extend(length.to_be_bytes());
            let whole = wire.len() + length as usize;
            // What follows begins like a message too.
            wire.resize(whole + more, 0xff);
            let mut first = FirstMessage::default();
            let mut came = 0;
            prop_assert!(!first.is_whole());
            for (one, other) in cuts {
                let one = &wire[came..wire.len().min(came + one)];
                came += one.len();
                let other = &wire[came..wire.len().min(came + other)];
                came += other.len();
                first.saw(&one.chain(other));
                prop_assert_eq!(first.is_whole(), came >= whole, "{} of {}", came, whole);
            }
        }
    }

    #[test]
    fn what_a_frame_does_not_show_counts_as_a_message() {
        let mut first = FirstMessage::default();
        first.saw(&Shy(b"\0"));
        assert!(!first.is_whole(), "nothing is hidden");
        first.saw(&Shy(b"\0\0\0"));
        assert!(first.is_whole());
    }
}
