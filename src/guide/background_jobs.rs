//! A background job that must rest while the partner is down.
//!
//! A nightly sync or an invoice run meets an outage differently from a customer: it can wait. Left
//! alone it runs through its whole list in seconds, and each item is refused. Three ways let it
//! wait. Take the first one that fits.
//!
//! # Between two items
//!
//! The job is a loop, and each item is done or not. Wait before each item:
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_maintenance::{Error, Hold, MaintenanceHandle, MaintenanceLayer};
//!
//! /// Charges all. Nothing is dropped in the middle, so no charge is unknown.
//! async fn charge_all<S>(handle: &MaintenanceHandle, zuora: &mut S, due: Vec<u32>) -> u32
//! where
//!     S: Service<u32, Response = u32, Error = Error<std::io::Error>>,
//! {
//!     let mut charged = 0;
//!     for cents in due {
//!         loop {
//!             handle.wait_until_serving().await;
//!             let Ok(ready) = zuora.ready().await else { continue };
//!             match ready.call(cents).await {
//!                 Ok(cents) => charged += cents,
//!                 // The gate shut in between. The charge was not made: wait, and make it.
//!                 Err(Error::Refused(_)) => continue,
//!                 // The partner failed. Whether it charged is for the partner to say.
//!                 Err(_) => {}
//!             }
//!             break;
//!         }
//!     }
//!     charged
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::new("zuora");
//! let handle = layer.handle();
//! let mut zuora = ServiceBuilder::new()
//!     .layer(layer)
//!     .service(service_fn(async |cents: u32| Ok::<_, std::io::Error>(cents)));
//! handle.engage(Hold::new("on-call", "drill").for_at_most(std::time::Duration::from_secs(60)))?;
//! assert_eq!(charge_all(&handle, &mut zuora, vec![1200, 900]).await, 2100);
//! assert_eq!(handle.status().calls.refused, 0);
//! # Ok(())
//! # }
//! ```
//!
//! # A job that may be dropped
//!
//! The job is one future that can begin anew: it reads, or it remembers how far it came. Then
//! [`while_serving`](crate::MaintenanceHandle::while_serving) drops it when the gate shuts, and a
//! loop runs the rest when the mode is `Serving` again:
//!
//! ```
//! use std::{cell::Cell, time::Duration};
//! use tower_maintenance::{Hold, MaintenanceLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::new("zuora");
//! let handle = layer.handle();
//! let page = Cell::new(0);
//! let sync = async || {
//!     while page.get() < 10 {
//!         tokio::time::sleep(Duration::from_secs(60)).await; // reads a page
//!         page.set(page.get() + 1);
//!     }
//! };
//! let operator = async {
//!     tokio::time::sleep(Duration::from_secs(270)).await;
//!     let hold = Hold::new("on-call", "drill").for_at_most(Duration::from_secs(3600));
//!     handle.engage(hold)
//! };
//! let job = async {
//!     let mut interruptions = 0;
//!     while let Err(interrupted) = handle.while_serving(sync()).await {
//!         assert_eq!(page.get(), 4, "{interrupted}");
//!         interruptions += 1;
//!     }
//!     interruptions
//! };
//! let (interruptions, engaged) = tokio::join!(job, operator);
//! engaged?;
//! assert_eq!((interruptions, page.get()), (1, 10));
//! # Ok(())
//! # }
//! ```
//!
//! # Anything else: the modes
//!
//! A consumer of a queue stops taking messages, a scheduler skips a run: follow
//! [`modes`](crate::MaintenanceHandle::modes).
//!
//! ```
//! use tower_maintenance::{Hold, MaintenanceLayer, Mode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::new("zuora");
//! let handle = layer.handle();
//! let mut modes = handle.modes();
//! let consumer = tokio::spawn(async move {
//!     let mut said = Vec::new();
//!     while let Some(mode) = modes.recv().await {
//!         said.push(if mode == Mode::Serving { "resume" } else { "pause" });
//!     }
//!     said
//! });
//! tokio::task::yield_now().await;
//! handle.engage(Hold::new("on-call", "drill"))?;
//! tokio::task::yield_now().await;
//! drop((layer, handle));
//! assert_eq!(consumer.await?, ["resume", "pause"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Pitfalls
//!
//! - **A job that rests does not probe.** If it is the only caller of the partner, no request finds
//!   out that the partner is back. The status then says `waiting_for_probe`. Give the layer a
//!   [ping](crate::MaintenanceHandle::ping).
//! - **A future is not paused.** A future that is not polled keeps its locks and its connections.
//!   So nothing here pauses one in the middle.
//! - **After a recovery all jobs begin at once.** Spread them, or give the policy a
//!   [ramp](crate::Policy::with_ramp): while it lasts, the mode is `Probing` and the jobs wait.
