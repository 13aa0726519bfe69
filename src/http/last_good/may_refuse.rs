//! Errors in which a refusal may be found.

use std::convert::Infallible;

use tower::BoxError;

use crate::facts::refused::{Error, Refused};

/// An error that may be a refusal.
///
/// Around calls refusals are errors, and [`LastGoodLayer`](super::LastGoodLayer) must recognise
/// them. The trait is implemented for [`Error`], for `BoxError` (by [`Refused::find`], so that the
/// refusal of a layer further in is found too) and for `Infallible`. Implement it for your own
/// error type if a stack before routes has one. Refusals are responses there, so the default method
/// is enough. Convert an error of another crate to a `BoxError` first.
pub trait MayRefuse {
    /// Returns the refusal, if the error is one: the call was not made.
    fn refused(&self) -> Option<&Refused> {
        None
    }
}

impl MayRefuse for Infallible {}

impl<E> MayRefuse for Error<E> {
    fn refused(&self) -> Option<&Refused> {
        self.refused()
    }
}

impl MayRefuse for BoxError {
    fn refused(&self) -> Option<&Refused> {
        Refused::find(&**self)
    }
}
