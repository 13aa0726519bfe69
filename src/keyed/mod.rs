//! One state per key: per tenant, per partner account, per upstream host.
//!
//! One layer for all of them would put everybody into maintenance when one account is broken; a layer for each by hand grows
//! without bound. So: a [`KeyedLayer`] makes the state of a key when the key is first called, keeps so many at most, and
//! lets go of those that nobody uses and nobody would miss.

mod keys;
mod registry;
mod service;
mod view;

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tower::Layer;

use self::registry::{Make, Registry, SHORTEST_IDLE};
pub use self::{
    keys::{Keys, KeysFull},
    service::KeyedMaintenance,
    view::{Own, View, Viewed},
};
use crate::{call::plain::Calls, layer::MaintenanceLayer};

/// 10,000 keys take 43 MB with two cores; see [`KeyedBuilder::max_keys`].
const MAX_KEYS: usize = 10_000;
const MOST_KEYS: usize = 1_000_000;
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// A layer with one state per key: each has a mode, a window, an episode and a handle of its own.
///
/// The first closure says whose a request is, the second makes the [`MaintenanceLayer`] of a key, when it is first called:
/// name, policy and exemptions may depend on it. Keys are looked up on every call: a number or an `Arc<str>`
/// is cheaper than a `String`. Requests that have no tenant can share a key (`Option<Tenant>`).
///
/// ```
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use tower_maintenance::{Error, Hold, KeyedLayer, MaintenanceLayer, Mode};
///
/// #[derive(Debug, Clone, Copy)]
/// struct Charge { tenant: u32, cents: u64 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = KeyedLayer::builder(
///     |charge: &Charge| charge.tenant,
///     |tenant: &u32| MaintenanceLayer::new(&format!("zuora account of tenant {tenant}")),
/// )
/// .max_keys(50_000)
/// .build()?;
/// let keys = layer.keys(); // for operators; outlives every service
///
/// // The account of tenant 7 is locked; all others work.
/// let mut billing = ServiceBuilder::new().layer(layer).service(service_fn(async |charge: Charge| {
///     if charge.tenant == 7 { Err(std::io::Error::other("503")) } else { Ok(charge.cents) }
/// }));
/// for _ in 0..5 {
///     assert!(billing.ready().await?.call(Charge { tenant: 7, cents: 100 }).await.is_err());
/// }
/// let seven = billing.ready().await?.call(Charge { tenant: 7, cents: 100 }).await;
/// assert!(matches!(seven, Err(Error::Refused(_))));
/// assert_eq!(billing.ready().await?.call(Charge { tenant: 8, cents: 100 }).await?, 100);
///
/// // What an operator sees and does.
/// let down: Vec<_> = keys.not_serving().map(|(tenant, status)| (tenant, status.mode)).collect();
/// assert_eq!(down, [(7, Mode::Maintenance)]);
/// keys.handle(&9)?.engage(Hold::new("on-call", "tenant 9 moves to another account"))?;
/// assert!(billing.ready().await?.call(Charge { tenant: 9, cents: 100 }).await.is_err());
/// assert_eq!(keys.get(&9).unwrap().mode(), Mode::Maintenance);
/// assert!(keys.get(&10).is_none()); // looking makes no state
/// assert_eq!(keys.len(), 3);
/// # Ok(())
/// # }
/// ```
///
/// # Which keys stay, and which go
///
/// A key that was not used for [`idle_after`](KeyedBuilder::idle_after) is let go of by whoever
/// calls, adds a key, or lists the keys: there is no background task. Listing them looks at all. Of 64 calls one looks at 8 of
/// `max_keys / 32` groups of keys: with 10,000 keys an idle one goes within 4,000 calls or so, and then within another half of the time. A use is a call, or asking for the key's handle. However idle, a
/// key stays that
///
/// - is in `Maintenance` or `Probing`, or held by an operator beneath a bypass,
/// - was put into dry run or bypass since it was made, or out of it, or has an open shadow episode,
/// - had its policy or its exemptions replaced,
/// - has calls in flight, or a ping, a [handle](crate::MaintenanceHandle) or a listener that somebody has kept, be it the closure that
///   made its layer; so keys that share one layer stay.
///
/// So what is lost is a window that nobody filled for so long, what the waits had grown to, counts, and the records of events,
/// episodes and commands, unless somebody kept the handle; tracing has told of them. A key that comes back begins anew: in `Serving`, with an empty window, and with a generation
/// no lower than any it had.
///
/// # When all places are taken
///
/// If [`max_keys`](KeyedBuilder::max_keys) are there and none is idle, calls of further keys **pass**, ungated and unmeasured. Memory does not
/// grow, and nobody is refused because of somebody else, as they would be by a state which further keys shared.
/// [`Keys::overflowed`] counts them, and one warning is traced each time it begins. Whoever can make up keys can take all places: let the
/// key be something that was authenticated.
///
/// # Readiness
///
/// Whose state is asked is known only when the request is there. So `poll_ready` is always ready: it asks the inner service, and if
/// that is not ready, the future of an admitted call waits for it, while a refused call does not. Errors of
/// the inner `poll_ready` come out of the call, and count for its key. Callers feel no backpressure through it: put limits and
/// `load_shed` outside of this layer.
///
/// # What a key costs
///
/// 4.65 KB with two cores, and 0.39 KB for each further one up to 64; a call of a known key costs its look-up more than a call through an unkeyed layer,
/// and shares nothing with calls of other keys. `cargo bench --bench keyed` measures both at 100,000 keys.
pub struct KeyedLayer<K, F, P = Calls, V = Own> {
    registry: Arc<Registry<K, P>>,
    key: F,
    view: V,
}

