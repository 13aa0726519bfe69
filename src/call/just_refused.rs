//! Tells whether a call was just refused on this thread.
//!
//! A layer around another one must know that the call failed by a refusal, and not by its partner
//! (R24). A view that knows its error type finds the refusal in the error. A view for any error
//! type cannot: `E` has no bound, because the bound `'static` keeps callers with `BoxError` from
//! spawning the call. Such a view asks here whether a call through this crate ended as refused in
//! the same poll in which its own call ended with an error. That works for every error type, and it
//! never takes an answer of the partner for a refusal.
//!
//! It does not work across a channel or a task. There the view for `BoxError`, or
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
