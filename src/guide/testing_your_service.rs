//! An outage of the partner, in the tests of one's own service.
//!
//! The feature `testing` (as a dev-dependency) has a partner that fails on command, and assertions
//! that quote the layer's own explanation when they fail. Time is tokio's: with `start_paused` an
//! outage of an hour takes a millisecond.
//!
//! ```toml
//! [dev-dependencies]
//! tower-maintenance = { version = "0.1", features = ["testing"] }
//! tokio = { version = "1", features = ["macros", "rt", "test-util"] }
//! tower = { version = "0.5", features = ["util"] }
//! ```
//!
//! # The whole outage
//!
//! Build the service as `main` does, with the partner in place of the client. Then break it:
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt};
//! use tower_maintenance::{MaintenanceLayer, testing::{
//!     SimulatedPartner, assert_probing, assert_refused, assert_serving, assert_tripped,
//! }};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // #[tokio::test(start_paused = true)]
//! let partner = SimulatedPartner::healthy();
//! let layer = MaintenanceLayer::new("zuora");
//! let handle = layer.handle();
//! let zuora = layer.layer(partner.clone());
//! let charge = async || zuora.clone().oneshot("charge").await;
//! assert!(charge().await.is_ok());
//!
//! partner.break_down();
//! for _ in 0..5 {
//!     assert!(charge().await.is_err());
//! }
//! assert_tripped(&handle);
//! let calls = partner.counts().calls;
//! let refused = assert_refused(charge().await);
//! assert_eq!(partner.counts().calls, calls, "the partner was not asked");
//!
//! partner.mend();
//! tokio::time::advance(refused.retry_after().unwrap()).await;
//! assert_probing(&handle);
//! for _ in 0..3 {
//!     assert!(charge().await.is_ok());
//! }
//! assert_serving(&handle);
//! # Ok(())
//! # }
//! ```
//!
//! # Maintenance alone
//!
//! To test what customers see, no partner must fail: an operator's hold is enough.
//!
#![cfg_attr(all(feature = "axum", feature = "testing"), doc = "```")]
#![cfg_attr(not(all(feature = "axum", feature = "testing")), doc = "```ignore")]
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_maintenance::{Exemption, Hold, MaintenanceLayer, testing::assert_refusal};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::builder("zuora")
//!     .exempt(Exemption::route("/invoices/{id}", "customers may see what they owe"))
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/prices", get(async || "12 EUR"))
//!     .route("/invoices/{id}", get(async || "invoice"))
//!     .layer(layer.routes());
//! layer.handle().engage(Hold::new("test", "what do customers see?"))?;
//!
//! let get = |path: &str| app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
//! assert_refusal(&get("/prices").await?);
//! assert_eq!(get("/invoices/7").await?.status(), 200);
//! # Ok(())
//! # }
//! ```
//!
//! # Which face of the partner
//!
//! - `testing::SimulatedPartner` itself takes any request: for calls
//!   behind a trait of your own.
//! - `partner.over_http()` takes `http::Request`: for what stands behind `http_calls()`.
//! - `partner.listen().await` is a real server on loopback: for a whole program with a real client,
//!   such as reqwest. Give the program its `url()`, and do not pause time.
//!
//! `testing::Phase` has the ways to fail: slow, hanging, 200 with `"success":
//! false`, resets in the middle of a body. A `testing::Script` replays an outage.
//!
//! # Pitfalls
//!
//! - Build the layer inside the test's runtime, or paused time does not move it.
//! - Give each test a layer of its own. Two tests that share one see each other's trips.
//! - Tests that run side by side may build layers of one name. The warning about that is one line
//!   in the log and fails nothing.
//! - Seed the jitter where a test depends on the length of a wait: `builder(..).seed(7)`.
