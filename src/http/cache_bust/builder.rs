//! The settings of the layer, and how they are checked.

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
use crate::{http::routes::path_pattern::Matcher, operator::handle::MaintenanceHandle};

const COOKIE_NAME: &str = "maintenance-generation";
/// 2024 began, in the milliseconds that generations are: nobody was told one of before.
const OLDEST: u64 = 1_704_067_200_000;
const CLEARS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");

impl CacheBustLayer {
    /// The defaults: salted tags, `no-cache`, the header. No cookies, and nothing that clients are told.
    ///
    /// # Panics
    ///
    /// Never: the defaults are valid.
    pub fn new(handle: &MaintenanceHandle) -> Self {
        Self::builder(handle)
            .build()
            .expect("the defaults are valid")
    }

    /// A layer with more than the defaults.
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

/// Builds a [`CacheBustLayer`]; everything is checked by [`build`](Self::build).
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

/// Tags for one header.
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
    /// The name of the header with the generation. Default: `Maintenance-Generation`. None that means something else is taken.
    pub fn generation_header(self, name: impl Into<String>) -> Self {
        Self {
            header: name.into(),
            ..self
        }
    }

    /// Paths whose responses and conditions are left as they are, in the router's pattern syntax: `/assets/{*file}`. Default: none.
    ///
    /// By path, since a condition must be read before the route answers. A path that is ambiguous (see
    /// [`paths`](crate::MaintenanceLayer::paths)) is not excepted.
    pub fn except<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.except.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Lets a write pass its `If-Match` only with a tag of this generation. Default: the inner service's own validator decides alone.
    ///
    /// Who edits what was shown before a recovery may not have seen what it overwrites, if the validator did not change with the
    /// contents. With this the inner service sees a condition that nothing meets, and answers 412 after it has checked who may write at all.
    ///
    /// Only with one generation for all clients, that is one replica that is given the last generation when it starts
    /// ([`generation`](crate::Builder::generation)). Where each replica has its own, a tag from one is a 412 at every other, and every tag is
    /// after a deployment.
    pub fn strict_writes(self) -> Self {
        Self {
            strict_writes: true,
            ..self
        }
    }

    /// The paths whose GETs tell clients of cures, in the router's pattern syntax. Default: none.
    ///
    /// Choose small pages that every visit begins with: what carries a cure is stored nowhere, and a browser that clears waits for it. Only a 2xx or a 304 carries one. A response with
    /// `CDN-Cache-Control`, `Surrogate-Control` or `Cloudflare-CDN-Cache-Control` carries none, for it is meant for everybody.
    pub fn carried_by<T: Into<String>>(mut self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.carriers.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// The cookie that remembers the generation. Default: `maintenance-generation` at path `/`, of this host alone, not `Secure`.
    ///
    /// It says a generation and nothing about the client, and lives 400 days, the most that browsers grant. Always `HttpOnly; SameSite=Lax`, but
    /// `SameSite=None` if it is [`partitioned`](NamedCookie::partitioned). It is only set where there are cures to tell of.
    pub fn generation_cookie(self, cookie: NamedCookie) -> Self {
        Self { cookie, ..self }
    }

    /// Expires a cookie (`Max-Age=0`), once per client and recovery. Default: none.
    ///
    /// A restart is no recovery: until there is one in this process, clients of before are told the new generation and keep their cookies. So
    /// those whom a recovery shortly before a restart has not reached yet go without, unless you keep the last generation over
    /// restarts, and begin with it ([`generation`](crate::Builder::generation)): then it is raised by recoveries alone, and whoever is
    /// behind it is healed.
    ///
    /// One that the inner service sets in the very same response is left alone, and so are all that are not named here.
    pub fn expire_cookie(mut self, cookie: NamedCookie) -> Self {
        self.expired.push(cookie);
        self
    }

    /// Sends `Clear-Site-Data`, once per client and recovery. Default: not.
    ///
    /// A restart is no recovery: until there is one in this process, clients of before are told the new generation and keep their store. So
    /// those whom a recovery shortly before a restart has not reached yet go without, unless you keep the last generation over
    /// restarts, and begin with it ([`generation`](crate::Builder::generation)): then it is raised by recoveries alone, and whoever is
    /// behind it is healed.
    ///
    /// Give it `["cache"]`; and `["cache", "storage"]` if a service worker of yours answers from its own store, which also empties `localStorage`,
    /// IndexedDB and the like. Nothing else is taken: `cookies` logs people out of every host of the domain.
    ///
    /// It is sent on [`carried_by`](Self::carried_by), to a request that says `Sec-Fetch-Site: same-origin` or `none`, and whose origin the browser takes for
    /// secure: the host is `localhost`, `127.0.0.1` or `[::1]`, the URI is https (HTTP/2 with TLS in this process), or what
    /// [`trust_forwarded_proto`](Self::trust_forwarded_proto) and [`secure_if`](Self::secure_if) say. Where it would not be heeded the other cures
    /// are told without it; a request from another site's page is told nothing, and its client by a later one.
    pub fn clear_site_data<T: Into<String>>(self, directives: impl IntoIterator<Item = T>) -> Self {
        Self {
            clear: Some(directives.into_iter().map(Into::into).collect()),
            ..self
        }
    }

    /// How many clients a second are sent `Clear-Site-Data`, by this process. Default: 100.
    ///
    /// Each asks for everything anew, so a fleet of browsers that clears at once is a stampede. Who is over the limit has the cookies of
    /// [`expire_cookie`](Self::expire_cookie) expired meanwhile, at each request, and the store cleared by a later one.
    ///
    /// The generation cookie is not signed. One from before the year 2024 is taken for forged, and has no share of the limit (unless this layer's
    /// generations began lower); but whoever sends more likely ones, this many times a second, keeps others from being cleared for as long. What
    /// helps is a limit on requests per address, in front of this layer. Nothing else depends on it: tags and cookies do their work.
    pub fn clears_per_second(self, most: NonZeroU32) -> Self {
        Self {
            clears_per_second: most,
            ..self
        }
    }

    /// Takes a request for secure if each hop in `X-Forwarded-Proto` is `https`. Default: the header is not looked at.
    ///
    /// Only behind a proxy that sets it itself and drops what the client sent.
    pub fn trust_forwarded_proto(mut self) -> Self {
        self.secure.trusts_forwarded_proto = true;
        self
    }

    /// Takes a request for secure if `is_secure` says so: by a header of your proxy's, by an extension of your acceptor's; or always, if nobody
    /// comes otherwise. Several add up. Default: none.
    pub fn secure_if(mut self, is_secure: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.secure.secure_if.push(Arc::new(is_secure));
        self
    }

    /// Tags for Fastly, in `Surrogate-Key`. Default: none.
    ///
    /// Those of [`cache_tags`](crate::Builder::cache_tags), as a rule, so that [`CdnPurge`] reaches what bears them.
    pub fn surrogate_key<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tagged("surrogate_key", "surrogate-key", " ", tags)
    }

