//! The body of the partner's response.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};

use crate::testing::partner::{CallEnd, PartnerError, body_text, call::Call, reply::Reply};

/// Returns a response whose body arrives whole.
pub(super) fn whole(
    response: Response<Bytes>,
    method: &Method,
    mut call: Call,
) -> Response<PartnerBody> {
    let success = matches!(call.reply(), Reply::Answer { success: true, .. });
    let status = response.status();
    let end = CallEnd::Answered {
        status: status.as_u16(),
        success,
    };
    // HTTP allows no body here, so no reader asks for it: the answer is complete at once.
    let bodiless = *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    response.map(|data| {
        if bodiless || data.is_empty() {
            call.settle(end);
            PartnerBody(Stage::Done)
        } else {
            PartnerBody(Stage::Whole { data, call, end })
        }
    })
}

/// Returns a response whose `Content-Length` is more than the body that comes.
pub(super) fn broken(response: Response<Bytes>, call: Call) -> Response<PartnerBody> {
    let (mut parts, mut data) = response.into_parts();
    if data.len() < 2 {
        // The body must be long enough that a half of it can be missing.
        data = Bytes::from(body_text::body(true, None, call.number()));
    }
    let missing = data.split_off(data.len() / 2).len();
    let promised = HeaderValue::from(data.len() + missing);
    parts.headers.insert(header::CONTENT_LENGTH, promised);
    Response::from_parts(
        parts,
        PartnerBody(Stage::Half {
            data,
            missing,
            call,
        }),
    )
}

/// The body of the partner's response: JSON in one piece, or half of it and
/// [`PartnerError::ConnectionReset`].
#[derive(Debug)]
pub struct PartnerBody(Stage);

#[derive(Debug)]
enum Stage {
    Whole {
        data: Bytes,
        call: Call,
        end: CallEnd,
    },
    Half {
        data: Bytes,
        missing: usize,
        call: Call,
    },
    /// The first half was given out. The body is pending once, so that the writer flushes it.
    Flushing {
        missing: usize,
        call: Call,
    },
    Resetting {
        missing: usize,
        call: Call,
    },
    Done,
}

impl Body for PartnerBody {
    type Data = Bytes;
    type Error = PartnerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PartnerError>>> {
        match std::mem::replace(&mut self.0, Stage::Done) {
            Stage::Whole {
                data,
                mut call,
                end,
            } => {
                call.settle(end);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Stage::Half {
                data,
                missing,
                call,
            } => {
                self.0 = Stage::Flushing { missing, call };
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Stage::Flushing { missing, call } => {
                self.0 = Stage::Resetting { missing, call };
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Stage::Resetting { mut call, .. } => {
                call.settle(CallEnd::ConnectionReset);
                Poll::Ready(Some(Err(PartnerError::ConnectionReset)))
            }
            Stage::Done => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Stage::Done)
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match &self.0 {
            Stage::Whole { data, .. } => data.len(),
            Stage::Half { data, missing, .. } => data.len() + missing,
            Stage::Flushing { missing, .. } | Stage::Resetting { missing, .. } => *missing,
            Stage::Done => 0,
        };
        SizeHint::with_exact(exact as u64)
    }
}
