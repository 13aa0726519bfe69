//! When the external billing partner degrades, puts billing into maintenance by itself, keeps everything
//! else up, and brings customers back smoothly when the partner recovers.
//!
//! On 31 July 2024 a billing partner degraded. Engineers noticed at 19:58 UTC, put billing into
//! maintenance by hand at 20:05, took it out at 20:57, and asked every customer to clear cache and cookies.
//! This crate is what they learned, as a [tower] layer: it enters maintenance **automatically**,
//! has a **documented list** of endpoints that maintenance must not touch, and **tells caches** when it is over.
//!
//! # The whole story
//!
//! ```
//! use std::{cell::Cell, io, rc::Rc};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_maintenance::{Error, Exemption, MaintenanceLayer, Mode};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One layer a partner. Calls are named, so that some can be exempt, each with its reason.
//! let layer = MaintenanceLayer::builder("zuora")
//!     .named(|call: &String| call.as_str())
//!     .may_probe(|call: &String| call != "charge") // a charge is not a probe
//!     .exempt(Exemption::call("webhook.ack", "the partner retries for days what we drop"))
//!     .cache_tags(["prices"])
//!     .build()?;
//! let handle = layer.handle(); // for operators; outlives every service
//! let mut caches = handle.cache_bust();
//!
//! let down = Rc::new(Cell::new(false));
//! let partner = {
//!     let down = down.clone();
//!     service_fn(move |call: String| {
//!         let answer = if down.get() { Err(io::Error::other("502")) } else { Ok(call) };
//!         async move { answer }
//!     })
//! };
//! let mut billing = ServiceBuilder::new().layer(layer).service(partner);
//! let mut call = async |name: &str| billing.ready().await?.call(name.to_owned()).await;
//!
//! // Serving: calls pass, outcomes are counted.
//! assert!(call("charge").await.is_ok());
//!
//! // The partner degrades: five failures in a row trip, and calls are refused without reaching it.
//! down.set(true);
//! for _ in 0..5 {
//!     assert!(matches!(call("charge").await, Err(Error::Inner(_))));
//! }
//! let Err(Error::Refused(refused)) = call("charge").await else { panic!("it has tripped") };
//! assert!(refused.retry_after().is_some());
//! assert_eq!(handle.mode(), Mode::Maintenance);
//! println!("{}", handle.status()); // "zuora is in maintenance: 5 calls failed in a row; 31 s left"
//!
//! // What is exempt still reaches it.
//! assert!(matches!(call("webhook.ack").await, Err(Error::Inner(_))));
//!
//! // The partner recovers. After the wait, probes find out; a charge is not among them.
//! down.set(false);
//! tokio::time::advance(refused.retry_after().unwrap()).await;
//! assert_eq!(handle.mode(), Mode::Probing);
//! assert!(matches!(call("charge").await, Err(Error::Refused(_))));
//! for _ in 0..3 {
//!     assert!(call("prices.read").await.is_ok());
//! }
//!
//! // Serving again: the flag cleared first, then the signal fired, once.
//! let bust = caches.recv().await.unwrap();
//! assert_eq!(handle.mode(), Mode::Serving);
//! assert_eq!(&*bust.tags, ["prices"]);
//! assert!(call("charge").await.is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! # States
//!
//! Maintenance is a set of causes, each with who, why and until when; the mode follows from it.
//!
//! | mode | elsewhere | requests | left when |
//! |---|---|---|---|
//! | [`Serving`](Mode::Serving) | closed | pass, and are measured | a rule of the [`Policy`] fires, or an operator [engages](MaintenanceHandle::engage) |
//! | [`Maintenance`](Mode::Maintenance) | open | are refused: not processed, safe to repeat | the wait is over, or the hold is released |
//! | [`Probing`](Mode::Probing) | half-open | a few that may probe pass | enough succeed in a row, or one fails |
//!
//! Exempt endpoints pass in every mode. Time moves the state without traffic and without a background
//! task: whoever looks applies what fell due, at the instant it fell due.
//!
//! # Where to go from here
//!
//! - [`MaintenanceLayer`]: the layer and its views; [`Policy`]: the rules, the defaults and why.
//! - [`MaintenanceHandle`]: what operators do and see. [`KeyedLayer`]: a state for each tenant.
//! - [`guide::stack`]: where the layer belongs among timeout, retry, buffer and limits.
//! - [`guide::rollout`]: dry run, read, arm. [`guide::at_3_am`]: what happens when nobody is up.
//! - [`guide::watching`]: keeping refusals out of Sentry, OpenTelemetry and logs; what to alert on.
//! - [`guide::coming_from`]: recipes for those who know tower-resilience, failsafe or recloser.
//!
//! # Features
//!
//! None is on by default; each only adds.
//!
//! | feature | adds |
//! |---|---|
//! | `http` | calls judged by status, by whether the body comes to its end, and if asked by what it says; refusals as a page or a problem document, exemption by path, route classes, the in-product notice, caches told after a recovery and open tabs healed, the partner's public status page: `tower_maintenance::http` |
//! | `axum` | `MaintenanceLayer::routes`, exemption by `MatchedPath`, refusals as `IntoResponse`; implies `http` |
//! | `grpc` | calls judged by `grpc-status`, refusals as `UNAVAILABLE` with details, at both placements: `tower_maintenance::grpc`; implies `http` |
//! | `coarse-clock` | `Builder::clock`: the operating system's coarse clock in place of tokio's, for a fifth of its cost |
//! | `last-good` | while in maintenance, reads that were opted in are answered from the partner's last good answers: `tower_maintenance::http::LastGoodLayer`; implies `axum`, to tell nested routers apart |
//! | `serde` | `Serialize` for what operators see; the runbook table as JSON |
//! | `testing` | a partner simulator (tower service and real HTTP server) and assertions for your own tests |
//!
//! # Rust version
//!
//! Rust 1.88. This is the least version that the language, clippy's lint `incompatible_msrv` and the
//! dependencies' own `rust-version` allow, with all features. It is checked by these, and not by a
//! build with that toolchain.
//!
//! # Limits
//!
//! - **Per process.** Each replica measures and gates for itself, and forgets its state when it ends. The generation
//!   is wall-clock milliseconds, so that a restart does not lower it.
//! - **A time window forgets in steps.** An outcome counts for between nine tenths of the window and the whole
//!   of it, with ten buckets.
//! - **A full lock refuses.** In `Probing`, and at the instant a wait ends, a call that finds the state being moved
//!   by somebody else is refused rather than made to wait.
//! - **Signals are newest-value.** A subscriber that lags over several recoveries gets the last one; of
//!   events the last 512 are kept.
//! - **A slow look moves time late.** Without traffic and listeners nothing happens until somebody looks; then
//!   everything that fell due is applied in order, with the instants it fell due.
//! - **The partner's word is only shown.** What a status page says trips nothing and ends nothing, and a fleet reads it
//!   once per replica. Of a partner's rate limits those fields are read whose meaning is written down: no `X-RateLimit-*`.
//! - **A body is judged by its beginning, if at all.** Whether it comes to its end always counts. What it says counts if
//!   the view is told to look, at the first 64 KiB at most, as they are on the wire: JSON that is compressed there says nothing.
//!   A hang is noticed while somebody waits for the body, in a tokio runtime with time; otherwise when the body is dropped.
//! - **Reads under a read-only hold are not measured.** The operator vouches for them: a partner that degrades meanwhile does
//!   not trip the layer.
//! - **A call begins when it is waited for.** How long it took, and how long the partner was silent, count from the first poll
//!   that finds no answer: a future that nobody ever polls has not begun.
//! - **A thread keeps what it used last.** After a layer is gone its state may stay with each thread that called through it last, until
//!   that thread calls through another or ends: some kilobytes, and a quarter of a megabyte for a window of 1,000,000 calls. For
//!   listeners the layer is gone all the same.
//! - **An era wraps.** A call that outlasts 1 048 576 mode changes could be taken for one of a later era.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod base;
mod call;
mod counting;
mod error;
mod exemptions;
mod facts;
mod future;
pub mod guide;
mod keyed;
mod layer;
mod machine;
mod operator;
mod policy;
mod service;
mod state;

