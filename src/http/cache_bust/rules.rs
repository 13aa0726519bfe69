//! What is done to a request before the inner service sees it, and to its response afterwards.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, EXPIRES, PRAGMA, SET_COOKIE},
    request::Parts,
};

use super::{
    clear_site_data::{Clearing, Limit, Secure},
    conditions::unsalt,
    cookies::{NamedCookie, Told, told},
    response_headers::{CDN_CACHE_CONTROL, add, keep_nowhere, salt, sets},
};
use crate::{
    error::Refused, http::routes::path_pattern::Matcher, operator::handle::MaintenanceHandle,
};

pub(in crate::http) const GENERATION_HEADER: &str = "maintenance-generation";
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// Where a response tells a CDN on purpose to keep it.
const FOR_CDNS: [HeaderName; 3] = [
    CDN_CACHE_CONTROL,
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

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
    pub(super) tags: Vec<Tagging>,
    pub(super) healed: AtomicU64,
    pub(super) cleared: AtomicU64,
}

/// The tags that a response bears in one header.
#[derive(Debug)]
pub(super) struct Tagging {
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
    /// What stands between tags.
    pub(super) separator: &'static str,
}

/// What a request said, for its response.
#[derive(Debug)]
pub(super) struct Plan {
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
    pub(super) fn before(&self, request: &mut Parts) -> Plan {
        // Time alone may have brought the recovery, and nobody else may have called since.
        let generation = self.handle.generation_now();
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
            Told::Before(_) if self.handle.is_own_start(generation) => Some(Cure::Greet),
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

    pub(super) fn after<B>(&self, plan: &Plan, response: &mut Response<B>) {
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
            for tags in &self.tags {
                add(headers, &tags.header, &tags.value, tags.separator);
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
