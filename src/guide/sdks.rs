//! How to guard an SDK, reqwest, and any other future.
//!
//! A payment provider's SDK is no tower service: it has `async fn`s and errors of its own.
//! [`run`](crate::MaintenanceLayer::run) guards any future that ends with a `Result`, in one line:
//!
//! ```
//! use tower_maintenance::{Error, MaintenanceLayer};
//!
//! # #[derive(Debug, PartialEq, thiserror::Error)]
//! # #[error("the SDK failed")]
//! # struct Failed;
//! # struct Sdk;
//! # impl Sdk {
//! #     async fn charge(&self, cents: u32) -> Result<u32, Failed> { Ok(cents) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sdk = Sdk;
//! let layer = MaintenanceLayer::new("stripe");
//!
//! let charged = layer.run("charge", async { sdk.charge(1900).await }).await?;
//! assert_eq!(charged, 1900);
//! # Ok(())
//! # }
//! ```
//!
//! The name is what exemptions and closures know of the call. A refused call is not made: its
//! future is dropped unpolled. A [`KeyedLayer`](crate::KeyedLayer) has
//! [`run`](crate::KeyedLayer::run) with a key.
//!
//! # Every `Err` is a failure unless judged
//!
//! The layer cannot know what an SDK's error means, so without a judge every `Err` is a failure of
//! the partner. For a payment provider that is wrong: **a declined card is an answer**. Five
//! declined cards in a row would put billing into maintenance. So is a parameter that the partner
//! rejects, and a key of yours that has run out says nothing about the partner. A judge tells them
//! apart:
//!
//! ```
//! use tower_maintenance::{MaintenanceLayer, Mode, Outcome};
//!
//! #[derive(Debug)]
//! enum SdkError { Api { status: u16 }, NoAnswer }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let judge = |result: Result<&u32, &SdkError>| match result {
//!     Ok(_) => Outcome::Success,
//!     Err(SdkError::Api { status: 401 | 403 | 429 }) => Outcome::Neutral, // our key, our rate
//!     Err(SdkError::Api { status: 408 | 500.. }) => Outcome::Failure,
//!     Err(SdkError::Api { .. }) => Outcome::Success, // an answer: 402 is a declined card
//!     Err(SdkError::NoAnswer) => Outcome::Failure,
//! };
//! let layer = MaintenanceLayer::new("stripe")
//!     .judged_by(judge)
//!     .may_probe(|name: &str| name != "charge"); // a charge is not a probe
//!
//! for _ in 0..5 {
//!     let declined = layer.run("charge", async { Err(SdkError::Api { status: 402 }) }).await;
//!     assert!(declined.is_err());
//! }
//! assert_eq!(layer.handle().mode(), Mode::Serving);
//!
//! for _ in 0..5 {
//!     let _ = layer.run("charge", async { Err(SdkError::NoAnswer) }).await;
//! }
//! assert_eq!(layer.handle().mode(), Mode::Maintenance);
//! # }
//! ```
//!
//! A closure is for one type of answers. An SDK has one error type and many types of answers, so
//! write the judge once as a [`Judge`](crate::Judge) of `str`, for all of them. This is the judge
//! of `crates/sdk` for the crate `async-stripe`. That member guards the SDK itself through a whole
//! outage:
//!
//! ```text
//! /// Judges calls through `async-stripe`, whatever they return. The request is the call's name.
//! #[derive(Debug, Clone, Copy)]
//! pub struct Stripe;
//!
//! impl<T> Judge<str, T, StripeError> for Stripe {
//!     fn may_probe(&self, name: &str) -> bool {
//!         name.ends_with(".retrieve") // a charge is not a probe
//!     }
//!
//!     fn class(&self, name: &str) -> Class {
//!         match name.ends_with(".retrieve") {
//!             true => Class::Read,
//!             false => Class::Write,
//!         }
//!     }
//!
//!     fn judge_error(&self, error: &StripeError) -> Option<Verdict> {
//!         let is_ours = matches!(error, StripeError::ConfigError(_)); // it was never sent
//!         is_ours.then(|| Origin::Ourselves.into())
//!     }
//!
//!     fn verdict(&self, result: Result<&T, &StripeError>) -> Verdict {
//!         match result {
//!             Ok(_) => Outcome::Success.into(),
//!             Err(StripeError::Stripe(_, status)) => {
//!                 let outcome = match status {
//!                     401 | 403 | 429 => Outcome::Neutral, // our key, our rate
//!                     408 | 500.. => Outcome::Failure,
//!                     _ => Outcome::Success, // the partner answered: 402 is a declined card
//!                 };
//!                 Verdict::from(outcome).with_code(*status)
//!             }
//!             Err(_) => Outcome::Failure.into(), // no connection, no answer in time, no JSON
//!         }
//!     }
//! }
//! ```
//!
//! ```text
//! let layer = MaintenanceLayer::new("stripe").judged(Stripe);
//! let charge = CreatePaymentIntent::new(1900, Currency::EUR);
//! let intent = layer.run("payment_intent.create", charge.send(&client)).await?;
//! ```
//!
//! A judge that is a type has a name, so that the view can stand in a struct, such as the state of
//! an axum router: `struct App { stripe: MaintenanceLayer<Calls<Stripe>> }`. The type of a view
//! with a closure has none.
//!
//! If a charge is the only call, no call may probe, and the recovery is never found. Then a
//! [`ping`](crate::MaintenanceHandle::ping) that reads something from the partner probes in its
//! place.
//!
//! A handler tells three ends apart. The texts of [`Error`](crate::Error) leave out the cause, as
//! every error of Rust does that has a [`source`](std::error::Error::source):
//!
//! ```
//! use tower_maintenance::{Error, MaintenanceLayer};
//!
//! # #[derive(Debug)]
//! # enum SdkError { Declined, Status(u16) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let layer = MaintenanceLayer::new("stripe");
//! let answer = |charged| match charged {
//!     Ok(()) => (200, "thank you".to_owned()),
//!     Err(Error::Inner(SdkError::Declined)) => (402, "the card was declined".to_owned()),
//!     Err(Error::Inner(SdkError::Status(code))) => (502, format!("the partner said {code}")),
//!     Err(Error::Refused(refused)) => (503, refused.to_string()),
//! };
//! let charged = layer.run("charge", async { Err(SdkError::Status(503)) }).await;
//! assert_eq!(answer(charged), (502, "the partner said 503".to_owned()));
//! # }
//! ```
//!
//! Switch the SDK's own retries off (`RequestStrategy::Once`), or mind that they are *inside* the
//! layer: the layer sees one call, and the partner gets all attempts. [`stack`](super::stack) has
//! the numbers.
//!
//! # The time-out rule
//!
//! | where the time limit stands | its length | a partner that hangs |
//! |---|---|---|
//! | inside the call: the SDK's own, or `timeout` in the future | any | an `Err`: a failure |
//! | around `run` | at least `hang_limit` (5 s) | a dropped call: a failure |
//! | around `run` | shorter | no failure; see below |
//!
//! Prefer the SDK's own limit. A call that is dropped before `hang_limit` is no failure, because a
//! customer that leaves says nothing about the partner. The rule of calls given up
//! ([`Policy::with_given_up`](crate::Policy::with_given_up)) still trips if at least ten calls of
//! more than 1 s each were given up in the window and nothing came from the partner. Below these
//! numbers one warning names `hang_limit`.
//!
//! ```
//! use std::{future::pending, time::Duration};
//! use tokio::time::timeout;
//! use tower_maintenance::{MaintenanceLayer, Mode};
//!
//! /// Five calls to a partner that hangs, with this time limit around each.
//! async fn after_five(limit: Duration) -> (Mode, u64) {
//!     let layer = MaintenanceLayer::new("stripe");
//!     for _ in 0..5 {
//!         let call = layer.run("charge", pending::<Result<(), std::io::Error>>());
//!         assert!(timeout(limit, call).await.is_err());
//!     }
//!     (layer.handle().mode(), layer.handle().status().calls.failed)
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! assert_eq!(after_five(Duration::from_secs(5)).await, (Mode::Maintenance, 5));
//! assert_eq!(after_five(Duration::from_secs(4)).await, (Mode::Serving, 0));
//!
//! // Inside the call any limit will do. Its error counts like any other.
//! let layer = MaintenanceLayer::new("stripe");
//! for _ in 0..5 {
//!     let hangs = timeout(Duration::from_millis(300), pending::<()>());
//!     assert!(layer.run("charge", hangs).await.is_err());
//! }
//! assert_eq!(layer.handle().mode(), Mode::Maintenance);
//! # }
//! ```
//!
//! # reqwest
//!
//! With feature `reqwest` a client is guarded in one line. Its calls, its answers and its errors
//! are those of reqwest; a refusal is [`Error::Refused`](crate::Error::Refused). It judges as
//! `http_calls()` does: by status, time-out and error, and by the body while it is read.
//!
#![cfg_attr(feature = "reqwest", doc = "```")]
#![cfg_attr(not(feature = "reqwest"), doc = "```ignore")]
//! use std::time::Duration;
//! use tower_maintenance::{Error, MaintenanceLayer, Mode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::new("zuora");
//! let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
//! let zuora = layer.reqwest(client);
//!
//! // Nothing listens there any more.
//! let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
//! let url = format!("http://{free}/v1/prices");
//! let get = async || zuora.get(&url).header("x-tenant", "7").send().await;
//! for _ in 0..5 {
//!     let Err(Error::Inner(error)) = get().await else { panic!("nothing listens") };
//!     assert!(error.is_connect());
//! }
//! assert_eq!(layer.handle().mode(), Mode::Maintenance);
//! assert!(matches!(get().await, Err(Error::Refused(_))));
//! # Ok(())
//! # }
//! ```
//!
//! For the crate `reqwest-middleware` (feature `reqwest-middleware`) it is one line too:
//!
//! ```text
//! ClientBuilder::new(client).with(retry).with(layer.reqwest_middleware()).build()
//! ```
//!
//! A retry middleware stands *before* it, so that each attempt passes the gate.
