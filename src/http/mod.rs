//! HTTP at both placements: calls are judged by status and body, and requests are refused with a
//! response that people and programs understand.
//!
//! - Around an HTTP client: [`MaintenanceLayer::http_calls`](crate::MaintenanceLayer::http_calls).
//!   A refusal is an [`Error::Refused`](crate::Error::Refused). Exempt by path pattern:
//!   [`Exemption::http_call`](crate::Exemption::http_call).
//! - Before the routes of an `axum::Router`: `MaintenanceLayer::routes` (feature `axum`). A refusal
//!   is a 503. Exempt by the router's own `MatchedPath`:
//!   [`Exemption::route`](crate::Exemption::route).
//! - Before any other HTTP service: `MaintenanceLayer::paths` (feature `axum`, by which it sees the
//!   path that the client sent under any nesting). A refusal is a 503. Exempt by path pattern:
//!   [`Exemption::route`](crate::Exemption::route).
//! - At both placements, by method ([`Exemption::for_methods`](crate::Exemption::for_methods)) or
//!   by a condition ([`Exemption::requests`](crate::Exemption::requests)).
//!
//! Around calls the whole answer counts. A good head is provisional; a body that breaks off or
//! hangs is a failure; a body that its reader drops early is neutral ([`CallBody`]). Frames pass as
//! they come, and none is held back. Where requests stream too,
//! [`watching_uploads`](crate::MaintenanceLayer::watching_uploads) tells a slow customer from a
//! slow partner.
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_maintenance::{Exemption, Hold, MaintenanceLayer, http::Refusals};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::builder("zuora")
//!     .refusals(Refusals::new().component("Billing"))
//!     .exempt(Exemption::route("/billing/invoices/{id}", "customers may see what they owe"))
//!     .build()?;
//! let ours = service_fn(async |_: Request<()>| {
//!     Ok::<_, std::convert::Infallible>(Response::new(String::from("12 EUR")))
//! });
//! let billing = layer.paths().layer(ours);
//!
//! layer.handle().engage(Hold::new("on-call", "the partner is degraded"))?;
//! let get = |path: &str| billing.clone().oneshot(Request::get(path).body(()).unwrap());
//! assert_eq!(get("/billing/invoices/7").await?.status(), 200);
//! let refused = get("/billing/prices").await?;
//! assert_eq!(refused.status(), 503);
//! assert!(refused.headers().contains_key("retry-after"));
//! # Ok(())
//! # }
//! ```
//!
//! # Refusals
//!
//! A refusal is a 503 with `Cache-Control: private, no-store`, `Vary: Accept, Accept-Language` and
//! a jittered `Retry-After`, which is at least 1 s and otherwise never past a known end. A client
//! that accepts HTML gets a page, and any other client gets a problem document. [`Refusals`] sets
//! texts and languages, and can replace either form. They are set once for the layer
//! ([`Builder::refusals`](crate::Builder::refusals)), for the gate and for handlers. What customers
//! read names the component that they know, never the partner. The page has no external assets, and
//! by itself repeats the request once requests are served again. In a product that stays usable,
//! [`Notices`] show a banner instead.
//!
//! A handler whose call to the partner was refused makes the same response
//! ([`Refusals::respond`], and with the feature `axum` the `IntoResponse` of
//! [`Refused`](crate::Refused)). It differs in one point. Only the gate before routes knows that
//! nothing of the request was processed. In a handler a refusal says that a call was not made, and
//! no more, unless the handler says
//! [`nothing_processed`](crate::Refused::nothing_processed).
//!
//! # Classes
//!
//! Under a [read-only hold](crate::Hold::read_only) reads pass and writes are refused, at both
//! placements. The class of a request follows its method, and a request for another protocol (a
//! WebSocket) writes. If that misleads, `RouteClasses` (feature `axum`) set the class of a route of
//! your own, and [`HttpCalls::classed_by`] sets that of a call.
//!
//! # After a recovery
//!
//! [`CacheBustLayer`] makes browsers, proxies and CDNs revalidate what they stored before the
//! recovery. [`CdnPurge`] builds the requests that purge a CDN by tag. [`Push`] tells open tabs by
//! server-sent events, and its script refetches what the browser may have cached.
//!
//! # The order in which customers see it
//!
//! Without a ramp the order is: the flag clears, caches are told, and traffic grows as browsers
//! refetch. With a ramp, traffic to the partner grows first: until the ramp ends it is unknown
//! whether the partner bears the load, and a message to caches cannot be taken back.
//!
//! 1. *Probes.* Probes reach the partner, and every other request is refused. Each `Retry-After` is
//!    drawn anew: before the probes between half of the rest of the wait and all of it, during them
//!    2 to 7 s.
//! 2. *Traffic grows*, if there is a [ramp](crate::Policy::with_ramp). The mode is still `Probing`.
//!    A share of the calls passes that grows from 10 % to all, reads and writes alike. The others
//!    are refused as before. Caches are not told yet, so a partner that fails again has not cost
//!    any cache its content. Answers of this stage have the old generation, and are fetched once
//!    more after the end.
//! 3. *The flag clears.* `Serving` and the new generation are published in one write, and all
//!    traffic passes. Without a ramp this happens at the last success.
//! 4. *Caches are told*: by the [signal](crate::MaintenanceHandle::cache_bust), by [`Push`], and by
//!    the header and tags of [`CacheBustLayer`]. A client that refetches as soon as it is told
//!    finds the gate open.
//! 5. *Refetches come.* The script spreads them over [5 s](PushBuilder::spread). Of the browsers
//!    whose whole cache is cleared there are at most [100 a
//!    second](CacheBustBuilder::clears_per_second).
//!
//! # Pitfalls
//!
//! - Around calls the layer uses `http::Request` and `http::Response`. The client of hyper-util
//!   uses them too. `reqwest::Client` needs two adapters, which `examples/clients.rs` shows.
//! - Before routes the layer gates and measures nothing. The layer around the calls must measure.
//! - `MaintenanceLayer::paths` does not know your routes unless `with_known_routes` lists them. A
//!   route that overlaps with an exempt pattern is exempt too.
//! - A CORS preflight passes before routes in every mode, and runs what serves OPTIONS: also the
//!   handler of axum's `any()`.
//! - A refusal does not read the request's body. Over HTTP/1.1 a client that is still writing a
//!   large upload may then see a broken pipe in place of the refusal; [`DrainRefused`] reads it
//!   first.
//! - A body that is not read to its end is neutral. A caller that never reads bodies needs
//!   [`HttpCalls::judged_at_headers`], or its calls give no evidence.

