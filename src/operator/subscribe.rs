//! Subscriptions to the recovery signal and to the events.
//!
//! A subscriber is a receiver and never a callback (R18), so one that sleeps, lags or panics
//! affects no call and no other subscriber. It holds a `Weak` reference and does not keep the layer
//! alive.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Weak},
    task::Poll,
};

use tokio::sync::watch;

use crate::{
    facts::{
        event::Event,
        recovery::{Bulletin, CacheBust},
    },
    state::{journal::Journal, root::Root},
};

/// A subscription to the recovery signal: it receives one [`CacheBust`] per episode.
///
/// A subscriber that lags over several recoveries receives only the newest signal. A new subscriber
/// receives the last signal at once, if there was one. A subscription does not keep the layer
/// alive.
///
/// A request that is under way when the signal comes may still fill the cache with the old data,
/// after the cache was cleared. [`CacheFill`](crate::CacheFill) prevents that.
pub struct CacheBusts {
    shared: Weak<Root>,
    news: watch::Receiver<Bulletin>,
    seen: u64,
}

impl CacheBusts {
    pub(crate) fn new(shared: &Arc<Root>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            news: shared.subscribe(),
            seen: 0,
        }
    }

    /// Waits for the next recovery.
    ///
    /// Returns `None` when no layer, service or handle is left.
    ///
    /// While it waits, it applies deadlines as they pass, so a wait or a hold ends even without
    /// calls.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: a signal is marked as seen only when it is returned.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled, if a deadline is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_maintenance::{Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora").cache_tags(["prices"]).build()?;
    /// let handle = layer.handle();
    /// let mut busts = handle.cache_bust();
    ///
    /// handle.engage(Hold::new("on-call", "ticket 4711"))?;
    /// handle.release("on-call", "partner is back")?;
    ///
    /// let bust = busts.recv().await.unwrap();
    /// assert_eq!(bust.episode, 1);
    /// assert_eq!(&*bust.tags, ["prices"]);
    /// assert_eq!(bust.generation, handle.status().generation);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<CacheBust> {
        loop {
            if let Some(bust) = self.try_recv() {
                return Some(bust);
            }
            next_news(&self.shared, &mut self.news).await?;
        }
    }

    /// Returns the newest signal, if it has not been returned yet.
    pub fn try_recv(&mut self) -> Option<CacheBust> {
        if let Some(shared) = self.shared.upgrade() {
            shared.look();
        }
        let news = self.news.borrow_and_update();
        let newest = news
            .recovery
            .as_ref()
            .filter(|bust| bust.generation > self.seen)?;
        if !mutant!("a signal is received again and again") {
            self.seen = newest.generation;
        }
        Some(CacheBust::clone(newest))
    }
}

impl fmt::Debug for CacheBusts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBusts")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// Waits until the layer publishes something or its next deadline passes. Returns `None` when the
/// layer is gone.
///
/// The caller must mark the news as seen *before* it reads the state. Otherwise a change between
/// the two is missed.
pub(crate) async fn next_news(
    shared: &Weak<Root>,
    news: &mut watch::Receiver<Bulletin>,
) -> Option<()> {
    let due = {
        let shared = shared.upgrade()?;
        let deadline = shared.look();
        shared.instant(deadline)
    };
    match due.filter(|_| !mutant!("a listener that waits moves no time")) {
        Some(due) => match tokio::time::timeout_at(due, news.changed()).await {
            Ok(changed) => changed.ok(),
            Err(_elapsed) => Some(()),
        },
        None => news.changed().await.ok(),
    }
}

/// Waits for `future`. Returns `None` as soon as the layer is gone.
pub(crate) async fn unless_gone<F: Future>(
    future: F,
    news: &mut watch::Receiver<Bulletin>,
) -> Option<F::Output> {
    let mut future = pin!(future);
    loop {
        let mut changed = pin!(news.changed());
        let either = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => changed.as_mut().poll(cx).map(Err),
        });
        match either.await {
            Ok(output) => return Some(output),
            Err(Ok(())) => {}
            Err(Err(_closed)) => return None,
        }
    }
}

/// A subscription to the events of a layer from its creation on.
///
/// The last 512 events are kept. A subscriber that lags further behind continues with the oldest
/// event that is kept, and sees the gap in [`Event::number`]. A subscription does not keep the
/// layer alive.
pub struct Events {
    shared: Weak<Root>,
    news: watch::Receiver<Bulletin>,
    next: u64,
}

impl Events {
    pub(crate) fn new(shared: &Arc<Root>) -> Self {
        let news = shared.subscribe();
        Self {
            shared: Arc::downgrade(shared),
            news,
            next: shared.read_journal(Journal::next_number),
        }
    }

    /// Waits for the next event.
    ///
    /// Returns `None` when no layer, service or handle is left.
    ///
    /// While it waits, it applies deadlines as they pass, so a wait or a hold ends even without
    /// calls.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: an event is marked as seen only when it is returned.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled, if a deadline is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_maintenance::{EventKind, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// let mut events = handle.events();
    /// handle.engage(Hold::new("on-call", "drill"))?;
    ///
    /// let first = events.recv().await.unwrap();
    /// assert!(matches!(first.kind, EventKind::HoldEngaged { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_recv() {
                return Some(event);
            }
            next_news(&self.shared, &mut self.news).await?;
        }
    }

    /// Returns the next event, if it has already happened.
    pub fn try_recv(&mut self) -> Option<Event> {
        let shared = self.shared.upgrade()?;
        shared.look();
        self.news.mark_unchanged();
        let event = shared.read_journal(|journal| journal.event(self.next).cloned())?;
        self.next = event.number + 1;
        Some(event)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
