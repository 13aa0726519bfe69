//! Rolling the layer out: watch, read, arm.
//!
//! A breaker in front of billing must earn trust first. In dry run it shows what it would have
//! done.
//!
//! **1. Watch.** Build the layer in dry run. The rules judge every call and report each trip that
//! they would have made. No call is refused.
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
//!     "zuora is serving: 5 of 5 calls failed in 60 s; dry run; \
//!      would be in maintenance: 5 calls failed in a row",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! **2. Read.** After a week, find every `would have entered maintenance` in the log. Ask these
//! questions about each of them:
//!
//! - Was the partner down? If not, which outcome counted as a failure by mistake? Correct the judge
//!   ([`judged_by`](crate::MaintenanceLayer::judged_by)), not the threshold.
//! - Was the partner down at another time, without such a line? Compare `hang_limit` with your
//!   timeout. If the partner fails with a 200, use `HttpCalls::judged_by_json` (feature `http`),
//!   which reads the body.
//! - Which endpoints would have been refused? Decide the exemptions together with the owners of
//!   these endpoints, and commit the table that
//!   [`handle.exemptions()`](crate::MaintenanceHandle::exemptions) prints.
//! - Which requests would have probed? A client that sends only POST requests never probes. Give
//!   such a layer a [ping](crate::MaintenanceHandle::ping).
//!
//! **3. Arm.** Call [`handle.arm`](crate::MaintenanceHandle::arm) with your name and a reason, for
//! example "a week of dry run, two true trips, no false one". Then rehearse while you watch the
//! responses that customers get: once with [`engage`](crate::MaintenanceHandle::engage) and
//! [`release`](crate::MaintenanceHandle::release), and once with
//! [`release_verified`](crate::MaintenanceHandle::release_verified).
