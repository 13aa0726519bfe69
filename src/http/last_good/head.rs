//! The head of an answer that may be kept: how old it is, how long it is fresh, and what it varies by.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_RANGE, DATE, EXPIRES, SET_COOKIE, VARY},
    response,
};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::{
    directives::{Directives, seconds},
    request_key::Asked,
    stored_headers::{ASIDE, is_of_the_body, kept_headers, only},
};
use crate::base::{clock::Clock, moment::Moment};

/// More names than this in `Vary` are nobody's honest header.
const MOST_VARY: usize = 16;
/// What an entry costs beside what it says: the maps, the counters, moka's own. Generous.
pub(super) const OVERHEAD: usize = 384;

/// No freshness is longer: 68 years, as for numbers that are too large (RFC 9111, 1.2.2).
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// An answer's head, once it is known that it may be kept. Its bytes are its own: a slice of the connection's buffer would
/// keep the whole buffer.
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    /// What is not served, and told what the others mean: for a 304 that says no more than that all is as it was.
    pub(super) aside: HeaderMap,
    /// What its `Vary` names: sorted, and each once.
    pub(super) names: Box<[HeaderName]>,
    pub(super) asked_at: Moment,
    arrived_at: Moment,
    age_on_arrival: Duration,
    lifetime: Duration,
    /// How long past its lifetime it may be served.
    max_stale: Duration,
    for_everybody: bool,
}

impl Head {
    /// The head of an answer as it would be kept; `None` if it must not be.
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
        // RFC 9111, 4.2.4. What the answer itself says of errors is the more explicit (RFC 5861, 4).
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

    /// The headers of the whole answer, as a 304 with these headers confirms it.
    pub(super) fn confirmed_by(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().chain(&self.aside) {
            // A date says when it was sent, not when it was found to be true still.
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

    /// How long it may still be served.
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
        // 64 for what the map takes for each.
        let of = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 64;
        let headers = self.headers.iter().chain(&self.aside);
        let headers = headers.map(|(name, value)| of(name, value));
        let names = self.names.iter().map(|name| name.as_str().len() + 64);
        OVERHEAD + headers.sum::<usize>() + names.sum::<usize>()
    }
}

/// How long the answer is fresh, as the crate for it says; `None` if it says that a shared cache may not store it.
fn lifetime(said: &Directives, wants: &Directives, headers: &HeaderMap) -> Option<Duration> {
    let mut answer = Response::new(());
    let shown = answer.headers_mut();
    // Whose it is has been decided by now: a user's own key lets in what is `private`.
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
        // Freshness is what somebody said, not a guess by how long ago the resource was changed: staleness has a bound here.
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ..CacheOptions::default()
    };
    let policy = CachePolicy::new_options(&request, &answer, arrived, options);
    // `Expires` may name the year 9999.
    policy
        .is_storable()
        .then(|| policy.time_to_live(arrived).min(LONGEST))
}

/// How old the answer was when it came (RFC 9111, 4.2.3): by its `Date`, or by what caches between say, whichever is more.
fn age(headers: &HeaderMap, delay: Duration) -> Duration {
    let said = headers.get_all(AGE).iter();
    let seconds = said.map(|age| age.to_str().map_or(0, |age| seconds(age.trim())));
    let by_caches = Duration::from_secs(seconds.max().unwrap_or(0)).saturating_add(delay);
    // A date from the future says nothing, and neither does one that cannot be read.
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let by_date = date.and_then(|date| Clock::wall().duration_since(date).ok());
    by_caches.max(by_date.unwrap_or_default())
}

/// What `Vary` names; `None` where no request could match, or too many are named.
pub(super) fn names(headers: &HeaderMap) -> Option<Box<[HeaderName]>> {
    let mut names: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            if name.is_empty() {
                continue;
            }
            // `*` is a token, and so a name to the parser.
            if name == "*" {
                return None;
            }
            let name: HeaderName = name.parse().ok()?;
            if names.contains(&name) {
                continue;
            }
            if names.len() == MOST_VARY {
                return None;
            }
            names.push(name);
        }
    }
    // However they are ordered, they tell the same apart.
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    Some(names.into())
}
