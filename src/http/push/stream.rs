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
/// It ends when the layer is gone, when its reader was stuck for three heartbeats
/// ([`Push`](super::Push#slow-readers)), or when the runtime ends on which the watcher of the
/// subscribers runs. Browsers then reconnect by themselves.
///
/// # Panics
///
/// If it is polled outside a tokio runtime while no watcher runs. It can be polled again within a
/// runtime. A request that is answered within a runtime starts the watcher.
pub struct EventStream(Option<Subscription>);

impl EventStream {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self(Some(subscription))
    }

    pub(super) fn empty() -> Self {
        Self(None)
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
        let Some(subscription) = &mut this.0 else {
            return Poll::Ready(None);
        };
        let polled = subscription.poll(cx);
        if matches!(polled, Poll::Ready(None)) {
            this.0 = None;
        }
        polled.map(|bytes| bytes.map(Frame::data).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.0.is_none() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("ended", &self.0.is_none())
            .finish_non_exhaustive()
    }
}
