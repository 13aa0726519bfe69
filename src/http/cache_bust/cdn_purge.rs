//! The requests by which a CDN drops what a recovery made stale.
//!
//! This module builds requests and has no client: a service has its own client, with its own
//! timeouts, proxies and retries.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::json;

use super::{error::CacheBustError, tags};
use crate::facts::recovery::CacheBust;

const FASTLY_KEY: HeaderName = HeaderName::from_static("fastly-key");
const FASTLY_SOFT_PURGE: HeaderName = HeaderName::from_static("fastly-soft-purge");

/// Builds the requests that purge a CDN by the tags of a recovery. Your own client sends them.
///
/// ```
/// use tower_maintenance::{Hold, MaintenanceLayer, http::CdnPurge};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::builder("zuora").cache_tags(["prices", "plans"]).build()?;
/// let handle = layer.handle();
/// handle.engage(Hold::new("on-call", "ticket 4711"))?;
/// handle.release("on-call", "partner is back")?;
/// let bust = handle.cache_bust().recv().await.ok_or("the layer is gone")?;
///
/// let requests = CdnPurge::fastly("SU1Z0isxPaozGVKXdv0eY", "a token")?.requests(&bust)?;
/// assert_eq!(requests.len(), 1);
/// assert_eq!(requests[0].uri(), "https://api.fastly.com/service/SU1Z0isxPaozGVKXdv0eY/purge");
/// assert_eq!(requests[0].body(), &r#"{"surrogate_keys":["prices","plans"]}"#);
///
/// let zone = "023e105f4ecef8ad9ca31a8372d0c353";
/// let requests = CdnPurge::cloudflare(zone, "a token")?.requests(&bust)?;
/// assert_eq!(requests[0].body(), &r#"{"tags":["prices","plans"]}"#);
/// # Ok(())
/// # }
/// ```
///
/// Send each request again until its answer is a 2xx; a second purge does no harm.
/// `examples/purge.rs` does so.
///
/// | | Fastly | Cloudflare |
/// |---|---|---|
/// | path of the `POST` | `/service/{id}/purge` | `/client/v4/zones/{id}/purge_cache` |
/// | body | `{"surrogate_keys": [...]}` | `{"tags": [...]}` |
/// | tags per request | 256 | 100 |
/// | purges | see your contract | see below |
/// | a tag is | case-sensitive | case-insensitive |
/// | header with tags | `Surrogate-Key: a b` | `Cache-Tag: a,b` |
///
/// Cloudflare allows 5 purges per minute on the Free plan. Per second it allows 5 on Pro, 10 on
/// Business and 50 on Enterprise. Bursts of 25 and more are allowed.
///
/// The sources are the CDNs' own documentation: Fastly's purge API and `Surrogate-Key` header,
/// Cloudflare's "Purge cache by cache-tags" and "Purge limits". A tag is 1 to 1024 bytes of visible
/// ASCII without spaces and commas, which both CDNs accept.
///
/// An answer that the CDN fetched before the recovery may be stored after the purge. The salted
/// `ETag` of [`CacheBustLayer`] corrects it once it expires. If the CDN stores answers for a long
/// time, purge once more after the longest time that an answer takes.
///
/// [`CacheBustLayer`]: super::CacheBustLayer
#[derive(Clone)]
#[must_use = "it does nothing until its `requests` are sent"]
pub struct CdnPurge {
    cdn: Cdn,
    base: String,
    path: String,
    key: HeaderValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cdn {
    Fastly { soft: bool },
    Cloudflare,
}

impl CdnPurge {
    /// Purges a Fastly service, with a token of the scope `purge_select`.
    ///
    /// A purged answer is dropped: the next request waits for the origin, and no customer sees an
    /// old price.
    ///
    /// # Errors
    ///
    /// If the id is not 1 to 64 letters and digits, or if the token is not a valid header value.
    pub fn fastly(service_id: &str, token: &str) -> Result<Self, CacheBustError> {
        Self::fastly_with(service_id, token, false)
    }