#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "coarse-clock")]
pub use crate::base::clock_coarse::CoarseClock;
#[cfg(feature = "axum")]
pub use crate::http::routes::axum::{ByMatchedPath, Routes};
pub use crate::{
    call::{
        plain::{BoxedCalls, Calls, Judge, JudgedBy, MayProbe, Named, Plain, Reads},
        protocol::Protocol,
        ticket::Ticket,
    },
    error::{BuildError, CommandError},
    exemptions::{Exemption, ExemptionError, ExemptionTable},
    facts::{
        audit::{Action, AuditEntry},
        endpoint::{Class, Endpoint, Placement},
        episode::Episode,
        event::{Event, EventKind},
        evidence::{Evidence, Rule},
        mode::{Cause, Mode, Switches},
        outcome::{Outcome, Verdict},
        partner_word::{Contradiction, Indicator, PartnerReport, PartnerStatus, PartnerUnreadable},
        recovery::CacheBust,
        refused::{Error, Refused},
        status::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
    },
    future::ResponseFuture,
    keyed::{
        KeyedBuilder, KeyedError, KeyedLayer, KeyedMaintenance, Keys, KeysFull, MappedView,
        OwnView, View,
    },
    layer::{Builder, MaintenanceLayer},
    operator::{
        handle::MaintenanceHandle,
        hold::Hold,
        ping::{Ping, PingAnswer},
        receipt::{Reach, Receipt},
        subscribe::{CacheBusts, Events},
    },
    policy::{Policy, error::PolicyError, rate::Rate, window::Window},
    service::Maintenance,
};

/// The README's examples, compiled and run.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
