//! Whether a call was just refused on this thread.
//!
//! A layer around another one must know that the call failed by a refusal, and not by its partner
//! (R24). Where its error type can be looked into, it finds the refusal there. A layer for any error
//! type cannot look: `E` has no bound, since a bound of `'static` keeps callers with `BoxError` from
//! spawning the call. Such a layer asks here whether a call of this crate ended as refused within
//! the very poll in which its own call ended with an error. That is known for each error type, and
//! never mistakes what came over the wire.
//!
//! It does not reach over a channel or another task: there the view for `BoxError`, or
//! [`nested`](crate::MaintenanceLayer::nested), looks into the error.

use std::cell::Cell;

use crate::facts::refused::Refused;

thread_local! {
    static REFUSALS: Cell<u64> = const { Cell::new(0) };
    /// The address of what the last refusal shares with all others of its layer.
    static NOTICE: Cell<usize> = const { Cell::new(0) };
}

/// Returns how many calls were refused on this thread.
#[inline]
pub(crate) fn count() -> u64 {
    REFUSALS.get()
}

/// Notes that a call ends by this refusal.
#[inline]
pub(crate) fn note(refused: &Refused) {
    REFUSALS.set(REFUSALS.get().wrapping_add(1));
    NOTICE.set(refused.address());
}

/// Returns the address of what the last refusal on this thread shares with all others of its layer
/// between two changes.
pub(crate) fn address() -> usize {
    NOTICE.get()
}
