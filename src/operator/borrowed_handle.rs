//! A handle that is borrowed from its layer.
//!
//! A [`MaintenanceHandle`](crate::MaintenanceHandle) keeps the state of its layer alive and counts
//! as a holder of it. The owner of many layers (the keyed layer) must look at a state without
//! becoming a holder: it drops the layers that have no holder but itself.

use std::sync::Arc;

use crate::{
    facts::{
        mode::{Mode, Switches},
        status::Status,
    },
    state::{journal::Journal, root::Root},
};

/// The state of a layer as its owner sees it; it counts as no holder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BorrowedHandle<'l>(&'l Arc<Root>);

impl<'l> BorrowedHandle<'l> {
    pub(crate) fn new(root: &'l Arc<Root>) -> Self {
        Self(root)
    }

    pub(super) fn state(self) -> &'l Arc<Root> {
        self.0
    }

    /// Returns whether the gate lets every request pass. It takes no lock and moves no time.
    pub(crate) fn is_serving(self) -> bool {
        self.0.is_serving()
    }

    /// Returns the mode; applies what fell due before.
    pub(crate) fn mode(self) -> Mode {
        self.0.glance().mode()
    }

    /// Returns the status; applies what fell due before.
    pub(crate) fn status(self) -> Status {
        self.0.status()
    }

    /// Returns the generation that was last published.
    pub(crate) fn generation(self) -> u64 {
        self.0.generation()
    }

    /// Raises the generation to `floor`, unless it is as high already.
    pub(crate) fn raise_generation(self, floor: u64) {
        if self.generation() < floor {
            self.0.locked(|machine| machine.generation_at_least(floor));
        }
    }

    /// Returns whether the layer is the only holder of its state: there is no service, handle,
    /// listener or waiting call beside it.
    pub(crate) fn is_sole_holder(self) -> bool {
        Arc::strong_count(self.0) == 1 && Arc::weak_count(self.0) == 0
    }

    /// Returns whether a layer built anew would do the same as this one: it serves, no call is in
    /// flight, and its switches (`as_built`), policy and exemptions are those that it was built
    /// with.
    ///
    /// It applies what fell due before.
    pub(crate) fn is_as_built(self, as_built: Switches) -> bool {
        let status = self.status();
        // A layer that does not serve has a cause. Under bypass it serves, and the holds are its
        // causes.
        status.causes.is_empty()
            && status.switches == as_built
            && status.shadow.is_none()
            && status.calls.in_flight() == 0
            && !self.0.read_journal(Journal::has_replaced)
    }
}
