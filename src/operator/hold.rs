//! An operator's hold: the argument of `engage`.

use std::{sync::Arc, time::Duration};

use crate::{
    error::CommandError,
    machine::{Command, Engagement, Passing, Signature, check_text},
};

/// The largest message in bytes: every refusal and every status shows it.
const LONGEST_MESSAGE: usize = 2048;

/// An operator's hold: the actor, the reason, and how long it lasts at most.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::Hold;
///
/// let hold = Hold::new("on-call", "Zuora degraded, ticket 4711")
///     .for_at_most(Duration::from_secs(3600))
///     .with_message("Invoices are back at 14:00 UTC.");
/// # let _ = hold;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a hold does nothing until `engage`"]
pub struct Hold {
    actor: Arc<str>,
    reason: Arc<str>,
    expiry: Option<Duration>,
    passing: Passing,
    message: Option<Arc<str>>,
}

impl Hold {
    /// Builds a hold without expiry, which lasts until an operator releases it.
    ///
    /// The actor has 1 to 256 bytes, and the reason has 1 to 2048.
    /// [`engage`](crate::MaintenanceHandle::engage) checks both.
    pub fn new(actor: impl Into<Arc<str>>, reason: impl Into<Arc<str>>) -> Self {
        Self {
            actor: actor.into(),
            reason: reason.into(),
            expiry: None,
            passing: Passing::Nothing,
            message: None,
        }
    }

    /// Sets how long the hold lasts at most; any time longer than 0.
    ///
    /// Default: no expiry, so that maintenance does not end while an operator still works on it.
    pub fn for_at_most(self, span: Duration) -> Self {
        Self {
            expiry: Some(span),
            ..self
        }
    }

    /// Lets reads pass, and refuses requests that may change something.
    ///
    /// The [`Class`](crate::Class) of a request says whether it is a read. Around plain calls every
    /// call is a write, unless a [`Judge`](crate::Judge) or
    /// [`reads`](crate::MaintenanceLayer::reads) says otherwise. Default: reads are refused too,
    /// because the partner may be down.
    ///
    /// Reads that pass are not measured, and they pass also if the layer is tripped beneath the
    /// hold: the decision of an operator takes precedence over the rules. To refuse reads again,
    /// [`engage`](crate::MaintenanceHandle::engage) a hold without this setting.
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

    /// Sets the message for customers, 1 to 2048 bytes.
    ///
    /// The maintenance page and the in-product notice show it. They do not show the reason.
    /// Default: no message.
    pub fn with_message(self, message: impl Into<Arc<str>>) -> Self {
        Self {
            message: Some(message.into()),
            ..self
        }
    }
    /// Checks the hold, and converts it to its command and its signature.
    pub(super) fn into_command(self) -> Result<(Command, Signature), CommandError> {
        if self.expiry == Some(Duration::ZERO) {
            return Err(CommandError::NoTime);
        }
        if let Some(message) = &self.message {
            check_text("message", message, LONGEST_MESSAGE)?;
        }
        let engagement = Engagement {
            expiry: self.expiry,
            passing: self.passing,
            message: self.message,
        };
        let by = Signature::new(self.actor, self.reason)?;
        Ok((Command::Engage(engagement), by))
    }
}
