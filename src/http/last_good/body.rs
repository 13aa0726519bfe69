//! The body of an answer: the inner body, which may be copied as it streams, or a stored one.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{head::Head, request_key::Asked, store::Store, under_way::Taken};

pin_project! {
    /// The body of an answer that passed a [`LastGood`](super::LastGood). Frames pass at once.
    ///
    /// # Panics
    ///
    /// If the inner body panics, or the predicate of [`good_if`](super::LastGoodBuilder::good_if).
    pub struct LastGoodBody<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = SourceView]
    enum Source<B> {
        Inner {
            #[pin]
            body: B,
            // Boxed, because most bodies are not copied.
            copy: Option<Box<Copying>>,
        },
        Kept { bytes: Bytes },
    }
}

/// The copy of a body that is to be stored.
pub(super) struct Copying {
    store: Arc<Store>,
    /// The bytes of the copy, within the bound of the store.
    taken: Taken,
    asked: Box<Asked>,
    head: Head,
    bytes: Vec<u8>,
    /// How many bytes the body may have.
    room: usize,
    /// How many bytes the body has at least.
    least: usize,
}

impl Copying {
    /// Begins a copy; `None` if the answers on their way take too many bytes already.
    pub(super) fn begin(
        store: &Arc<Store>,
        mut asked: Box<Asked>,
        head: Head,
        room: usize,
        least: usize,
    ) -> Option<Self> {
        let taken = Taken::new(store.under_way(), store.max_entry() - room)?;
        asked.keep_only(&head.names);
        Some(Self {
            store: store.clone(),
            taken,
            asked,
            head,
            bytes: Vec::new(),
            room,
            least,
        })
    }

    /// Copies the data; `false` if there is no room for it.
    fn copy(&mut self, data: &[u8]) -> bool {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if data.len() > self.room - len {
            return false;
        }
        let needed = len + data.len();
        if needed > capacity {
            // Twice as much, so that a body of many frames is not moved at each of them.
            let ample = needed.max(self.least).max(2 * capacity).min(self.room);
            let mut fits = |size: usize| self.taken.more(size - capacity).then_some(size);
            let Some(size) = fits(ample).or_else(|| fits(needed)) else {
                return false;
            };
            self.bytes.reserve_exact(size - len);
        }
        self.bytes.extend_from_slice(data);
        true
    }

    fn keep(self) {
        // Given back first: from now on the store counts the bytes.
        drop(self.taken);
        self.store.keep(&self.asked, self.head, self.bytes);
    }
}

impl<B> LastGoodBody<B> {
    pub(super) fn passing(body: B) -> Self {
        Self {
            source: Source::Inner { body, copy: None },
        }
    }

    pub(super) fn kept(bytes: Bytes) -> Self {
        Self {
            source: Source::Kept { bytes },
        }
    }
}

impl<B: Body> LastGoodBody<B> {
    pub(super) fn copied(body: B, copying: Box<Copying>) -> Self {
        if body.is_end_stream() {
            copying.keep();
            return Self::passing(body);
        }
        Self {
            source: Source::Inner {
                body,
                copy: Some(copying),
            },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for LastGoodBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (mut body, copy) = match self.project().source.project() {
            SourceView::Inner { body, copy } => (body, copy),
            SourceView::Kept { bytes } => {
                let bytes = std::mem::take(bytes);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
        };
        let polled = body.as_mut().poll_frame(cx);
        if polled.is_pending() {
            return polled;
        }
        // Taken out first: a copy that is not put back is not stored.
        let Some(mut copying) = copy.take() else {
            return polled;
        };
        match &polled {
            Poll::Pending | Poll::Ready(Some(Err(_))) => {}
            Poll::Ready(None) => copying.keep(),
            Poll::Ready(Some(Ok(frame))) => {
                // An answer with trailers is not stored: the trailers would be missing when it is
                // served.
                if let Some(data) = frame.data_ref()
                    && copying.copy(data)
                {
                    // Many readers do not poll again after the last frame.
                    if body.is_end_stream() {
                        copying.keep();
                    } else {
                        *copy = Some(copying);
                    }
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Inner { body, .. } => body.is_end_stream(),
            Source::Kept { bytes } => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Inner { body, .. } => body.size_hint(),
            Source::Kept { bytes } => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

impl<B: Default> Default for LastGoodBody<B> {
    fn default() -> Self {
        Self::passing(B::default())
    }
}

impl<B> fmt::Debug for LastGoodBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bytes, which may be secret: debug output goes to logs.
        let (kept, copied) = match &self.source {
            Source::Inner { copy, .. } => (false, copy.is_some()),
            Source::Kept { .. } => (true, false),
        };
        f.debug_struct("LastGoodBody")
            .field("kept", &kept)
            .field("copied", &copied)
            .finish_non_exhaustive()
    }
}
