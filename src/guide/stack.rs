//! Where in the stack the layer belongs, and why.
//!
//! Around calls, from the outside in:
//!
//! ```text
//! your handler
//!   retry               each attempt passes the gate, each attempt counts
//!     timeout           drops a call that hangs
//!       MAINTENANCE     sees every attempt and every drop
//!         concurrency limit, rate limit
//!           the client
//! ```
//!
//! *Outside the limits*, so that a refusal costs nobody a permit and never queues. A refused call
//! gives back a permit it had been promised; a caller who queues for one is woken and refused when the gate shuts.
//!
//! *Inside the timeout*, so that a hang is seen as what it is. The timeout drops the call; the layer counts
//! that as a failure if nothing had come from the partner for at least `hang_limit` (default 5 s).
//! **`hang_limit` must be at most the timeout**, or a hanging partner never trips:
//!
//! ```
//! use std::{future::pending, time::Duration};
//! use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_maintenance::{MaintenanceLayer, Mode, Policy};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let layer = MaintenanceLayer::builder("zuora")
//!     .policy(Policy::default().with_hang_limit(Duration::from_secs(2)))
//!     .build()?;
//! let mut hanging = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(2))
//!     .layer(layer.clone())
//!     .service(service_fn(async |()| pending::<Result<(), std::io::Error>>().await));
//!
//! for _ in 0..5 {
//!     assert!(hanging.ready().await?.call(()).await.is_err());
//! }
//! assert_eq!(layer.handle().mode(), Mode::Maintenance);
//! # Ok(())
//! # }
//! ```
//!
//! A timeout *inside* the layer works too: its error counts like any other. Then the stack's errors are
//! `BoxError`, and the view for it is [`boxed`](crate::MaintenanceLayer::boxed).
//!
//! *Bodies.* A tower timeout ends when the headers come. What the partner does after that is seen by the layer all the same
//! (feature `http`): headers are provisional, and a body whose reader has waited `hang_limit` for the next piece is a failure at
//! that moment, whether or not anybody gives up on it. It goes on streaming for its reader; to give up on it is the
//! reader's business, or that of a timeout which stands around the reading too. For answers that stream for ever, and on which silence is
//! no fault (server-sent events, long polling), there is `HttpCalls::judged_at_headers`, and over gRPC (feature `grpc`)
//! `GrpcCalls::streams` for the methods that stream: those are judged at their first message. One that may be silent from its start is
//! named by `GrpcCalls::subscriptions`.
//!
//! # Inside or outside retry
//!
//! Inside retry, as drawn, each attempt counts, and a retry that meets a shut gate ends at once. That is what
//! you want from a partner who fails now and then. It has one trap: **a poisonous request**. One customer's
//! request that the partner always answers with an error, retried five times, is five failures in a row,
//! and trips. The cure is to say that such an answer is no failure of the partner:
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt, retry::Policy as Retry, service_fn};
//! use tower_maintenance::{Error, MaintenanceLayer, Mode, Outcome};
//! # use std::future::{Ready, ready};
//!
//! #[derive(Debug, Clone, PartialEq)]
//! enum Failed { Unprocessable, Down }
//!
//! # #[derive(Clone)]
//! # struct Attempts(u32);
//! # impl Retry<u32, u32, Error<Failed>> for Attempts {
//! #     type Future = Ready<()>;
//! #     fn retry(&mut self, _: &mut u32, result: &mut Result<u32, Error<Failed>>) -> Option<Ready<()>> {
//! #         if result.is_ok() || self.0 == 1 { return None }
//! #         self.0 -= 1;
//! #         Some(ready(()))
//! #     }
//! #     fn clone_request(&mut self, request: &u32) -> Option<u32> { Some(*request) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let poison = service_fn(async |_: u32| Err::<u32, _>(Failed::Unprocessable));
//!
//! // Any error is a failure: five attempts trip.
//! let layer = MaintenanceLayer::new("zuora");
//! let mut stack = ServiceBuilder::new().retry(Attempts(5)).layer(layer.clone()).service(poison);
//! let _ = stack.ready().await.unwrap().call(7).await;
//! assert_eq!(layer.handle().mode(), Mode::Maintenance);
//!
//! // The partner answered; it is the request that is bad.
//! let layer = MaintenanceLayer::new("zuora").judged_by(|result: Result<&u32, &Failed>| match result {
//!     Ok(_) | Err(Failed::Unprocessable) => Outcome::Success,
//!     Err(Failed::Down) => Outcome::Failure,
//! });
//! let mut stack = ServiceBuilder::new().retry(Attempts(5)).layer(layer.clone()).service(poison);
//! let _ = stack.ready().await.unwrap().call(7).await;
//! assert_eq!(layer.handle().mode(), Mode::Serving);
//! # Ok(())
//! # }
//! ```
//!
//! Around HTTP calls that is so by default: a 422 is an answer. Where a verdict cannot tell, put the layer
//! outside retry: then a whole retried call counts once, and the partner is asked up to five times as
//! often before the gate shuts. A retry policy should not retry a refusal at once; it says how long to wait
//! ([`Refused::retry_after`](crate::Refused::retry_after)).
//!
//! # Inside or outside buffer and load shed
//!
//! *Buffer*: outside it (the layer around the buffer) a refusal skips the queue. Inside, what
//! waits in the queue meets the gate when it is its turn. A service that is not `Clone` goes behind a buffer:
//! the layer takes a fresh instance for calls that it lets in while the gate is shut.
//! *Load shed*: inside the layer its `Overloaded` error counts as a failure unless the judge says that it
//! is our own and neutral; outside, what is shed never reaches the layer.
//!
//! # Before routes
//!
//! `Router::layer(layer.routes())` (feature `axum`) refuses what would end in a refusal anyway, before
//! authentication and parsing are paid for. It measures nothing and takes no probe slot. Both placements
//! share one state, and each has its own exemptions: our `/billing/invoices/{id}` and the partner's
//! `/v1/invoices/{id}` are different names.