    /// Tags for Cloudflare, in `Cache-Tag`. Default: none.
    ///
    /// Those of [`cache_tags`](crate::Builder::cache_tags), as a rule, so that [`CdnPurge`] reaches what bears them.
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

    /// The layer.
    ///
    /// # Errors
    ///
    /// If a name, pattern, cookie, directive or tag is not valid, or if nothing carries the cures. The error says which, and what would be.
    pub fn build(self) -> Result<CacheBustLayer, CacheBustError> {
        let header = header_name(&self.header)?;
        self.cookie.check("generation_cookie")?;
        // Whether it fits a header, whatever the generation.
        self.cookie.of_generation(u64::MAX)?;
        let expired = self.expired_cookies()?;
        let clear = self.clear.as_deref().map(directives).transpose()?;
        if self.carriers.is_empty() && (clear.is_some() || !expired.is_empty()) {
            let allowed =
                "the path of at least one small page, such as `/`: something must carry the cures";
            return Err(CacheBustError::new("carried_by", "", allowed));
        }
        let tags: Result<_, _> = self.tags.iter().map(Tags::checked).collect();
        let tags = tags?;
        // A generation that was given may be a count.
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

    /// The names of the cookies to expire, and the header that expires each.
    fn expired_cookies(&self) -> Result<Vec<(String, HeaderValue)>, CacheBustError> {
        let header_of = |cookie: &NamedCookie| {
            cookie.check("expire_cookie")?;
            if cookie.name() == self.cookie.name() {
                let allowed = "another than the generation cookie, which tells who has been told";
                return Err(CacheBustError::new("expire_cookie", cookie.name(), allowed));
            }
            Ok((cookie.name().to_owned(), cookie.expired()?))
        };
        self.expired.iter().map(header_of).collect()
    }
}

/// What this module reads or writes itself, and what frames, describes or directs a message.
const TAKEN: [&str; 43] = [
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "cache-status",
    "cache-tag",
    "cdn-cache-control",
    "clear-site-data",
    "cloudflare-cdn-cache-control",
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
    "surrogate-control",
    "surrogate-key",
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
    let is_free = |name: &HeaderName| !TAKEN.contains(&name.as_str());
    parsed.filter(is_free).ok_or_else(|| {
        let allowed = "a header's name that means nothing else, such as `Maintenance-Generation`";
        CacheBustError::new("generation_header", name, allowed)
    })
}

fn matcher(field: &'static str, patterns: &[String]) -> Result<Matcher, CacheBustError> {
    let numbered = patterns.iter().map(String::as_str).enumerate();
    Matcher::new(numbered).map_err(|bad| {
        let allowed = format!(
            "a path pattern that the router takes, such as `/assets/{{*file}}` ({})",
            bad.why
        );
        CacheBustError::new(field, bad.pattern, allowed)
    })
}
