//! The layer.

use std::{fmt, sync::Arc};

use tower::Layer;

use super::{config::Config, service::LastGood, store::LastGoodCounts};

/// Answers reads from the partner's last good answers while maintenance refuses them.
///
/// Put it directly outside the maintenance layer, around calls or before your own routes. While the
/// partner serves, all requests pass, and each good answer is copied as it streams by. If the layer
/// refuses a read that is opted in, the caller gets the last good answer to it, provided that there
/// is one and that it is not too old.
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
///     .layer(last_good.clone()); // the layer that is added last is outermost
/// let ask = |request: http::request::Builder| {
///     app.clone().oneshot(request.body(Body::empty()).unwrap())
/// };
///
/// let prices = ask(Request::get("/billing/prices")).await?;
/// assert_eq!(to_bytes(prices.into_body(), 4096).await?, "12 EUR");
///
/// layer.handle().engage(Hold::new("on-call", "Zuora degraded, ticket 4711"))?;
/// let prices = ask(Request::get("/billing/prices")).await?;
/// assert_eq!(prices.status(), 200);
/// let status = prices.headers()["cache-status"].to_str()?;
/// assert!(status.starts_with("tower-maintenance;hit;ttl="));
/// assert_eq!(prices.headers()["cache-control"], "private, no-store");
/// assert!(prices.extensions().get::<ServedLastGood>().is_some());
/// assert_eq!(to_bytes(prices.into_body(), 4096).await?, "12 EUR");
///
/// assert_eq!(ask(Request::post("/billing/purchases")).await?.status(), 503);
/// assert_eq!(last_good.counts().served, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Which answers are stored
///
/// An answer is stored if it is a 200 to a GET that is opted in and has no body, if its own body
/// has come to its end, and if a shared cache may store it ([RFC 9111, section 3], as
/// `http-cache-semantics` implements it). The rules are stricter than those of a shared cache.
/// These answers are never stored:
///
/// - Any other status: a 404, a redirect or a partial answer may be a symptom of the partner's
///   trouble. A 304 with the same `ETag` renews the stored answer to the request, by the headers of
///   both (RFC 9111, 4.3.4).
/// - An answer with `no-store`, `no-cache`, `Vary: *` or more than 16 names in `Vary`: it must not
///   be used without the partner, or its variants cannot be told apart.
/// - An answer whose `Cache-Control` is malformed or contradicts itself: it might mean `private`.
/// - A body that breaks off, that is not read to its end, that has trailers or that is too large:
///   it is not the whole answer, or not worth its memory.
/// - An answer with `X-Accel-Redirect`, `X-Sendfile` or the like: a proxy in front puts another
///   body in its place.
/// - An answer that [`good_if`](super::LastGoodBuilder::good_if) rejects: some partners fail with a
///   200.
///
/// Personal answers are stored only if [`keyed_by`](super::LastGoodBuilder::keyed_by) names the
/// user:
///
/// | | no user named | a user named |
/// |---|---|---|
/// | the request has a credential | never stored, never served | for this user only |
/// | the answer is `private` | never stored | for this user only |
/// | the answer has `Set-Cookie` | never stored | for this user only, without it |
/// | the request has a `Cookie` | only if the answer is marked as public | for this user only |
/// | none of these | for all requests | for this user only |
///
/// An answer is marked as public by `public` or `s-maxage`. The cookie counts because a frequent
/// leak is a price that was computed for a session and sent without `private` or `Vary`.
///
/// Besides `Authorization` credentials are recognised by the words in their names: `X-Api-Key`,
/// `Ocp-Apim-Subscription-Key`, `X-Auth-Token`, `X-Amz-Security-Token`, `Proxy-Authorization`,
/// `DPoP`, `X-Forwarded-User`, `X-Forwarded-Client-Cert` and the like. A header of
/// [`keyed_by_header`](super::LastGoodBuilder::keyed_by_header) does not count, because it is a
/// part of the key. A token in the query is a part of the key too: only a request with the same
/// token finds the answer. **Not recognised** are a client certificate of the connection itself,
/// and a header whose name does not tell (`X-Tenant`, `X-Plan`). If answers depend on those, name
/// the user, or the header.
///
/// # How a stored answer is found
///
/// The key of an answer consists of the target URI, the path and query before axum's `nest` cut its
/// prefix, the user, the [headers](super::LastGoodBuilder::keyed_by_header) that describe the
/// original request, and the values of all headers that the answer's `Vary` names.
///
/// The target URI ([RFC 9110, section 7.1]) is the same over HTTP/1.1 and HTTP/2:
///
/// - The host is that of the URI, and that of `Host` if the URI has none. Its letter case does not
///   matter, and neither does the default port of the request's scheme. While the scheme is
///   unknown, both 80 and 443 are default ports.
/// - The scheme itself is no part of the key: an HTTP/1.1 server is not told whether it is http or
///   https. If a proxy passes it on in `X-Forwarded-Proto`, that header is a part of the key.
/// - A `Host` that names another host than the URI is a part of the key too, because an answer may
///   show it. All requests without any host share one key.
/// - `shop.test.` with a trailing dot is another host, as it is for browsers. Userinfo
///   (`user@shop.test`) is a part of the key as it is.
/// - Path and query are compared as they are, because routers do so: `/%7eme` is not `/~me`.
///
/// A new answer that was copied is always stored. To make room, the answers that were not asked for
/// longest are evicted one by one; a request counts in maintenance and while the partner serves. A
/// client that makes up languages or queries evicts only answers that are not asked for meanwhile.
/// By default it takes 32 MiB of other answers between two requests for the same one: about 30,000
/// made-up requests for answers of 1 KB, and 128 for the largest answers that are stored. While all
/// requests are refused, nothing is evicted.
///
/// A write that passes and succeeds drops the stored answers to the same target, user and headers
/// (RFC 9111, 4.4), and also answers that are on their way. Of two answers to the same request the
/// one that was asked for later stays, even if its body ends first.
///
/// # What is served
///
/// - When: if the layer refuses the request. With
///   [`on_failure_too`](super::LastGoodBuilder::on_failure_too) also if the partner fails.
/// - How old at most: as long as the answer is fresh (`s-maxage`, `max-age`, `Expires`), and then
///   for [`max_stale`](super::LastGoodBuilder::max_stale), or for the answer's own `stale-if-error`
///   ([RFC 5861]) if that is less.
/// - Age: by `Date`, or by `Age` and the duration of the call, whichever is more (RFC 9111, 4.2.3).
///   The answers of a partner whose clock is hours behind are served for a shorter time.
/// - Never stale: with `must-revalidate` or `proxy-revalidate`, or with `s-maxage` and no
///   `stale-if-error`.
/// - Directives of the request: `no-store`, `no-cache`, `max-age`, `max-stale`, `min-fresh` and
///   `stale-if-error` are obeyed. `max-age=0` is not, because browsers send it with every reload,
///   and a reload would get a 503. `only-if-cached` has no effect.
/// - A HEAD is answered from the stored answer to a GET.
/// - A request with a condition or a range gets the full answer.
///
/// The answer has `Age`, `Cache-Status` ([RFC 9211]), and `Cache-Control: private, no-store` in
/// place of the partner's own, so that no browser and no CDN keeps an old price beyond the
/// recovery. For the same reason the headers are removed that proxies and CDNs heed before
/// `Cache-Control` (`X-Accel-Expires`, `Surrogate-Control`, `Edge-Control`, the `Cache-Control` of
/// any vendor), with their tags, `Expires` and validators. The extension
/// [`ServedLastGood`](super::ServedLastGood) marks it for metrics and error trackers. The field
/// `maintenance.last_good` of the current span is set to `true`.
///
/// # The order of the layers
///
/// From outside to inside, before routes and around calls alike:
///
/// 1. [`CacheBustLayer`]: it marks all answers for clients, including those of this layer. Inside
///    of this layer it would add `no-cache` to answers without `Cache-Control`, and those would not
///    be stored. `Maintenance-Generation`, `Surrogate-Key` and `Cache-Tag` are never stored,
///    because they are out of date when the answer is served. A [header of another
///    name][generation_header] is stored.
/// 2. Authentication, if the user is [named](super::LastGoodBuilder::keyed_by): the user must be
///    verified before an answer is served. Inside of this layer nothing would check the user while
///    the layer refuses.
/// 3. This layer.
/// 4. The maintenance layer: this layer replaces its refusals, so no layer between the two may
///    change them.
/// 5. The routes, or the client.
///
/// # After a recovery
///
/// Nothing is dropped by itself: the partner answers again, and its answers replace the stored
/// ones. Until then a stored answer stays the last good one, for the case that maintenance returns,
/// as it does with a flapping partner. `max_stale` bounds it. If no answer from before a recovery
/// may be shown, call [`clear`](LastGoodLayer::clear) when the [signal](crate::CacheBusts) comes:
/// it drops also what is on its way. With
/// [`recoveries_of`](super::LastGoodBuilder::recoveries_of) an answer that was on its way when the
/// partner recovered is not stored.
///
/// # Limits
///
/// - This is not a general cache: it never answers while the partner may be asked. It does not
///   revalidate by itself, and does not collapse requests.
/// - Bodies that never end keep other answers from being stored if they fill
///   [a quarter](super::LastGoodBuilder::max_total_bytes) of the bound. A timeout around this layer
///   that drops them, or a smaller bound per answer, prevents that.
/// - It is per process, and empty after a restart. One value and its clones are one store: use one
///   per partner, or per router.
/// - A write invalidates its own URI and nothing else.
/// - It cannot see whether a read has side effects. Opt in reads that have none.
/// - Headers that an inner layer adds for one request (a request id, a CORS origin without `Vary`)
///   are stored with the answer. Add them outside of this layer.
///
/// [RFC 9110, section 7.1]: https://www.rfc-editor.org/rfc/rfc9110#section-7.1
/// [RFC 9111, section 3]: https://www.rfc-editor.org/rfc/rfc9111#section-3
/// [RFC 5861]: https://www.rfc-editor.org/rfc/rfc5861
/// [RFC 9211]: https://www.rfc-editor.org/rfc/rfc9211
/// [`CacheBustLayer`]: crate::http::CacheBustLayer
/// [generation_header]: crate::http::CacheBustBuilder::generation_header
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

    /// Returns how much is stored, and how often it was used.
    #[must_use]
    pub fn counts(&self) -> LastGoodCounts {
        self.config.store.counts()
    }

    /// Drops all stored answers, and those that are on their way: an answer to a request from
    /// before is not stored when it arrives.
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
