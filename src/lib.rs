//! A [tower] layer that puts billing into maintenance by itself when the external billing partner
//! degrades. Everything else stays up, and customers come back smoothly when the partner recovers.
//!
//! On 31 July 2024 a billing partner degraded. Engineers noticed at 19:58 UTC and put billing into
//! maintenance by hand at 20:05. They ended maintenance at 20:57 and asked every customer to clear
//! cache and cookies. This crate is what they learned. It enters maintenance **automatically**. It
//! has a **documented list** of endpoints that maintenance does not affect. It **tells caches**
//! when maintenance is over.
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
//! // One layer per partner. Calls have names, so that some can be exempt, each for a reason.
//! let layer = MaintenanceLayer::builder("zuora") // a charge is not a probe
//!     .exempt(Exemption::call("webhook.ack", "the partner retries for days what we drop"))
//!     .cache_tags(["prices"])
//!     .build()?
//!     .named(|call: &String| call.as_str())
//!     .may_probe(|call: &String| call != "charge");
//! let handle = layer.handle(); // for operators; it outlives every service
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
//! // Serving: calls pass, and outcomes are counted.
//! assert!(call("charge").await.is_ok());
//!
//! // The partner degrades: five failures in a row trip. Then no call reaches the partner.
//! down.set(true);
//! for _ in 0..5 {
//!     assert!(matches!(call("charge").await, Err(Error::Inner(_))));
//! }
//! let Err(Error::Refused(refused)) = call("charge").await else { panic!("it has tripped") };
//! assert!(refused.retry_after().is_some());
//! assert_eq!(handle.mode(), Mode::Maintenance);
//! // "zuora is in maintenance: 5 calls failed in a row; 31 s left"
//! println!("{}", handle.status());
//!
//! // An exempt call still reaches the partner.
//! assert!(matches!(call("webhook.ack").await, Err(Error::Inner(_))));
//!
//! // The partner recovers. After the wait, probes find out. A charge never probes.
//! down.set(false);
//! tokio::time::advance(refused.retry_after().unwrap()).await;
//! assert_eq!(handle.mode(), Mode::Probing);
//! assert!(matches!(call("charge").await, Err(Error::Refused(_))));
//! for _ in 0..3 {
//!     assert!(call("prices.read").await.is_ok());
//! }
//!
//! // Serving again: the mode changed first, then the signal fired, once.
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
//! Maintenance is a set of causes. Each cause records an actor, a reason and an end. The mode
//! follows from the causes.
//!
//! | mode | circuit breaker | requests | ends when |
//! |---|---|---|---|
//! | [`Mode::Serving`] | closed | pass, and are measured | a rule fires, or an operator holds |
//! | [`Mode::Maintenance`] | open | are refused | the wait is over, or the hold is released |
//! | [`Mode::Probing`] | half-open | a few pass as probes | enough succeed in a row, or one fails |
//!
//! - The rules are those of the [`Policy`]. An operator engages a hold by
//!   [`MaintenanceHandle::engage`].
//! - A refused call was not made. A request that is refused before one's own routes was not
//!   processed, and the client can repeat it safely.
//! - Exempt endpoints pass in every mode.
//! - Time changes the state without traffic and without a background task. The next caller that
//!   reads the state applies each change that fell due, dated at the instant when it fell due.
//!
//! # Where to go from here
//!
//! - [`MaintenanceLayer`]: the layer and its views. [`Policy`]: the rules, the defaults and their
//!   reasons.
//! - [`MaintenanceHandle`]: what operators can do and see. [`KeyedLayer`]: a state for each tenant.
//! - [`guide::stack`]: where the layer belongs among timeout, retry, buffer and limits.
//! - [`guide::reads_and_writes`]: a partner whose reads work while its writes fail.
//! - [`guide::rollout`]: dry run, read, arm. [`guide::at_3_am`]: what happens in an outage at
//!   night.
//! - [`guide::watching`]: how to keep refusals out of Sentry, OpenTelemetry and logs, and what to
//!   alert on.
//! - `guide::config` (features `http` and `serde`): policy, exemptions and texts in a file.
//! - [`guide::metrics`]: every metric and every `tracing` event, with a recipe for Prometheus.
//! - [`guide::sdks`]: how to guard an SDK, reqwest, and any other future.
//! - [`guide::background_jobs`], [`guide::caches`], [`guide::cors`],
//!   [`guide::testing_your_service`]: everyday recipes.
//! - [`guide::coming_from`]: recipes for users of tower-resilience, failsafe or recloser.
//! - [`guide::costs`]: what a call costs, and how exact the counts are.
//!
//! # Features
//!
//! No feature is on by default. Each feature only adds.
//!
//! - `http` adds the module `tower_maintenance::http`. It judges calls by their status, by whether
//!   the body arrives completely, and on request by the content of the body. It refuses with a page
//!   or a problem document. It has exemption by path, by method and by a condition, and the notice
//!   inside the product. It tells caches and open tabs about a recovery. It reads the partner's
//!   public status page.
//! - `page-templates` adds `Refusals::page_template`: the page of a refusal by a template of your
//!   own, in the syntax of Jinja2. It implies `http`. Without it a closure replaces the page.
//! - `axum` adds the views before routes: `MaintenanceLayer::routes` with exemption by
//!   `MatchedPath`, `paths` with exemption by the path that the client sent, route classes, and the
//!   check of both against the routes. It adds `IntoResponse` for refusals. It implies `http`.
//! - `reqwest` adds `MaintenanceLayer::reqwest`: a guarded reqwest client in one line. It implies
//!   `http`. `reqwest-middleware` adds the same as a middleware of that crate.
//! - `grpc` adds the module `tower_maintenance::grpc`, for both placements. It judges calls by
//!   `grpc-status`, and refuses with `UNAVAILABLE` and details. It implies `http`.
//! - `coarse-clock` adds `Builder::clock`: the operating system's coarse clock in place of tokio's.
//!   It takes less time to read, and lags by one tick.
//! - `last-good` adds `tower_maintenance::http::LastGoodLayer`: during maintenance, selected reads
//!   are answered from the partner's last good answers. It implies `axum`, which it needs to tell
//!   nested routers apart.
//! - `serde` adds `Serialize` for the values that operators see, and the runbook table as JSON. It
//!   adds `Deserialize` for what stands in a configuration file: [`Policy`], [`Window`], [`Rate`],
//!   and with `http` exemptions and the texts of the page.
//! - `metrics` adds `MaintenanceHandle::publish_metrics` and `Keys::publish_metrics`, which write
//!   the state into the recorder of the crate `metrics`, and `Builder::latency_histogram`.
//! - `tower-http` adds `tower_maintenance::http::trace_layer`: a `TraceLayer` that does not log
//!   refusals as failures. It implies `http`.
//! - `tracing-subscriber` adds the filter `NoRefusals`, which keeps logged refusals out of error
//!   trackers and tracers.
//! - `testing` adds a partner simulator (a tower service and a real HTTP server) and assertions for
//!   your own tests.
//!
//! # Rust version
//!
//! Rust 1.88. This is the least version that the language, clippy's lint `incompatible_msrv` and
//! the dependencies' own `rust-version` allow, with all features. These three check it. No build
//! with that toolchain is made.
//!
//! # Limits
//!
//! - **Per process.** Each replica measures and gates for itself. It loses its state when it ends.
//!   The generation is wall-clock milliseconds, so a restart does not lower it.
//! - **A time window forgets in steps.** With ten buckets, an outcome counts for at least nine
//!   tenths of the window and at most the whole window.
//! - **A busy lock refuses.** In `Probing`, in a ramp, and at the instant when a wait ends, a call
//!   tries the lock of the state 64 times, or 4,096 times while an operator's reading holds it. If
//!   the lock is not free by then, the call is refused. [`MaintenanceHandle::glance`] takes no
//!   lock.
//! - **Signals keep the newest value.** A subscriber that misses several recoveries gets the last
//!   one.
//! - **The event history is bounded.** The last 512 events are kept.
//! - **Time changes are applied late if no caller looks.** Without traffic and listeners nothing
//!   happens until the next caller reads the state. Then all changes that fell due are applied in
//!   order, each dated at the instant when it fell due.
//! - **The partner's own status is only shown.** A status page trips nothing and ends nothing. In a
//!   fleet, each replica reads it separately.
//! - **Rate limits are read only if their fields have a written specification.** `X-RateLimit-*`
//!   has none.
//! - **The content of a body is judged only on request.** Whether a body arrives completely always
//!   counts. Its content counts if the view is told to judge it. Then at most the first 64 KiB
//!   count, as they are on the wire. Compressed JSON gives no evidence.
//! - **A call knows of an answer by its polls alone.** A caller that polled once, found nothing and
//!   never polls again is taken as waiting, even if the answer is there by then. So is a probe at
//!   the end of its lease.
//! - **Calls given up need silence.** A partner that answers a single call in the window, with any
//!   verdict, does not trip by the rule of calls given up, however many of its other calls hang
//!   under a short time-out. Let the time-out be at least the `hang_limit`.
//! - **A view for any error type opens none.** There an error is the partner's unless a closure
//!   says otherwise: a bound on the type would keep callers from spawning calls with boxed errors.
//!   The views `nested()` and `boxed()` open errors ([`fault`]). An error of an answer's body is
//!   always the partner's.
//! - **A refusal further in is known by the poll.** Over a channel or a task it is found in the
//!   error by the views `nested()` and `boxed()` alone.
//! - **A hang of a body is noticed while a reader waits for it**, in a tokio runtime with time
//!   enabled. Otherwise the hang is noticed when the body is dropped.
//! - **A slow upload looks like a slow partner**, unless the view watches it. A call's wait counts
//!   from its first poll, also while the body of its request is still on its way. Where customers'
//!   uploads pass through, use `MaintenanceLayer::watching_uploads` (feature `http`, over HTTP and
//!   gRPC; not with [`KeyedLayer`]). It is no default because it changes the type of the request's
//!   body.
//! - **A refused upload is not read.** Before routes a request is refused without its body. Over
//!   HTTP/1.1 the server then closes the connection, and a client that is still writing may see a
//!   broken pipe in place of the refusal. `tower_maintenance::http::DrainRefused` reads the body
//!   first, within bounds.
//! - **Reads under a read-only hold are not measured.** The operator vouches for them. If the
//!   partner degrades meanwhile, the layer does not trip.
//! - **A call begins when it is awaited.** Its duration and the partner's silence count from the
//!   first poll that finds no answer. A future that is never polled has not begun.
//! - **A thread keeps the state that it used last.** The state of a dropped layer may stay with
//!   each thread that called through it last. It stays until that thread calls through another
//!   layer or ends. The state takes some kilobytes, and a quarter of a megabyte for a window of
//!   1,000,000 calls. Listeners still see that the layer is gone.
//! - **An era wraps.** A call that outlasts 1,048,576 mode changes could be counted in a later era.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Where to look in the source. Each path names the files in the order in which to read them.
//
// A request:
//   layer.rs                 `MaintenanceLayer` makes the wrapped service
//   service.rs               `poll_ready` and `call`; run.rs is the same for `run(name, future)`
//   call/admission.rs        is the request exempt; what does the gate answer
//   state/for_calls.rs       one atomic read of the published word (state/gate.rs). A request is
//                            REFUSED here: by `refuse_by_word`, or by `ask_gate` with a try of the
//                            lock; `refuse` makes the refusal
//   future.rs                the call runs, or the refusal is returned
//   call/ticket.rs           the call ends exactly once: settled or dropped
//   counting/lanes.rs        a success while serving is counted without the lock
//   machine/calls.rs         under the lock: `admit`, and every other outcome is judged
//
// An operator:
//   operator/handle.rs       the commands and what an operator reads
//   state/for_operators.rs   lock, change, publish, unlock, then tell the listeners
//   machine/commands.rs      what each command changes
//
// Where it happens:
//   a WINDOW slides          by time counting/time_ring.rs `live`; by calls counting/call_ring.rs
//                            `swap`
//   a rule trips             machine/trip_rules.rs
//   a probe gets its SLOT    machine/probing.rs `take_slot`, asked by machine/calls.rs `admit`
//   a HOLD ends              by expiry machine/mod.rs `fall_due`; by command machine/commands.rs
//                            `end_hold`
//   the mode changes         machine/mod.rs `reconcile`, and nowhere else
//   a recovery is signalled  machine/mod.rs `end_episode`; operator/subscribe.rs receives it
//   a COOKIE is expired      on the client's next request after the recovery:
//                            http/cache_bust/rules.rs `cure` decides, http/cache_bust/cookies.rs
//                            `NamedCookie::expired` makes the header
//   a gRPC refusal is made   grpc/refusal.rs `refusal`
//
// `.ci/layers.toml` lists the folders from top to bottom. No file imports upward.

