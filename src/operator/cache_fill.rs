//! The guard of a cache that is filled while a recovery may come.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::state::root::Root;

/// Tells whether data that is being fetched is still of the present generation when it arrives.
///
/// A cache that is cleared at the [recovery signal](crate::CacheBusts) may be filled right after it
/// by a request that began before it: with the old price, which then stays. Begin the fill before
/// the request, store the data, and *then* ask. If the data is out of date, remove it:
///
/// ```
/// use std::{collections::HashMap, sync::Mutex};
/// use tower_maintenance::{Hold, MaintenanceHandle, MaintenanceLayer};
///
/// type Prices = Mutex<HashMap<&'static str, u32>>;
///
/// /// Answers from the cache, or asks the partner and fills the cache.
/// async fn price(
///     handle: &MaintenanceHandle,
///     cache: &Prices,
///     partner: impl Future<Output = u32>,
/// ) -> u32 {
///     if let Some(known) = cache.lock().unwrap().get("gold") {
///         return *known;
///     }
///     let fill = handle.begin_fill();
///     let price = partner.await;
///     cache.lock().unwrap().insert("gold", price);
///     if !fill.is_current() {
///         cache.lock().unwrap().remove("gold");
///     }
///     price
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let handle = layer.handle();
/// let mut busts = handle.cache_bust();
/// let cache = Prices::default();
///
/// // While the partner answers with the old price, a whole episode passes, and the cache is
/// // cleared at its signal.
/// let old = price(&handle, &cache, async {
///     handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
///     handle.release("on-call", "partner is back").unwrap();
///     busts.recv().await.unwrap();
///     cache.lock().unwrap().clear();
///     12
/// });
/// assert_eq!(old.await, 12);
/// assert_eq!(cache.lock().unwrap().get("gold"), None);
///
/// assert_eq!(price(&handle, &cache, async { 19 }).await, 19);
/// assert_eq!(cache.lock().unwrap().get("gold"), Some(&19));
/// # Ok(())
/// # }
/// ```
///
/// The order matters. The generation grows before the signal is sent. So data that is stored before
/// the generation grew is there when the signal clears the cache, and data that is stored later is
/// found out of date here. To ask first and to store then leaves a gap between the two.
///
/// A cache whose keys contain the [`generation`](Self::generation) needs neither the signal nor
/// this order: look entries up with [`MaintenanceHandle::generation`], and let old ones expire.
///
/// It does not keep the layer alive. Without a layer there are no more recoveries, and the data
/// stays current.
///
/// [`MaintenanceHandle::generation`]: crate::MaintenanceHandle::generation
#[derive(Clone)]
#[must_use = "it is asked after the data is stored"]
pub struct CacheFill {
    shared: Weak<Root>,
    generation: u64,
}

impl CacheFill {
    pub(crate) fn begin(shared: &Arc<Root>) -> Self {
        // A recovery that is due comes first, so that the fill is not in vain.
        shared.look();
        Self {
            shared: Arc::downgrade(shared),
            generation: shared.generation(),
        }
    }

    /// Returns the generation when the fill began, to which the data belongs.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether no recovery has come since the fill began.
    ///
    /// Like [`MaintenanceHandle::status`](crate::MaintenanceHandle::status) it applies deadlines
    /// that have passed, and takes the lock of the layer.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shared.upgrade().is_none_or(|shared| {
            shared.look();
            shared.generation() == self.generation
        })
    }
}

impl fmt::Debug for CacheFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheFill")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
