//! Cache-bust over HTTP: what a browser, a proxy or a CDN has stored of the time before a recovery is not shown after it.
//!
//! A layer of its own, because it has another place than the gate (outside of it, around what is to be healed) and works
//! while the gate does nothing. It learns of a recovery from the published generation alone: no task, nothing to miss, and
//! no lock but at the moment when a hold or a wait has run out and nobody has looked yet.

mod cdn_purge;
mod clear_site_data;
mod cookies;
mod etag;
mod service;
mod tags;

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderName, request::Parts};
use tower::Layer;

pub(super) use self::etag::is_known;
pub use self::{
    cdn_purge::CdnPurge,
    cookies::NamedCookie,
    service::{CacheBustFuture, CacheBusting},
};
use self::{
    clear_site_data::{Limit, Secure, directives},
    service::Rules,
};
use super::{routes::path_pattern::Matcher, setting_error::setting_error};
use crate::operator::handle::MaintenanceHandle;

pub(super) const HEADER: &str = "maintenance-generation";
const COOKIE_NAME: &str = "maintenance-generation";
/// 2024 began, in the milliseconds that generations are: nobody was told one of before.
const OLDEST: u64 = 1_704_067_200_000;
const CLEARS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");

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
            header: HEADER.to_owned(),
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
    tags: Vec<(&'static str, Vec<String>, &'static str)>,
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
    pub fn surrogate_key<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags = tags.into_iter().map(Into::into).collect();
        self.tags.push(("surrogate-key", tags, " "));
        self
    }

    /// Tags for Cloudflare, in `Cache-Tag`. Default: none.
    ///
    /// Those of [`cache_tags`](crate::Builder::cache_tags), as a rule, so that [`CdnPurge`] reaches what bears them.
    pub fn cache_tag<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags = tags.into_iter().map(Into::into).collect();
        self.tags.push(("cache-tag", tags, ","));
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
        let mut expired = Vec::with_capacity(self.expired.len());
        for cookie in &self.expired {
            cookie.check("expire_cookie")?;
            if cookie.name() == self.cookie.name() {
                let allowed = "another than the generation cookie, which tells who has been told";
                return Err(CacheBustError::new("expire_cookie", cookie.name(), allowed));
            }
            expired.push((cookie.name().to_owned(), cookie.expired()?));
        }
        let clear = self.clear.as_deref().map(directives).transpose()?;
        if self.carriers.is_empty() && (clear.is_some() || !expired.is_empty()) {
            let allowed =
                "the path of at least one small page, such as `/`: something must carry the cures";
            return Err(CacheBustError::new("carried_by", "", allowed));
        }
        let mut tags = Vec::with_capacity(self.tags.len());
        for (name, all, separator) in &self.tags {
            let field = match *name {
                "surrogate-key" => "surrogate_key",
                _ => "cache_tag",
            };
            let value = tags::joined(field, all, separator)?;
            tags.push((HeaderName::from_static(name), value, *separator));
        }
        // A generation that was given may be a count.
        let is_time = self.handle.generation() >= OLDEST;
        let rules = Rules {
            oldest: if is_time { OLDEST } else { 0 },
            header,
            except: matcher("except", &self.except)?,
            strict_writes: self.strict_writes,
            carriers: matcher("carried_by", &self.carriers)?,
            cookie: self.cookie,
            expired,
            clear,
            limit: Limit::new(self.clears_per_second),
            secure: self.secure,
            tags,
            healed: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            handle: self.handle,
        };
        Ok(CacheBustLayer {
            rules: Arc::new(rules),
        })
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

setting_error! {
    /// A [`CacheBustLayer`], or a [`CdnPurge`], that makes no sense.
    CacheBustError, "The value that it has; of a token nothing.", "{} is `{}`: allowed is {}"
}
