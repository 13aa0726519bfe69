//! The builder, which checks the settings.

use std::{
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicU64},
};

use http::{HeaderName, HeaderValue, request::Parts};

use super::{
    clear_site_data::{Limit, Secure, directives},
    cookies::NamedCookie,
    error::CacheBustError,
    layer::CacheBustLayer,
    rules::{GENERATION_HEADER, Rules, Tagging},
    tags,
};
use crate::{
    http::{routes::path_pattern::Matcher, shared_caches::is_for_shared_caches},
    operator::handle::MaintenanceHandle,
};

const COOKIE_NAME: &str = "maintenance-generation";
/// The start of 2024 in wall-clock milliseconds. No client was ever told an earlier generation.
const OLDEST: u64 = 1_704_067_200_000;
const CLEARS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");

impl CacheBustLayer {
    /// Builds a layer with the defaults: salted tags, `no-cache` and the header, but no cures.
    ///
    /// # Panics
    ///
    /// Never: the defaults are valid.
    pub fn new(handle: &MaintenanceHandle) -> Self {
        Self::builder(handle)
            .build()
            .expect("the defaults are valid")
    }

    /// Returns a builder with the defaults.
    pub fn builder(handle: &MaintenanceHandle) -> CacheBustBuilder {
        CacheBustBuilder {
            handle: handle.clone(),
            header: GENERATION_HEADER.to_owned(),
            except: Vec::new(),
            strict_writes: false,
            carriers: Vec::new(),
            cookie: NamedCookie::new(COOKIE_NAME),
            expired: Vec::new(),
            clear: None,
            clears_per_second: CLEARS_PER_SECOND,
            secure: Secure::default(),
            tags: Vec::new(),
        }
    }
}

/// Builds a [`CacheBustLayer`]. [`build`](Self::build) checks all settings.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct CacheBustBuilder {
    handle: MaintenanceHandle,
    header: String,
    except: Vec<String>,
    strict_writes: bool,
    carriers: Vec<String>,
    cookie: NamedCookie,
    expired: Vec<NamedCookie>,
    clear: Option<Vec<String>>,
    clears_per_second: NonZeroU32,
    secure: Secure,
    tags: Vec<Tags>,
}

/// The tags that one header gets.
#[derive(Debug, Clone)]
struct Tags {
    field: &'static str,
    header: HeaderName,
    separator: &'static str,
    tags: Vec<String>,
}

impl Tags {
    fn checked(&self) -> Result<Tagging, CacheBustError> {
        Ok(Tagging {
            header: self.header.clone(),
            value: tags::joined(self.field, &self.tags, self.separator)?,
            separator: self.separator,
        })
    }
}

impl CacheBustBuilder {
    /// Sets the name of the header with the generation. Default: `Maintenance-Generation`.
    ///
    /// A header with another meaning is an error.
    pub fn generation_header(self, name: impl Into<String>) -> Self {
        Self {
            header: name.into(),
            ..self
        }
    }

    /// Leaves the conditions and responses of these paths unchanged. Default: none.
    ///
    /// Patterns have the router's syntax: `/assets/{*file}`. The path decides, because a condition
    /// is read before the route answers. A path that is ambiguous (see
    /// `MaintenanceLayer::paths`) matches no pattern.
    pub fn except<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.except.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Accepts the `If-Match` of a write only with a tag of this generation. Default: the inner
    /// service's own validator decides alone.
    ///
    /// A client that edits data from before a recovery may overwrite data that it has not seen, if
    /// the validator did not change with the contents. With this setting the inner service sees a
    /// condition that nothing meets, and answers 412 after it has checked the client's permission.
    ///
    /// Use it only with one generation for all clients: one replica, which is given the last
    /// generation when it starts ([`generation`](crate::Builder::generation)). With a generation
    /// per replica, a tag from one replica is a 412 at every other replica, and after a deployment
    /// every tag is a 412.
    pub fn strict_writes(self) -> Self {
        Self {
            strict_writes: true,
            ..self
        }
    }

