//! Views of the layers of keys.

use std::fmt;

/// How a keyed layer speaks: as the layers it was given do ([`Own`]), or by a view of them ([`Viewed`]).
pub trait View<P>: sealed::View<P> {}

impl<P, V: sealed::View<P>> View<P> for V {}

/// As the layer of the key speaks.
#[derive(Debug, Clone, Copy)]
pub struct Own;

/// By a view of the key's layer; made by [`KeyedLayer::viewed`].
#[derive(Clone, Copy)]
pub struct Viewed<W>(W);

impl<W> Viewed<W> {
    pub(super) fn by(view: W) -> Self {
        Self(view)
    }
}

impl<W> fmt::Debug for Viewed<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewed").finish_non_exhaustive()
    }
}

pub(super) mod sealed {
    use crate::layer::MaintenanceLayer;

    #[expect(unnameable_types, reason = "sealed: how a protocol is lent may change")]
    pub trait View<P> {
        type Protocol: Clone;

        /// Lends the protocol: to take it of a view costs two reference counts, of the layer itself nothing.
        fn lend<R>(&self, layer: &MaintenanceLayer<P>, f: impl FnOnce(&Self::Protocol) -> R) -> R;
    }

    impl<P: Clone> View<P> for super::Own {
        type Protocol = P;

        #[inline]
        fn lend<R>(&self, layer: &MaintenanceLayer<P>, f: impl FnOnce(&P) -> R) -> R {
            f(layer.protocol())
        }
    }

    impl<P, Q, W> View<P> for super::Viewed<W>
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
