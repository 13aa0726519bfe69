//! The references to a layer's state: those that keep the layer alive, and those that calls hold.
//!
//! A call holds the layer's state until it ends. With one reference count for that, every call on
//! every core would write the same cache line twice: 14 ns, and 62 ns when two cores share the line
//! (`cargo bench --bench many_cores`). So there is one reference count per lane. A call that ends
//! leaves its reference to its thread, and the next call on that thread takes it without counting.
//!
//! A thread may therefore keep the state of the layer that it last called through after that layer
//! is gone. It keeps one layer, until it calls through another layer or ends. For this reason there
//! are two kinds of references. Views, services and handles hold a [`Root`]; when the last of them
//! is dropped, the layer is gone for every listener. Calls hold a [`Local`].

use std::{
    ops::Deref,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{Arc, LazyLock},
};

use tokio::sync::watch;

use super::{Parts, Shared, harmless, trace::warn_of_twin};
use crate::{
    base::{
        names::{Names, Taken},
        spare::Spare,
        thread_number,
    },
    counting::lanes,
    facts::recovery::Bulletin,
};

/// The layers of this process by the names of their partners.
static NAMES: LazyLock<Names<Root>> = LazyLock::new(Names::default);

thread_local! {
    /// The reference that the last call to end on this thread left.
    static LOCAL: Spare<Local> = const { Spare::new() };
}

/// What views, services and handles hold.
///
/// Aligned, so that the fields that every call reads do not share a cache line with the reference
/// count, which every clone of a service writes.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Root {
    shared: Arc<Shared>,
    locals: Box<[Arc<Local>]>,
    /// The only strong reference: listeners learn from its end that the layer is gone.
    bulletin: Arc<watch::Sender<Bulletin>>,
}

impl Root {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let bulletin = Arc::new(watch::Sender::default());
        let shared = Arc::new(Shared::new(parts, Arc::downgrade(&bulletin)));
        let locals = (0..lanes::how_many())
            .map(|_| Arc::new(Local(shared.clone())))
            .collect();
        Arc::new(Self {
            shared,
            locals,
            bulletin,
        })
    }

    /// Takes the partner's name in this process, or warns once that another layer has it.
    pub(crate) fn take_name(root: &Arc<Self>) {
        let taken = NAMES.take(root.partner(), root);
        if taken == Taken::FirstTwin {
            harmless(|| warn_of_twin(root.partner()));
        }
    }

    /// Returns the layer that has this name.
    pub(crate) fn named(partner: &str) -> Option<Arc<Self>> {
        NAMES.find(partner)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Bulletin> {
        self.bulletin.subscribe()
    }

    /// Returns the reference for a call that begins on this thread. It is the one that the last
    /// call left, if that call went through this layer.
    #[inline(always)]
    pub(crate) fn local(&self) -> Arc<Local> {
        match Spare::take(&LOCAL) {
            Some(left) if Arc::ptr_eq(&left.0, &self.shared) => left,
            another => self.another_local(another),
        }
    }

    #[cold]
    #[inline(never)]
    fn another_local(&self, left: Option<Arc<Local>>) -> Arc<Local> {
        if let Some(left) = left {
            Local::leave(left);
        }
        self.locals[thread_number::number() % self.locals.len()].clone()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        NAMES.give_up(self.shared.partner(), self);
    }
}

impl Deref for Root {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

// As for `Shared`: a panic leaves no state half changed.
impl UnwindSafe for Root {}
impl RefUnwindSafe for Root {}

/// The reference that a call holds. Aligned, so that no two share a cache line of 64 bytes.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Local(Arc<Shared>);

impl Local {
    /// Leaves the reference to the next call on this thread.
    #[inline(always)]
    pub(crate) fn leave(local: Arc<Self>) {
        // Loom runs all threads of a model on one OS thread, and nothing of a model may outlive it.
        if cfg!(not(maintenance_loom)) {
            Spare::leave(&LOCAL, local);
        }
    }
}

impl Deref for Local {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.0
    }
}

#[cfg(all(test, not(maintenance_loom)))]
mod tests {
    use super::*;
    use crate::layer::MaintenanceLayer;

    /// Does what a call does that begins and ends on this thread.
    fn call_through(root: &Root) {
        Local::leave(root.local());
    }

    #[tokio::test]
    async fn a_thread_keeps_one_layer_at_most_after_it_is_gone() {
        let [first, second] = ["zuora", "stripe"].map(MaintenanceLayer::new);
        let [kept, freed] = [&first, &second].map(|layer| Arc::downgrade(&layer.root().shared));
        let mut gone = second.handle().cache_bust();
        call_through(first.root());
        call_through(second.root());
        drop(second);
        assert_eq!(gone.recv().await, None, "for listeners it is gone at once");
        assert_eq!(freed.strong_count(), 1, "left to the next call");
        call_through(first.root());
        assert_eq!(freed.strong_count(), 0);
        drop(first);
        assert_eq!(kept.strong_count(), 1);
        drop(Spare::take(&LOCAL));
        assert_eq!(kept.strong_count(), 0);
    }

    #[test]
    fn a_thread_that_ends_lets_go() {
        let weak = std::thread::spawn(|| {
            let layer = MaintenanceLayer::new("zuora");
            call_through(layer.root());
            Arc::downgrade(&layer.root().shared)
        });
        assert_eq!(weak.join().unwrap().strong_count(), 0);
    }
}