    /// Sets the paths whose GETs carry cures, in the router's pattern syntax. Default: none.
    ///
    /// Choose small pages that every visit begins with. A response that carries a cure is not
    /// stored by any cache, and a browser that clears its store waits for it. Only a 2xx or a 304
    /// carries one. A response carries none if it has `Surrogate-Control`, `Edge-Control`,
    /// `X-Accel-Expires`, a `Cache-Control` of one vendor (`CDN-Cache-Control`,
    /// `Netlify-CDN-Cache-Control`) or the like, because it is meant for all clients.
    pub fn carried_by<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.carriers.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Sets the cookie that holds the generation. Default: `maintenance-generation` at path `/`,
    /// for this host only, not `Secure`.
    ///
    /// It holds a generation and nothing about the client. It lives for 400 days, the longest time
    /// that browsers allow. It is always `HttpOnly; SameSite=Lax`, or `SameSite=None` if it is
    /// [`partitioned`](NamedCookie::partitioned). It is set only if there are cures.
    pub fn generation_cookie(self, cookie: NamedCookie) -> Self {
        Self { cookie, ..self }
    }

    /// Expires a cookie (`Max-Age=0`), once per client and recovery. Default: none.
    ///
    /// A restart is not a recovery. Until this process has had a recovery, a client with an older
    /// generation is told the new one and keeps its cookies. So a recovery shortly before a restart
    /// does not reach every client. It does if you keep the last generation over restarts and start
    /// with it ([`generation`](crate::Builder::generation)): then only recoveries raise it, and
    /// every client behind it is healed.
    ///
    /// A cookie that the inner service sets in the same response is left alone, and so are all
    /// cookies that are not named here.
    pub fn expire_cookie(mut self, cookie: NamedCookie) -> Self {
        self.expired.push(cookie);
        self
    }

    /// Sends `Clear-Site-Data`, once per client and recovery. Default: off.
    ///
    /// A restart is not a recovery, as for [`expire_cookie`](Self::expire_cookie): until this
    /// process has had a recovery, a client with an older generation is told the new one and keeps
    /// its store.
    ///
    /// Give it `["cache"]`, or `["cache", "storage"]` if a service worker of yours answers from its
    /// own store. `storage` also empties `localStorage`, IndexedDB and the like. Other directives
    /// are errors: `cookies` logs people out of every host of the domain.
    ///
    /// It is sent on the paths of [`carried_by`](Self::carried_by), if the request has
    /// `Sec-Fetch-Site: same-origin` or `none`, and if the browser considers the origin secure.
    /// That is so if the host is `localhost`, `127.0.0.1` or `[::1]`, if the URI is https (HTTP/2
    /// with TLS in this process), or if [`trust_forwarded_proto`](Self::trust_forwarded_proto) or
    /// [`secure_if`](Self::secure_if) says so. A client that would ignore the header gets the other
    /// cures without it. A request from another site's page carries no cure; a later request of the
    /// same client does.
    ///
    /// Called again, it adds directives.
    pub fn clear_site_data<T: Into<String>>(
        mut self,
        directives: impl IntoIterator<Item = T>,
    ) -> Self {
        let clear = self.clear.get_or_insert_default();
        clear.extend(directives.into_iter().map(Into::into));
        self
    }

    /// Limits how many clients per second this process sends `Clear-Site-Data`. Default: 100.
    ///
    /// Each of them requests everything anew, so many browsers that clear at once are a stampede.
    /// For a client over the limit, each response expires the cookies of
    /// [`expire_cookie`](Self::expire_cookie) meanwhile, and a later one clears the store.
    ///
    /// The generation cookie is not signed. A cookie from before the year 2024 counts as forged and
    /// does not use up the limit, unless this layer's generations began lower. A client that forges
    /// later ones, this many times per second, keeps others from being cleared for that time. A
    /// limit on requests per address, in front of this layer, prevents that. Tags and cookies do
    /// not depend on the limit.
    pub fn clears_per_second(self, most: NonZeroU32) -> Self {
        Self {
            clears_per_second: most,
            ..self
        }
    }

    /// Considers a request secure if each hop in `X-Forwarded-Proto` is `https`. Default: the
    /// header is ignored.
    ///
    /// Use it only behind a proxy that sets the header itself and drops the client's.
    pub fn trust_forwarded_proto(mut self) -> Self {
        self.secure.trusts_forwarded_proto = true;
        self
    }

    /// Considers a request secure if `is_secure` returns `true`. Default: none.
    ///
    /// It may read a header that your proxy sets, or an extension that your acceptor inserts. It
    /// may always return `true`, if every client uses TLS. With several of them one `true` is
    /// enough.
    pub fn secure_if(mut self, is_secure: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.secure.secure_if.push(Arc::new(is_secure));
        self
    }

