//! The last good answer: while in maintenance, reads that were opted in are answered from what the partner last said.
//!
//! So that customers still see prices while purchases wait. The danger is not staleness, which has a bound and shows in
//! `Age`, but that somebody sees what is another's; so whatever might be personal is left alone until the user of this
//! crate says who asks, and what cannot be understood is not kept.

mod body;
mod directives;
mod request_key;
mod store;

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH},
    request,
};
use http_body::Body;
use pin_project_lite::pin_project;
use sfv::{Integer, ItemSerializer, key_ref, token_ref};
use tower::{BoxError, Layer, Service};

pub use self::body::LastGoodBody;
use self::{
    body::Copying,
    request_key::{Asked, KEYED},
    store::{Good, Kept, Limits, Store},
};
use super::{
    calls::answer_prefix::AnswerPrefix,
    routes::path_pattern::{BadPattern, Matcher},
    setting_error::setting_error,
};
use crate::{
    base::moment::Moment,
    facts::refused::{Error, Refused},
};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

type Wanted = dyn Fn(&request::Parts) -> bool + Send + Sync;
type NameUser = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

/// Answers reads from the partner's last good answers while maintenance refuses them.
///
/// It stands directly outside the maintenance layer, at either placement: around calls, and before one's own routes. While
/// the partner serves, everything passes, and every good answer is copied as it streams by. When the layer refuses a read
/// that was opted in, the caller gets the last good answer to it instead, if there is one that is not too old.
///
/// ```
/// use axum::{Router, body::{Body, to_bytes}, routing::{get, post}};
/// use http::Request;
/// use tower::ServiceExt;
/// use tower_maintenance::{Hold, MaintenanceLayer, http::{LastGoodLayer, ServedLastGood}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let last_good = LastGoodLayer::builder().path("/billing/prices").build()?;
/// let app: Router = Router::new()
///     .route("/billing/prices", get(async || "12 EUR"))
///     .route("/billing/purchases", post(async || "bought"))
///     .layer(layer.routes())
///     .layer(last_good.clone()); // axum runs what was added last first: outside
/// let ask = |request: http::request::Builder| app.clone().oneshot(request.body(Body::empty()).unwrap());
///
/// let prices = ask(Request::get("/billing/prices")).await?;
/// assert_eq!(to_bytes(prices.into_body(), 4096).await?, "12 EUR");
///
/// layer.handle().engage(Hold::new("on-call", "Zuora degraded, ticket 4711"))?;
/// let prices = ask(Request::get("/billing/prices")).await?;
/// assert_eq!(prices.status(), 200);
/// let status = prices.headers()["cache-status"].to_str()?;
/// assert!(status.starts_with("tower-maintenance;hit;ttl="));
/// assert_eq!(prices.headers()["cache-control"], "no-store");
/// assert!(prices.extensions().get::<ServedLastGood>().is_some());
/// assert_eq!(to_bytes(prices.into_body(), 4096).await?, "12 EUR");
///
/// assert_eq!(ask(Request::post("/billing/purchases")).await?.status(), 503); // purchases wait
/// assert_eq!(last_good.counts().served, 1);
/// # Ok(())
/// # }
/// ```
///
/// # What is kept
///
/// A 200 to a GET that was opted in and has no body, once its own body has come to its end, if a shared cache may store it
/// ([RFC 9111, 3](https://www.rfc-editor.org/rfc/rfc9111#section-3), as `http-cache-semantics` reads it), and stricter than that:
///
/// | never kept | because |
/// |---|---|
/// | any other status | a 404, a redirect, a part of something may be the partner's trouble speaking. A 304 with the same `ETag` makes what is kept for the request count as of now, by what both say (RFC 9111, 4.3.4) |
/// | `no-store`, `no-cache`, `Vary: *`, more than 16 names in `Vary` | it must not be used without the partner, or cannot be told apart |
/// | a `Cache-Control` that cannot be read or contradicts itself | it might say `private` |
/// | a body that breaks off, that nobody reads to its end, with trailers, too large | it is not the whole answer, or not worth the room |
/// | what [`good_if`](LastGoodBuilder::good_if) says is not good | some partners fail with a 200 |
///
/// What is personal is not kept either, unless [`keyed_by`](LastGoodBuilder::keyed_by) names the user:
///
/// | | no user named | a user named |
/// |---|---|---|
/// | the request has `Authorization` | never kept, never served | kept for this user alone |
/// | the answer is `private` | never kept | kept for this user alone |
/// | the answer has `Set-Cookie` | never kept | kept for this user alone, without the `Set-Cookie` |
/// | the request has a `Cookie` | kept, and served, only if the answer says `public` or `s-maxage` | kept for this user alone |
/// | none of these | for everybody | kept for this user alone |
///
/// A cookie is looked at because prices made for a session, sent without `private` or `Vary`, are the classic leak.
/// **Credentials elsewhere are not seen**: an `X-Api-Key`, a client certificate, a token in the query (which is a part
/// of the key). Where answers depend on those, name the user.
///
/// What is kept is found again by scheme, authority, path and query (and the URI as it was before axum's `nest` cut its prefix), user, the [headers](LastGoodBuilder::keyed_by_header)
/// that say where the request came in, and the values of all headers that the
/// answer's `Vary` names. What
/// has just come is always kept. Where there is no room, those answers make it, each for itself, that nobody has asked for longest, while the
/// partner served or since: so whoever makes up languages or queries puts out what nobody else asks for meanwhile. By default that takes
/// 32 MiB of other answers between two requests for the same one: some 30,000 made-up requests for answers of 1 KB, and 128 for the largest that
/// are kept. While nothing passes none is put out. A write to the same URI by the same user, with the
/// same such headers, that passes and succeeds drops what is kept for it (RFC 9111, 4.4), and what is under way. Of two answers the one that was asked for later stays,
/// whichever is read to its end first.
///
/// # What is served
///
/// | | |
/// |---|---|
/// | when | the layer refuses; with [`on_failure_too`](LastGoodBuilder::on_failure_too) also when the partner fails |
/// | how old at most | as long as it is fresh (`s-maxage`, `max-age`, `Expires`), and then for the answer's `stale-if-error` ([RFC 5861](https://www.rfc-editor.org/rfc/rfc5861)) if it says so, but never longer than [`max_stale`](LastGoodBuilder::max_stale), which holds if it does not |
/// | how old it is | by its `Date`, or by `Age` and the time that the call took, whichever is more (RFC 9111, 4.2.3). A partner whose clock is hours behind is served shorter for it |
/// | never stale | `must-revalidate`, `proxy-revalidate`; `s-maxage` without `stale-if-error` |
/// | heeded of the request | `no-store`, `no-cache`, `max-age`, `max-stale`, `min-fresh`, `stale-if-error`. Not `max-age=0`: browsers send it with every reload, and who reloads would get a 503 for it. `only-if-cached` says nothing here |
/// | HEAD | answered from what GET left |
/// | a condition, a range | answered in full |
///
/// It bears `Age`, `Cache-Status` ([RFC 9211](https://www.rfc-editor.org/rfc/rfc9211)), and `Cache-Control: no-store` in place of the partner's own, so that
/// no browser and no CDN keeps an old price beyond the recovery; validators are gone for the same reason. The extension
/// [`ServedLastGood`] marks it for metrics and error trackers, and the current span's field `maintenance.last_good` is set to `true`.
///
/// # The order of the layers
///
/// From outside to inside, before routes and around calls alike:
///
/// | layer | there, because |
/// |---|---|
/// | [`CacheBustLayer`](super::CacheBustLayer) | it tells clients of a recovery on whatever they get, this layer's answers too. Within, it would say `no-cache` of answers that say nothing, and those are not kept. `Maintenance-Generation`, `Surrogate-Key` and `Cache-Tag` are never kept, for they are of another time when they are served; a [header of another name](super::CacheBustBuilder::generation_header) is |
/// | who authenticates, if the user is [named](LastGoodBuilder::keyed_by) | who asks must be verified before anything is served, and known here. Within, nobody would check while the layer refuses |
/// | this one | |
/// | the maintenance layer | its refusals are what is answered; nothing between may turn them into something else |
/// | the routes, or the client | |
///
/// # After a recovery
///
/// Nothing is dropped by itself: the partner answers again, and its answers replace what was kept. Until then an answer from
/// before remains the last good one if maintenance returns, as it does where a partner flaps; `max_stale` bounds it. Whoever
/// would rather show nothing than that calls [`clear`](LastGoodLayer::clear) when the [signal](crate::CacheBusts) comes.
///
/// # What it is not
///
/// No general cache: it never answers while the partner may be asked. It does not revalidate by itself, and does not collapse
/// requests. It is per process, and empty after a restart. A write invalidates its own URI and nothing else. It does not see that a read has side effects: opt in what does not. Headers that a stack below adds for one
/// request (a request id, a CORS origin without `Vary`) are kept with the answer; add them outside.
///
/// One value, with its clones, is one store: use one for each partner, or router.
#[derive(Clone)]
pub struct LastGoodLayer {
    shared: Arc<Shared>,
}

