//! Calls that are a name and a future.
//!
//! The request of such a call is its name, so everything that a view has learned of requests
//! (`may_probe`, `reads`, a judge) applies if it was told of a `str`. One adapter turns the judge
//! of a `str` into the judge of a call, and the protocols stay as they are.

use std::error::Error as StdError;

use tower::BoxError;

use crate::{
    call::{
        nested::Nested,
        plain::{BoxedCalls, Calls, Judge},
        protocol::Protocol,
    },
    facts::{endpoint::Class, outcome::Verdict, refused::Error},
};

/// The protocols under which [`run`](crate::MaintenanceLayer::run) guards a future that ends with a
/// `Result<T, E>`.
///
/// | view | refusals are | its judge |
/// |---|---|---|
/// | [`Calls`], the layer itself | [`Error::Refused`] | a `Judge<str, T, E>` |
/// | [`nested`](crate::MaintenanceLayer::nested) of it | the same | the same; errors are opened |
/// | [`boxed`](crate::MaintenanceLayer::boxed) | a [`BoxError`] | a `Judge<str, T, BoxError>` |
///
/// It is sealed.
#[diagnostic::on_unimplemented(
    message = "this view cannot guard a future that ends with `Result<{T}, {E}>`",
    label = "`run` needs a view of plain calls whose closures take the call's name",
    note = "the request of `run` is the name: write `.may_probe(|name: &str| ...)`, and give \
            `judged_by` and `judged_errors` the types of this future's result",
    note = "views over HTTP or gRPC have no `run`: call it on the layer itself"
)]
pub trait RunProtocol<T, E>: sealed::Sealed {
    /// The error that callers get.
    type Error;

    /// The protocol of one call.
    #[doc(hidden)]
    type ByName: for<'n> Protocol<&'n str, T, E, Response = T, Error = Self::Error>;

    /// Makes the protocol of one call.
    #[doc(hidden)]
    fn by_name(&self) -> Self::ByName;
}

mod sealed {
    use super::{BoxedCalls, Calls, Nested};

    #[expect(
        unnameable_types,
        reason = "sealed: what a protocol must have may change"
    )]
    pub trait Sealed {}

    impl<J> Sealed for Calls<J> {}
    impl<J> Sealed for BoxedCalls<J> {}
    impl<P: Sealed> Sealed for Nested<P> {}
}

impl<J, T, E> RunProtocol<T, E> for Calls<J>
where
    J: Judge<str, T, E>,
{
    type Error = Error<E>;
    type ByName = Calls<OfName<J>>;

    fn by_name(&self) -> Self::ByName {
        Calls(OfName(self.0.clone()))
    }
}

impl<J, T, E> RunProtocol<T, E> for BoxedCalls<J>
where
    J: Judge<str, T, BoxError>,
    E: Into<BoxError>,
{
    type Error = BoxError;
    type ByName = BoxedCalls<OfName<J>>;

    fn by_name(&self) -> Self::ByName {
        BoxedCalls(OfName(self.0.clone()))
    }
}

impl<P, T, E> RunProtocol<T, E> for Nested<P>
where
    P: RunProtocol<T, E>,
    E: StdError + 'static,
{
    type Error = P::Error;
    type ByName = Nested<P::ByName>;

    fn by_name(&self) -> Self::ByName {
        Nested(self.0.by_name())
    }
}

/// The judge of calls that are a name, by a judge of names.
#[derive(Debug, Clone, Copy)]
#[expect(unnameable_types, reason = "it is no type that a user writes")]
pub struct OfName<J>(J);

impl<'n, J, T, E> Judge<&'n str, T, E> for OfName<J>
where
    J: Judge<str, T, E>,
{
    /// The name itself, unless the judge names it in another way.
    #[inline]
    fn name<'r>(&self, name: &'r &'n str) -> Option<&'r str> {
        self.0.name(name).or(Some(name))
    }

    #[inline]
    fn may_probe(&self, name: &&'n str) -> bool {
        self.0.may_probe(name)
    }

    #[inline]
    fn class(&self, name: &&'n str) -> Class {
        self.0.class(name)
    }

    #[inline]
    fn verdict(&self, result: Result<&T, &E>) -> Verdict {
        self.0.verdict(result)
    }

    fn closures_verdict(&self, result: Result<&T, &E>) -> Option<Verdict> {
        self.0.closures_verdict(result)
    }

    fn judge_error(&self, error: &E) -> Option<Verdict> {
        self.0.judge_error(error)
    }
}
