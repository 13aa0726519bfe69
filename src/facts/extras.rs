//! What the builder of a layer was given for the wings.

use std::{any::Any, fmt, sync::Arc};

/// Values that the builder of a layer was given and that the core does not know: one per type.
///
/// Each layer has one list, which every refusal of the layer shares. So the list is also the
/// identity of the layer: two lists are equal if they are the same list.
#[derive(Default, Clone)]
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "read by the wing that has such values")
)]
pub(crate) struct Extras(Vec<Arc<dyn Any + Send + Sync>>);

impl Extras {
    /// Adds a value, in place of an earlier one of its type.
    #[cfg(feature = "http")]
    pub(crate) fn set<T: Any + Send + Sync>(&mut self, value: Arc<T>) {
        self.0.retain(|other| !(**other).is::<T>());
        self.0.push(value);
    }

    #[cfg(feature = "http")]
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.iter().find_map(|value| value.downcast_ref())
    }
}

impl PartialEq for Extras {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Extras {}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extras").finish_non_exhaustive()
    }
}
