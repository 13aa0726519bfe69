//! The protocol of a keyed layer: that of its layers, or that of a view of them.

use std::fmt;

/// Says which protocol a keyed layer uses: that of the layers it was given ([`OwnView`]), or that
/// of a view of them ([`MappedView`]).
pub trait View<P>: sealed::View<P> {}

impl<P, V: sealed::View<P>> View<P> for V {}

/// Uses the protocol of the key's layer.
#[derive(Debug, Clone, Copy)]
#[doc(alias = "Own")]
pub struct OwnView;

/// Uses the protocol of a view of the key's layer; made by
/// [`KeyedLayer::with_view`](crate::KeyedLayer::with_view).
#[derive(Clone, Copy)]
#[doc(alias = "Viewed")]
pub struct MappedView<W>(W);

impl<W> MappedView<W> {
    pub(super) fn by(view: W) -> Self {
        Self(view)
    }
}

impl<W> fmt::Debug for MappedView<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedView").finish_non_exhaustive()
    }
}

pub(super) mod sealed {
    use crate::layer::MaintenanceLayer;

    #[expect(unnameable_types, reason = "sealed: how a protocol is lent may change")]
    pub trait View<P> {
        type Protocol: Clone;

        /// Lends the protocol to `f`. A view costs two changes of a reference count, the layer
        /// itself none.
        fn lend<R>(&self, layer: &MaintenanceLayer<P>, f: impl FnOnce(&Self::Protocol) -> R) -> R;
    }

    impl<P: Clone> View<P> for super::OwnView {
        type Protocol = P;

        #[inline]
        fn lend<R>(&self, layer: &MaintenanceLayer<P>, f: impl FnOnce(&P) -> R) -> R {
            f(layer.protocol())
        }
    }

    impl<P, Q, W> View<P> for super::MappedView<W>
    where
        Q: Clone,
        W: Fn(&MaintenanceLayer<P>) -> MaintenanceLayer<Q>,
    {
        type Protocol = Q;

        #[inline]
        fn lend<R>(&self, layer: &MaintenanceLayer<P>, f: impl FnOnce(&Q) -> R) -> R {
            f((self.0)(layer).protocol())
        }
    }
}
