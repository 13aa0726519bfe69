//! What is kept, of whom, and for how long.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        AGE, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, DATE, EXPIRES, SET_COOKIE,
        TRANSFER_ENCODING, VARY,
    },
    request, response,
};
use http_cache_semantics::{CacheOptions, CachePolicy};
use moka::{
    Expiry,
    ops::compute::{CompResult, Op},
    sync::Cache,
};

use super::{
    LastGoodCounts,
    asked::{Asked, Key},
    directives::{Directives, seconds},
};
use crate::{clock::Clock, http::prefix::AnswerPrefix, moment::Moment};

/// How many answers to one resource of one user are kept, by what their `Vary` tells apart: languages, formats.
const MOST_VARIANTS: usize = 8;
/// More names than this in `Vary` are nobody's honest header.
const MOST_VARY: usize = 16;
/// What an entry costs beside what it says: the maps, the counters, moka's own. Generous.
const OVERHEAD: usize = 512;
/// How many counters tell what was begun before a write. Two resources that share one lose a copy under way at worst.
const EPOCHS: usize = 256;

/// No freshness is longer: 68 years, as for numbers that are too large (RFC 9111, 1.2.2).
const LONGEST: Duration = Duration::from_secs(1 << 31);

pub(super) type Good = dyn Fn(&AnswerPrefix<'_>) -> bool + Send + Sync;

/// What was built: how much is kept, and what is good.
pub(super) struct Limits {
    pub(super) max_stale: Duration,
    pub(super) max_entry: usize,
    pub(super) max_total: u64,
    pub(super) good: Option<Arc<Good>>,
}

pub(super) struct Store {
    limits: Limits,
    clock: Clock,
    cache: Cache<Key, Resource>,
    /// How often was dropped what is kept; by a hash of its key.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
    stored: AtomicU64,
    served: AtomicU64,
    missed: AtomicU64,
}

/// The answers to one resource of one user, the newest first.
#[derive(Clone)]
struct Resource {
    variants: Arc<[Arc<Kept>]>,
    key_bytes: usize,
    /// How long the last of them may still be served.
    left: Duration,
}

/// An answer that is kept.
pub(super) struct Kept {
    pub(super) head: Head,
    pub(super) body: Bytes,
}

/// An answer's head, once it is known that it may be kept. Its bytes are its own: a slice of the connection's buffer would
/// keep the whole buffer.
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    /// What the request said of the headers that `Vary` names.
    varied: Vec<(HeaderName, Vec<HeaderValue>)>,
    asked_at: Moment,
    age_on_arrival: Duration,
    lifetime: Duration,
    /// How long past its lifetime it may be served.
    max_stale: Duration,
    for_everybody: bool,
}

impl Head {
    pub(super) fn age(&self, now: Moment) -> Duration {
        self.age_on_arrival.saturating_add(now.since(self.asked_at))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// How long it may still be served.
    fn left(&self, now: Moment) -> Duration {
        let longest = self.lifetime.saturating_add(self.max_stale);
        longest.saturating_sub(self.age(now))
    }

    fn answers(&self, asked: &Asked) -> bool {
        let same = |(name, values): &(HeaderName, Vec<HeaderValue>)| asked.values(name).eq(values);
        self.varied.iter().all(same)
    }

    fn may_be_served(&self, asked: &Asked, now: Moment) -> bool {
        let age = self.age(now);
        !self.left(now).is_zero()
            && !asked.is_authorized_unkeyed()
            && (self.for_everybody || !asked.bears_cookies_unkeyed())
            && asked.takes(age, self.lifetime)
    }

    pub(super) fn bytes(&self) -> usize {
        // 64 for what the map takes for each.
        let of = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 64;
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| of(name, value))
            .sum();
        let varied = self.varied.iter().map(|(name, values)| {
            let values: usize = values.iter().map(|value| value.len() + 64).sum();
            name.as_str().len() + 64 + values
        });
        OVERHEAD + headers + varied.sum::<usize>()
    }
}

