//! A value that is read by every call and replaced now and then.
//!
//! To count a reference costs as much as everything else that a call does, and counted from many cores more than that.
//! So whoever has read the value leaves it to the next reader on its thread, who compares where it lies.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

/// The value in force.
#[derive(Debug)]
pub(crate) struct Published<T> {
    value: ArcSwap<T>,
    /// Where it lies, written before it. The place of a value that somebody still has is given to no other; and before
    /// the one that was is let go of, and its place may be given to another layer's, this names the next.
    place: AtomicUsize,
}

impl<T> Published<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self {
            place: place(&value).into(),
            value: ArcSwap::new(value),
        }
    }

    /// The caller is the only one who publishes.
    pub(crate) fn publish(&self, value: Arc<T>) {
        // Relaxed: whoever is given the place of the old value has seen it freed, hence this. What must be seen with a word
        // is published before that; a reader who goes by no word may for a moment still find the old value.
        self.place.store(place(&value), Ordering::Relaxed);
        self.value.store(value);
    }

    /// The value in force: what was left, if it still is the one.
    #[inline]
    pub(crate) fn get(&self, left: Option<Arc<T>>) -> Arc<T> {
        match left {
            Some(left) if place(&left) == self.place.load(Ordering::Relaxed) => left,
            another => self.get_anew(another),
        }
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
