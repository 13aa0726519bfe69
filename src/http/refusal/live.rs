//! Settings of refusals that are replaced while the layer runs.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::refusals::Refusals;

/// The look of refusals, replaceable while the layer runs: texts that a configuration file holds,
/// for instance.
///
/// It is given to a layer, to a view or to [`Notices`](crate::http::Notices) in place of
/// [`Refusals`]. A replacement is used by every refusal and every notice from then on. A refusal
/// that is being made keeps the settings that it began with. Clones are replaced together.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer, http::{LiveRefusals, Refusals, refusal}};
/// # use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let live = LiveRefusals::new(Refusals::new().component("Billing"));
/// let layer = MaintenanceLayer::builder("zuora").refusals(live.refusals()).build()?;
/// layer.handle().engage(Hold::new("on-call", "drill"))?;
/// let says = async || -> String {
///     let partner = layer.layer(service_fn(async |()| Ok::<_, std::io::Error>(())));
///     let error = partner.oneshot(()).await.unwrap_err();
///     refusal(error.refused().unwrap()).into_body()
/// };
/// assert!(says().await.contains("Billing is temporarily unavailable"));
///
/// live.replace(Refusals::new().component("Payments"));
/// assert!(says().await.contains("Payments is temporarily unavailable"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LiveRefusals(Arc<ArcSwap<Refusals>>);

impl LiveRefusals {
    /// Returns settings that begin as `refusals`.
    #[must_use]
    pub fn new(refusals: Refusals) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(refusals.fixed())))
    }

    /// Returns the settings for a layer, a view or [`Notices`](crate::http::Notices), which follow
    /// each replacement. What is set on the result itself has no effect.
    pub fn refusals(&self) -> Refusals {
        Refusals::following(&self.0)
    }

    /// Replaces the settings as a whole.
    pub fn replace(&self, refusals: Refusals) {
        self.0.store(Arc::new(refusals.fixed()));
    }
}
