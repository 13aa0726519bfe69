//! What a call holds on to, and what keeps a layer going.
//!
//! A call holds on to the layer's state until it ends. Were that one reference count, every call on every core would
//! write the same cache line twice, and that costs more than all its counting. So there is one for each lane; and a
//! call that ends leaves its hold to the thread that it ends on, for the next call there, which then counts nothing.
//!
//! So a thread may hold on to the state of the layer that it last called through, after that layer is gone: one
//! layer a thread, until the thread calls through another or ends. Hence two kinds of holds. Views, services and handles
//! hold a [`Root`], and with the last of them the layer is gone for everybody who listens. Calls hold a [`Local`].

use std::{
    ops::Deref,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    base::spare,
    call::protocol::Ticket,
    counting::lanes,
    facts::recovery::Bulletin,
    machine::Role,
    state::{Parts, Shared},
};

/// What views, services and handles hold on to.
///
/// Aligned, so that what every call reads of it does not lie on the line of the count, which every clone of a service writes.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Root {
    shared: Arc<Shared>,
    locals: Box<[Arc<Local>]>,
    /// The only strong one: listeners learn from its end that nobody is left.
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

    pub(crate) fn subscribe(&self) -> watch::Receiver<Bulletin> {
        self.bulletin.subscribe()
    }

    /// The ticket of a call that the gate lets through in this era of `Serving`.
    #[inline(always)]
    pub(crate) fn begin(&self, era: u32) -> Ticket {
        let left = spare::with(|here| {
            self.count_admitted(here.number());
            here.take_local()
        });
        let local = match left {
            Some(left) => self.local_from(left),
            None => {
                // The thread ends.
                self.count_admitted(spare::number());
                self.another_local(None)
            }
        };
        Ticket::new(local, (Role::Plain, era))
    }

    /// For a call that begins on this thread.
    #[inline(always)]
    pub(crate) fn local(&self) -> Arc<Local> {
        self.local_from(spare::with(spare::Here::take_local).flatten())
    }

    /// From what the last call on this thread left, if it was one through this layer.
    #[inline(always)]
    fn local_from(&self, left: Option<Arc<Local>>) -> Arc<Local> {
        match left {
            Some(left) if Arc::ptr_eq(&left.0, &self.shared) => left,
            another => self.another_local(another),
        }
    }

    #[cold]
    #[inline(never)]
    fn another_local(&self, left: Option<Arc<Local>>) -> Arc<Local> {
        if let Some(left) = left {
            spare::leave_local(left);
        }
        lanes::here(&self.locals).clone()
    }
}

impl Deref for Root {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

// As `Shared`: no panic leaves anything half done.
impl UnwindSafe for Root {}
impl RefUnwindSafe for Root {}

/// What a call holds on to. Aligned, so that no two lie on one line of 64 bytes.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Local(Arc<Shared>);

impl Deref for Local {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        &self.0
    }
}

#[cfg(all(test, not(maintenance_loom)))]
mod tests {
    use tower::{Layer, Service, ServiceExt, service_fn};

    use super::*;
    use crate::MaintenanceLayer;

    async fn call_through(layer: &MaintenanceLayer) {
        let mut service = layer.layer(service_fn(async |()| Ok::<_, ()>(())));
        let ready = service.ready().await.expect("it is ready");
        ready.call(()).await.expect("it answers");
    }

    #[tokio::test]
    async fn a_thread_keeps_one_layer_at_most_after_it_is_gone() {
        let [first, second] = ["zuora", "stripe"].map(MaintenanceLayer::new);
        let [kept, freed] = [&first, &second].map(|layer| Arc::downgrade(&layer.root().shared));
        let mut gone = second.handle().cache_bust();
        call_through(&first).await;
        call_through(&second).await;
        drop(second);
        assert_eq!(gone.recv().await, None, "for listeners it is gone at once");
        assert_eq!(freed.strong_count(), 1, "left to the next call");
        call_through(&first).await;
        assert_eq!(freed.strong_count(), 0);
        drop(first);
        assert_eq!(kept.strong_count(), 1);
        drop(spare::with(spare::Here::take_local));
        assert_eq!(kept.strong_count(), 0);
    }

    #[test]
    fn a_thread_that_ends_lets_go() {
        let weak = std::thread::spawn(|| {
            let layer = MaintenanceLayer::new("zuora");
            tokio_test::block_on(call_through(&layer));
            Arc::downgrade(&layer.root().shared)
        });
        assert_eq!(weak.join().unwrap().strong_count(), 0);
    }
}
