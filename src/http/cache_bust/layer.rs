//! The layer.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use tower::Layer;

use super::{rules::Rules, service::CacheBusting};

/// Makes clients and caches ask again after a recovery, so that nobody need clear a cache by hand.
///
/// Put it around the routes that show what the partner says, *outside* the gate: a refusal passes it untouched. Routes that have dates
/// alone, no `ETag`, as files served by tower-http's `ServeDir`, are sent in full each time under it: [`except`](CacheBustBuilder::except) them.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_maintenance::{Hold, MaintenanceLayer, http::CacheBustLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// // Prices that always have the same tag: what they say was wrong, the partner has mended it since.
/// let prices = service_fn(async |request: Request<()>| {
///     let known = request.headers().get("if-none-match").is_some_and(|tag| tag == "\"v1\"");
///     let status = if known { 304 } else { 200 };
///     Response::builder().status(status).header("etag", "\"v1\"").body("12 EUR".to_owned()).map_err(std::io::Error::other)
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
/// # The cures, in order of worth
///
/// | cure | reaches | costs |
/// |---|---|---|
/// | a refusal that nobody stores: 503 with `no-store` ([`Refusals`](super::Refusals)) | everybody | nothing; without it a stored 503 is shown after the recovery without any request |
/// | an `ETag` that bears the generation, and `no-cache` | every browser, proxy and CDN that asks before it shows | a request for each view, as a rule answered by a 304; after a recovery one whole answer for each thing stored |
/// | a push to open tabs, for which [`MaintenanceHandle::cache_bust`] is the signal | who is looking at the page now, within a fraction of a second | a connection per browser |
/// | one's own cookies expired by name: [`expire_cookie`](CacheBustBuilder::expire_cookie) | what scripts put aside in cookies; the session stays | one answer per client and generation that is not stored |
/// | the CDN purged by tag: [`CdnPurge`] | what a CDN serves without asking | a call of its API; the misses that follow |
/// | `Clear-Site-Data: "cache"`, last and only if asked for: [`clear_site_data`](CacheBustBuilder::clear_site_data) | what a browser shows without asking: `max-age` said before anybody knew | the browser's whole store for this origin, and a page that waits for it: measured in Chromium 156, 20 ms with nothing stored, 120 ms with 500 entries, 1.3 s with 3000 |
///
/// The first three need no decision. The rest is for answers that were given a `max-age`.
///
/// # What it does to a request
///
/// The generation counts as it was when the request came, with all that had run out by then: an answer that was begun before a recovery never bears the tag of the
/// time after it. At worst, an answer that was fetched right after it is fetched once more.
///
/// | header | becomes |
/// |---|---|
/// | `If-None-Match` | of GET and HEAD the tags of this generation, as the inner service knows them; those of another, and those that never passed here, are left out. Of a write all tags, likewise without salt. `*` stays |
/// | `If-Modified-Since` | left out of GET and HEAD: a date says nothing of the generation. Who has dates alone answers in full each time: give such routes an `ETag`, or [`except`](CacheBustBuilder::except) them |
/// | `If-Range` | likewise; where it is of another generation or a date, `Range` goes with it, so that no new part is glued to an old one |
/// | `If-Match` of a write | all tags, without the salt of whatever generation: the inner service's own validator decides, as that is what the condition is for. `*` stays. A stricter way is [`strict_writes`](CacheBustBuilder::strict_writes) |
/// | `If-Match` of a read | the tags of this generation; if there are none, a condition that nothing meets, and the inner service answers 412. `*` stays |
///
/// # What it does to a response
///
/// | header | becomes |
/// |---|---|
/// | `ETag` | salted, of every response, weak or strong as it was: `"abc"` becomes `"g1722457620000-abc"` |
/// | `Cache-Control` | `no-cache` on a 2xx to a GET or HEAD that says nothing (also no `Expires`, no `Pragma`). What is said stays; a 304 that says nothing means what was said with the whole answer |
/// | `Maintenance-Generation` | the generation, unless it stands there. A script of another origin sees it only if you expose it (CORS) |
/// | `Surrogate-Key`, `Cache-Tag` | your tags, beside those that stand there, on a GET or HEAD that succeeded, if [asked for](CacheBustBuilder::surrogate_key) |
/// | `Set-Cookie`, `Clear-Site-Data` | the cures that clients are told of, on [`carried_by`](CacheBustBuilder::carried_by) alone, in addition to what stands there |
/// | `CDN-Cache-Control` | `no-store` on what carries a cure, beside a `no-store` added to `Cache-Control`; elsewhere it is yours to say |
///
/// There is no `Cache-Status` (RFC 9211): that is for caches to say what they did with a request, and this is none. It holds no body back and no
/// answer, so it is for bodies of any kind. A refusal (known by its [`Refused`](crate::Refused) in the extensions) passes as it is.
///
/// Static files whose names change with their contents need none of this: [`except`](CacheBustBuilder::except) them, or the tags of all
/// of them change with each recovery. `Cache-Control: immutable` stays, as all that is said.
///
/// # Clients are told once
///
/// A cookie remembers the generation that a client was last told of. On the paths that carry cures:
///
/// | its cookie | is |
/// |---|---|
/// | lower than the generation, which is that of a recovery | healed, and given the new one |
/// | lower than the generation, which is but the time of this process's start | given the new one, and not healed: a deployment is no recovery |
/// | the generation itself | left alone |
/// | higher, or no generation | left alone: a replica that is ahead, or a forgery |
/// | missing | given one, and not healed. It is a first visit, or a client without cookies that would be told each time. A browser that was here before this layer was meets its first cure at the next recovery |
///
/// Two requests at the same moment may both be told: the cookie only comes with the first answer. So let one small page carry it, that every visit begins
/// with; and one that no CDN answers, or it never comes here.
///
/// # Limits
///
/// - Each replica has a generation of its own, its start or its last recovery in wall-clock milliseconds. Clients that change between replicas are
///   answered in full more often than need be, and are told of cures once by each whose recovery was later than what they were told; after a
///   deployment everything counts as of another generation. Never is anything kept too long,
///   and writes are as they were without this layer.
/// - What a browser shows without asking, `max-age` not over yet, no header of a later answer changes: that is what push and
///   `Clear-Site-Data` are for. The latter does not reach into open tabs.
/// - Two of these layers may stand around one route, one for each partner: tags nest. Give each its own header and cookie.
/// - An `ETag` in trailers, and what WebDAV says in `If`, is not looked at.
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

    /// What this layer's services have sent so far, over all of its clones.
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

/// What a [`CacheBustLayer`] has sent, since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheBustCounts {
    /// Responses that healed a client: cookies expired, the store cleared, or both. Each client once per recovery: where the
    /// limit put off clearing, the response that cleared.
    pub healed: u64,
    /// Of those, the ones with `Clear-Site-Data`.
    pub cleared: u64,
}
