//! The head of an answer that may be stored: its age, its freshness, and the headers it varies by.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_RANGE, DATE, EXPIRES, HOST, SET_COOKIE, VARY},
    response,
};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::{
    directives::{Directives, seconds},
    request_key::Asked,
    stored_headers::{ASIDE, is_of_the_body, kept_headers, only},
};
use crate::{
    base::{clock::Clock, moment::Moment},
    http::shared_caches::replaces_the_body,
};

/// A `Vary` with more names than this is not genuine.
const MOST_VARY: usize = 16;
/// The memory of an entry beside its data: maps, counters, and moka's own. A high estimate.
pub(super) const OVERHEAD: usize = 384;

/// The longest freshness: 68 years, as for numbers that are too large (RFC 9111, 1.2.2).
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// The head of an answer that may be stored.
///
/// It owns its bytes: a slice of the connection's buffer would keep the whole buffer alive.
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    /// Headers that are not served. They determine the freshness again when a 304 confirms the
    /// answer.
    pub(super) aside: HeaderMap,
    /// The names in `Vary`, sorted and without duplicates.
    pub(super) names: Box<[HeaderName]>,
    pub(super) asked_at: Moment,
    arrived_at: Moment,
    age_on_arrival: Duration,
    lifetime: Duration,
    /// How long the answer may be served past its lifetime.
    max_stale: Duration,
    for_everybody: bool,
}

impl Head {
    /// Returns the head as it is to be stored; `None` if the answer must not be stored.
    pub(super) fn of(
        asked: &Asked,
        answer: &response::Parts,
        longest_stale: Duration,
        now: Moment,
    ) -> Option<Self> {
        let said = Directives::read(&answer.headers)?;
        let wants = asked.directives()?;
        let headers = &answer.headers;
        let keyed = asked.key.is_a_users();
        let for_everybody = said.has("public") || said.has("s-maxage");
        let of_one_user = said.has("private") || headers.contains_key(SET_COOKIE);
        let refused = asked.method != Method::GET
            || answer.status != StatusCode::OK
            || headers.contains_key(CONTENT_RANGE)
            || replaces_the_body(headers)
            || said.has("no-store")
            || said.has("no-cache")
            || asked.is_authorized_unkeyed()
            || (of_one_user && !keyed)
            || (asked.bears_cookies_unkeyed() && !for_everybody);
        if refused {
            return None;
        }
        let names = names(headers)?;
        let lifetime = lifetime(&said, wants, headers)?;
        // RFC 9111, 4.2.4. The answer's own `stale-if-error` is more explicit than `s-maxage` (RFC
        // 5861, 4).
        let must_be_fresh = said.has("must-revalidate") || said.has("proxy-revalidate");
        let max_stale = match said.seconds("stale-if-error") {
            _ if must_be_fresh => Duration::ZERO,
            Some(explicit) => explicit.min(longest_stale),
            None if said.has("s-maxage") => Duration::ZERO,
            None => longest_stale,
        };
        Some(Self {
            headers: kept_headers(headers),
            aside: only(headers, &ASIDE),
            names,
            asked_at: asked.at,
            arrived_at: now,
            age_on_arrival: age(headers, now.since(asked.at)),
            lifetime,
            max_stale,
            for_everybody,
        })
    }

    /// Returns the headers of the full answer after a 304 with the headers `answer` has confirmed
    /// it.
    pub(super) fn confirmed_by(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().chain(&self.aside) {
            // The old `Date` does not say when the answer was confirmed.
            let is_said_anew = *name == DATE || answer.contains_key(name);
            if is_of_the_body(name) || !is_said_anew {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in answer {
            if !is_of_the_body(name) {
                headers.append(name, value.clone());
            }
        }
        headers
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        self.age_on_arrival
            .saturating_add(now.since(self.arrived_at))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Returns how long the answer may still be served.
    pub(super) fn left(&self, now: Moment) -> Duration {
        let longest = self.lifetime.saturating_add(self.max_stale);
        longest.saturating_sub(self.age(now))
    }

    pub(super) fn may_be_served(&self, asked: &Asked, now: Moment) -> bool {
        let age = self.age(now);
        !self.left(now).is_zero()
            && !asked.is_authorized_unkeyed()
            && (self.for_everybody || !asked.bears_cookies_unkeyed())
            && asked.takes(age, self.lifetime)
    }

    pub(super) fn bytes(&self) -> usize {
        // 64 bytes for the map's own memory per header.
        let of = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 64;
        let headers = self.headers.iter().chain(&self.aside);
        let headers = headers.map(|(name, value)| of(name, value));
        let names = self.names.iter().map(|name| name.as_str().len() + 64);
        OVERHEAD + headers.sum::<usize>() + names.sum::<usize>()
    }
}

/// Returns how long the answer is fresh, by `http-cache-semantics`; `None` if a shared cache must
/// not store it.
fn lifetime(said: &Directives, wants: &Directives, headers: &HeaderMap) -> Option<Duration> {
    let mut answer = Response::new(());
    let shown = answer.headers_mut();
    // Without `private`: the caller has handled it. An answer with a user's key may be `private`.
    if let Some(plain) = said.plain(&["max-age", "s-maxage", "public", "no-store", "no-cache"]) {
        shown.insert(CACHE_CONTROL, plain);
    }
    for name in [EXPIRES, DATE] {
        if let Some(value) = headers.get(&name) {
            shown.insert(name, value.clone());
        }
    }
    let mut request = Request::new(());
    if let Some(plain) = wants.plain(&["no-store"]) {
        request.headers_mut().insert(CACHE_CONTROL, plain);
    }
    let arrived = Clock::wall();
    let options = CacheOptions {
        // Only explicit freshness counts, no guess from `Last-Modified`: staleness is bounded here.
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ..CacheOptions::default()
    };
    let policy = CachePolicy::new_options(&request, &answer, arrived, options);
    // `Expires` may be in the year 9999.
    policy
        .is_storable()
        .then(|| policy.time_to_live(arrived).min(LONGEST))
}

/// Returns the age of the answer on arrival (RFC 9111, 4.2.3): by its `Date`, or by the `Age` of
/// caches in between, whichever is more.
fn age(headers: &HeaderMap, delay: Duration) -> Duration {
    let said = headers.get_all(AGE).iter();
    let seconds = said.map(|age| age.to_str().map_or(0, |age| seconds(age.trim())));
    let by_caches = Duration::from_secs(seconds.max().unwrap_or(0)).saturating_add(delay);
    // A date in the future and a malformed date are ignored.
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let by_date = date.and_then(|date| Clock::wall().duration_since(date).ok());
    by_caches.max(by_date.unwrap_or_default())
}

/// Returns the names in `Vary`; `None` if no request could match, or if there are too many.
///
/// Without `Host`: the target URI is a part of the key, and over HTTP/2 there is no `Host`.
pub(super) fn names(headers: &HeaderMap) -> Option<Box<[HeaderName]>> {
    let mut names: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            if name.is_empty() {
                continue;
            }
            // `*` is a token, so the parser would accept it as a name.
            if name == "*" {
                return None;
            }
            let name: HeaderName = name.parse().ok()?;
            if name == HOST || names.contains(&name) {
                continue;
            }
            if names.len() == MOST_VARY {
                return None;
            }
            names.push(name);
        }
    }
    // The order of the names has no meaning.
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    Some(names.into())
}
