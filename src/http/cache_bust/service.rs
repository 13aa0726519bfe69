//! What is done to a request before the inner service sees it, and to its response afterwards.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        CACHE_CONTROL, ETAG, EXPIRES, Entry, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
        PRAGMA, RANGE, SET_COOKIE,
    },
    request::Parts,
};
use pin_project_lite::pin_project;
use tower::Service;

use super::{
    clear_site_data::{Clearing, Limit, Secure},
    cookies::{NamedCookie, Told, told},
    etag::{List, Salt, without_any_salt},
};
use crate::{
    facts::refused::Refused, http::routes::path_pattern::Matcher,
    operator::handle::MaintenanceHandle,
};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// Where a response tells a CDN on purpose to keep it.
const FOR_CDNS: [HeaderName; 3] = [
    CDN_CACHE_CONTROL,
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];
/// An `If-Match` that nothing matches: it asks for a strong comparison, and this is weak (RFC 9110, 13.1.1).
const NOTHING_MATCHES: HeaderValue = HeaderValue::from_static("W/\"of-another-generation\"");

/// What was built, shared by the layer's clones and services.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) handle: MaintenanceHandle,
    pub(super) header: HeaderName,
    pub(super) except: Matcher,
    /// Whether a write's tags count only if they are of this generation.
    pub(super) strict_writes: bool,
    pub(super) carriers: Matcher,
    pub(super) cookie: NamedCookie,
    /// Names, and what expires them.
    pub(super) expired: Vec<(String, HeaderValue)>,
    pub(super) clear: Option<HeaderValue>,
    /// What is lower no client was ever told: it is given no share of the limit.
    pub(super) oldest: u64,
    pub(super) limit: Limit,
    pub(super) secure: Secure,
    /// Header, tags, and what stands between tags.
    pub(super) tags: Vec<(HeaderName, HeaderValue, &'static str)>,
    pub(super) healed: AtomicU64,
    pub(super) cleared: AtomicU64,
}

/// What a request said, for its response.
#[derive(Debug)]
struct Plan {
    /// As the request came: an answer that was begun before a recovery is of the time before.
    generation: u64,
    covered: bool,
    read: bool,
    cure: Option<Cure>,
}

#[derive(Debug, Clone, Copy)]
enum Cure {
    /// Tells the client its generation.
    Greet,
    /// Heals the client of what it has from before, and tells it its generation.
    Heal { clearing: bool },
}

impl Rules {
    fn before(&self, request: &mut Parts) -> Plan {
        // Time alone may have brought the recovery, and nobody else may have called since.
        let generation = self.handle.shared().generation_now();
        let read = matches!(request.method, Method::GET | Method::HEAD);
        let path = request.uri.path();
        let covered = self.except.find(path).is_none();
        let cure = self.cure(request, generation);
        if covered {
            unsalt(&mut request.headers, generation, read, self.strict_writes);
        }
        Plan {
            generation,
            covered,
            read,
            cure,
        }
    }

    fn cure(&self, request: &Parts, generation: u64) -> Option<Cure> {
        let is_carrier =
            request.method == Method::GET && self.carriers.find(request.uri.path()).is_some();
        let has_cures = self.clear.is_some() || !self.expired.is_empty();
        if !is_carrier || !has_cures {
            return None;
        }
        match told(&request.headers, self.cookie.name(), generation) {
            Told::Enough => None,
            Told::Never => Some(Cure::Greet),
            // Behind a start, which is no recovery: each deployment would heal everybody.
            Told::Before(_) if self.handle.shared().is_own_start(generation) => Some(Cure::Greet),
            Told::Before(said) if self.clear.is_none() || said < self.oldest => {
                Some(Cure::Heal { clearing: false })
            }
            Told::Before(_) => match self.secure.clearing(request) {
                Clearing::Now => Some(Cure::Heal { clearing: true }),
                Clearing::Never => Some(Cure::Heal { clearing: false }),
                // All of it, or else the cookie would say that it has been told.
                Clearing::Later => None,
            },
        }
    }