struct Shared {
    paths: Option<Matcher>,
    wanted: Option<Box<Wanted>>,
    user: Option<Box<NameUser>>,
    on_failure: bool,
    store: Arc<Store>,
}

impl LastGoodLayer {
    /// Configures a layer. Nothing is opted in until [`path`](LastGoodBuilder::path) or [`only`](LastGoodBuilder::only) says so.
    pub fn builder() -> LastGoodBuilder {
        LastGoodBuilder {
            paths: Vec::new(),
            wanted: None,
            user: None,
            good: None,
            keyed: Vec::new(),
            on_failure: false,
            max_stale: Duration::from_secs(2 * 3600),
            max_entry: 256 * 1024,
            max_total: 32 * 1024 * 1024,
        }
    }

    /// How much is kept, and what became of it so far.
    #[must_use]
    pub fn counts(&self) -> LastGoodCounts {
        self.shared.store.counts()
    }

    /// Drops everything that is kept, and what is under way: an answer to what was asked for before is not kept when it arrives.
    pub fn clear(&self) {
        self.shared.store.clear();
    }
}

impl fmt::Debug for LastGoodLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodLayer")
            .field("paths", &self.paths)
            .field("only", &self.wanted.is_some())
            .field("keyed", &self.user.is_some())
            .field("on_failure_too", &self.on_failure)
            .field("counts", &self.store.counts())
            .finish()
    }
}