// The order of the modules in this folder, lowest first. A module imports only from modules in
// earlier lines: two modules in one line do not import each other.
//
//     method_class, shared_caches, always_ready, request_head
//     preflight, routes::path_ambiguity, routes::pattern_check, routes::path_pattern
//     calls, refusal, drain
//     exemption_config
//     routes (lenient_reading, readings, route_classes, route_gate, by_path, axum)
//     cache_bust
//     notices
//     push, last_good, statuspage, readiness, trace
//
mod always_ready;
mod cache_bust;
pub(crate) mod calls;
mod drain;
#[cfg(feature = "serde")]
mod exemption_config;
#[cfg(feature = "last-good")]
mod last_good;
mod method_class;
mod notices;
#[cfg(any(feature = "axum", feature = "grpc"))]
pub(crate) mod preflight;
mod push;
#[cfg(feature = "axum")]
mod readiness;
mod refusal;
pub(crate) mod request_head;
pub(crate) mod routes;
mod shared_caches;
mod statuspage;
#[cfg(feature = "tower-http")]
mod trace;

#[cfg(feature = "last-good")]
pub use self::last_good::{
    LastGood, LastGoodBody, LastGoodBuilder, LastGoodCounts, LastGoodError, LastGoodFuture,
    LastGoodLayer, MayRefuse, ServedLastGood,
};
#[cfg(feature = "axum")]
pub use self::readiness::Readiness;
#[cfg(feature = "grpc")]
pub(crate) use self::refusal::{Processed, delays, mark};
#[cfg(feature = "axum")]
pub use self::routes::{
    ByPath, ClassError, Paths, RouteClasses, RouteGaps, RouteGate, RouteList, StrayEntry,
    UnreadableRouter,
};
#[cfg(feature = "tower-http")]
pub use self::trace::{NoteRefusals, RefusalsAreNoFailures, RequestSpan, trace_layer};
pub use self::{
    cache_bust::{
        CacheBustBuilder, CacheBustCounts, CacheBustError, CacheBustFuture, CacheBustLayer,
        CacheBusting, CdnPurge, NamedCookie,
    },
    calls::{
        AnswerPrefix, BoxedHttpCalls, CallBody, HttpCalls, JsonAnswer, JsonScalar, PointerError,
        UploadBody, UploadWatched, WatchingUploads, WatchingUploadsLayer, retry_after,
    },
    drain::{DrainError, DrainFuture, DrainRefused, Draining, LentBody},
    notices::{Announcement, NoticeJson, NoticeScript, Notices},
    push::{EventStream, Push, PushBuilder, PushCounts, PushError, PushEvents, PushScript},
    refusal::{HandlerRefusal, LiveRefusals, PageTexts, Refusal, Refusals, RefusalsError, refusal},
    request_head::RequestHead,
    statuspage::{Statuspage, StatuspageError},
};
