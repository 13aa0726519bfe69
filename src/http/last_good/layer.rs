//! The layer.

use std::{fmt, sync::Arc};

use tower::Layer;

use super::{config::Config, service::LastGood, store::LastGoodCounts};

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
    config: Arc<Config>,
}

impl LastGoodLayer {
    pub(super) fn over(config: Config) -> Self {
        Self {
            config: Arc::new(config),
        }
    }

    /// How much is kept, and what became of it so far.
    #[must_use]
    pub fn counts(&self) -> LastGoodCounts {
        self.config.store.counts()
    }

    /// Drops everything that is kept, and what is under way: an answer to what was asked for before is not kept when it arrives.
    pub fn clear(&self) {
        self.config.store.clear();
    }
}

impl fmt::Debug for LastGoodLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl<S> Layer<S> for LastGoodLayer {
    type Service = LastGood<S>;

    fn layer(&self, inner: S) -> LastGood<S> {
        LastGood::new(inner, self.config.clone())
    }
}
