//! What a handler says of its own request when its call to the partner was refused.

use crate::facts::refused::Refused;

/// What a refusal says of the request that gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processed {
    /// Nothing of it was processed: the gate stood before it, or its handler says so.
    Nothing,
    /// One call that it needs was not made. What its handler did before is not known here.
    Unknown,
}

/// A refusal inside a handler, as the handler's customers get it.
///
/// It says that a call that the request needs was not made, and nothing of what the handler did
/// before: made of a [`Refused`] by `into()`, which the functions that take it do by themselves. A
/// handler that has processed nothing says so by [`Refused::nothing_processed`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is no response yet"]
pub struct HandlerRefusal {
    pub(crate) refused: Refused,
    pub(crate) processed: Processed,
}

impl From<Refused> for HandlerRefusal {
    fn from(refused: Refused) -> Self {
        Self {
            refused,
            processed: Processed::Unknown,
        }
    }
}

impl From<&Refused> for HandlerRefusal {
    fn from(refused: &Refused) -> Self {
        refused.clone().into()
    }
}

impl Refused {
    /// Says, for a handler whose call to the partner was refused, that nothing of its request was
    /// processed: it changed nothing before, in its own database neither. The customer then reads
    /// that the request may be repeated safely, as from the gate before routes.
    ///
    /// Without it a response says only that a call was not made. A handler that charges, and then
    /// is refused a read, must leave it so.
    ///
    /// ```
    /// use tower_maintenance::{Error, Hold, MaintenanceLayer, http::refusal};
    /// # use tower::{Layer, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
    /// let Err(Error::Refused(refused)) = partner.oneshot(()).await else {
    ///     panic!("the layer is in maintenance")
    /// };
    /// let unknown: http::Response<String> = refusal(&refused);
    /// assert!(!unknown.body().contains("processed\":false"));
    /// let nothing: http::Response<String> = refusal(refused.nothing_processed());
    /// assert!(nothing.body().contains("processed\":false"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn nothing_processed(self) -> HandlerRefusal {
        HandlerRefusal {
            refused: self,
            processed: Processed::Nothing,
        }
    }
}
