//! Assertions on a layer, its calls and its responses.
//!
//! They are functions, as `assert!` is a macro, and not methods, so that the demand stands at the
//! beginning of its line. A failed assertion quotes the sentence in which [`Status`](crate::Status)
//! explains itself: "expected `Serving`, found `Maintenance`" would leave out the reason.

mod calls;
mod mode;
mod within;

pub use self::{
    calls::{assert_let_through, assert_refusal, assert_refused},
    mode::{assert_held_by, assert_in_maintenance, assert_probing, assert_serving, assert_tripped},
    within::{assert_recovers_within, assert_trips_within},
};

#[cfg(test)]
mod support {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use crate::{Hold, MaintenanceHandle, MaintenanceLayer};

    pub(super) fn handle() -> MaintenanceHandle {
        MaintenanceLayer::new("zuora").handle()
    }

    pub(super) fn held() -> MaintenanceHandle {
        let handle = handle();
        handle.engage(Hold::new("on-call", "ticket 4711")).unwrap();
        handle
    }

    pub(super) fn complaint<T>(assertion: impl FnOnce() -> T) -> String {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            assertion();
        }))
        .unwrap_err();
        match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => (*panic.downcast::<&'static str>().unwrap()).into(),
        }
    }
}
