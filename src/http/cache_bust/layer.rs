//! The layer.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use tower::Layer;

use super::{rules::Rules, service::CacheBusting};

/// Makes clients and caches revalidate after a recovery, so that no customer has to clear a cache.
///
/// Put it around the routes that show the partner's data, *outside* the gate: a refusal passes it
/// unchanged. Under it, a route that sends dates and no `ETag` answers in full each time, such as
/// files served by tower-http's `ServeDir`: [`except`](super::CacheBustBuilder::except) such
/// routes.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_maintenance::{Hold, MaintenanceLayer, http::CacheBustLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// // The tag of the prices never changes, although the partner has corrected the prices since.
/// let prices = service_fn(async |request: Request<()>| {
///     let known = request.headers().get("if-none-match").is_some_and(|tag| tag == "\"v1\"");
///     let status = if known { 304 } else { 200 };
///     let response = Response::builder().status(status).header("etag", "\"v1\"");
///     response.body("12 EUR".to_owned()).map_err(std::io::Error::other)
/// });
/// let app = CacheBustLayer::new(&layer.handle()).layer(layer.paths().layer(prices));
///
/// let first = app.clone().oneshot(Request::get("/prices").body(())?).await?;
/// let tag = first.headers()["etag"].clone();
/// assert_eq!(first.headers()["cache-control"], "no-cache");
/// let again = || Request::get("/prices").header("if-none-match", tag.clone()).body(());
/// assert_eq!(app.clone().oneshot(again()?).await?.status(), 304);
///
/// layer.handle().engage(Hold::new("on-call", "ticket 4711"))?;
/// layer.handle().release("on-call", "partner is back")?;
/// assert_eq!(app.clone().oneshot(again()?).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
///
/// # The cures, from the most useful to the least
///
/// The first three need no decision. The others are for answers that were sent with a `max-age`.
///
/// 1. A refusal that no cache stores: 503 with `private, no-store`
///    ([`Refusals`](super::super::Refusals)). It reaches every client and costs nothing. A stored
///    503 would be shown after the recovery without any request.
/// 2. An `ETag` that bears the generation, and `no-cache`. It reaches every browser, proxy and CDN
///    that revalidates before it shows. It costs one request per view, usually answered by a 304;
///    after a recovery it costs one full answer for each stored item.
/// 3. A push to open tabs, triggered by [`MaintenanceHandle::cache_bust`]. It reaches open pages
///    within a fraction of a second, and costs one connection per browser.
/// 4. Your own cookies expired by name: [`expire_cookie`](super::CacheBustBuilder::expire_cookie).
///    It reaches what scripts store in cookies, and leaves the session alone. It costs one uncached
///    answer per client and generation.
/// 5. The CDN purged by tag: [`CdnPurge`]. It reaches what a CDN serves without revalidation, and
///    costs a call of the CDN's API and the misses that follow.
/// 6. `Clear-Site-Data: "cache"`, only if asked for:
///    [`clear_site_data`](super::CacheBustBuilder::clear_site_data). It reaches what a browser
///    shows without revalidation, because its `max-age` was sent before the outage. It costs the
///    browser's whole store for this origin, and a page load that waits for the clearing: measured
///    in Chromium 156, 20 ms with nothing stored, 120 ms with 500 entries, 1.3 s with 3000.
///
/// # What it does to a request
///
/// The generation is read when the request comes, after transitions that are due are applied. An
/// answer that began before a recovery never bears the tag of the time after it. At worst, an
/// answer that was fetched right after a recovery is fetched once more.
///
/// In the requests of GET and HEAD:
///
/// - `If-None-Match` keeps the tags of this generation, as the inner service knows them. Tags of
///   another generation, and tags that never passed here, are removed. `*` stays.
/// - `If-Modified-Since` is removed, because a date does not name a generation. A route that sends
///   dates alone then answers in full each time: give it an `ETag`, or
///   [`except`](super::CacheBustBuilder::except) it.
/// - `If-Range` is treated like `If-None-Match`. If it names another generation or a date, `Range`
///   is removed too, so that no client joins a part of the new body to a part of the old one.
/// - `If-Match` keeps the tags of this generation. Without any, it becomes a condition that nothing
///   meets, and the inner service answers 412. `*` stays.
///
/// In all other requests:
///
/// - `If-None-Match` and `If-Match` keep all tags, without the salt of any generation, and `*`. The
///   inner service's own validator decides, which is the purpose of the condition.
///   [`strict_writes`](super::CacheBustBuilder::strict_writes) is a stricter rule.
///
/// # What it does to a response
///
/// - `ETag` is salted in every response, and stays weak or strong: `"abc"` becomes
///   `"g1722457620000-abc"`.
/// - `Cache-Control: no-cache` is added to a 2xx to a GET or HEAD without `Cache-Control`,
///   `Expires` and `Pragma`. Existing values stay. A 304 without them confirms those of the full
///   answer.
/// - `Maintenance-Generation` is set to the generation, unless the header exists. Scripts of other
///   origins see it only if you expose it (CORS).
/// - `Surrogate-Key` and `Cache-Tag` get your tags beside the existing ones, on a GET or HEAD that
///   succeeded, if [asked for](super::CacheBustBuilder::surrogate_key).
/// - `Set-Cookie` and `Clear-Site-Data` carry the cures for clients, on the paths of
///   [`carried_by`](super::CacheBustBuilder::carried_by) only, beside the existing values.
/// - A response that carries a cure has `Cache-Control: private, no-store` in place of the inner
///   service's own (`no-transform` stays), `CDN-Cache-Control: no-store`, and no `Expires`. On
///   other responses these are not touched.
///
/// There is no `Cache-Status` (RFC 9211): caches use it to describe their handling, and this layer
/// is no cache. It holds back neither bodies nor answers, so it works with bodies of any kind. A
/// refusal passes unchanged; it is recognised by the [`Refused`](crate::Refused) in its extensions.
///
/// Static files whose names change with their contents need none of this.
/// [`except`](super::CacheBustBuilder::except) them, or the tags of all of them change with each
/// recovery. `Cache-Control: immutable` stays, like every value of `Cache-Control`.
///
/// # Each client gets a cure once
///
/// A cookie holds the generation that a client was last told. On the paths that carry cures, the
/// client's cookie is compared with the present generation:
///
/// - A lower cookie, if a recovery raised the generation: the client gets the cures and the new
///   generation.
/// - A lower cookie, if the generation is the start time of this process: the client gets the new
///   generation and no cures, because a deployment is not a recovery.
/// - The same generation: the response is left alone.
/// - A higher cookie, or one that is not a generation: the response is left alone. The cookie comes
///   from a replica that is ahead, or is forged.
/// - No cookie: the client gets the generation and no cures. It may be a first visit, or a client
///   without cookies, which would otherwise get the cures each time. A browser that visited before
///   this layer was installed gets its first cure at the next recovery.
///
/// Two simultaneous requests may both get the cures, because the cookie comes with the first
/// answer. So let one small page carry them that every visit begins with. No CDN may answer for
/// that page, or its requests never arrive here.
///
/// # Limits
///
/// - Each replica has its own generation: its start time or its last recovery, in wall-clock
///   milliseconds. Clients that switch replicas get full answers more often than necessary. They
///   get cures once from each replica whose recovery is later than their cookie. After a deployment
///   every tag counts as one of another generation. No answer is kept too long, and writes are as
///   they were without this layer.
/// - No header of a later answer changes what a browser shows without revalidation, while a
///   `max-age` runs. Push and `Clear-Site-Data` are for that. `Clear-Site-Data` does not change
///   open tabs.
/// - Two of these layers may wrap one route, one per partner: their salts nest. Give each its own
///   header and cookie.
/// - `ETag` in trailers and the `If` header of WebDAV are not read.
///
/// [`CdnPurge`]: super::CdnPurge
/// [`MaintenanceHandle::cache_bust`]: crate::MaintenanceHandle::cache_bust
#[derive(Clone)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct CacheBustLayer {
    rules: Arc<Rules>,
}

impl CacheBustLayer {
    pub(super) fn over(rules: Rules) -> Self {
        Self {
            rules: Arc::new(rules),
        }
    }

    /// Returns what the services of this layer and of its clones have sent so far.
    #[must_use]
    pub fn counts(&self) -> CacheBustCounts {
        CacheBustCounts {
            healed: self.rules.healed.load(Ordering::Relaxed),
            cleared: self.rules.cleared.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for CacheBustLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBustLayer")
            .field("rules", &self.rules)
            .finish()
    }
}

impl<S> Layer<S> for CacheBustLayer {
    type Service = CacheBusting<S>;

    fn layer(&self, inner: S) -> CacheBusting<S> {
        CacheBusting::new(inner, self.rules.clone())
    }
}

/// Counts of what a [`CacheBustLayer`] has sent since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheBustCounts {
    /// The responses that healed a client: they expired cookies, cleared the store, or both. Each
    /// client counts once per recovery. If the limit delayed the clearing, the response that
    /// cleared counts.
    pub healed: u64,
    /// Of these, the responses with `Clear-Site-Data`.
    pub cleared: u64,
}
