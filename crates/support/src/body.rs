//! A body that follows a script.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// What comes next in a body.
#[derive(Debug, Clone)]
pub enum Step {
    /// A frame of data.
    Data(Bytes),
    /// A frame of trailers.
    Trailers(HeaderMap),
    /// An error: the connection is reset.
    BreaksOff,
    /// One poll that is pending, and wakes its task at once.
    Yields,
    /// Polls that are pending until this span has passed.
    After(Duration),
    /// Polls that are pending for ever.
    Hangs,
    /// The same frame of data again and again, without end.
    Repeats(Bytes),
    /// A poll that panics.
    Panics,
}

impl Step {
    /// A frame of these bytes.
    #[must_use]
    pub const fn data(bytes: &'static [u8]) -> Self {
        Self::Data(Bytes::from_static(bytes))
    }
}

/// A body that takes its steps one by one, and then ends. By default it is empty.
#[derive(Debug, Default)]
pub struct ScriptedBody {
    left: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    says_its_length: bool,
}

impl ScriptedBody {
    /// A body that takes these steps.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            left: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A body of one frame, with all of these bytes in it.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::of([Step::Data(bytes.into())])
    }

    /// Lets the body say how many bytes are left; without, it says nothing of its length.
    #[must_use]
    pub fn that_says_its_length(mut self) -> Self {
        self.says_its_length = true;
        self
    }

    /// The steps that are still to come.
    pub fn left(&self) -> impl Iterator<Item = &Step> {
        self.left.iter()
    }
}

/// What a gate before routes answers with.
impl From<String> for ScriptedBody {
    fn from(text: String) -> Self {
        Self::whole(text)
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            return Poll::Ready(match self.left.pop_front() {
                None => None,
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::BreaksOff) => Some(Err(io::Error::other("reset"))),
                Some(Step::Yields) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::After(span)) => {
                    self.sleep = Some(Box::pin(sleep(span)));
                    continue;
                }
                Some(Step::Hangs) => {
                    self.left.push_front(Step::Hangs);
                    return Poll::Pending;
                }
                Some(Step::Repeats(data)) => {
                    self.left.push_front(Step::Repeats(data.clone()));
                    Some(Ok(Frame::data(data)))
                }
                Some(Step::Panics) => panic!("the body panics"),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.sleep.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.says_its_length {
            return SizeHint::default();
        }
        let length = |step: &Step| match step {
            Step::Data(data) => data.len() as u64,
            Step::Repeats(_) => panic!("a body without end has no length"),
            _ => 0,
        };
        SizeHint::with_exact(self.left.iter().map(length).sum())
    }
}