impl<S> Layer<S> for LastGoodLayer {
    type Service = LastGood<S>;

    fn layer(&self, inner: S) -> LastGood<S> {
        LastGood {
            inner,
            shared: self.shared.clone(),
        }
    }
}

/// How much is kept, and what became of it; by [`LastGoodLayer::counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastGoodCounts {
    /// How many answers were kept since the layer was built, those included that replaced an older one, or that a 304 confirmed.
    pub stored: u64,
    /// How many requests were answered from what is kept.
    pub served: u64,
    /// How many requests that were opted in would have been, but nothing was there for them.
    pub missed: u64,
    /// How many resources are kept now, users counted apart, variants not. Counting goes through all that is kept.
    pub resources: u64,
    /// How many bytes they take: bodies, headers, keys, and an allowance for the rest.
    pub bytes: u64,
}

/// Configures a [`LastGoodLayer`]; everything is checked by [`build`](Self::build).
///
/// The closures run in the request's own call, [`good_if`](Self::good_if) where its answer is read: a panic in one is the
/// request's.
#[must_use = "a builder does nothing until `build`"]
pub struct LastGoodBuilder {
    paths: Vec<String>,
    wanted: Option<Box<Wanted>>,
    user: Option<Box<NameUser>>,
    good: Option<Arc<Good>>,
    keyed: Vec<String>,
    on_failure: bool,
    max_stale: Duration,
    max_entry: usize,
    max_total: u64,
}

impl LastGoodBuilder {
    /// Opts in the reads of a path, in the router's pattern syntax: `/billing/plans/{id}`. Default: none.
    ///
    /// It is compared with the path as this layer sees it: around calls the partner's, inside `nest` without the prefix.
    /// A path that is [ambiguous](crate::MaintenanceLayer::paths) matches none.
    pub fn path(mut self, pattern: &str) -> Self {
        self.paths.push(pattern.to_owned());
        self
    }

