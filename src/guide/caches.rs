//! Caches in this process, and the fill that comes too late.
//!
//! After a recovery what was cached before may be wrong. The layer says so by a signal,
//! [`cache_bust`](crate::MaintenanceHandle::cache_bust). A cache that is cleared at the signal has
//! one gap: a request that began before the signal may bring the old price, and store it after the
//! cache was cleared. [`begin_fill`](crate::MaintenanceHandle::begin_fill) closes the gap.
//!
//! # moka
//!
//! ```
//! use moka::sync::Cache;
//! use tower_maintenance::{CacheBusts, Hold, MaintenanceHandle, MaintenanceLayer};
//!
//! type Prices = Cache<&'static str, u32>;
//!
//! /// Answers from the cache, or asks the partner.
//! async fn price(
//!     handle: &MaintenanceHandle,
//!     prices: &Prices,
//!     plan: &'static str,
//!     partner: impl Future<Output = u32>,
//! ) -> u32 {
//!     if let Some(price) = prices.get(plan) {
//!         return price;
//!     }
//!     let fill = handle.begin_fill(); // before the partner is asked
//!     let price = partner.await;
//!     prices.insert(plan, price);
//!     if !fill.is_current() { // after it is stored, not before
//!         prices.invalidate(plan);
//!     }
//!     price
//! }
//!
//! /// Clears the cache at each recovery. Spawn it; it ends with the layer.
//! async fn clear_at_recoveries(prices: Prices, mut busts: CacheBusts) {
//!     while busts.recv().await.is_some() {
//!         prices.invalidate_all();
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::new("zuora");
//! let handle = layer.handle();
//! let prices = Prices::new(10_000);
//! tokio::spawn(clear_at_recoveries(prices.clone(), handle.cache_bust()));
//!
//! // The partner answers with the old price, and so late that a whole episode passes meanwhile.
//! let late = price(&handle, &prices, "basic", async {
//!     handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
//!     handle.release("on-call", "partner is back").unwrap();
//!     tokio::task::yield_now().await; // here the cache is cleared
//!     12
//! });
//! assert_eq!(late.await, 12);
//! assert_eq!(prices.get("basic"), None, "the old price does not stay");
//!
//! assert_eq!(price(&handle, &prices, "basic", async { 19 }).await, 19);
//! assert_eq!(prices.get("basic"), Some(19));
//! # Ok(())
//! # }
//! ```
//!
//! `invalidate` may also remove a new price that another request has just stored. That costs one
//! more request and is never wrong.
//!
//! moka's `get_with` and `try_get_with` run one fill for all callers that wait. There too, begin
//! the fill before `get_with` and ask after it. The caller whose fill ran finds that it is out of
//! date, also if other callers joined it after the recovery.
//!
//! # The generation as a part of the key
//!
//! Where entries expire by themselves, neither the signal nor the order is needed:
//!
//! ```
//! use moka::sync::Cache;
//! use tower_maintenance::{Hold, MaintenanceLayer};
//!
//! let handle = MaintenanceLayer::new("zuora").handle();
//! let prices = Cache::new(10_000);
//! let fill = handle.begin_fill();
//! prices.insert((fill.generation(), "basic"), 12);
//! assert_eq!(prices.get(&(handle.generation(), "basic")), Some(12));
//!
//! handle.engage(Hold::new("on-call", "ticket 4711"))?;
//! handle.release("on-call", "partner is back")?;
//! assert_eq!(prices.get(&(handle.generation(), "basic")), None);
//! # Ok::<(), tower_maintenance::CommandError>(())
//! ```
//!
//! # Which caches need what
//!
//! - *In this process, of the partner's answers*: this page. `examples/caches.rs` clears by tag.
//! - *Browsers, proxies, CDNs*: `http::CacheBustLayer`, `http::Push`, `http::CdnPurge`.
//! - *Answers to serve while the partner is down*: `http::LastGoodLayer`. It guards its own fills.
