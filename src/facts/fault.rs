//! Whose fault an error is, as far as its type tells.
//!
//! Not every error of a call is the partner's. A call that was never sent, that met a limit of this
//! process or that broke off by the caller's own upload says nothing about the partner. The views
//! ask in this order, and the first answer counts:
//!
//! 1. the closures of `judged_errors`, in the order in which they were given:
//!    [`MaintenanceLayer::judged_errors`](crate::MaintenanceLayer::judged_errors) for plain calls,
//!    and with features `http` and `grpc` a method of the same name on `HttpCalls` and `GrpcCalls`;
//! 2. [`by_type`], in views that open errors;
//! 3. the view's own judge, which by default takes every error for a failure.
//!
//! An answer is an [`Origin`](crate::Origin), an [`Outcome`](crate::Outcome) or a [`Verdict`].
//! [`Origin::Ourselves`](crate::Origin::Ourselves) is neutral and has a count of its own.
//!
//! # What is told by type
//!
//! | error, anywhere in the chain | verdict | function |
//! |---|---|---|
//! | [`io::Error`]: too many open files, no free port, no memory | ours | [`of_io`] |
//! | tower's `Overloaded`: a load shed further in | ours | [`of_tower`] |
//! | `hyper::Error`, `is_user()`: the caller's own upload broke off | ours | `of_hyper` |
//! | hyper-util's client cannot send it: a relative URI, a wrong version | ours | `of_hyper` |
//! | `http::Error`, `InvalidUri` and the like: a request that was not built | ours | `of_http` |
//! | `http_body_util::LengthLimitError`: a limit of the caller's own | ours | `of_http` |
//! | `h2::Error`: a stream that this process reset | ours | `of_h2` |
//! | `h2::Error`: the partner's graceful `GOAWAY`; nothing was processed | neutral | `of_h2` |
//!
//! The functions of the last six rows need feature `http`. Everything else is the partner's, or the
//! network's on the way to it: a refused or reset connection, TLS, a timeout.
//!
//! # Which views open errors
//!
//! - A [boxed](crate::MaintenanceLayer::boxed) view opens every `BoxError`.
//! - A [`nested`](crate::MaintenanceLayer::nested) view opens every type that is an
//!   [`Error`](StdError): that of a client, for instance `layer.http_calls().nested()`.
//! - The other views take any error type, `BoxError` among them, and open none: a bound on the type
//!   would keep callers from spawning calls whose errors are boxed. There a closure for plain calls
//!   opens its own type.
//!
//! A chain is followed as [`Refused::find`](crate::Refused::find) follows it, for at most 128
//! errors.
//!
//! ```
//! use tower_maintenance::{MaintenanceLayer, fault};
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the call failed")]
//! struct Failed(#[source] std::io::Error);
//!
//! let layer = MaintenanceLayer::new("zuora")
//!     .judged_errors(|error: &Failed| fault::by_type(error));
//! # let _ = layer;
//! ```

use std::{any::Any, error::Error as StdError, io};

use tower::{BoxError, load_shed::error::Overloaded};

use crate::facts::{error_chain::error_chain, outcome::Verdict, refused::Error};

/// Judges an error by the types in its chain, as the views do by default; `None` if they do not
/// tell.
///
/// ```
/// use std::io;
/// use tower_maintenance::{Origin, fault};
///
/// let no_descriptor = io::Error::other(io::Error::from(io::ErrorKind::AddrNotAvailable));
/// assert_eq!(fault::by_type(&no_descriptor).unwrap().origin, Origin::Ourselves);
/// assert_eq!(fault::by_type(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
/// ```
#[must_use]
pub fn by_type(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    in_chain(error, |one| {
        io_alone(one)
            .or_else(|| tower_alone(one))
            .or_else(|| wire_alone(one))
    })
}

/// Finds the first error of type `T` in a chain, for closures that judge errors.
///
/// ```
/// use std::io;
/// use tower::BoxError;
/// use tower_maintenance::{MaintenanceLayer, Origin, fault};
///
/// let layer = MaintenanceLayer::new("zuora").judged_errors(|error: &BoxError| {
///     // This process may open no sockets: its sandbox forbids it.
///     let error = fault::find::<io::Error>(&**error)?;
///     (error.kind() == io::ErrorKind::PermissionDenied).then_some(Origin::Ourselves)
/// });
/// let calls = layer.boxed();
/// # let _ = calls;
/// ```
#[must_use]
pub fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    error_chain(error).find_map(<dyn StdError>::downcast_ref)
}

/// Judges what the operating system says: out of descriptors, ports or memory is ours.
#[must_use]
pub fn of_io(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    in_chain(error, io_alone)
}

/// Judges errors of tower's own layers: `Overloaded` of a load shed is ours.
///
/// `Closed` of tower's buffer is not told, because the type needs a tower feature with more
/// dependencies. A closure finds it by [`find`].
#[must_use]
pub fn of_tower(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    in_chain(error, tower_alone)
}

/// Judges an error of any type, if the type is one of those that can be opened.
#[cold]
pub(crate) fn of_any(error: &dyn Any) -> Option<Verdict> {
    opened(error).and_then(by_type)
}

