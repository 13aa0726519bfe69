//! How a refusal is found in an error.

use std::convert::Infallible;

use tower::BoxError;

use crate::error::{Error, Refused};

/// An error that may be a refusal: where refusals are errors, the layer must find them.
///
/// It is there for [`Error`], for `BoxError` (by [`Refused::find`]) and for `Infallible`. Implement it for an error of your own if a stack before
/// routes has one; where refusals are responses, the default will do. Of somebody else's error make a `BoxError` first.
pub trait MayRefuse {
    /// The refusal, if it is one: the call was not processed.
    fn refused(&self) -> Option<&Refused> {
        None
    }
}

impl MayRefuse for Infallible {}

impl<E> MayRefuse for Error<E> {
    fn refused(&self) -> Option<&Refused> {
        Self::refused(self)
    }
}

impl MayRefuse for BoxError {
    fn refused(&self) -> Option<&Refused> {
        Refused::find(&**self)
    }
}
