//! Rolling it out: watch, read, arm.
//!
//! Nobody trusts a breaker in front of billing before having watched it.
//!
//! **1. Watch.** Build the layer in dry run. The rules judge, and tell what they would have done; nothing is refused.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_maintenance::{EventKind, MaintenanceLayer, Mode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::builder("zuora").dry_run().build()?;
//! let handle = layer.handle();
//! let mut events = handle.events();
//! let mut partner = ServiceBuilder::new()
//!     .layer(layer)
//!     .service(service_fn(async |()| Err::<(), _>(std::io::Error::other("502"))));
//!
//! for _ in 0..5 {
//!     let _ = partner.ready().await.unwrap().call(()).await;
//! }
//! assert_eq!(handle.mode(), Mode::Serving);
//! assert!(matches!(events.recv().await.unwrap().kind, EventKind::WouldHaveTripped { .. }));
//! assert_eq!(
//!     handle.status().to_string(),
//!     "zuora is serving: 5 of 5 calls failed in 60 s; dry run; would be in maintenance: 5 calls failed in a row",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! **2. Read.** After a week, look at every `would have entered maintenance` in the log, and ask of each:
//!
//! - Was the partner down? If not, what counted as a failure that is none? Mend the judge
//!   ([`judged_by`](crate::MaintenanceLayer::judged_by)), not the threshold.
//! - Was it down and nothing was said? Then look at `hang_limit` against your timeout, and at partners that
//!   fail with a 200: `HttpCalls::judged_by_json` (feature `http`) looks into the body.
//! - Which endpoints would have been refused? Decide the exemptions with the people who own them, and
//!   commit the table: [`handle.exemptions()`](crate::MaintenanceHandle::exemptions) prints it.
//! - Who would have probed? A client that only ever POSTs never probes: give the layer a
//!   [ping](crate::MaintenanceHandle::ping).
//!
//! **3. Arm.** [`handle.arm("you", "a week of dry run, two true trips, no false one")`](crate::MaintenanceHandle::arm).
//! Rehearse once with [`engage`](crate::MaintenanceHandle::engage) and
//! [`release`](crate::MaintenanceHandle::release), and once with
//! [`release_verified`](crate::MaintenanceHandle::release_verified), while you watch what customers get.
