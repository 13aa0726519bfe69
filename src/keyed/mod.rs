//! One state per key: per tenant, per partner account, per upstream host.
//!
//! One layer for all tenants would refuse every tenant when the account of one is broken. One layer
//! per tenant, made by hand, grows without bound. A [`KeyedLayer`] makes the state of a key on the
//! key's first call, keeps a bounded number of keys, and drops the keys that are idle and hold
//! nothing worth keeping.

mod keys;
mod ping;
mod registry;
mod service;
mod view;

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tower::Layer;

use self::registry::{Has, Make, Registry, SHORTEST_IDLE};
pub use self::{
    keys::{Keys, KeysFull},
    service::KeyedMaintenance,
    view::{MappedView, OwnView, View},
};
use crate::{
    call::{
        by_name::RunProtocol, inner::CloneService, plain::Calls, protocol::Protocol, ticket::Ticket,
    },
    layer::MaintenanceLayer,
    run::Run,
};

/// 10,000 keys take 43 MB with two cores; see [`KeyedBuilder::max_keys`].
const MAX_KEYS: usize = 10_000;
const MOST_KEYS: usize = 1_000_000;
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// A layer with one state per key: each key has its own mode, window, episodes and handle.
///
/// The first closure returns the key of a request. The second makes the [`MaintenanceLayer`] of a
/// key on the key's first call, so that name, policy and exemptions may depend on the key. A key is
/// looked up on every call: a number or an `Arc<str>` is cheaper than a `String`. Requests without
/// a tenant can share one key (`Option<Tenant>`).
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
/// let partner = service_fn(async |charge: Charge| match charge.tenant {
///     7 => Err(std::io::Error::other("503")),
///     _ => Ok(charge.cents),
/// });
/// let mut billing = ServiceBuilder::new().layer(layer).service(partner);
/// let mut charge =
///     async |tenant| billing.ready().await?.call(Charge { tenant, cents: 100 }).await;
/// for _ in 0..5 {
///     assert!(charge(7).await.is_err());
/// }
/// assert!(matches!(charge(7).await, Err(Error::Refused(_))));
/// assert_eq!(charge(8).await?, 100);
///
/// // What an operator sees and does.
/// let down: Vec<_> = keys.not_serving().map(|(tenant, status)| (tenant, status.mode)).collect();
/// assert_eq!(down, [(7, Mode::Maintenance)]);
/// keys.handle(&9)?.engage(Hold::new("on-call", "tenant 9 moves to another account"))?;
/// assert!(charge(9).await.is_err());
/// assert_eq!(keys.get(&9).unwrap().mode(), Mode::Maintenance);
/// assert!(keys.get(&10).is_none()); // `get` makes no state
/// assert_eq!(keys.len(), 3);
/// # Ok(())
/// # }
/// ```
///
/// # Which keys stay
///
/// A key that is unused for [`idle_after`](KeyedBuilder::idle_after) may be dropped. A use is a
/// call, or asking for the key's handle. A key stays, however long it is idle, if one of these
/// holds:
///
/// - It is in `Maintenance` or `Probing`, or an operator holds it beneath a bypass.
/// - Its dry run or bypass was switched on or off since it was made, or it has an open shadow
///   episode.
/// - Its policy or its exemptions were replaced.
/// - It has calls in flight.
/// - A ping, a [handle](crate::MaintenanceHandle) or a listener of it is kept, also by the closure
///   that made its layer. So keys that share one layer stay. [`Keys::ping`] pings every key and
///   keeps none.
///
/// These are lost with a key: its window, which no call has filled for that long, the growth of its
/// waits, its counts, and its records of events, episodes and commands. Tracing has reported them,
/// and `Keys::publish_metrics` (feature `metrics`) keeps the sums of the counts. A key that comes
/// back begins in `Serving` with an empty window. Its generation is no lower than any it had.
///
/// There is no background task. Keys are dropped by threads that call, add a key, or list the keys.
/// A list looks at all keys. One of 64 calls looks at 8 of `max_keys / 32` groups of keys, so with
/// 10,000 keys each is looked at within about 4,000 calls. Given so many calls, an idle key goes
/// after at most one and a half `idle_after`.
///
/// # With another layer inside or outside
///
/// A refusal of a layer further in, such as one for the whole partner, is neutral for the key:
/// [layers within layers](crate::guide::stack). If there is a buffer or a task between the two, let
/// `make` return a [`nested`](MaintenanceLayer::nested) view.
///
/// # When all places are taken
///
/// If there are [`max_keys`](KeyedBuilder::max_keys) keys and none is idle, calls of further keys
/// **pass**, ungated and unmeasured. Memory does not grow. The alternative, one state for all
/// further keys, would refuse a tenant because of another. [`Keys::overflowed`] counts these calls,
/// and one warning is traced when they begin.
///
/// A caller that can invent keys can take all places. Use keys that were authenticated.
///
/// # Readiness
///
/// The state that decides is known only when the request is there. So `poll_ready` is always ready.
/// It polls the inner service. If that is not ready, the future of an admitted call waits for it,
/// and a refused call does not. An error of the inner `poll_ready` comes out of the call and counts
/// for the call's key. Callers feel no backpressure through this layer: put limits and `load_shed`
/// outside of it.
///
/// # What a key costs
///
/// A key takes 4.65 KB with two cores, and 0.39 KB for each further core up to 64. A call of a
/// known key costs one look-up more than a call through an unkeyed layer, and shares nothing with
/// calls of other keys. `cargo bench --bench keyed` measures both at 100,000 keys.
pub struct KeyedLayer<K, F, P = Calls, V = OwnView> {
    registry: Arc<Registry<K, P>>,
    key: F,
    view: V,
}

