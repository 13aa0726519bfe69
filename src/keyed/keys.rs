//! The operator's side of a keyed layer.

use std::{borrow::Borrow, fmt, future::Future, hash::Hash, sync::Arc};

use super::{ping, registry::Registry};
#[cfg(feature = "metrics")]
use crate::operator::metrics::{Figures, KeyFigures};
use crate::{
    call::plain::Calls,
    facts::{mode::Mode, status::Status},
    operator::{
        handle::MaintenanceHandle,
        ping::{Ping, PingAnswer},
    },
};

/// The keys of a [`KeyedLayer`](crate::KeyedLayer): a cheap clone, usable from any thread, that
/// outlives every service.
///
/// Asking for a handle is a use of its key, and the key stays as long as the handle is kept.
/// Counting and listing keys is no use of them, and drops those that are idle.
pub struct Keys<K, P = Calls> {
    registry: Arc<Registry<K, P>>,
}

impl<K, P> Keys<K, P> {
    pub(crate) fn new(registry: Arc<Registry<K, P>>) -> Self {
        Self { registry }
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.registry.len()
    }

    /// Returns whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many keys are kept at most.
    #[must_use]
    pub fn max_keys(&self) -> usize {
        self.registry.max_keys()
    }

    /// Returns the number of calls that passed ungated and unmeasured because all places were
    /// taken.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.registry.overflowed()
    }

    /// Returns the number of keys that were dropped.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.registry.evicted()
    }

    /// Returns the keys, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<K>
    where
        K: Clone,
    {
        let entries = self.registry.entries();
        entries.iter().map(|entry| entry.key().clone()).collect()
    }

    /// Returns the keys that are in `Maintenance` or `Probing`, each with its status, in no order.
    ///
    /// The keys are those of now. Mode and status are read when the iterator reaches the key, and
    /// reading them applies what fell due. No lock is held in between.
    pub fn not_serving(&self) -> impl Iterator<Item = (K, Status)> + use<K, P>
    where
        K: Clone,
    {
        let entries = self.registry.entries().into_iter();
        entries.filter_map(|entry| {
            if entry.layer().borrowed_handle().mode() == Mode::Serving {
                return None;
            }
            let status = entry.layer().borrowed_handle().status();
            Some((entry.key().clone(), status))
        })
    }
}

impl<K, P> Keys<K, P> {
    /// Builds a future that runs `check` for every key that is being probed: a
    /// [ping](MaintenanceHandle::ping) per key.
    ///
    /// Spawn the future once; it serves all keys, also those that come later, and keeps none. It
    /// ends by itself, within a second, when no layer, service or `Keys` is left. A key that is let
    /// go of has no more checks.
    ///
    /// The future looks at the keys once a second. A key in `Probing` gets one check at a time, at
    /// most one every [`ping_every`](crate::Policy::with_ping_every). Over all keys at most 32
    /// checks run at a time, and the other keys wait for their turn. Each check takes an ordinary
    /// probe slot and may take as long as a probe's [lease](crate::Policy::with_lease). From the
    /// first poll of the future until it is dropped, requests of customers do not probe.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the checks under way, each as [`MaintenanceHandle::ping`] says.
    /// From then on requests of customers probe again.
    ///
    /// # Panics
    ///
    /// The future panics if `check` panics. That probe then counts as failed.
    ///
    /// # Examples
    ///
    /// Reads of this partner work and charges fail. With a key per class, only charges are refused.
    /// The ping says when they work again, without a charge of a customer:
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{KeyedLayer, MaintenanceLayer, Mode};
    /// # use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    ///
    /// #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    /// enum Call { Read, Charge }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # static BROKEN: AtomicBool = AtomicBool::new(true);
    /// // A request of this kind to the partner. For a charge it is one that moves no money.
    /// async fn answers(call: Call) -> Result<(), io::Error> {
    ///     match call {
    ///         Call::Charge if BROKEN.load(Relaxed) => Err(io::Error::other("500")),
    ///         _ => Ok(()),
    ///     }
    /// }
    ///
    /// let layer = KeyedLayer::builder(
    ///     |call: &Call| *call,
    ///     |call: &Call| MaintenanceLayer::new(&format!("zuora {call:?}")),
    /// )
    /// .build()?;
    /// let keys = layer.keys();
    /// tokio::spawn(keys.ping(|call: &Call| answers(*call)));
    ///
    /// let mut partner = ServiceBuilder::new().layer(layer).service(service_fn(answers));
    /// for _ in 0..5 {
    ///     assert!(partner.ready().await?.call(Call::Charge).await.is_err());
    ///     assert!(partner.ready().await?.call(Call::Read).await.is_ok());
    /// }
    /// let mode = |call| keys.get(&call).unwrap().mode();
    /// assert_eq!((mode(Call::Charge), mode(Call::Read)), (Mode::Maintenance, Mode::Serving));
    ///
    /// BROKEN.store(false, Relaxed);
    /// tokio::time::sleep(Duration::from_secs(60)).await;
    /// assert_eq!(mode(Call::Charge), Mode::Serving); // no customer has called
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a ping does nothing until it is spawned"]
    pub fn ping<C, F>(&self, check: C) -> Ping<impl Future<Output = ()> + use<K, P, C, F>>
    where
        C: Fn(&K) -> F,
        F: Future<Output: PingAnswer>,
    {
        Ping::of(ping::run(Arc::downgrade(&self.registry), check))
    }
}

