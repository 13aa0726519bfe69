//! One `Arc` per thread, left by its last user for the next one.
//!
//! Counting a reference costs an atomic read-modify-write twice per call (14 ns alone, 62 ns when
//! two cores share the count; `cargo bench --bench many_cores`). A user that leaves its `Arc` here,
//! and the next user that takes it, count nothing. Each owner declares a `thread_local!` of its
//! own, so that this file knows none of them.

use std::{cell::Cell, sync::Arc, thread::LocalKey};

/// The place for one `Arc` on each thread.
pub(crate) struct Spare<T>(Cell<Option<Arc<T>>>);

impl<T> Spare<T> {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Takes what was left on this thread; `None` while the thread ends.
    #[inline]
    pub(crate) fn take(place: &'static LocalKey<Self>) -> Option<Arc<T>> {
        place.try_with(|spare| spare.0.take()).ok().flatten()
    }

    /// Leaves `value` for the next user on this thread, and drops what lay there.
    #[inline]
    pub(crate) fn leave(place: &'static LocalKey<Self>, value: Arc<T>) {
        // While the thread ends, the closure is dropped unused, and `value` with it.
        let _ = place.try_with(|spare| {
            if let Some(before) = spare.0.replace(Some(value)) {
                drop_cold(before);
            }
        });
    }
}

#[cold]
#[inline(never)]
fn drop_cold<T>(value: Arc<T>) {
    drop(value);
}