    /// Opts in those requests alone for which `wanted` holds; where paths are given too, both must.
    /// Default: all requests to the paths.
    ///
    /// It is also asked about writes, which drop what is kept for their URI.
    pub fn only(self, wanted: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Some(Box::new(wanted)),
            ..self
        }
    }

    /// Names the user, or tenant, whose answer it is; `None` for a request that is nobody's, to which the strict rules
    /// apply. Default: nobody is named.
    ///
    /// **What it returns is trusted**: what is kept under a name is served to whoever has that name, `private` or not. So it must come
    /// from what has been verified (a session that a layer outside has checked, and left in the extensions), never from a header as the client
    /// sent it. Around calls whose `Authorization` is always one's own, for data that are the same for all customers, it is a constant.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// /// Left in the extensions by the layer that authenticates.
    /// #[derive(Clone)]
    /// struct Account(u64);
    ///
    /// let last_good = LastGoodLayer::builder()
    ///     .path("/billing/invoices")
    ///     .keyed_by(|request| request.extensions.get().map(|Account(id)| id.to_string()))
    ///     .build()?;
    /// # assert_eq!(last_good.counts().stored, 0);
    /// # Ok::<(), tower_maintenance::http::LastGoodError>(())
    /// ```
    pub fn keyed_by(
        self,
        user: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            user: Some(Box::new(user)),
            ..self
        }
    }

    /// Tells answers apart by one more header of the request, whether their `Vary` names it or not. Default: `Host`, `Forwarded`,
    /// `X-Forwarded-Host`, `X-Forwarded-Proto`, `X-Original-URL` and `X-Rewrite-URL`.
    ///
    /// Against web cache poisoning: many frameworks build links and redirects from these, and say nothing of it in `Vary`. Were
    /// they no part of the key, one request with `X-Forwarded-Host: evil.example` would put the attacker's links before everybody
    /// ([how that is done](https://portswigger.net/web-security/web-cache-poisoning)). Name here all other headers that your answers
    /// show or depend on without saying so: `X-Forwarded-Prefix`, a header by which tests or brands are chosen. One that differs with
    /// each client, such as `X-Forwarded-For`, leaves each client its own answers alone, and so does a proxy that
    /// names the client in `Forwarded`: outside of this layer, take from it what your answers do not need.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// let last_good = LastGoodLayer::builder().path("/prices").keyed_by_header("x-brand").build()?;
    /// let error = LastGoodLayer::builder().path("/prices").keyed_by_header("x brand").build().unwrap_err();
    /// assert_eq!(error.to_string(), "keyed_by_header is `x brand`: allowed is the name of a header, such as `x-forwarded-prefix`");
    /// # let _ = last_good;
    /// # Ok::<(), tower_maintenance::http::LastGoodError>(())
    /// ```
    pub fn keyed_by_header(mut self, name: impl Into<String>) -> Self {
        self.keyed.push(name.into());
        self
    }

    /// Keeps those answers alone that `good` calls so; it sees the whole body, and the headers that would be kept.
    /// Default: every answer that comes to its end.
    ///
    /// For partners that fail with a 200, by the same judge as the calls:
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_maintenance::{Outcome, http::{AnswerPrefix, HttpCalls, JsonAnswer, LastGoodLayer}};
    ///
    /// let calls = HttpCalls::new().judged_by_json(JsonAnswer::new().failure_when("/success", false)?);
    /// let judge = calls.clone();
    /// let is_good = move |answer: &AnswerPrefix<'_>| judge.judge(answer).outcome == Outcome::Success;
    /// let failed = br#"{"success": false}"#;
    /// assert!(!is_good(&AnswerPrefix::whole(StatusCode::OK, &HeaderMap::new(), failed)));
    /// let last_good = LastGoodLayer::builder().path("/v1/prices").good_if(is_good).build()?;
    /// # let _ = (last_good, calls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn good_if(self, good: impl Fn(&AnswerPrefix<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            good: Some(Arc::new(good)),
            ..self
        }
    }

    /// Also answers when the partner was asked and failed: with an error, or a 500, 502, 503 or 504 (RFC 5861, 4). The partner's error is
    /// dropped then. Default: only when the layer refuses, so that nobody overlooks the partner's failures.
    pub fn on_failure_too(self) -> Self {
        Self {
            on_failure: true,
            ..self
        }
    }

    /// How long an answer is served past its freshness at most; 0 for fresh ones alone. Default: 2 h, twice the incident
    /// that this crate comes from.
    ///
    /// An answer may ask for less by `stale-if-error`, not for more.
    pub fn max_stale(self, longest: Duration) -> Self {
        Self {
            max_stale: longest,
            ..self
        }
    }

    /// How many bytes one answer may take, its headers and key included: 1 KiB to 256 MiB. Default: 256 KiB, which a price list in JSON seldom
    /// exceeds. So much memory each answer takes while it streams, and up to twice that for a moment.
    pub fn max_entry_bytes(self, most: usize) -> Self {
        Self {
            max_entry: most,
            ..self
        }
    }

    /// How many bytes all answers may take, at least as many as one may. Default: 32 MiB, room for thousands of them.
    /// What nobody has asked for longest makes room, and what is new is always kept.
    ///
    /// Answers that are being put in at this moment come on top, one for each thread at most.
    pub fn max_total_bytes(self, most: u64) -> Self {
        Self {
            max_total: most,
            ..self
        }
    }

    /// Builds the layer.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// let error = LastGoodLayer::builder().build().unwrap_err();
    /// assert_eq!(error.to_string(), "path is ``: allowed is at least one path, or `only`: nothing is opted in by itself");
    /// let error = LastGoodLayer::builder().path("prices").build().unwrap_err();
    /// assert_eq!(error.to_string(), "path is `prices`: allowed is a pattern that the router takes: a path pattern begins with `/`");
    /// ```
    ///
    /// # Errors
    ///
    /// If nothing is opted in, a pattern or a header's name is not valid, or a limit is not within its range.
    pub fn build(self) -> Result<LastGoodLayer, LastGoodError> {
        const ENTRY: std::ops::RangeInclusive<usize> = 1024..=256 * 1024 * 1024;
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let error =
            |field, value: String, allowed: &str| Err(LastGoodError::new(field, value, allowed));
        if self.paths.is_empty() && self.wanted.is_none() {
            let allowed = "at least one path, or `only`: nothing is opted in by itself";
            return error("path", String::new(), allowed);
        }
        if !ENTRY.contains(&self.max_entry) {
            let allowed = "1024 to 268435456 bytes";
            return error("max_entry_bytes", self.max_entry.to_string(), allowed);
        }
        if self.max_total < self.max_entry as u64 {
            let allowed = format!("at least max_entry_bytes, {} bytes", self.max_entry);
            return error("max_total_bytes", self.max_total.to_string(), &allowed);
        }
        if self.max_stale > YEAR {
            let value = format!("{} s", self.max_stale.as_secs());
            return error("max_stale", value, "0 s to 31536000 s, a year");
        }
        let numbered = self.paths.iter().map(|pattern| (0, &**pattern));
        let paths = Matcher::new(numbered).map_err(|BadPattern { pattern, why }| {
            let allowed = format!("a pattern that the router takes: {why}");
            LastGoodError::new("path", pattern, allowed)
        })?;
        let keyed = self.keyed.iter().map(|name| {
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                let allowed = "the name of a header, such as `x-forwarded-prefix`";
                LastGoodError::new("keyed_by_header", name, allowed)
            })
        });
        let keyed = KEYED.into_iter().map(Ok).chain(keyed);
        let limits = Limits {
            keyed: keyed.collect::<Result<_, _>>()?,
            max_stale: self.max_stale,
            max_entry: self.max_entry,
            max_total: self.max_total,
            good: self.good,
        };
        Ok(LastGoodLayer {
            shared: Arc::new(Shared {
                paths: (!self.paths.is_empty()).then_some(paths),
                wanted: self.wanted,
                user: self.user,
                on_failure: self.on_failure,
                store: Arc::new(Store::new(limits)),
            }),
        })
    }
}

