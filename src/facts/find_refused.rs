//! Finds a refusal in an error.
//!
//! There are two ways in. [`Refused::find`] takes an error and follows its sources. A layer whose
//! error type has no bound cannot: not every `E` is an [`Error`](std::error::Error), `BoxError`
//! among them. For these there is [`refused_in`], which knows an error by its type. It knows the
//! error types of this crate, because each is noted before it carries a refusal.

use std::{
    any::{Any, TypeId},
    error::Error as StdError,
    io,
    sync::{Arc, OnceLock},
};

use tower::BoxError;

use crate::facts::refused::{Error, Refused};

/// How many errors of a chain are looked at: a chain may be a circle.
const MOST: usize = 128;

impl Refused {
    /// Finds a refusal under any wrapping: in a `BoxError`, under `Error::Inner`, behind
    /// `source()`.
    ///
    /// Most errors show what they wrap by [`source`](StdError::source). Some skip one error there,
    /// and are opened:
    ///
    /// - [`io::Error`], by [`get_ref`](io::Error::get_ref);
    /// - `Arc<dyn Error + Send + Sync>`, `Arc<dyn Error>`, `Arc<io::Error>`, `Arc<Refused>`, and an
    ///   `Arc` of `Error<E>` for every `E`;
    /// - `Box<io::Error>` and `Box<Refused>`.
    ///
    /// What is found was made in this process. An answer that came over the wire is never taken for
    /// a refusal, whatever it says. At most 128 errors of a chain are looked at.
    ///
    /// ```
    /// use tower::{BoxError, Service, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let mut billing = tower::ServiceBuilder::new()
    ///     .map_err(|error| BoxError::from(error)) // wrapped once
    ///     .layer(layer)
    ///     .service(service_fn(async |()| Ok::<_, std::io::Error>(())));
    ///
    /// let error = billing.ready().await?.call(()).await.unwrap_err();
    /// assert_eq!(Refused::find(&*error).unwrap().partner(), "zuora");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Self> {
        let chain = std::iter::successors(Some(error), |&error| {
            wrapped(error).or_else(|| error.source())
        });
        chain.take(MOST).find_map(<dyn StdError>::downcast_ref)
    }
}

/// Returns what an error wraps whose `source()` lies below that.
fn wrapped<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().map(|inner| inner as _);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn StdError>>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<io::Error>>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<Refused>>() {
        return Some(&**shared);
    }
    if let Some(boxed) = error.downcast_ref::<Box<io::Error>>() {
        return Some(&**boxed);
    }
    if let Some(boxed) = error.downcast_ref::<Box<Refused>>() {
        return Some(&**boxed);
    }
    None
}

/// An error type that may be a refusal, and the way to find it.
struct Noted {
    id: TypeId,
    find: fn(&dyn Any) -> Option<&Refused>,
    next: OnceLock<Box<Self>>,
}

/// The types that were noted. It only grows, by one entry per type.
static NOTED: OnceLock<Box<Noted>> = OnceLock::new();

/// Notes that `Error<E>` may be a refusal.
///
/// For a protocol whose refusals are errors of this type: call it before one is handed out. It
/// takes no lock, and allocates once per type.
#[inline]
pub(crate) fn note<E: 'static>() {
    let id = TypeId::of::<Error<E>>();
    match NOTED.get() {
        Some(noted) if noted.id == id => {}
        Some(_) | None => note_another(id, in_error::<E>),
    }
}

#[cold]
#[inline(never)]
fn note_another(id: TypeId, find: fn(&dyn Any) -> Option<&Refused>) {
    let mut place = &NOTED;
    loop {
        if let Some(noted) = place.get() {
            if noted.id == id {
                return;
            }
            place = &noted.next;
            continue;
        }
        let next = OnceLock::new();
        // If another thread was faster, the loop goes on with its entry.
        let _ = place.set(Box::new(Noted { id, find, next }));
    }
}

fn in_error<E: 'static>(error: &dyn Any) -> Option<&Refused> {
    match error.downcast_ref::<Error<E>>()? {
        Error::Refused(refused) => Some(refused),
        Error::Inner(error) => refused_in_any(error),
    }
}

/// Finds a refusal in an error of any type: a [`BoxError`], an [`io::Error`], an error of this
/// crate, or such an error in one of this crate.
///
/// An error with a refusal in it may be handed on in an `Error<E>`, which is noted here.
#[cold]
pub(crate) fn refused_in<E: 'static>(error: &E) -> Option<&Refused> {
    let refused = refused_in_any(error)?;
    note::<E>();
    Some(refused)
}

fn refused_in_any(error: &dyn Any) -> Option<&Refused> {
    if let Some(error) = error.downcast_ref::<BoxError>() {
        return Refused::find(&**error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Refused::find(error);
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return Some(refused);
    }
    let id = error.type_id();
    let mut noted = std::iter::successors(NOTED.get(), |noted| noted.next.get());
    let known = noted.find(|noted| noted.id == id)?;
    (known.find)(error)
}
