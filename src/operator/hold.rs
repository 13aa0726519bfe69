//! An operator's hold.

use std::{sync::Arc, time::Duration};

use crate::machine::Passing;

/// An operator's hold: who, why, and for how long at most.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::Hold;
///
/// let hold = Hold::new("on-call", "Zuora degraded, ticket 4711").for_at_most(Duration::from_secs(3600));
/// # let _ = hold;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a hold does nothing until `engage`"]
pub struct Hold {
    pub(super) actor: Arc<str>,
    pub(super) reason: Arc<str>,
    pub(super) expiry: Option<Duration>,
    pub(super) passing: Passing,
    pub(super) message: Option<Arc<str>>,
}

impl Hold {
    /// A hold without expiry: it lasts until somebody releases it.
    pub fn new(actor: impl Into<Arc<str>>, reason: impl Into<Arc<str>>) -> Self {
        Self {
            actor: actor.into(),
            reason: reason.into(),
            expiry: None,
            passing: Passing::Nothing,
            message: None,
        }
    }

    /// Lets the hold end by itself after `span`, should nobody release it. Default: no expiry.
    pub fn for_at_most(self, span: Duration) -> Self {
        Self {
            expiry: Some(span),
            ..self
        }
    }

    /// Lets reads pass, and refuses what may change something ([`Class`](crate::Class)). Default: nothing but
    /// what is exempt passes.
    ///
    /// Reads that pass are not measured, for it is the operator who vouches for them: also if the layer has tripped
    /// beneath the hold, since an operator beats what is automatic. [`engage`](MaintenanceHandle::engage) again
    /// without this, and reads are refused too.
    ///
    /// Around plain calls nothing is a read unless a [`Judge`](crate::Judge) or
    /// [`reads`](crate::MaintenanceLayer::reads) says so.
    ///
    /// ```
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora").reads(|call: &&str| call.starts_with("get "));
    /// let mut billing = ServiceBuilder::new()
    ///     .layer(layer.clone())
    ///     .service(service_fn(async |call| Ok::<&str, std::io::Error>(call)));
    ///
    /// layer.handle().engage(Hold::new("on-call", "the ledger moves").read_only())?;
    /// assert!(billing.ready().await?.call("get prices").await.is_ok());
    /// assert!(billing.ready().await?.call("charge").await.is_err());
    /// assert!(layer.handle().status().read_only);
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_only(self) -> Self {
        Self {
            passing: Passing::Reads,
            ..self
        }
    }

    /// What customers are told, 1 to 2048 bytes: shown on the page and in the notice, unlike the reason.
    /// Default: nothing.
    pub fn with_message(self, message: impl Into<Arc<str>>) -> Self {
        Self {
            message: Some(message.into()),
            ..self
        }
    }
}