impl KeyedLayer<(), ()> {
    /// Configures a layer with one state per key: `key` returns the key of a request, `make` makes
    /// the layer of a key.
    ///
    /// `make` runs on the first call of a key, under no lock. If two calls come at once it may run
    /// twice, and one of the two layers is dropped. A panic in it reaches the caller.
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
    /// Returns the keys and their handles, for operators: a cheap clone that outlives every
    /// service.
    #[must_use]
    pub fn keys(&self) -> Keys<K, P> {
        Keys::new(self.registry.clone())
    }

    /// Returns a view of the same keys and states for another placement or protocol, with its own
    /// way to find the key of a request.
    ///
    /// `view` runs on every call: `|layer| layer.http_calls()`, `|layer| layer.routes()`. Set
    /// options that allocate in the closure that makes the layer of a key, not here.
    ///
    /// ```
    /// use tower_maintenance::{KeyedLayer, MaintenanceLayer};
    ///
    /// let by_host = KeyedLayer::builder(
    ///     |host: &String| host.clone(),
    ///     |host: &String| MaintenanceLayer::new(host),
    /// )
    /// .build()?;
    /// let judged = by_host.with_view(
    ///     |call: &(String, u32)| call.0.clone(),
    ///     |layer| layer.judged_by(|_: Result<&(), &u16>| tower_maintenance::Outcome::Success),
    /// );
    /// by_host.keys().handle(&"eu.example".to_owned())?;
    /// assert_eq!(judged.keys().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[doc(alias = "viewed")]
    pub fn with_view<Req, G, Q, W>(&self, key: G, view: W) -> KeyedLayer<K, G, P, MappedView<W>>
    where
        G: Fn(&Req) -> K + Clone,
        W: Fn(&MaintenanceLayer<P>) -> MaintenanceLayer<Q> + Clone,
    {
        KeyedLayer {
            registry: self.registry.clone(),
            key,
            view: MappedView::by(view),
        }
    }
}