impl fmt::Debug for LastGoodBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodBuilder")
            .field("paths", &self.paths)
            .field("only", &self.wanted.is_some())
            .field("keyed", &self.user.is_some())
            .field("keyed_by_header", &self.keyed)
            .field("good_if", &self.good.is_some())
            .field("on_failure_too", &self.on_failure)
            .field("max_stale", &self.max_stale)
            .field("max_entry_bytes", &self.max_entry)
            .field("max_total_bytes", &self.max_total)
            .finish()
    }
}

setting_error! {
    /// A [`LastGoodLayer`] that makes no sense.
    LastGoodError, "The value that it has.", "{} is `{}`: allowed is {}"
}

/// Marks a response, as an extension, that was answered from what the partner last said.
#[derive(Debug, Clone)]
pub struct ServedLastGood {
    age: Duration,
    stale: Duration,
    refused: Option<Refused>,
}

impl ServedLastGood {
    /// How long ago the partner said so, caches between counted in.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// How long past its freshness it is; zero for one that is fresh.
    #[must_use]
    pub fn stale(&self) -> Duration {
        self.stale
    }

    /// The refusal in whose place it was served; `None` where the partner was asked and failed.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref()
    }
}

/// An error that may be a refusal: where refusals are errors, the layer must find them.
///
/// It is there for [`Error`], for `BoxError` (by [`Refused::find`]) and for `Infallible`. Implement it for an error of your own if a stack before
/// routes has one; where refusals are responses, the default will do. Of somebody else's error make a `BoxError` first.
pub trait MayRefuse {
    /// The refusal, if it is one: the call was not processed.
    fn refused(&self) -> Option<&Refused> {
        None
    }
}

