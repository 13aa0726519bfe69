//! The same state once more for each core.
//!
//! A call holds on to the layer's state until it ends. Were that one reference count, every call on
//! every core would write the same cache line twice, and that costs more than all its counting. So there is
//! one for each lane, and a call takes the one of the thread that it begins on.

use std::{ops::Deref, sync::Arc};

use crate::{lanes, shared::Shared};

/// What a call holds on to.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Local(Arc<Shared>);

impl Deref for Local {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What views and services hold on to.
#[derive(Debug, Clone)]
pub(crate) struct Locals {
    shared: Arc<Shared>,
    each: Arc<[Arc<Local>]>,
}

impl Locals {
    pub(crate) fn new(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let each = (0..lanes::how_many())
            .map(|_| Arc::new(Local(shared.clone())))
            .collect();
        Self { shared, each }
    }

    /// For whoever outlives the services.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// For a call that begins on this thread.
    #[inline]
    pub(crate) fn here(&self) -> Arc<Local> {
        lanes::here(&self.each).clone()
    }
}

impl Deref for Locals {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.shared
    }
}
