//! Running what may panic without harm to others.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what is not ours: a waker or a tracing subscriber that panics harms no call and no other
/// listener, nor a `Drop` in the midst of a panic (R5, R18).
pub(crate) fn harmless(tell: impl FnOnce()) {
    if mutant!("the panic of a listener goes through") {
        return tell();
    }
    let _ = catch_unwind(AssertUnwindSafe(tell));
}
