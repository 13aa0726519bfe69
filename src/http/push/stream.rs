//! The body of an event stream.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::subscribers::Subscription;

/// The body of a response that streams events. [`PushEvents`](super::PushEvents) makes it.
///
/// It has no queue: it remembers only the generation of the last event. Dropping it frees the
/// subscriber's place and its share of the bounds.
///
/// It ends when the push is [closed](super::Push::close) or the layer is gone, when its reader was
/// stuck for three heartbeats ([`Push`](super::Push#slow-readers)), or when the runtime ends on
/// which the watcher of the subscribers runs. Browsers then reconnect by themselves.
///
/// # Panics
///
/// If it is polled outside a tokio runtime while no watcher runs. It can be polled again within a
/// runtime. A request that is answered within a runtime starts the watcher.
///
/// The default stream has ended.
#[derive(Default)]
pub struct EventStream(State);

#[derive(Default)]
enum State {
    Open(Subscription),
    /// The stream ends after these bytes.
    Last(Bytes),
    #[default]
    Ended,
}

impl EventStream {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self(State::Open(subscription))
    }

    /// Returns a stream that ends after these bytes.
    pub(super) fn only(bytes: Bytes) -> Self {
        Self(State::Last(bytes))
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let polled = match &mut this.0 {
            State::Open(subscription) => subscription.poll(cx),
            State::Last(bytes) => {
                let bytes = std::mem::take(bytes);
                this.0 = State::Ended;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            State::Ended => Poll::Ready(None),
        };
        if matches!(polled, Poll::Ready(None)) {
            this.0 = State::Ended;
        }
        polled.map(|bytes| bytes.map(Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Open(_) => SizeHint::default(),
            State::Last(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("ended", &self.is_end_stream())
            .finish_non_exhaustive()
    }
}