#[macro_use]
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
mod run;
mod service;
mod state;

#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "coarse-clock")]
pub use crate::base::clock_coarse::CoarseClock;
#[cfg(feature = "tracing-subscriber")]
pub use crate::facts::refusals_in_events::NoRefusals;
#[cfg(feature = "axum")]
pub use crate::http::routes::axum::{ByMatchedPath, Routes};
pub use crate::{
    call::{
        by_name::RunProtocol,
        nested::Nested,
        plain::{BoxedCalls, Calls, Judge, JudgedBy, JudgedErrors, MayProbe, Named, Plain, Reads},
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
        fault,
        glance::Glance,
        mode::{Cause, Mode, Switches},
        outcome::{Origin, Outcome, Verdict},
        partner_word::{Contradiction, Indicator, PartnerReport, PartnerStatus, PartnerUnreadable},
        recovery::CacheBust,
        refused::{Error, Refused},
        status::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
        totals::{ModeTimes, ProbeCounts, Totals, TripCounts},
    },
    future::ResponseFuture,
    keyed::{
        KeyedBuilder, KeyedError, KeyedLayer, KeyedMaintenance, Keys, KeysFull, MappedView,
        OwnView, View,
    },
    layer::{Builder, MaintenanceLayer},
    operator::{
        cache_fill::CacheFill,
        handle::MaintenanceHandle,
        hold::Hold,
        modes::Modes,
        ping::{Ping, PingAnswer},
        receipt::{Reach, Receipt},
        subscribe::{CacheBusts, Events},
        while_serving::Interrupted,
    },
    policy::{Policy, changes::PolicyChange, error::PolicyError, rate::Rate, window::Window},
    service::Maintenance,
};

/// The README's examples, compiled and run.
#[cfg(all(doctest, feature = "axum", feature = "reqwest"))]
#[doc = include_str!("../README.md")]
struct Readme;
