//! Finds a refusal in an error.

use std::error::Error as StdError;

use crate::facts::{error_chain::error_chain, refused::Refused};

impl Refused {
    /// Finds a refusal under any wrapping: in a `BoxError`, under `Error::Inner`, behind
    /// `source()`.
    ///
    /// Most errors show what they wrap by [`source`](StdError::source). Some skip one error there,
    /// and are opened:
    ///
    /// - [`io::Error`](std::io::Error), by [`get_ref`](std::io::Error::get_ref);
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
        error_chain(error).find_map(<dyn StdError>::downcast_ref)
    }
}