impl KeyedLayer<(), ()> {
    /// Configures a layer with a state for each key: `key` says whose a request is, `make` makes the layer of a key.
    ///
    /// `make` runs on the call that first comes with a key, and no lock is held meanwhile: if two come at once it may run
    /// twice, and one of the layers is dropped. A panic in it reaches the caller.
    pub fn builder<Req, K, F, P>(
        key: F,
        make: impl Fn(&K) -> MaintenanceLayer<P> + Send + Sync + 'static,
    ) -> KeyedBuilder<K, F, P>
    where
        F: Fn(&Req) -> K + Clone,
        K: Hash + Eq,
    {
        KeyedBuilder {
            key,
            make: Box::new(make),
            max_keys: MAX_KEYS,
            idle_after: IDLE_AFTER,
        }
    }
}

impl<K, F, P, V> KeyedLayer<K, F, P, V> {
    /// The keys and their handles, for operators: a cheap clone that outlives every service.
    #[must_use]
    pub fn keys(&self) -> Keys<K, P> {
        Keys::new(self.registry.clone())
    }

    /// A view of the same keys and states for another placement or protocol, with its own way to tell whose a request is.
    ///
    /// `view` is asked on every call: `|layer| layer.http_calls()`, `|layer| layer.routes()`. Options that allocate belong into
    /// the closure that makes the layer of a key.
    ///
    /// ```
    /// use tower_maintenance::{KeyedLayer, MaintenanceLayer};
    ///
    /// let by_host = KeyedLayer::builder(|host: &String| host.clone(), |host: &String| MaintenanceLayer::new(host)).build()?;
    /// let named = by_host.viewed(
    ///     |call: &(String, u32)| call.0.clone(),
    ///     |layer| layer.judged_by(|_: Result<&(), &u16>| tower_maintenance::Outcome::Success),
    /// );
    /// by_host.keys().handle(&"eu.example".to_owned())?;
    /// assert_eq!(named.keys().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn viewed<Req, G, Q, W>(&self, key: G, view: W) -> KeyedLayer<K, G, P, Viewed<W>>
    where
        G: Fn(&Req) -> K + Clone,
        W: Fn(&MaintenanceLayer<P>) -> MaintenanceLayer<Q> + Clone,
    {
        KeyedLayer {
            registry: self.registry.clone(),
            key,
            view: Viewed::by(view),
        }
    }
}

impl<S, K, F: Clone, P, V: Clone> Layer<S> for KeyedLayer<K, F, P, V> {
    type Service = KeyedMaintenance<S, K, F, P, V>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedMaintenance::new(
            inner,
            self.registry.clone(),
            self.key.clone(),
            self.view.clone(),
        )
    }
}

impl<K, F: Clone, P, V: Clone> Clone for KeyedLayer<K, F, P, V> {
    fn clone(&self) -> Self {
        Self {
            registry: self.registry.clone(),
            key: self.key.clone(),
            view: self.view.clone(),
        }
    }
}

impl<K, F, P, V> fmt::Debug for KeyedLayer<K, F, P, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLayer")
            .field("max_keys", &self.registry.max_keys())
            .finish_non_exhaustive()
    }
}

/// Configures a [`KeyedLayer`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBuilder<K, F, P> {
    key: F,
    make: Box<Make<K, P>>,
    max_keys: usize,
    idle_after: Duration,
}

impl<K, F, P> KeyedBuilder<K, F, P> {
    /// How many keys are kept at most, 1 to 1,000,000. Default: 10,000, which is 43 MB with two cores: more tenants than one
    /// process serves in a few minutes as a rule, and less memory than anybody would look for.
    pub fn max_keys(self, max_keys: usize) -> Self {
        Self { max_keys, ..self }
    }

    /// How long a key must be unused before it may be let go of, 1 s or more. Default: 10 min, ten of the default policy's windows and
    /// twice its longest wait: what is let go of then knows nothing worth keeping. Let it be no shorter than the longest window of yours.
    pub fn idle_after(self, idle_after: Duration) -> Self {
        Self { idle_after, ..self }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If a number is out of range; the error names field, value and what is allowed.
    ///
    /// ```
    /// use tower_maintenance::{KeyedLayer, MaintenanceLayer};
    ///
    /// let built = KeyedLayer::builder(|key: &u8| *key, |_: &u8| MaintenanceLayer::new("zuora")).max_keys(0).build();
    /// assert_eq!(built.unwrap_err().to_string(), "max_keys is 0: allowed is 1 to 1000000");
    /// ```
    pub fn build(self) -> Result<KeyedLayer<K, F, P>, KeyedError> {
        if !(1..=MOST_KEYS).contains(&self.max_keys) {
            return Err(KeyedError::MaxKeys(self.max_keys));
        }
        if self.idle_after < SHORTEST_IDLE {
            return Err(KeyedError::IdleAfter(self.idle_after));
        }
        Ok(KeyedLayer {
            registry: Arc::new(Registry::new(self.make, self.max_keys, self.idle_after)),
            key: self.key,
            view: Own,
        })
    }
}

impl<K, F, P> fmt::Debug for KeyedBuilder<K, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("max_keys", &self.max_keys)
            .field("idle_after", &self.idle_after)
            .finish_non_exhaustive()
    }
}

/// A keyed layer that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyedError {
    /// Room for no key, or for more than anybody has memory for.
    #[error("max_keys is {0}: allowed is 1 to {MOST_KEYS}")]
    MaxKeys(usize),
    /// Keys would go while they are used.
    #[error("idle_after is {0:?}: allowed is {SHORTEST_IDLE:?} or more")]
    IdleAfter(Duration),
}
