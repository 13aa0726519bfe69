//! A cache that drops the partner's answers at each recovery, by the cache-bust signal.
//!
//! Entries that do not depend on the partner stay. No customer has to clear a cache.
//!
//! ```sh
//! cargo run --example caches
//! ```
//!
//! The cache is [moka](https://docs.rs/moka), in this process. A Redis or a CDN with surrogate keys
//! is handled the same way, by the tags in the signal.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use moka::sync::Cache;
use tower_maintenance::{CacheBust, CacheBusts, Hold, MaintenanceHandle, MaintenanceLayer};

/// A cache whose entries have tags.
#[derive(Clone)]
pub(crate) struct Tagged {
    entries: Cache<&'static str, Entry>,
}

#[derive(Clone)]
struct Entry {
    tags: &'static [&'static str],
    value: Arc<str>,
}

impl Tagged {
    pub(crate) fn new() -> Self {
        let entries = Cache::builder().max_capacity(10_000);
        Self {
            entries: entries.support_invalidation_closures().build(),
        }
    }

    pub(crate) fn get(&self, key: &'static str) -> Option<Arc<str>> {
        Some(self.entries.get(key)?.value)
    }

    pub(crate) fn insert(&self, key: &'static str, tags: &'static [&'static str], value: &str) {
        let value = value.into();
        self.entries.insert(key, Entry { tags, value });
    }

    /// Returns the cached value, or loads it.
    ///
    /// A loaded value does not stay in the cache if a recovery happened meanwhile: it may be one of
    /// those that the signal has just dropped. It is stored first and asked about afterwards, or a
    /// recovery between the two would be missed.
    pub(crate) async fn get_or_load(
        &self,
        key: &'static str,
        tags: &'static [&'static str],
        handle: &MaintenanceHandle,
        load: impl Future<Output = String>,
    ) -> Arc<str> {
        if let Some(value) = self.get(key) {
            return value;
        }
        let fill = handle.begin_fill();
        let value = load.await;
        self.insert(key, tags, &value);
        if !fill.is_current() {
            self.entries.invalidate(key);
        }
        value.into()
    }

    /// Drops all entries that have one of the signal's tags. moka does not return them from now on.
    /// Entries that are inserted later stay.
    pub(crate) fn drop_tagged(&self, bust: &CacheBust) {
        let stale = bust.tags.clone();
        self.entries
            .invalidate_entries_if(move |_key, entry| {
                entry
                    .tags
                    .iter()
                    .any(|tag| stale.iter().any(|stale| stale == tag))
            })
            .expect("the cache was built with support for it");
    }

    /// Follows the signal until no layer, service or handle is left.
    ///
    /// The signal comes through a receiver, not through a callback. So a cache that is slow to
    /// empty delays no call and no other listener.
    pub(crate) async fn follow(self, mut busts: CacheBusts) {
        while let Some(bust) = busts.recv().await {
            self.drop_tagged(&bust);
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The tags of all entries that are made from the partner's answers.
    let layer = MaintenanceLayer::builder("zuora")
        .cache_tags(["prices", "plans"])
        .build()?;
    let handle = layer.handle();
    let partner_asked = AtomicU32::new(0);
    let price = async || {
        partner_asked.fetch_add(1, Ordering::Relaxed);
        "19 EUR".to_owned()
    };

    let cache = Tagged::new();
    let mut busts = handle.cache_bust();
    cache.insert("basic", &["prices"], "19 EUR before the outage");
    cache.insert("logo", &["assets"], "a picture");

    handle.engage(Hold::new("on-call", "Zuora degraded, ticket 4711"))?;
    assert!(busts.try_recv().is_none(), "nothing is stale yet");
    println!("in maintenance: `basic` is still {:?}", cache.get("basic"));

    handle.release("on-call", "partner reports recovery")?;
    let bust = busts.recv().await.ok_or("the layer is gone")?;
    cache.drop_tagged(&bust);
    println!(
        "recovered, generation {}: drop {:?}",
        bust.generation, bust.tags
    );
    assert_eq!(cache.get("basic"), None);
    assert_eq!(cache.get("logo").as_deref(), Some("a picture"));

    // The next customer's request loads the price. The one after that hits the cache.
    for _ in 0..2 {
        let basic = cache
            .get_or_load("basic", &["prices"], &handle, price())
            .await;
        assert_eq!(&*basic, "19 EUR");
    }
    assert_eq!(partner_asked.load(Ordering::Relaxed), 1);
    println!("the next customer sees {:?}", cache.get("basic"));

    let late = late_subscriber(&handle, &bust).await?;

    // In a server each cache follows the signal in a task of its own, until the layer is gone.
    let following = tokio::spawn(late.clone().follow(handle.cache_bust()));
    drop((layer, handle));
    following.await?;
    Ok(())
}

/// Builds another cache, which subscribes after the recovery. It still gets the newest signal.
async fn late_subscriber(
    handle: &MaintenanceHandle,
    newest: &CacheBust,
) -> Result<Tagged, Box<dyn Error>> {
    let late = Tagged::new();
    late.insert("team", &["plans"], "49 EUR before the outage");
    let told = handle.cache_bust().recv().await;
    let told = told.ok_or("the layer is gone")?;
    late.drop_tagged(&told);
    assert_eq!(told, *newest);
    assert_eq!(late.get("team"), None);
    println!("a late subscriber gets generation {} too", told.generation);
    Ok(late)
}