impl MayRefuse for Infallible {}

impl<E> MayRefuse for Error<E> {
    fn refused(&self) -> Option<&Refused> {
        Self::refused(self)
    }
}

impl MayRefuse for BoxError {
    fn refused(&self) -> Option<&Refused> {
        Refused::find(&**self)
    }
}

/// Answers from the last good answers what the service inside refuses; made by [`LastGoodLayer`].
#[derive(Debug, Clone)]
pub struct LastGood<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> LastGood<S> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl Shared {
    /// Whether the request may have anything to do with what is kept; allocates nothing.
    fn may_concern<A: Body>(&self, request: &Request<A>) -> bool {
        let traces = [Method::CONNECT, Method::OPTIONS, Method::TRACE];
        let is_read = request.method().is_safe();
        let paths = self.paths.as_ref();
        !traces.contains(request.method())
            && paths.is_none_or(|paths| paths.find(request.uri().path()).is_some())
            // What a body asks for is no part of the key.
            && (!is_read || request.body().is_end_stream())
    }

    fn asked(&self, parts: &request::Parts) -> Option<Box<Asked>> {
        if !self.wanted.as_ref().is_none_or(|wanted| wanted(parts)) {
            return None;
        }
        let user = self.user.as_ref().and_then(|user| user(parts));
        Some(Box::new(self.store.asked(parts, user)))
    }
}

impl<S, A, B> Service<Request<A>> for LastGood<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: MayRefuse,
    A: Body,
    B: Body<Data = Bytes>,
{
    type Response = Response<LastGoodBody<B>>;
    type Error = S::Error;
    type Future = LastGoodFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if !self.shared.may_concern(&request) {
            let inner = self.inner.call(request);
            return LastGoodFuture { inner, asks: None };
        }
        let (parts, body) = request.into_parts();
        let asked = self.shared.asked(&parts);
        let asks = asked.map(|asked| Asks {
            asked,
            on_failure: self.shared.on_failure,
            store: self.shared.store.clone(),
        });
        let inner = self.inner.call(Request::from_parts(parts, body));
        LastGoodFuture { inner, asks }
    }
}

struct Asks {
    asked: Box<Asked>,
    on_failure: bool,
    store: Arc<Store>,
}

pin_project! {
    /// The future of an answer that came through a [`LastGood`].
    pub struct LastGoodFuture<F> {
        #[pin]
        inner: F,
        asks: Option<Asks>,
    }
}

impl<F> fmt::Debug for LastGoodFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodFuture")
            .field("opted_in", &self.asks.is_some())
            .finish_non_exhaustive()
    }
}

impl<F, B, E> Future for LastGoodFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    E: MayRefuse,
{
    type Output = Result<Response<LastGoodBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        Poll::Ready(match this.asks.take() {
            Some(asks) => asks.answered(result),
            None => result.map(|response| response.map(LastGoodBody::passing)),
        })
    }
}

/// Why what was kept is served.
enum Why {
    Refused(Refused),
    /// The partner was asked and failed, with this status if it answered.
    Failed(Option<StatusCode>),
}

