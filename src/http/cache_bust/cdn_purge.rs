//! The requests that make a CDN forget what the recovery made stale.
//!
//! Requests, and no client: whoever runs a service has one, with its own time-outs, proxies and retries.

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

/// Purges a CDN by the tags of a recovery: builds the requests, for a client of yours to send.
///
/// | | Fastly | Cloudflare |
/// |---|---|---|
/// | request | `POST /service/{id}/purge`, `{"surrogate_keys": [...]}` | `POST /client/v4/zones/{id}/purge_cache`, `{"tags": [...]}` |
/// | tags a request | 256 | 100 |
/// | how often | see your contract | Free 5 a minute, Pro 5, Business 10, Enterprise 50 a second, in bursts of 25 and more |
/// | a tag | case matters | case does not |
/// | what bears it | `Surrogate-Key: a b` | `Cache-Tag: a,b` |
///
/// From their own documentation: Fastly's purge API and `Surrogate-Key` header, Cloudflare's "Purge cache by cache-tags" and "Purge
/// limits". Tags are 1 to 1024 bytes of visible ASCII, without spaces and commas: what both take.
///
/// Answers that the CDN fetched before the recovery may reach its store after the purge. The salted `ETag` of [`CacheBustLayer`]
/// corrects those once they expire; who keeps them long at the CDN purges once more after the longest time an answer takes.
///
/// Send each request again until its answer is a 2xx: purging twice harms nobody. `examples/purge.rs` does.
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
    /// Purges a Fastly service, with a token that may `purge_select`.
    ///
    /// What is purged is gone: the next request waits for the origin, and nobody sees an old price.
    ///
    /// # Errors
    ///
    /// If the id is not 1 to 64 letters and digits, or the token does not fit a header.
    pub fn fastly(service_id: &str, token: &str) -> Result<Self, CacheBustError> {
        Self::fastly_with(service_id, token, false)
    }

    /// Purges a Fastly service softly (`Fastly-Soft-Purge: 1`): what is purged becomes stale, and may still be served for as long as the
    /// response's `stale-while-revalidate` and `stale-if-error` allow. It spares the origin; some see an old price once more.
    ///
    /// # Errors
    ///
    /// As [`fastly`](Self::fastly).
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
    /// If the id is not 1 to 64 letters and digits, or the token does not fit a header.
    pub fn cloudflare(zone_id: &str, token: &str) -> Result<Self, CacheBustError> {
        check_id("zone_id", zone_id)?;
        Ok(Self {
            cdn: Cdn::Cloudflare,
            base: "https://api.cloudflare.com".to_owned(),
            path: format!("/client/v4/zones/{zone_id}/purge_cache"),
            key: secret(format!("Bearer {token}"))?,
        })
    }

    /// Sends to another host than the CDN's own: a proxy, or a stand-in for tests. Default: `https://api.fastly.com`,
    /// `https://api.cloudflare.com`.
    ///
    /// # Errors
    ///
    /// If it is no http or https URL without a path.
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

    /// The requests that purge the signal's tags, as few as the CDN takes them. None if it has no tags.
    ///
    /// # Errors
    ///
    /// If a tag is none: the error names it. Then nothing is built, so that nothing is purged in part.
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
        // Without the token.
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
    // The error does not repeat it: errors go to logs.
    let mut value = value
        .ok_or_else(|| CacheBustError::new("token", "…", "the CDN's token, as it gave it out"))?;
    value.set_sensitive(true);
    Ok(value)
}
