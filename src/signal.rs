//! The recovery signal: what to drop, and since which generation.
//!
//! Receivers, never callbacks (R18): a subscriber that sleeps, lags or panics harms no call and no
//! other subscriber. The signal is a *newest value*, not a queue: a cache that missed three
//! recoveries need only hear of the last.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::SystemTime,
};

use crate::shared::{Bulletin, Shared};

/// Serving is back: whatever was cached before belongs to an older generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheBust {
    /// The new generation: larger than any before, over restarts too.
    pub generation: u64,
    /// The episode that ended.
    pub episode: u64,
    /// When serving returned.
    pub at: SystemTime,
    /// The cache tags (surrogate keys) that the layer was built with.
    pub tags: Arc<[String]>,
    /// The URLs that the layer was built with.
    pub urls: Arc<[String]>,
}

/// Receives one [`CacheBust`] per episode.
///
/// A subscriber that lags gets the newest signal instead of all it missed; one that comes late gets
/// the last signal there was, at once. It keeps nothing alive.
pub struct CacheBusts {
    shared: Weak<Shared>,
    news: tokio::sync::watch::Receiver<Bulletin>,
    seen: u64,
}

impl CacheBusts {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            news: shared.subscribe(),
            seen: 0,
        }
    }

    /// Waits for the next recovery; `None` once no layer, service or handle is left.
    ///
    /// While it waits it also moves time: a wait or an expiry that falls due is applied even if
    /// nobody calls.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a signal is marked as seen only when it is returned.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled, if a deadline is pending.
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

    /// The newest signal, if it has not been returned yet.
    pub fn try_recv(&mut self) -> Option<CacheBust> {
        if let Some(shared) = self.shared.upgrade() {
            shared.look();
        }
        let news = self.news.borrow_and_update();
        let newest = news
            .recovery
            .as_ref()
            .filter(|bust| bust.generation > self.seen)?;
        self.seen = newest.generation;
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

/// Waits until something was published, or until a deadline that whoever looks must apply; `None`
/// once nobody is left to publish.
///
/// The caller marks what it has seen *before* it looks at the state, so that nothing is missed in between.
pub(crate) async fn next_news(
    shared: &Weak<Shared>,
    news: &mut tokio::sync::watch::Receiver<Bulletin>,
) -> Option<()> {
    let due = {
        let shared = shared.upgrade()?;
        let deadline = shared.look();
        shared.instant(deadline)
    };
    match due {
        Some(due) => match tokio::time::timeout_at(due, news.changed()).await {
            Ok(changed) => changed.ok(),
            Err(_elapsed) => Some(()),
        },
        None => news.changed().await.ok(),
    }
}
