//! A subscription to the mode.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use tokio::sync::watch;

use crate::{
    facts::{mode::Mode, recovery::Bulletin},
    operator::{handle::MaintenanceHandle, subscribe::next_news},
    state::root::Root,
};

impl MaintenanceHandle {
    /// Subscribes to the mode: to the present one first, and then to each other.
    ///
    /// ```
    /// use tower_maintenance::{Hold, MaintenanceLayer, Mode};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let handle = layer.handle();
    /// let mut modes = handle.modes();
    /// assert_eq!(modes.recv().await, Some(Mode::Serving));
    ///
    /// handle.engage(Hold::new("on-call", "ticket 4711"))?;
    /// assert_eq!(modes.recv().await, Some(Mode::Maintenance));
    ///
    /// drop((layer, handle));
    /// assert_eq!(modes.recv().await, None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn modes(&self) -> Modes {
        Modes {
            shared: Arc::downgrade(self.shared()),
            news: Some(self.shared().subscribe()),
            waiting: None,
            last: None,
        }
    }
}

type News = watch::Receiver<Bulletin>;

/// Ends with `None` when the layer is gone, and gives the receiver back.
type Waiting = Pin<Box<dyn Future<Output = (Option<()>, News)> + Send + Sync>>;

/// A subscription to the mode of a layer; made by [`MaintenanceHandle::modes`].
///
/// The first value is the present mode. Each further one differs from the value before. A
/// subscriber that lags receives only the newest mode, and none if the mode is again what it was.
/// [`Events`](crate::Events) has every change. A subscription does not keep the layer alive.
///
/// With [`poll_recv`](Self::poll_recv) it is a `Stream` in one line:
/// `futures::stream::poll_fn(move |cx| modes.poll_recv(cx))`.
pub struct Modes {
    shared: Weak<Root>,
    /// `None` while `waiting` has it, and when the layer is gone.
    news: Option<News>,
    /// A wait that is under way. It is boxed, because the receiver has no `poll` of its own.
    waiting: Option<Waiting>,
    last: Option<Mode>,
}

impl Modes {
    /// Waits for a mode that differs from the last one.
    ///
    /// Returns `None` when no layer, service or handle is left.
    ///
    /// While it waits, it applies deadlines as they pass, so a wait or a hold ends even without
    /// calls.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: a mode is marked as seen only when it is returned.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled, if a deadline is pending.
    pub async fn recv(&mut self) -> Option<Mode> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Polls for a mode that differs from the last one, as [`recv`](Self::recv) does.
    ///
    /// # Panics
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Mode>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let (more, news) = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                self.news = more.map(|()| news);
            }
            let Some((mut news, shared)) = self.news.take().zip(self.shared.upgrade()) else {
                return Poll::Ready(None);
            };
            // Before the mode is read, so that a change after that is not missed.
            news.mark_unchanged();
            let mode = shared.glance().mode();
            if self.last.replace(mode) != Some(mode) {
                self.news = Some(news);
                return Poll::Ready(Some(mode));
            }
            let shared = self.shared.clone();
            self.waiting = Some(Box::pin(async move {
                (next_news(&shared, &mut news).await, news)
            }));
        }
    }
}

impl fmt::Debug for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modes")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