    /// Purges a Fastly service softly (`Fastly-Soft-Purge: 1`), which makes answers stale.
    ///
    /// A stale answer may still be served for as long as its `stale-while-revalidate` and
    /// `stale-if-error` allow. That spares the origin, and some customers see an old price once
    /// more.
    ///
    /// # Errors
    ///
    /// The same as those of [`fastly`](Self::fastly).
    pub fn fastly_soft(service_id: &str, token: &str) -> Result<Self, CacheBustError> {
        Self::fastly_with(service_id, token, true)
    }

    fn fastly_with(service_id: &str, token: &str, soft: bool) -> Result<Self, CacheBustError> {
        check_id("service_id", service_id)?;
        Ok(Self {
            cdn: Cdn::Fastly { soft },
            base: "https://api.fastly.com".to_owned(),
            path: format!("/service/{service_id}/purge"),
            key: secret(token.to_owned())?,
        })
    }

    /// Purges a Cloudflare zone, with a token that has the permission Cache Purge.
    ///
    /// # Errors
    ///
    /// If the id is not 1 to 64 letters and digits, or if the token is not a valid header value.
    pub fn cloudflare(zone_id: &str, token: &str) -> Result<Self, CacheBustError> {
        check_id("zone_id", zone_id)?;
        Ok(Self {
            cdn: Cdn::Cloudflare,
            base: "https://api.cloudflare.com".to_owned(),
            path: format!("/client/v4/zones/{zone_id}/purge_cache"),
            key: secret(format!("Bearer {token}"))?,
        })
    }

    /// Sets the host, for a proxy or a test server. Default: `https://api.fastly.com` or
    /// `https://api.cloudflare.com`.
    ///
    /// # Errors
    ///
    /// If it is not an http or https URL without a path.
    pub fn at(self, base: &str) -> Result<Self, CacheBustError> {
        let uri: Option<Uri> = base.parse().ok();
        let is_base = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.path_and_query().is_none_or(|path| path == "/")
        });
        if !is_base {
            return Err(CacheBustError::new(
                "at",
                base,
                "an http or https URL without a path",
            ));
        }
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { base, ..self })
    }

    /// Builds the requests that purge the signal's tags, as few as the CDN's limit allows. Without
    /// tags there are none.
    ///
    /// # Errors
    ///
    /// If a tag is invalid; the error names it. Then no request is built, so that no purge is
    /// partial.
    pub fn requests(&self, bust: &CacheBust) -> Result<Vec<Request<Bytes>>, CacheBustError> {
        for tag in bust.tags.iter() {
            tags::check("cache_tags", tag)?;
        }
        let most = match self.cdn {
            Cdn::Fastly { .. } => 256,
            Cdn::Cloudflare => 100,
        };
        bust.tags
            .chunks(most)
            .map(|tags| self.request(tags))
            .collect()
    }

    fn request(&self, tags: &[String]) -> Result<Request<Bytes>, CacheBustError> {
        let uri = format!("{}{}", self.base, self.path);
        let request = Request::post(&uri)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        let (request, body) = match self.cdn {
            Cdn::Fastly { soft } => {
                let request = request.header(FASTLY_KEY, self.key.clone());
                let request = if soft {
                    request.header(FASTLY_SOFT_PURGE, "1")
                } else {
                    request
                };
                (request, json!({ "surrogate_keys": tags }))
            }
            Cdn::Cloudflare => (
                request.header(AUTHORIZATION, self.key.clone()),
                json!({ "tags": tags }),
            ),
        };
        request
            .body(body.to_string().into())
            .map_err(|_| CacheBustError::new("at", &uri, "a URL"))
    }
}

impl fmt::Debug for CdnPurge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is secret.
        f.debug_struct("CdnPurge")
            .field("cdn", &self.cdn)
            .field("base", &self.base)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn check_id(field: &'static str, id: &str) -> Result<(), CacheBustError> {
    if (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(CacheBustError::new(field, id, "1 to 64 letters and digits"))
}

fn secret(value: String) -> Result<HeaderValue, CacheBustError> {
    let is_token = !value.is_empty() && !value.ends_with(' ');
    let value = HeaderValue::try_from(value).ok().filter(|_| is_token);
    // The error does not show the token, because errors go to logs.
    let mut value =
        value.ok_or_else(|| CacheBustError::new("token", "…", "a token as the CDN issued it"))?;
    value.set_sensitive(true);
    Ok(value)
}
