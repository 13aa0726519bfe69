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

use std::{cell::Cell, sync::Arc};

use crate::facts::{extras::Extras, refused::Refused};

thread_local! {
    static REFUSALS: Cell<u64> = const { Cell::new(0) };
    /// The address of the extras of the layer that refused last: the layer's identity.
    static LAYER: Cell<usize> = const { Cell::new(0) };
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
    LAYER.set(address(refused.extras()));
}

/// Tells whether the layer with these extras refused last on this thread.
pub(crate) fn was_by(extras: &Arc<Extras>) -> bool {
    LAYER.get() == address(extras)
}

fn address(extras: &Arc<Extras>) -> usize {
    Arc::as_ptr(extras).addr()
}