impl<K, F, P, V> KeyedLayer<K, F, P, V>
where
    K: Hash + Eq,
    V: View<P>,
{
    /// Guards any future that ends with a `Result`, by the state of `key`: every `Err` is a failure
    /// of that key's partner, unless the view judges it in another way.
    ///
    /// It is [`MaintenanceLayer::run`] with a key. If all places are taken and none is idle, the
    /// call passes, ungated and unmeasured, as every call of a further key does.
    ///
    /// # Cancel safety
    ///
    /// As [`MaintenanceLayer::run`] says. The key is looked up at the first poll.
    ///
    /// # Errors
    ///
    /// - [`Error::Refused`](crate::Error::Refused) if the call was not made.
    /// - [`Error::Inner`](crate::Error::Inner) with the error of `future`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_maintenance::{Error, KeyedLayer, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let accounts = KeyedLayer::builder(
    ///     |(tenant, _): &(u32, String)| *tenant,
    ///     |tenant: &u32| MaintenanceLayer::new(&format!("zuora account of tenant {tenant}")),
    /// )
    /// .build()?;
    /// let charge = async |tenant: u32| match tenant {
    ///     7 => Err(std::io::Error::other("503")),
    ///     _ => Ok(tenant),
    /// };
    ///
    /// for _ in 0..5 {
    ///     assert!(accounts.run(7, "charge", charge(7)).await.is_err());
    /// }
    /// assert!(matches!(accounts.run(7, "charge", charge(7)).await, Err(Error::Refused(_))));
    /// assert_eq!(accounts.run(8, "charge", charge(8)).await?, 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<'l, T, E, R>(
        &'l self,
        key: K,
        name: &'l str,
        future: R,
    ) -> impl Future<Output = Result<T, <V::Protocol as RunProtocol<T, E>>::Error>>
    + use<'l, K, F, P, V, T, E, R>
    where
        V::Protocol: RunProtocol<T, E>,
        R: Future<Output = Result<T, E>>,
    {
        let (registry, view) = (&*self.registry, &self.view);
        Run::new(name, future, move |name| {
            let (protocol, admitted) = registry.with(key, |layer, has| {
                view.lend(layer, |protocol| {
                    let protocol = protocol.by_name();
                    let mut endpoint = protocol.endpoint(&name);
                    endpoint.may_probe &= !registry.is_pinged();
                    let admitted = match has {
                        Has::AState => layer.decide_now(&endpoint),
                        Has::NoPlace => Ok(Ticket::uncounted()),
                    };
                    (protocol, admitted)
                })
            });
            if admitted.is_ok() {
                // Not for a refused call, because a sweep may wait for a lock.
                registry.take_turn();
            }
            (protocol, admitted)
        })
    }
}

impl<S: CloneService, K, F: Clone, P, V: Clone> Layer<S> for KeyedLayer<K, F, P, V> {
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

/// Configures a [`KeyedLayer`]. [`build`](Self::build) checks every setting. A setting that is set
/// again takes the last value.
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBuilder<K, F, P> {
    key: F,
    make: Box<Make<K, P>>,
    max_keys: usize,
    idle_after: Duration,
}

impl<K, F, P> KeyedBuilder<K, F, P> {
    /// Sets how many keys are kept at most, 1 to 1,000,000. Default: 10,000.
    ///
    /// The default takes 43 MB with two cores. As a rule one process serves fewer tenants within
    /// [`idle_after`](Self::idle_after).
    pub fn max_keys(self, max_keys: usize) -> Self {
        Self { max_keys, ..self }
    }

    /// Sets how long a key must be unused before it may be dropped, 1 s or more. Default: 10 min.
    ///
    /// The default is ten windows of the default policy and twice its longest wait, so a key that
    /// is dropped then knows nothing worth keeping. Set it no shorter than the longest window of
    /// your policies.
    pub fn idle_after(self, idle_after: Duration) -> Self {
        Self { idle_after, ..self }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If a number is out of range. The error names the field, the value and the allowed range.
    ///
    /// ```
    /// use tower_maintenance::{KeyedLayer, MaintenanceLayer};
    ///
    /// let keyed = KeyedLayer::builder(|key: &u8| *key, |_: &u8| MaintenanceLayer::new("zuora"));
    /// let error = keyed.max_keys(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_keys is 0: allowed is 1 to 1000000");
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
            view: OwnView,
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

/// A setting of a keyed layer is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyedError {
    /// `max_keys` is zero or above 1,000,000.
    #[error("max_keys is {0}: allowed is 1 to {MOST_KEYS}")]
    MaxKeys(usize),
    /// `idle_after` is so short that keys would be dropped while they are in use.
    #[error("idle_after is {0:?}: allowed is {SHORTEST_IDLE:?} or more")]
    IdleAfter(Duration),
}