    /// Adds tags for Fastly, in `Surrogate-Key`. Default: none.
    ///
    /// Usually these are the layer's [`cache_tags`](crate::Builder::cache_tags), so that
    /// [`CdnPurge`](super::CdnPurge) purges the responses that bear them.
    pub fn surrogate_key<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tagged("surrogate_key", "surrogate-key", " ", tags)
    }

    /// Adds tags for Cloudflare, in `Cache-Tag`. Default: none.
    ///
    /// Usually these are the layer's [`cache_tags`](crate::Builder::cache_tags), so that
    /// [`CdnPurge`](super::CdnPurge) purges the responses that bear them.
    pub fn cache_tag<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tagged("cache_tag", "cache-tag", ",", tags)
    }

    fn tagged<T: Into<String>>(
        mut self,
        field: &'static str,
        header: &'static str,
        separator: &'static str,
        tags: impl IntoIterator<Item = T>,
    ) -> Self {
        self.tags.push(Tags {
            field,
            header: HeaderName::from_static(header),
            separator,
            tags: tags.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If a name, pattern, cookie, directive or tag is invalid, or if no path carries the cures.
    /// The error names the setting, its value and what is allowed.
    pub fn build(self) -> Result<CacheBustLayer, CacheBustError> {
        let header = header_name(&self.header)?;
        self.cookie.check("generation_cookie")?;
        // With the largest generation, so that the cookie fits a header with every generation.
        self.cookie.of_generation(u64::MAX)?;
        let expired = self.expired_cookies()?;
        let clear = self.clear.as_deref().map(directives).transpose()?;
        if self.carriers.is_empty() && (clear.is_some() || !expired.is_empty()) {
            let allowed = "the path of at least one small page that carries the cures, such as `/`";
            return Err(CacheBustError::new("carried_by", "", allowed));
        }
        let tags: Result<_, _> = self.tags.iter().map(Tags::checked).collect();
        let tags = tags?;
        // The user may have given a generation that is a count, not a time.
        let is_time = self.handle.generation() >= OLDEST;
        Ok(CacheBustLayer::over(Rules {
            oldest: if is_time { OLDEST } else { 0 },
            header,
            except: matcher("except", &self.except)?,
            strict_writes: self.strict_writes,
            carriers: matcher("carried_by", &self.carriers)?,
            expired,
            clear,
            tags,
            cookie: self.cookie,
            limit: Limit::new(self.clears_per_second),
            secure: self.secure,
            healed: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            handle: self.handle,
        }))
    }

    /// Returns the names of the cookies to expire, and the header that expires each.
    fn expired_cookies(&self) -> Result<Vec<(String, HeaderValue)>, CacheBustError> {
        let header_of = |cookie: &NamedCookie| {
            cookie.check("expire_cookie")?;
            if cookie.name() == self.cookie.name() {
                let allowed =
                    "a cookie other than the generation cookie, which marks healed clients";
                return Err(CacheBustError::new("expire_cookie", cookie.name(), allowed));
            }
            Ok((cookie.name().to_owned(), cookie.expired()?))
        };
        self.expired.iter().map(header_of).collect()
    }
}

/// Headers that this module reads or writes, and headers that frame, describe or route a message.
/// Besides them the headers for shared caches are taken.
const TAKEN: [&str; 38] = [
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "cache-status",
    "clear-site-data",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "location",
    "pragma",
    "range",
    "retry-after",
    "sec-fetch-site",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "www-authenticate",
    "x-forwarded-proto",
];

fn header_name(name: &str) -> Result<HeaderName, CacheBustError> {
    let parsed = HeaderName::try_from(name).ok();
    let is_free =
        |name: &HeaderName| !TAKEN.contains(&name.as_str()) && !is_for_shared_caches(name);
    parsed.filter(is_free).ok_or_else(|| {
        let allowed = "a header name without another meaning, such as `Maintenance-Generation`";
        CacheBustError::new("generation_header", name, allowed)
    })
}

fn matcher(field: &'static str, patterns: &[String]) -> Result<Matcher, CacheBustError> {
    let numbered = patterns.iter().map(String::as_str).enumerate();
    Matcher::new(numbered).map_err(|bad| {
        let allowed = format!(
            "a path pattern in the router's syntax, such as `/assets/{{*file}}` ({})",
            bad.why
        );
        CacheBustError::new(field, bad.pattern, allowed)
    })
}