struct WhileServable;

impl Expiry<Key, Resource> for WhileServable {
    fn expire_after_create(&self, _: &Key, new: &Resource, _: Instant) -> Option<Duration> {
        Some(new.left)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        new: &Resource,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(new.left)
    }
}

impl Store {
    pub(super) fn new(limits: Limits) -> Self {
        let weigh = |_: &Key, resource: &Resource| {
            let kept = resource.variants.iter();
            let bytes: usize = kept.map(|kept| kept.head.bytes() + kept.body.len()).sum();
            u32::try_from(bytes + resource.key_bytes).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(limits.max_total)
            .expire_after(WhileServable)
            .build();
        Self {
            limits,
            clock: Clock::start(),
            cache,
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            stored: AtomicU64::new(0),
            served: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    fn epoch(&self, key: &Key) -> &AtomicU64 {
        // Both numbers are small: 256 fits any.
        &self.epochs[(self.hasher.hash_one(key) % EPOCHS as u64) as usize]
    }

    /// A request that is opted in, as it begins.
    pub(super) fn asked(&self, parts: &request::Parts, user: Option<String>) -> Asked {
        let mut asked = Asked::new(parts, user, self.now());
        asked.epoch = self.epoch(&asked.key).load(Ordering::SeqCst);
        asked
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The head of an answer as it would be kept; `None` if it must not be.
    pub(super) fn head(&self, asked: &Asked, answer: &response::Parts) -> Option<Head> {
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
        let varied = varied(headers, asked)?;
        let lifetime = lifetime(&said, wants, headers)?;
        // RFC 9111, 4.2.4. What the answer itself says of errors is the more explicit (RFC 5861, 4).
        let must_be_fresh = said.has("must-revalidate") || said.has("proxy-revalidate");
        let max_stale = match said.seconds("stale-if-error") {
            _ if must_be_fresh => Duration::ZERO,
            Some(explicit) => explicit.min(self.limits.max_stale),
            None if said.has("s-maxage") => Duration::ZERO,
            None => self.limits.max_stale,
        };
        let head = Head {
            headers: kept_headers(headers),
            varied,
            asked_at: asked.at,
            age_on_arrival: age(headers),
            lifetime,
            max_stale,
            for_everybody,
        };
        let bytes = head.bytes() + asked.key.bytes();
        (bytes <= self.limits.max_entry && !head.left(self.now()).is_zero()).then_some(head)
    }

    /// Keeps an answer whose body has come to its end, unless what is kept was asked for later: whoever reads slowly ends last.
    pub(super) fn keep(&self, asked: &Asked, head: Head, body: Vec<u8>) {
        let key = &asked.key;
        if let Some(good) = &self.limits.good
            && !good(&AnswerPrefix::whole(StatusCode::OK, &head.headers, &body))
        {
            return;
        }
        let is_dropped = || self.epoch(key).load(Ordering::SeqCst) != asked.epoch;
        if is_dropped() {
            return;
        }
        let body = Bytes::from(body.into_boxed_slice());
        let new = Arc::new(Kept { head, body });
        let now = self.now();
        let put = self.cache.entry_by_ref(key).and_compute_with(|known| {
            let known = known.map(|known| known.into_value().variants);
            let known = || known.iter().flat_map(|variants| variants.iter());
            let is_newer =
                |other: &Arc<Kept>| other.head.answers(asked) && other.head.asked_at > asked.at;
            if known().any(is_newer) {
                return Op::Nop;
            }
            let others = known()
                .filter(|other| !other.head.answers(asked) && !other.head.left(now).is_zero());
            let variants: Arc<[_]> = std::iter::once(&new)
                .chain(others)
                .take(MOST_VARIANTS)
                .cloned()
                .collect();
            let left = variants.iter().map(|kept| kept.head.left(now)).max();
            Op::Put(Resource {
                left: left.unwrap_or_default(),
                key_bytes: key.bytes(),
                variants,
            })
        });
        // Once more: who dropped what is kept between the first look and the put may have been too early to find it.
        // Whoever counts after this look drops it.
        if is_dropped() {
            self.cache.invalidate(key);
        } else if !matches!(put, CompResult::Unchanged(_) | CompResult::StillNone(_)) {
            self.stored.fetch_add(1, Ordering::Relaxed);
        }
        // Now rather than some writes later: moka would hold hundreds of entries beyond its bound until then.
        self.cache.run_pending_tasks();
    }

    /// What may be served for this request, and when that was found.
    pub(super) fn find(&self, asked: &Asked) -> Option<(Arc<Kept>, Moment)> {
        let now = self.now();
        let known = self.cache.get(&asked.key);
        let newest = known.iter().flat_map(|known| known.variants.iter());
        let found = newest
            .filter(|kept| kept.head.answers(asked))
            .find(|kept| kept.head.may_be_served(asked, now));
        let count = if found.is_some() {
            &self.served
        } else {
            &self.missed
        };
        count.fetch_add(1, Ordering::Relaxed);
        found.map(|kept| (kept.clone(), now))
    }

    pub(super) fn forget(&self, key: &Key) {
        // First: what is put in from here on either sees it, or was there to be dropped.
        self.epoch(key).fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(key);
    }

    pub(super) fn clear(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
        self.cache.invalidate_all();
        self.cache.run_pending_tasks();
    }

    pub(super) fn counts(&self) -> LastGoodCounts {
        self.cache.run_pending_tasks();
        LastGoodCounts {
            stored: self.stored.load(Ordering::Relaxed),
            served: self.served.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            resources: self.cache.entry_count(),
            bytes: self.cache.weighted_size(),
        }
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

/// How old the answer was when it came: whatever caches stand between.
fn age(headers: &HeaderMap) -> Duration {
    let said = headers.get_all(AGE).iter();
    let seconds = said.map(|age| age.to_str().map_or(0, |age| seconds(age.trim())));
    Duration::from_secs(seconds.max().unwrap_or(0))
}

/// What the request says of the headers that `Vary` names; `None` where no request could match, or too many are named.
fn varied(headers: &HeaderMap, asked: &Asked) -> Option<Vec<(HeaderName, Vec<HeaderValue>)>> {
    let mut varied: Vec<(HeaderName, Vec<HeaderValue>)> = Vec::new();
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
            if varied.iter().any(|(known, _)| *known == name) {
                continue;
            }
            if varied.len() == MOST_VARY {
                return None;
            }
            let values = asked.values(&name).map(own).collect();
            varied.push((name, values));
        }
    }
    Some(varied)
}

/// The headers that a later reader may be given.
fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    let of_this_connection: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        if !is_left_out(name) && !of_this_connection.contains(name) {
            kept.append(name.clone(), own(value));
        }
    }
    kept
}

/// What belongs to one connection, to one reader, or to a life in caches that a stored answer no longer has.
fn is_left_out(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == SET_COOKIE
        // `CDN-Cache-Control` and its kin (RFC 9213) would let a CDN keep it.
        || text.ends_with("cache-control")
        || text.starts_with("proxy-")
        || matches!(
            text,
            "age"
                | "authentication-info"
                | "clear-site-data"
                | "content-length"
                | "etag"
                | "expires"
                | "keep-alive"
                | "last-modified"
                | "pragma"
                | "retry-after"
                | "set-cookie2"
                | "surrogate-control"
                | "te"
                | "trailer"
                | "upgrade"
                | "warning"
                | "www-authenticate"
        )
}

fn own(value: &HeaderValue) -> HeaderValue {
    let copied = HeaderValue::from_bytes(value.as_bytes());
    let mut own = copied.unwrap_or_else(|_| unreachable!("it is a header's value already"));
    own.set_sensitive(value.is_sensitive());
    own
}