/// Returns the first verdict that `judge` has on an error of the chain.
fn in_chain(
    error: &(dyn StdError + 'static),
    judge: impl FnMut(&(dyn StdError + 'static)) -> Option<Verdict>,
) -> Option<Verdict> {
    error_chain(error).find_map(judge)
}

// ---- one error ----------------------------------------------------------------------------------

fn io_alone(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    let error = error.downcast_ref::<io::Error>()?;
    let is_ours = match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse | io::ErrorKind::OutOfMemory => {
            true
        }
        _ => error.raw_os_error().is_some_and(is_exhausted),
    };
    is_ours.then(Verdict::ours)
}

/// Whether the number of an operating system's error says that this process, or the whole machine,
/// has no more of something.
fn is_exhausted(number: i32) -> bool {
    /// ENFILE and EMFILE, which have these numbers on every Unix.
    const FILES: [i32; 2] = [23, 24];
    /// ENOBUFS.
    const BUFFERS_LINUX: i32 = 105;
    /// WSAEMFILE and WSAENOBUFS.
    const WINDOWS: [i32; 2] = [10024, 10055];

    (cfg!(unix) && FILES.contains(&number))
        || (cfg!(target_os = "linux") && number == BUFFERS_LINUX)
        || (cfg!(windows) && WINDOWS.contains(&number))
}

fn tower_alone(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    error.is::<Overloaded>().then(Verdict::ours)
}

#[cfg(not(feature = "http"))]
fn wire_alone(_: &(dyn StdError + 'static)) -> Option<Verdict> {
    None
}

#[cfg(feature = "http")]
fn wire_alone(error: &(dyn StdError + 'static)) -> Option<Verdict> {
    wire::hyper_alone(error)
        .or_else(|| wire::http_alone(error))
        .or_else(|| wire::h2_alone(error))
}

#[cfg(feature = "http")]
pub use self::wire::{of_h2, of_http, of_hyper};

#[cfg(feature = "http")]
mod wire {
    use super::{StdError, Verdict, in_chain};
    use crate::facts::outcome::Outcome;

    /// Judges errors of hyper, and of hyper-util's client: a broken upload of the caller's own and
    /// a request that cannot be sent are ours.
    ///
    /// `is_canceled()` is not told: see the table of clients (`guide::errors`).
    #[must_use]
    pub fn of_hyper(error: &(dyn StdError + 'static)) -> Option<Verdict> {
        in_chain(error, hyper_alone)
    }

    /// Judges errors of the crates `http` and `http-body-util`: a request that could not be built
    /// and a limit of the caller's own are ours.
    #[must_use]
    pub fn of_http(error: &(dyn StdError + 'static)) -> Option<Verdict> {
        in_chain(error, http_alone)
    }

    /// Judges errors of HTTP/2: a stream that this process reset is ours, and a graceful `GOAWAY`
    /// is neutral.
    ///
    /// `GOAWAY` with `NO_ERROR` is how a partner closes a connection in good order. The request was
    /// not processed.
    #[must_use]
    pub fn of_h2(error: &(dyn StdError + 'static)) -> Option<Verdict> {
        in_chain(error, h2_alone)
    }

    pub(super) fn hyper_alone(error: &(dyn StdError + 'static)) -> Option<Verdict> {
        use hyper_util::client::legacy;

        let is_ours = if let Some(error) = error.downcast_ref::<hyper::Error>() {
            error.is_user()
        } else {
            // It names no kind. All of its errors but those about the request have a source.
            let error = error.downcast_ref::<legacy::Error>()?;
            !error.is_connect() && error.source().is_none()
        };
        is_ours.then(Verdict::ours)
    }

    pub(super) fn http_alone(error: &(dyn StdError + 'static)) -> Option<Verdict> {
        let is_ours = error.is::<http::Error>()
            || error.is::<http::uri::InvalidUri>()
            || error.is::<http::uri::InvalidUriParts>()
            || error.is::<http::method::InvalidMethod>()
            || error.is::<http::header::InvalidHeaderName>()
            || error.is::<http::header::InvalidHeaderValue>()
            || error.is::<http::header::MaxSizeReached>()
            || error.is::<http_body_util::LengthLimitError>();
        is_ours.then(Verdict::ours)
    }

    pub(super) fn h2_alone(error: &(dyn StdError + 'static)) -> Option<Verdict> {
        let error = error.downcast_ref::<h2::Error>()?;
        if error.is_go_away() {
            let is_graceful = error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
            return is_graceful.then(|| Outcome::Neutral.into());
        }
        // Reset by neither the partner nor the library, which does it where the partner errs.
        let by_caller = error.is_reset() && !error.is_remote() && !error.is_library();
        by_caller.then(Verdict::ours)
    }
}

// ---- errors of any type -------------------------------------------------------------------------

type Open = fn(&dyn Any) -> Option<&(dyn StdError + 'static)>;

/// Returns an error of any type as an error, if its type is known.
fn opened(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    let all = OF_CORE.iter().chain(OF_HTTP).chain(OF_AXUM);
    all.into_iter().find_map(|open| open(error))
}

const OF_CORE: &[Open] = &[open_boxed, open::<io::Error>, open::<Overloaded>];

#[cfg(feature = "http")]
const OF_HTTP: &[Open] = &[
    open::<hyper_util::client::legacy::Error>,
    open::<hyper::Error>,
    open::<http::Error>,
    open::<http::uri::InvalidUri>,
    open::<h2::Error>,
];
#[cfg(not(feature = "http"))]
const OF_HTTP: &[Open] = &[];

#[cfg(feature = "axum")]
const OF_AXUM: &[Open] = &[open::<axum::Error>];
#[cfg(not(feature = "axum"))]
const OF_AXUM: &[Open] = &[];

fn open<T: StdError + 'static>(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    Some(as_type::<T>(error)?)
}

fn open_boxed(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    Some(&**as_type::<BoxError>(error)?)
}

/// Returns the error if it is a `T`, or a `T` in the error of another layer.
fn as_type<T: 'static>(error: &dyn Any) -> Option<&T> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    match error.downcast_ref::<Error<T>>()? {
        Error::Inner(error) => Some(error),
        Error::Refused(_) => None,
    }
}