    fn after<B>(&self, plan: &Plan, response: &mut Response<B>) {
        // A refusal is not kept by anybody, and says itself what it has to say.
        if response.extensions().get::<Refused>().is_some() {
            return;
        }
        let status = response.status();
        let is_good = status.is_success() || status == StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        headers
            .entry(&self.header)
            .or_insert_with(|| plan.generation.into());
        if plan.covered {
            salt(headers, plan.generation);
        }
        if is_good && plan.covered && plan.read {
            for (name, tags, separator) in &self.tags {
                add(headers, name, tags, separator);
            }
            let says_nothing =
                [CACHE_CONTROL, EXPIRES, PRAGMA].map(|name| !headers.contains_key(name));
            // A 304 that says nothing leaves what is stored as it was said (RFC 9111, 3.2).
            if says_nothing == [true; 3] && status.is_success() {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
        }
        if is_good && let Some(cure) = plan.cure {
            self.apply(cure, plan.generation, headers);
        }
    }

    fn apply(&self, cure: Cure, generation: u64, headers: &mut HeaderMap) {
        // A CDN that keeps the response would hand the cure to everybody, again and again.
        if FOR_CDNS.iter().any(|name| headers.contains_key(name)) {
            return;
        }
        let Ok(told) = self.cookie.of_generation(generation) else {
            return;
        };
        let mut is_all = true;
        if let Cure::Heal { clearing } = cure {
            if clearing && let Some(clear) = &self.clear {
                // Not twice: another answer will do.
                if headers.contains_key(CLEAR_SITE_DATA) {
                    return;
                }
                // Not in the same second as too many others either, but the cookies need not wait for that.
                is_all = self.limit.takes_one();
                if is_all {
                    headers.insert(CLEAR_SITE_DATA, clear.clone());
                    self.cleared.fetch_add(1, Ordering::Relaxed);
                } else if self.expired.is_empty() {
                    return;
                }
            }
            for (name, expired) in &self.expired {
                // What the inner service sets just now is not old.
                if !sets(headers, name) {
                    headers.append(SET_COOKIE, expired.clone());
                }
            }
            self.healed.fetch_add(u64::from(is_all), Ordering::Relaxed);
        }
        if is_all {
            headers.append(SET_COOKIE, told);
        }
        keep_nowhere(headers);
    }
}

/// Turns a client's conditions into those of the inner service.
fn unsalt(headers: &mut HeaderMap, generation: u64, read: bool, strict_writes: bool) {
    if read {
        // A date says nothing of the generation. Beside an `If-None-Match` it never counts (RFC 9110, 13.1.3), but where
        // that is removed it would, and the old body would be confirmed.
        headers.remove(IF_MODIFIED_SINCE);
    }
    // Most requests have none: no salt is made for them.
    let bears_tags = [IF_NONE_MATCH, IF_MATCH, IF_RANGE].map(|name| headers.contains_key(name));
    if bears_tags == [false; 3] {
        return;
    }
    let salt = Salt::new(generation);
    // Of a write the inner service judges all tags: replicas differ in their generations, but not in their validators.
    let unsalted = |headers: &HeaderMap, name, only_ours| {
        let lines = headers.get_all(name).iter();
        if only_ours {
            salt.unsalted(lines)
        } else {
            without_any_salt(lines)
        }
    };
    if headers.contains_key(IF_NONE_MATCH) {
        match unsalted(headers, IF_NONE_MATCH, read) {
            List::Any => {}
            List::Ours(tags) => {
                headers.insert(IF_NONE_MATCH, tags);
            }
            List::NoneOfOurs => {
                headers.remove(IF_NONE_MATCH);
            }
            // Of a read the whole answer is always right; of a write the inner service judges.
            List::Malformed if read => {
                headers.remove(IF_NONE_MATCH);
            }
            List::Malformed => {}
        }
    }
    if headers.contains_key(IF_MATCH) {
        let only_ours = read || strict_writes;
        match unsalted(headers, IF_MATCH, only_ours) {
            List::Any => {}
            List::Ours(tags) => {
                headers.insert(IF_MATCH, tags);
            }
            List::Malformed if !only_ours => {}
            // Not taken away, for then the write would go ahead; and not answered here, since who may not write at
            // all is told so first (RFC 9110, 13.2.1).
            List::NoneOfOurs | List::Malformed => {
                headers.insert(IF_MATCH, NOTHING_MATCHES);
            }
        }
    }
    if read && headers.contains_key(IF_RANGE) {
        match unsalted(headers, IF_RANGE, true) {
            List::Ours(tag) => {
                headers.insert(IF_RANGE, tag);
            }
            // Without the range too: it would be a part of the new body, glued to a part of the old one.
            List::Any | List::NoneOfOurs | List::Malformed => {
                headers.remove(IF_RANGE);
                headers.remove(RANGE);
            }
        }
    }
}

/// Salts the response's entity-tag. What is none stays as it is; sent back, it is of no generation.
fn salt(headers: &mut HeaderMap, generation: u64) {
    if let Entry::Occupied(mut tags) = headers.entry(ETAG) {
        let salt = Salt::new(generation);
        for tag in tags.iter_mut() {
            if let Some(salted) = salt.salted(tag) {
                *tag = salted;
            }
        }
    }
}

/// Adds tags to those that stand there already.
fn add(headers: &mut HeaderMap, name: &HeaderName, tags: &HeaderValue, separator: &str) {
    let both = match joined(headers, name, separator) {
        Some(mut said) => {
            said.extend_from_slice(separator.as_bytes());
            said.extend_from_slice(tags.as_bytes());
            HeaderValue::from_bytes(&said).unwrap_or_else(|_| tags.clone())
        }
        None => tags.clone(),
    };
    headers.insert(name, both);
}

/// The lines of a header as one; `None` if there is nothing in them.
fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> Option<Vec<u8>> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join(separator.as_bytes()))
}

