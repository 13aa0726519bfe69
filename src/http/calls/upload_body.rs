//! The body of a request, watched for whether it is late.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::call::upload_wait::UploadsEnd;

pin_project! {
    /// The body of a request on its way to the partner, in the view
    /// [`watching_uploads`](crate::MaintenanceLayer::watching_uploads).
    ///
    /// It passes every frame when it comes, and holds none back. It notes whether its last poll
    /// found nothing: then the partner waits for the request, and the caller does not wait for the
    /// partner.
    pub struct UploadBody<B> {
        #[pin]
        inner: B,
        watch: Option<UploadsEnd>,
    }
}

impl<B> UploadBody<B> {
    pub(super) fn watched(inner: B, watch: UploadsEnd) -> Self {
        Self {
            inner,
            watch: Some(watch),
        }
    }

    /// Returns a body that is not watched, because it is at its end.
    pub(super) fn at_end(inner: B) -> Self {
        Self { inner, watch: None }
    }

    /// Returns the wrapped body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Returns the wrapped body and ends the watch: from here on the body counts as not late.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body> Body for UploadBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let Some(watch) = this.watch {
            match polled {
                Poll::Pending => watch.found_nothing(),
                Poll::Ready(_) => watch.found_something(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for UploadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody")
            .field("watched", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