#[cfg(feature = "metrics")]
impl<K, P> Keys<K, P> {
    /// Writes the sums over all keys into the recorder that is installed for the crate
    /// [`metrics`], with `partner` as the label.
    ///
    /// It is the [`publish_metrics`](MaintenanceHandle::publish_metrics) of a keyed layer, and is
    /// called in the same way. No key becomes a label, because the number of keys has no bound that
    /// a monitoring system bears: publish the handle of a single key only if there are few.
    /// [`guide::metrics`](crate::guide::metrics) says what each number means over keys. The
    /// counters include the keys that were dropped.
    ///
    /// It looks at all keys, takes the lock of each for a moment, and is no use of them.
    ///
    /// ```
    /// use tower_maintenance::{KeyedLayer, MaintenanceLayer};
    ///
    /// let layer = KeyedLayer::builder(
    ///     |tenant: &u32| *tenant,
    ///     |tenant: &u32| MaintenanceLayer::new(&format!("zuora account of tenant {tenant}")),
    /// )
    /// .build()?;
    /// layer.keys().publish_metrics("zuora accounts");
    /// # Ok::<(), tower_maintenance::KeyedError>(())
    /// ```
    pub fn publish_metrics(&self, partner: impl Into<Arc<str>>) {
        let partner = partner.into();
        let (entries, gone) = self.registry.entries_and_departed();
        let mut figures = Figures::default();
        figures.add_sums(&gone);
        for entry in &entries {
            figures.add(&Figures::of(&entry.layer().borrowed_handle().status()));
        }
        figures.publish(&partner);
        let keys = KeyFigures {
            keys: entries.len() as u64,
            evicted: self.evicted(),
            overflowed: self.overflowed(),
        };
        keys.publish(&partner);
    }
}

impl<K: Hash + Eq, P> Keys<K, P> {
    /// Returns the handle of a key that is there; `None` if it is not. It makes no state.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<MaintenanceHandle>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.registry.get(key)
    }

    /// Returns the handle of a key, and makes the key's state if it is not there. So an operator
    /// can hold a key before its first call.
    ///
    /// # Errors
    ///
    /// If the key is not there and all places are taken.
    pub fn handle(&self, key: &K) -> Result<MaintenanceHandle, KeysFull>
    where
        K: Clone,
    {
        let max_keys = self.registry.max_keys();
        self.registry.handle(key).ok_or(KeysFull { max_keys })
    }
}

impl<K, P> Clone for Keys<K, P> {
    fn clone(&self) -> Self {
        Self::new(self.registry.clone())
    }
}

impl<K, P> fmt::Debug for Keys<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("max_keys", &self.max_keys())
            .field("overflowed", &self.overflowed())
            .field("evicted", &self.evicted())
            .finish_non_exhaustive()
    }
}

/// All places for keys are taken, and the key is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all {max_keys} keys are taken and none is idle: raise `max_keys`, or wait for `idle_after`"
)]
pub struct KeysFull {
    max_keys: usize,
}

impl KeysFull {
    /// Returns how many keys are kept at most.
    #[must_use]
    pub fn max_keys(self) -> usize {
        self.max_keys
    }
}
