//! The operator's side of a keyed layer.

use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

use super::registry::Registry;
use crate::{
    call::plain::Calls,
    facts::{mode::Mode, status::Status},
    operator::handle::MaintenanceHandle,
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
