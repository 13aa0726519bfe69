//! A value that is read by every call and replaced now and then.
//!
//! Counting a reference for each call costs 14 ns, and 62 ns when two cores share the count (`cargo
//! bench --bench many_cores`). So a reader leaves the value to the next reader on its thread. That
//! reader compares the address of what was left with the address of the value in force.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

/// The value in force.
#[derive(Debug)]
pub(crate) struct Published<T> {
    value: ArcSwap<T>,
    /// The address of the value, written before the value. The new address is published before the
    /// old `Arc` is dropped, so a reused address is never mistaken for the old value (ABA).
    place: AtomicUsize,
}

impl<T> Published<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self {
            place: place(&value).into(),
            value: ArcSwap::new(value),
        }
    }

    /// Publishes another value. The caller is the only publisher.
    pub(crate) fn publish(&self, value: Arc<T>) {
        // Relaxed: an allocation that reuses the old address has seen the old value freed, and so
        // this store. What must be seen with the gate's word is published before the word. A reader
        // that has read no word may still find the old value for a moment.
        self.place.store(place(&value), Ordering::Relaxed);
        self.value.store(value);
    }

    /// Returns the value in force. It is `left`, if `left` is still in force.
    #[inline]
    pub(crate) fn get(&self, left: Option<Arc<T>>) -> Arc<T> {
        match left {
            Some(left) if place(&left) == self.place.load(Ordering::Relaxed) => left,
            another => self.get_anew(another),
        }
    }

    /// Tells whether the value in force lies at this address.
    pub(crate) fn is_at(&self, address: usize) -> bool {
        self.place.load(Ordering::Relaxed) == address
    }

    #[cold]
    #[inline(never)]
    fn get_anew(&self, left: Option<Arc<T>>) -> Arc<T> {
        drop(left);
        self.value.load_full()
    }
}

#[inline]
fn place<T>(value: &Arc<T>) -> usize {
    Arc::as_ptr(value).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_layer_is_never_taken_for_it_while_one_is_published() {
        let published = Published::new(Arc::new(1_u64));
        let old = published.place.load(Ordering::Relaxed);
        // As `publish`, stopped after each of its stores.
        let next = Arc::new(2_u64);
        published.place.store(place(&next), Ordering::Relaxed);
        assert_eq!(*published.get(None), 1, "still the old one");
        published.value.store(next);
        let others: Vec<_> = (0..64).map(|_| Arc::new(99_u64)).collect();
        let reused = others.iter().find(|other| place(other) == old);
        assert_eq!(*published.get(reused.cloned()), 2);
    }

    #[test]
    fn what_was_left_is_the_value_until_another_is_published() {
        let published = Published::new(Arc::new(1));
        let first = published.get(None);
        let again = published.get(Some(first.clone()));
        assert!(Arc::ptr_eq(&first, &again));
        published.publish(Arc::new(2));
        assert_eq!(*published.get(Some(again)), 2);
        // Another layer's.
        assert_eq!(*Published::new(Arc::new(3)).get(Some(first)), 3);
    }
}
