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
use self::routes::path_pattern;
pub use self::{
    cache_bust::{
        CacheBustBuilder, CacheBustCounts, CacheBustError, CacheBustFuture, CacheBustLayer,
        CacheBusting, CdnPurge, NamedCookie,
    },
    calls::{
        BoxedHttpCalls, HttpCalls,
        answer_prefix::AnswerPrefix,
        body::Measured,
        json_answer::{JsonAnswer, JsonScalar, PointerError},
        retry_after::retry_after,
    },
    notices::{Announcement, NoticeJson, NoticeScript, Notices},
    push::{EventStream, Push, PushBuilder, PushCounts, PushError, PushEvents, PushScript},
    refusal::{PageTexts, Refusal, Refusals, RefusalsError, refusal},
    routes::{
        BeforeRoutes, ByPath, Paths,
        route_classes::{ClassError, RouteClasses},
    },
    statuspage::{Statuspage, StatuspageError},
};
use crate::{exemptions::Exemption, facts::endpoint::Placement, layer::MaintenanceLayer};

impl<P> MaintenanceLayer<P> {
    /// A view around an HTTP client: calls are judged by status and by whether the body comes to its end; refusals are errors.
    ///
    /// | outcome | what |
    /// |---|---|
    /// | failure | an error of the client (connection, timeout), 408, 5xx, a body that breaks off, a body that hangs: the reader waits for more and nothing comes for `hang_limit` |
    /// | neutral | 401 and 403 (our credentials), 429, a body that nobody read to its end |
    /// | success | every other answer whose body came to its end |
    ///
    /// Of an answer that is no success, `Retry-After` and a used-up `RateLimit` are heeded: see [`retry_after`].
    /// What the body says is looked at if asked for, for partners that fail with a 200: [`HttpCalls::judged_by_json`].
    /// Requests with a safe method (GET, HEAD, OPTIONS, TRACE) may probe, and pass under a read-only hold. [`HttpCalls`] has the options.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::Empty;
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::MaintenanceLayer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let handle = layer.handle();
    /// // Somewhere hyper-util's `Client`; here a partner that is down.
    /// let client = service_fn(async |_: Request<Empty<&[u8]>>| {
    ///     Response::builder().status(502).body(Empty::<&[u8]>::new()).map_err(std::io::Error::other)
    /// });
    /// let mut partner = ServiceBuilder::new().layer(layer.http_calls()).service(client);
    ///
    /// let answer = partner.ready().await?.call(Request::new(Empty::new())).await?;
    /// assert_eq!(answer.status(), 502);
    /// assert_eq!(handle.status().window.failed, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn http_calls(&self) -> MaintenanceLayer<HttpCalls> {
        self.view(HttpCalls::new())
    }

    /// A view before one's own HTTP service where no axum router stands: exempt by path, refused with a 503.
    ///
    /// A path that is ambiguous in any way is not exempt: dot segments, `//`, `;` or `\`; one of `. / \ ; ? # %` or
    /// a control character percent-encoded; overlong UTF-8; a `%` that begins no escape.
    ///
    /// The layer knows its exemptions and not your routes: where another route overlaps with an exempt pattern, both
    /// are exempt. Under `/invoices/{id}` your `/invoices/export` is, although a router would prefer the latter.
    /// Tell it of all routes by [`knowing`](MaintenanceLayer::knowing). Where an axum router stands, `routes()` knows by itself.
    ///
    /// [`refusing`](MaintenanceLayer::refusing) and [`classed`](MaintenanceLayer::classed) have the options.
    #[must_use]
    pub fn paths(&self) -> MaintenanceLayer<Paths> {
        self.view(BeforeRoutes::new(ByPath::default()))
    }
}

impl MaintenanceLayer<HttpCalls> {
    /// The same view for stacks whose errors are `BoxError`: those with a timeout inside.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, Response};
    /// use http_body_util::Empty;
    /// use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
    /// use tower_maintenance::{Hold, MaintenanceLayer, Refused};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// // Somewhere hyper-util's `Client`.
    /// let client = service_fn(async |_| Ok::<_, BoxError>(Response::new(Empty::<&[u8]>::new())));
    /// let mut partner = ServiceBuilder::new()
    ///     .layer(layer.http_calls().boxed())
    ///     .timeout(Duration::from_secs(10))
    ///     .service(client);
    /// let get = || Request::new(Empty::<&[u8]>::new());
    /// assert_eq!(partner.ready().await?.call(get()).await?.status(), 200);
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let error = partner.ready().await?.call(get()).await.unwrap_err();
    /// assert!(Refused::find(&*error).is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn boxed(&self) -> MaintenanceLayer<BoxedHttpCalls> {
        self.view(self.protocol().clone().boxed())
    }
}

impl Exemption {
    /// Exempts one of our own routes, written as the router writes it: `/billing/invoices/{id}`.
    #[must_use]
    pub fn route(pattern: &str, why: &str) -> Self {
        Self::pattern(Placement::BeforeRoutes, pattern, why, path_pattern::compile)
    }

    /// Exempts calls to paths of the partner, in the router's pattern syntax: `/v1/invoices/{id}`.
    #[must_use]
    pub fn http_call(pattern: &str, why: &str) -> Self {
        Self::pattern(Placement::AroundCalls, pattern, why, path_pattern::compile)
    }
}
