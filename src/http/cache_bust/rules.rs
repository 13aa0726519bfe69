//! The rules for a request before the inner service sees it, and for its response.

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
    response_headers::{add, keep_nowhere, salt, sets},
};
use crate::{
    facts::refused::Refused,
    http::{routes::path_pattern::Matcher, shared_caches::asks_to_be_kept},
    operator::handle::MaintenanceHandle,
};

pub(in crate::http) const GENERATION_HEADER: &str = "maintenance-generation";
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// The checked settings, shared by the layer's clones and services.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) handle: MaintenanceHandle,
    pub(super) header: HeaderName,
    pub(super) except: Matcher,
    /// Whether a write's `If-Match` counts only with a tag of this generation.
    pub(super) strict_writes: bool,
    pub(super) carriers: Matcher,
    pub(super) cookie: NamedCookie,
    /// The names of the cookies to expire, and the header that expires each.
    pub(super) expired: Vec<(String, HeaderValue)>,
    pub(super) clear: Option<HeaderValue>,
    /// No client was ever told a lower generation: such a cookie is forged and uses up no limit.
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
    /// The text between two tags.
    pub(super) separator: &'static str,
}

/// The decisions that are made from the request, for its response.
#[derive(Debug)]
pub(super) struct Plan {
    /// The generation when the request came. An answer that began before a recovery belongs to the
    /// time before it.
    generation: u64,
    /// Whether the path is not excepted.
    covered: bool,
    /// Whether the method is GET or HEAD.
    read: bool,
    cure: Option<Cure>,
}

#[derive(Debug, Clone, Copy)]
enum Cure {
    /// Tells the client its generation.
    Greet,
    /// Removes what the client has stored from before, and tells it its generation.
    Heal { clearing: bool },
}

impl Rules {
    pub(super) fn before(&self, request: &mut Parts) -> Plan {
        // A hold or a wait may have run out, and no call may have applied that yet.
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
            // The client is behind a process start, not behind a recovery. Otherwise each
            // deployment would heal every client.
            Told::Before(_) if self.handle.is_own_start(generation) => Some(Cure::Greet),
            Told::Before(said) if self.clear.is_none() || said < self.oldest => {
                Some(Cure::Heal { clearing: false })
            }
            Told::Before(_) => match self.secure.clearing(request) {
                Clearing::Now => Some(Cure::Heal { clearing: true }),
                Clearing::Never => Some(Cure::Heal { clearing: false }),
                // No cure at all: with a part of it, the cookie would mark the client as healed.
                Clearing::Later => None,
            },
        }
    }

    pub(super) fn after<B>(&self, plan: &Plan, response: &mut Response<B>) {
        // No cache stores a refusal, and it sets its own headers.
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
            // A 304 without these headers leaves those of the stored answer (RFC 9111, 3.2).
            if says_nothing == [true; 3] && status.is_success() {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
        }
        if is_good && let Some(cure) = plan.cure {
            self.apply(cure, plan.generation, headers);
        }
    }

    fn apply(&self, cure: Cure, generation: u64, headers: &mut HeaderMap) {
        // A CDN that stores the response would send the cure to every client, again and again.
        if asks_to_be_kept(headers) {
            return;
        }
        let Ok(told) = self.cookie.of_generation(generation) else {
            return;
        };
        let mut is_all = true;
        if let Cure::Heal { clearing } = cure {
            if clearing && let Some(clear) = &self.clear {
                // The inner service has set it already. A later response sends the cure.
                if headers.contains_key(CLEAR_SITE_DATA) {
                    return;
                }
                // The limit delays the clearing only. Cookies are expired meanwhile.
                is_all = self.limit.takes_one();
                if is_all {
                    headers.insert(CLEAR_SITE_DATA, clear.clone());
                    self.cleared.fetch_add(1, Ordering::Relaxed);
                } else if self.expired.is_empty() {
                    return;
                }
            }
            for (name, expired) in &self.expired {
                // A cookie that the inner service sets in this response is not an old one.
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
