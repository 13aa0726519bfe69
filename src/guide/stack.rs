//! Where the layer belongs in the stack, and why.
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
//! *Outside the limits.* A refusal then takes no permit and does not queue. A refused call returns
//! a permit that was reserved for it. A caller that waits for a permit is woken and refused when
//! the gate shuts.
//!
//! *Inside the timeout.* The layer then recognizes a hang. The timeout drops the call, and the
//! layer counts the drop as a failure if the partner has sent nothing for at least `hang_limit`
//! (default 5 s). **`hang_limit` must be at most the timeout**, or a hanging partner does not trip
//! this rule:
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
//! A timeout *inside* the layer works too: its error counts like any other error. The errors of
//! such a stack are `BoxError`, and its view is [`boxed`](crate::MaintenanceLayer::boxed).
//!
//! *Bodies.* A tower timeout ends when the headers arrive. The layer watches the body after that
//! (feature `http`): headers are provisional. When the reader of a body has waited `hang_limit` for
//! the next frame, the call fails at that moment, whether or not the reader gives up. The body
//! continues to stream. Giving up on it is up to the reader, or to a timeout that also covers the
//! reading.
//!
//! Some answers stream without end and may be silent: server-sent events, long polling. For these
//! there is `HttpCalls::judged_at_headers`. Over gRPC (feature `grpc`), list streaming methods with
//! `GrpcCalls::streams`: they are judged at their first message. List methods that may be silent
//! from their start with `GrpcCalls::subscriptions`.
//!
//! # Inside or outside retry
//!
//! It decides which customer trips. Three attempts a customer, a partner that is down, and the
//! default of five failures in a row:
//!
//! | the layer is | a customer counts | trips at | attempts that reached the partner |
//! |---|---|---|---|
//! | inside retry | 3 times | customer 2, attempt 2 | 5 |
//! | outside retry | once | customer 5 | 15 |
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use tower::{ServiceBuilder, ServiceExt, retry::Policy as Retry, service_fn};
//! use tower_maintenance::{Error, MaintenanceLayer, Mode};
//! # use std::{future::{Ready, ready}, io, sync::Arc};
//!
//! /// Tries three times, unless the call is refused.
//! #[derive(Clone)]
//! struct Attempts(u32);
//!
//! # trait IsRefused { fn is_refused(&self) -> bool; }
//! # impl IsRefused for Error<io::Error> {
//! #     fn is_refused(&self) -> bool { self.refused().is_some() }
//! # }
//! # impl IsRefused for io::Error { fn is_refused(&self) -> bool { false } }
//! # impl<E: IsRefused> Retry<(), (), E> for Attempts {
//! #     type Future = Ready<()>;
//! #     fn retry(&mut self, _: &mut (), result: &mut Result<(), E>) -> Option<Ready<()>> {
//! #         let error = result.as_ref().err()?;
//! #         if error.is_refused() || self.0 == 1 { return None }
//! #         self.0 -= 1;
//! #         Some(ready(()))
//! #     }
//! #     fn clone_request(&mut self, _: &()) -> Option<()> { Some(()) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let attempts = Arc::new(AtomicU32::new(0));
//! # let counted = attempts.clone();
//! let down = service_fn(move |()| {
//!     counted.fetch_add(1, Relaxed);
//!     async { Err::<(), _>(io::Error::other("503")) }
//! });
//!
//! let layer = MaintenanceLayer::new("zuora");
//! let stack = ServiceBuilder::new().retry(Attempts(3)).layer(layer.clone());
//! let inside = stack.service(down.clone());
//! assert!(inside.clone().oneshot(()).await.is_err());
//! assert_eq!(layer.handle().mode(), Mode::Serving);
//! // The second customer trips, and the third attempt is refused.
//! assert!(matches!(inside.oneshot(()).await, Err(Error::Refused(_))));
//! assert_eq!((layer.handle().mode(), attempts.swap(0, Relaxed)), (Mode::Maintenance, 5));
//!
//! let layer = MaintenanceLayer::new("zuora");
//! let outside = ServiceBuilder::new().layer(layer.clone()).retry(Attempts(3)).service(down);
//! for _customer in 1..=5 {
//!     assert_eq!(layer.handle().mode(), Mode::Serving);
//!     assert!(outside.clone().oneshot(()).await.is_err());
//! }
//! assert_eq!((layer.handle().mode(), attempts.load(Relaxed)), (Mode::Maintenance, 15));
//! # }
//! ```
//!
//! An SDK's own retries are inside [`run`](crate::MaintenanceLayer::run): there the layer is
//! outside of them. If the layer stays inside, the run of failures
//! ([`with_consecutive_failures`](crate::Policy::with_consecutive_failures)) can grow with the
//! number of attempts.
//!
//! Inside retry, as drawn above, a retry that meets a shut gate ends at once. This suits a partner
//! that fails now and then. It has one trap: **a poisonous request**. If the partner always answers
//! one customer's request with an error, and the client retries it five times, these are five
//! failures in a row, and the layer trips. The cure is to judge such an answer as no failure of the
//! partner:
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
//! #     fn retry(
//! #         &mut self,
//! #         _: &mut u32,
//! #         result: &mut Result<u32, Error<Failed>>,
//! #     ) -> Option<Ready<()>> {
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
//! // The partner answered: the request is invalid, not the partner.
//! let judge = |result: Result<&u32, &Failed>| match result {
//!     Ok(_) | Err(Failed::Unprocessable) => Outcome::Success,
//!     Err(Failed::Down) => Outcome::Failure,
//! };
//! let layer = MaintenanceLayer::new("zuora").judged_by(judge);
//! let mut stack = ServiceBuilder::new().retry(Attempts(5)).layer(layer.clone()).service(poison);
//! let _ = stack.ready().await.unwrap().call(7).await;
//! assert_eq!(layer.handle().mode(), Mode::Serving);
//! # Ok(())
//! # }
//! ```
//!
//! Around HTTP calls this is the default: a 422 is an answer. If a verdict cannot tell the two
//! apart, put the layer outside retry. A retried call then counts once, and the partner gets up to
//! five times as many attempts before the gate shuts.
//!
//! A retry policy should not repeat a refused call at once.
//! [`Refused::retry_after`](crate::Refused::retry_after) says how long to wait.
//!
//! # Layers within layers
//!
//! A layer per tenant may stand around one for the whole partner, or the other way round. A refusal
//! of the layer further in says nothing about the partner of the layer outside of it: the call is
//! neutral there, and counted in
//! [`CallCounts::refused_within`](crate::CallCounts::refused_within).
//!
//! The layer outside knows a refusal by the poll: the call failed in the very poll in which the
//! layer further in refused. That holds for every error type, and for a
//! [`KeyedLayer`](crate::KeyedLayer) too. A refused response is known by its extensions. Over a
//! channel or a task (`tower::buffer`, `tokio::spawn`) the error must be looked into:
//! [`boxed`](crate::MaintenanceLayer::boxed) does so for stacks with `BoxError`, and
//! [`nested`](crate::MaintenanceLayer::nested) for an [`Error`](std::error::Error) of your own.
//! Around a generated gRPC client the layer inside must refuse by an error:
//! `layer.grpc_calls().boxed()`. What came over the wire is never taken for a refusal: a 503 of
//! another process counts as any other.
//!
//! *Never the same layer twice around one call.* While the partner is probed, the outer one takes
//! the slot and the inner one finds none, so no probe reaches the partner and probing does not end.
//! Every call would count twice besides. One warning tells it (`the layer stands twice around a
//! call`). The view before routes is no second one: it takes no slot.
//!
//! # Inside or outside buffer and load shed
//!
//! *Buffer.* With the layer outside the buffer, a refusal skips the queue. With the layer inside, a
//! queued request meets the gate when its turn comes. A service that is not `Clone` needs a buffer:
//! the layer clones the service for calls that it admits while the gate is shut.
//!
//! **A buffer dies with its service.** If the service inside a `tower::buffer` fails in
//! `poll_ready` once, or panics, the buffer answers every later call with that error, for ever. The
//! layer then sees a partner that never comes back: every probe fails. Some services fail in
//! `poll_ready` when a connection breaks. Make the buffer anew then:
//!
//! ```
//! use std::{sync::{Arc, Mutex}, task::{Context, Poll, ready}, time::Duration};
//! use tower::{BoxError, Layer, Service, ServiceExt, buffer::Buffer};
//! use tower_maintenance::{MaintenanceLayer, Mode};
//!
//! /// A buffer that is made anew after its service has failed. All clones share the new one.
//! #[derive(Clone)]
//! struct Renewed<M, B> {
//!     make: M,
//!     /// The newest buffer, and its number.
//!     newest: Arc<Mutex<(u64, B)>>,
//!     /// The one that this clone has polled.
//!     mine: (u64, B),
//! }
//!
//! impl<M: Fn() -> B, B: Clone> Renewed<M, B> {
//!     fn new(make: M) -> Self {
//!         let mine = (0, make());
//!         Self { make, newest: Arc::new(Mutex::new(mine.clone())), mine }
//!     }
//! }
//!
//! impl<M: Fn() -> B, B: Service<R> + Clone, R> Service<R> for Renewed<M, B> {
//!     type Response = B::Response;
//!     type Error = B::Error;
//!     type Future = B::Future;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), B::Error>> {
//!         let mut newest = self.newest.lock().unwrap();
//!         if newest.0 != self.mine.0 {
//!             self.mine = newest.clone();
//!         }
//!         let polled = ready!(self.mine.1.poll_ready(cx));
//!         if polled.is_err() {
//!             *newest = (newest.0 + 1, (self.make)()); // for the next call: this one has failed
//!         }
//!         Poll::Ready(polled)
//!     }
//!
//!     fn call(&mut self, request: R) -> B::Future {
//!         self.mine.1.call(request)
//!     }
//! }
//!
//! # use std::{future::{Ready, ready as now}, sync::atomic::{AtomicU32, Ordering::Relaxed}};
//! /// A connection to the partner, which is not `Clone`. The first one breaks after a call.
//! struct Connection { calls_left: u32 }
//! # impl Service<()> for Connection {
//! #     type Response = ();
//! #     type Error = BoxError;
//! #     type Future = Ready<Result<(), BoxError>>;
//! #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
//! #         Poll::Ready(match self.calls_left {
//! #             0 => Err("connection reset".into()),
//! #             _ => Ok(()),
//! #         })
//! #     }
//! #     fn call(&mut self, (): ()) -> Self::Future {
//! #         self.calls_left -= 1;
//! #         now(Ok(()))
//! #     }
//! # }
//! # fn connections() -> impl Fn() -> Connection + Clone {
//! #     let made = Arc::new(AtomicU32::new(0));
//! #     move || match made.fetch_add(1, Relaxed) {
//! #         0 => Connection { calls_left: 1 },
//! #         _ => Connection { calls_left: u32::MAX },
//! #     }
//! # }
//!
//! /// Returns the mode after an hour with a call every second, and how many were answered.
//! async fn after_an_hour<S>(partner: S) -> (Mode, u32)
//! where
//!     S: Service<(), Response = (), Error = BoxError> + Clone,
//! {
//!     let layer = MaintenanceLayer::new("zuora");
//!     let partner = layer.boxed().layer(partner);
//!     let mut answered = 0;
//!     for _ in 0..3600 {
//!         answered += u32::from(partner.clone().oneshot(()).await.is_ok());
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!     }
//!     (layer.handle().mode(), answered)
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! # let connect = connections();
//! let (mode, answered) = after_an_hour(Buffer::new(connect(), 16)).await;
//! assert_ne!(mode, Mode::Serving);
//! assert_eq!(answered, 1);
//!
//! # let connect = connections();
//! let renewed = Renewed::new(move || Buffer::new(connect(), 16));
//! let (mode, answered) = after_an_hour(renewed).await;
//! assert_eq!(mode, Mode::Serving);
//! assert!(answered > 3590);
//! # }
//! ```
//!
//! *Load shed.* With load shed inside the layer, its `Overloaded` error counts as a failure, unless
//! the judge returns `Neutral` for it because the error is our own. With load shed outside, the
//! shed requests do not reach the layer.
//!
//! # Before routes
//!
//! `Router::layer(layer.routes())` (feature `axum`) refuses requests before authentication and
//! parsing. It measures nothing and takes no probe slot. Both placements share one state. Each
//! placement has its own exemptions: our `/billing/invoices/{id}` and the partner's
//! `/v1/invoices/{id}` are different names.
//!
//! ```text
//! DrainRefused        optional: reads the rest of a refused upload
//!   CorsLayer         puts its headers on refusals too
//!     authentication  only if an exemption asks for what it finds out
//!       MAINTENANCE   `layer.routes()`, inside the router
//!         the routes
//! ```
//!
//! *CORS.* `CorsLayer` stands **outside** the gate. A refusal without CORS headers is hidden from
//! the page: its script sees a network error in place of the 503, and no `Retry-After`. A preflight
//! passes the gate in every mode, so a `CorsLayer` inside answers preflights too; but then the
//! browser hides the refusal that follows. Let the layer expose `Retry-After`
//! (`Access-Control-Expose-Headers`). A route of `any()` runs its handler for a preflight if no
//! `CorsLayer` answers before it; see `MaintenanceLayer::with_gated_preflights`.
//!
//! *Inside the router.* `routes()` asks the router for the route, so it is added by
//! `Router::layer`. Around a whole router and around a service under `nest_service` there is no
//! route yet; use `MaintenanceLayer::paths` there. In a test and at the start,
//! `MaintenanceLayer::check_routes` finds routes that were not considered, and exemptions and
//! classes that no route has.
//!
//! *WebSockets.* Under a read-only hold a request for another protocol is a write, over HTTP/1.1
//! and over HTTP/2, unless the class of its route says that it reads. A connection that is open
//! stays open.
//!
//! *Uploads.* A refused upload is not read. Over HTTP/1.1 a client that writes first and reads
//! afterwards may see a broken pipe; `DrainRefused` (feature `http`) is for that.