fn sets(headers: &HeaderMap, cookie: &str) -> bool {
    headers.get_all(SET_COOKIE).iter().any(|line| {
        let pair = line.as_bytes().trim_ascii_start();
        let after = pair.strip_prefix(cookie.as_bytes());
        after.is_some_and(|after| after.trim_ascii_start().starts_with(b"="))
    })
}

/// Keeps the response out of every store: what is for one client at one time is not handed out again.
///
/// What the inner service said stays. `no-store` beats all of it (RFC 9111, 4.2.1: the most restrictive counts).
fn keep_nowhere(headers: &mut HeaderMap) {
    let no_store = HeaderValue::from_static("no-store");
    let said = joined(headers, &CACHE_CONTROL, ", ").unwrap_or_default();
    let mut directives = said.split(|&byte| byte == b',');
    let says_so = directives.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-store"));
    // Within quotes it would be a field's name or nothing at all.
    if !says_so || said.contains(&b'"') {
        add(headers, &CACHE_CONTROL, &no_store, ", ");
    }
    headers.insert(CDN_CACHE_CONTROL, no_store);
}

/// Around a service of one's own; made by [`CacheBustLayer`](super::CacheBustLayer).
#[derive(Debug, Clone)]
pub struct CacheBusting<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> CacheBusting<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, A, B> Service<Request<A>> for CacheBusting<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = CacheBustFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let plan = self.rules.before(&mut head);
        CacheBustFuture {
            inner: self.inner.call(Request::from_parts(head, body)),
            rules: self.rules.clone(),
            plan,
        }
    }
}

pin_project! {
    /// The response future of [`CacheBusting`].
    #[derive(Debug)]
    pub struct CacheBustFuture<F> {
        #[pin]
        inner: F,
        rules: Arc<Rules>,
        plan: Plan,
    }
}

impl<F, B, E> Future for CacheBustFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        this.rules.after(this.plan, &mut response);
        Poll::Ready(Ok(response))
    }
}