impl Asks {
    fn answered<B: Body<Data = Bytes>, E: MayRefuse>(
        self,
        result: Result<Response<B>, E>,
    ) -> Result<Response<LastGoodBody<B>>, E> {
        if !self.asked.method.is_safe() {
            self.written(&result);
            return result.map(|response| response.map(LastGoodBody::passing));
        }
        if let Some(why) = self.why_serve(&result)
            && let Some((kept, now)) = self.store.find(&self.asked)
        {
            return Ok(serve(&kept, &self.asked.method, now, why));
        }
        let response = result?;
        let is_ours = response.extensions().get::<Refused>().is_none()
            && response.extensions().get::<ServedLastGood>().is_none();
        let (head, body) = response.into_parts();
        if is_ours && head.status == StatusCode::NOT_MODIFIED {
            self.store.confirm(&self.asked, &head);
        }
        let body = match is_ours
            .then(|| self.store.head(&self.asked, &head))
            .flatten()
        {
            Some(kept) => self.copied(kept, body),
            None => LastGoodBody::passing(body),
        };
        Ok(Response::from_parts(head, body))
    }

    fn why_serve<B, E: MayRefuse>(&self, result: &Result<Response<B>, E>) -> Option<Why> {
        let refused = match result {
            Ok(response) => response.extensions().get::<Refused>(),
            Err(error) => error.refused(),
        };
        if let Some(refused) = refused {
            return Some(Why::Refused(refused.clone()));
        }
        let failed = match result.as_ref().map(Response::status) {
            // RFC 5861, 4.
            Ok(status) if matches!(status.as_u16(), 500 | 502 | 503 | 504) => Some(status),
            Ok(_) => return None,
            Err(_) => None,
        };
        self.on_failure.then_some(Why::Failed(failed))
    }

    /// Drops what a write has made old (RFC 9111, 4.4).
    fn written<B, E>(&self, result: &Result<Response<B>, E>) {
        if let Ok(response) = result
            && (response.status().is_success() || response.status().is_redirection())
        {
            self.store.forget(&self.asked.key);
        }
    }

    fn copied<B: Body<Data = Bytes>>(self, head: store::Head, body: B) -> LastGoodBody<B> {
        let Some(room) = self.store.room(&self.asked, &head) else {
            return LastGoodBody::passing(body);
        };
        let hint = body.size_hint();
        let least = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
        if least > room {
            return LastGoodBody::passing(body);
        }
        let copying = Copying {
            bytes: Vec::with_capacity(least),
            room,
            head,
            store: self.store,
            asked: self.asked,
        };
        LastGoodBody::copied(body, Box::new(copying))
    }
}

fn serve<B>(kept: &Kept, method: &Method, now: Moment, why: Why) -> Response<LastGoodBody<B>> {
    let (age, lifetime) = (kept.head.age(now), kept.head.lifetime());
    let bytes = match *method {
        Method::HEAD => Bytes::new(),
        _ => kept.body.clone(),
    };
    let mut response = Response::new(LastGoodBody::kept(bytes));
    *response.headers_mut() = kept.head.headers.clone();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, kept.body.len().into());
    headers.insert(AGE, age.as_secs().into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(status) = HeaderValue::try_from(cache_status(age, lifetime, &why)) {
        headers.append(CACHE_STATUS, status);
    }
    let refused = match why {
        Why::Refused(refused) => Some(refused),
        Why::Failed(_) => None,
    };
    response.extensions_mut().insert(ServedLastGood {
        age,
        stale: age.saturating_sub(lifetime),
        refused,
    });
    tracing::Span::current().record("maintenance.last_good", true);
    response
}

/// RFC 9211: a hit was not forwarded; what was says why, and what came back.
fn cache_status(age: Duration, lifetime: Duration, why: &Why) -> String {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let ttl = seconds(lifetime).saturating_sub(seconds(age));
    let item = ItemSerializer::new().bare_item(token_ref("tower-maintenance"));
    let item = match why {
        Why::Refused(_) => item.parameter(key_ref("hit"), true),
        Why::Failed(status) => {
            let reason = if age > lifetime { "stale" } else { "bypass" };
            let item = item.parameter(key_ref("fwd"), token_ref(reason));
            match status {
                Some(status) => item.parameter(key_ref("fwd-status"), status.as_u16()),
                None => item,
            }
        }
    };
    let detail = match why {
        Why::Refused(_) => "refused",
        Why::Failed(_) => "failed",
    };
    item.parameter(key_ref("ttl"), Integer::try_from(ttl).unwrap_or_default())
        .parameter(key_ref("detail"), token_ref(detail))
        .finish()
}
