//! HTTP in both placements: calls judged by status and by what becomes of the body, requests refused so that people and
//! programs understand it.
//!
//! | where | view | refusal | exempt by |
//! |---|---|---|---|
//! | around an HTTP client | [`MaintenanceLayer::http_calls`] | [`Error::Refused`](crate::Error::Refused) | path pattern, [`Exemption::http_call`] |
//! | before the routes of an `axum::Router` | `MaintenanceLayer::routes` (feature `axum`) | 503 response | the router's own `MatchedPath`, [`Exemption::route`] |
//! | before any other HTTP service | [`MaintenanceLayer::paths`] | 503 response | path pattern, [`Exemption::route`] |
//!
//! What counts is the whole answer: headers are provisional, a body that breaks off or hangs is a failure, a reader who
//! stops early is neutral ([`Measured`]). Frames pass as they come; nothing is held back.
//!
//! # Refusals
//!
//! A refusal is a 503 with `Cache-Control: no-store`, `Vary: Accept, Accept-Language` and a jittered `Retry-After`, never past a
//! known end (but at least 1 s). Who accepts HTML gets a page, everybody else a problem document; [`Refusals`] has the texts, languages and
//! ways to replace either. The page stands alone, and returns by itself to what was asked for. Where the product stays usable,
//! [`Notices`] show a banner instead.
//!
//! # Classes
//!
//! Under a [read-only hold](crate::Hold::read_only) reads pass and writes are refused, at both placements. Requests follow their
//! method; where that misleads, [`RouteClasses`] say what a route of one's own does, and [`HttpCalls::classed_by`] what a call does.
//!
//! # After a recovery
//!
//! [`CacheBustLayer`] makes browsers, proxies and CDNs ask again for what they stored before it, and lists the cures in order of worth;
//! [`CdnPurge`] builds the requests that purge a CDN by tag. [`Push`] tells open tabs: server-sent events, and a script that
//! refetches what a browser may have cached.
//!
//! # The order in which customers see it
//!
//! By default: *the flag clears, caches are told, traffic grows* as browsers refetch. With a ramp the calls let through to the partner grow before that, for until its end
//! nobody knows whether the partner bears them, and what was told to caches cannot be taken back.
//!
//! 1. *Trials.* Probes reach the partner, everybody else is refused. Each `Retry-After` is drawn anew: before the trials between half of what is
//!    left of the wait and the whole of it, during them 2 to 7 s.
//! 2. *Traffic grows*, if there is a [ramp](crate::Policy::with_ramp). The mode is still `Probing`. A share that grows from 10 % to all of the calls is let in, reads and
//!    writes alike; the others are refused as before, with hints as before. Nobody is told yet, so that a partner who fails
//!    again has cost no cache anything. What is let in is of the old generation, and is fetched once more after the end.
//! 3. *The flag clears.* `Serving` and the new generation are published in one write; all traffic passes. Without a ramp this comes with the last success.
//! 4. *Caches are told*: the [signal](crate::MaintenanceHandle::cache_bust), [`Push`], and the header and tags of [`CacheBustLayer`]. Whoever refetches in the instant they hear of it meets an open gate.
//! 5. *Refetches come*, spread over [5 s](PushBuilder::spread) by the script, and at most [100 a second](CacheBustBuilder::clears_per_second) of those whose whole cache was cleared.
//!
//! # Clients
//!
//! Around calls the layer speaks `http::Request` and `http::Response`. hyper-util's client does so
//! itself; `reqwest::Client` does with two adapters, shown in `examples/clients.rs`.

mod always_ready;
mod cache_bust;
pub(crate) mod calls;
#[cfg(feature = "last-good")]
mod last_good;
mod method_class;
mod notices;
mod push;
mod refusal;
pub(crate) mod routes;
mod setting_error;
mod statuspage;

#[cfg(feature = "last-good")]
pub use self::last_good::{
    LastGood, LastGoodBody, LastGoodBuilder, LastGoodCounts, LastGoodError, LastGoodFuture,
    LastGoodLayer, MayRefuse, ServedLastGood,
};
#[cfg(feature = "grpc")]
pub(crate) use self::refusal::{delays, mark};
pub use self::{
    cache_bust::{
        CacheBustBuilder, CacheBustCounts, CacheBustError, CacheBustFuture, CacheBustLayer,
        CacheBusting, CdnPurge, NamedCookie,
    },
    calls::{
        AnswerPrefix, BoxedHttpCalls, HttpCalls, JsonAnswer, JsonScalar, Measured, PointerError,
        retry_after,
    },
    notices::{Announcement, NoticeJson, NoticeScript, Notices},
    push::{EventStream, Push, PushBuilder, PushCounts, PushError, PushEvents, PushScript},
    refusal::{PageTexts, Refusal, Refusals, RefusalsError, refusal},
    routes::{BeforeRoutes, ByPath, ClassError, Paths, RouteClasses},
    statuspage::{Statuspage, StatuspageError},
};
