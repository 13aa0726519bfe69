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
        AGE, CACHE_CONTROL, CONNECTION, CONTENT_RANGE, DATE, ETAG, EXPIRES, PRAGMA, SET_COOKIE,
        TRANSFER_ENCODING, VARY,
    },
    request, response,
};
use http_cache_semantics::{CacheOptions, CachePolicy};
use moka::{
    Expiry,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};

use super::{
    LastGoodCounts,
    directives::{Directives, seconds},
    request_key::{Asked, Key},
};
use crate::{
    base::{clock::Clock, moment::Moment},
    http::calls::answer_prefix::AnswerPrefix,
};

/// How many sets of names a resource's answers may have in `Vary`: with `Origin` and without it, of an old release and a new one.
const MOST_SETS: usize = 4;
/// More names than this in `Vary` are nobody's honest header.
const MOST_VARY: usize = 16;
/// What an entry costs beside what it says: the maps, the counters, moka's own. Generous.
const OVERHEAD: usize = 384;
/// How many counters tell what was begun before a write. Two resources that share one lose a copy under way at worst.
const EPOCHS: usize = 256;

/// No freshness is longer: 68 years, as for numbers that are too large (RFC 9111, 1.2.2).
const LONGEST: Duration = Duration::from_secs(1 << 31);

pub(super) type Good = dyn Fn(&AnswerPrefix<'_>) -> bool + Send + Sync;

/// What was built: how much is kept, by what it is found, and what is good.
pub(super) struct Limits {
    pub(super) keyed: Box<[HeaderName]>,
    pub(super) max_stale: Duration,
    pub(super) max_entry: usize,
    pub(super) max_total: u64,
    pub(super) good: Option<Arc<Good>>,
}

pub(super) struct Store {
    limits: Limits,
    clock: Clock,
    cache: Cache<Slot, Entry>,
    /// How many resources were given a number.
    numbered: AtomicU64,
    /// How often was dropped what is kept; by a hash of its key.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
    stored: AtomicU64,
    served: AtomicU64,
    missed: AtomicU64,
}

/// Where something is kept. Each answer is an entry of its own, so that what is asked for stays: who sends made-up values of
/// what `Vary` names puts out no answer that others ask for meanwhile.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Slot {
    Resource(Arc<Key>),
    /// By the resource's number, and what the request said of the headers that `Vary` names.
    Answer(u64, Varied),
}

/// Sorted by name, and each once.
type Varied = Vec<(HeaderName, Vec<HeaderValue>)>;

#[derive(Clone)]
enum Entry {
    Resource(Resource),
    Answer(Arc<Kept>),
}

/// How the answers to one resource of one user are found.
#[derive(Clone)]
struct Resource {
    /// Never given twice: who takes the resource away takes all its answers.
    number: u64,
    /// What the answers name in `Vary`, the set that was seen last first.
    sets: Arc<[Box<[HeaderName]>]>,
    /// Until when one of the answers may be served.
    until: Moment,
}

impl Slot {
    fn bytes(&self) -> usize {
        match self {
            Self::Resource(key) => key.bytes(),
            Self::Answer(_, varied) => varied_bytes(varied),
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Resource(resource) => {
                let names = resource.sets.iter().flatten();
                let names: usize = names.map(|name| name.as_str().len() + 64).sum();
                OVERHEAD + names
            }
            Self::Answer(kept) => kept.head.bytes() + kept.body.len(),
        }
    }
}

fn varied_bytes(varied: &Varied) -> usize {
    let each = varied.iter().map(|(name, values)| {
        let values: usize = values.iter().map(|value| value.len() + 64).sum();
        name.as_str().len() + 64 + values
    });
    each.sum()
}

/// What a request says of some headers.
fn values(asked: &Asked, names: &[HeaderName]) -> Varied {
    let of = |name: &HeaderName| (name.clone(), asked.values(name).map(own).collect());
    names.iter().map(of).collect()
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
    /// What is not served, and told what the others mean: for a 304 that says no more than that all is as it was.
    aside: HeaderMap,
    /// What its `Vary` names: sorted, and each once.
    names: Box<[HeaderName]>,
    asked_at: Moment,
    arrived_at: Moment,
    age_on_arrival: Duration,
    lifetime: Duration,
    /// How long past its lifetime it may be served.
    max_stale: Duration,
    for_everybody: bool,
}

impl Head {
    pub(super) fn age(&self, now: Moment) -> Duration {
        self.age_on_arrival
            .saturating_add(now.since(self.arrived_at))
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// How long it may still be served.
    fn left(&self, now: Moment) -> Duration {
        let longest = self.lifetime.saturating_add(self.max_stale);
        longest.saturating_sub(self.age(now))
    }

    fn may_be_served(&self, asked: &Asked, now: Moment) -> bool {
        let age = self.age(now);
        !self.left(now).is_zero()
            && !asked.is_authorized_unkeyed()
            && (self.for_everybody || !asked.bears_cookies_unkeyed())
            && asked.takes(age, self.lifetime)
    }

    fn bytes(&self) -> usize {
        // 64 for what the map takes for each.
        let of = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 64;
        let headers = self.headers.iter().chain(&self.aside);
        let headers = headers.map(|(name, value)| of(name, value));
        let names = self.names.iter().map(|name| name.as_str().len() + 64);
        OVERHEAD + headers.sum::<usize>() + names.sum::<usize>()
    }
}

struct WhileServable(Clock);

impl WhileServable {
    fn left(&self, entry: &Entry) -> Option<Duration> {
        let now = self.0.now();
        Some(match entry {
            Entry::Resource(resource) => resource.until.since(now),
            Entry::Answer(kept) => kept.head.left(now),
        })
    }
}

impl Expiry<Slot, Entry> for WhileServable {
    fn expire_after_create(&self, _: &Slot, new: &Entry, _: Instant) -> Option<Duration> {
        self.left(new)
    }

    fn expire_after_update(
        &self,
        _: &Slot,
        new: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.left(new)
    }
}

impl Store {
    pub(super) fn new(limits: Limits) -> Self {
        let clock = Clock::start();
        let weigh = |slot: &Slot, entry: &Entry| {
            u32::try_from(slot.bytes() + entry.bytes()).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(limits.max_total)
            // Not moka's own choice, which turns away what is new until it was asked for more often than all that would have to go:
            // for a large answer among small ones never, as its counters end at 15. The last good answer is the one that came last.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(WhileServable(clock))
            .build();
        Self {
            limits,
            clock,
            cache,
            numbered: AtomicU64::new(0),
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
        let mut asked = Asked::new(parts, user, &self.limits.keyed, self.now());
        asked.epoch = self.epoch(&asked.key).load(Ordering::SeqCst);
        asked
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
        let names = names(headers)?;
        let lifetime = lifetime(&said, wants, headers)?;
        // RFC 9111, 4.2.4. What the answer itself says of errors is the more explicit (RFC 5861, 4).
        let must_be_fresh = said.has("must-revalidate") || said.has("proxy-revalidate");
        let max_stale = match said.seconds("stale-if-error") {
            _ if must_be_fresh => Duration::ZERO,
            Some(explicit) => explicit.min(self.limits.max_stale),
            None if said.has("s-maxage") => Duration::ZERO,
            None => self.limits.max_stale,
        };
        let now = self.now();
        let head = Head {
            headers: kept_headers(headers),
            aside: only(headers, &ASIDE),
            names,
            asked_at: asked.at,
            arrived_at: now,
            age_on_arrival: age(headers, now.since(asked.at)),
            lifetime,
            max_stale,
            for_everybody,
        };
        (self.room(asked, &head).is_some() && !head.left(self.now()).is_zero()).then_some(head)
    }

    /// How large the body may be, for the answer to take no more than one may.
    pub(super) fn room(&self, asked: &Asked, head: &Head) -> Option<usize> {
        let names: usize = head.names.iter().map(|name| name.as_str().len() + 64).sum();
        let resource = OVERHEAD + asked.key.bytes() + names;
        let answer = head.bytes() + varied_bytes(&values(asked, &head.names));
        self.limits.max_entry.checked_sub(resource + answer)
    }

    /// The number of a resource, whose answers may also have these names in `Vary` from now on.
    fn number(&self, key: &Arc<Key>, names: &[HeaderName], until: Moment) -> u64 {
        let slot = Slot::Resource(key.clone());
        let entry = self.cache.entry(slot).and_upsert_with(|known| {
            let known = match known.map(moka::Entry::into_value) {
                Some(Entry::Resource(known)) => Some(known),
                _ => None,
            };
            let others = known.iter().flat_map(|known| known.sets.iter());
            let others = others.filter(|other| ***other != *names).cloned();
            let sets = std::iter::once(names.into())
                .chain(others)
                .take(MOST_SETS)
                .collect();
            Entry::Resource(Resource {
                number: match &known {
                    Some(known) => known.number,
                    None => self.numbered.fetch_add(1, Ordering::Relaxed),
                },
                sets,
                until: known.map_or(until, |known| known.until.max(until)),
            })
        });
        match entry.into_value() {
            Entry::Resource(resource) => resource.number,
            Entry::Answer(_) => unreachable!("a resource was put there"),
        }
    }

    /// What is kept for this request counts as of now if the partner says so by a 304 with its `ETag` (RFC 9111, 4.3.4).
    pub(super) fn confirm(&self, asked: &Asked, answer: &response::Parts) {
        let Some(tag) = answer.headers.get(ETAG) else {
            return;
        };
        let same = self
            .answers(asked)
            .filter(|kept| kept.head.aside.get(ETAG) == Some(tag));
        let Some(kept) = same.max_by_key(|kept| kept.head.asked_at) else {
            return;
        };
        // Found by fewer headers than before, it would be shown to others.
        let varies = answer.headers.contains_key(VARY);
        if varies && names(&answer.headers).as_ref() != Some(&kept.head.names) {
            return;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in kept.head.headers.iter().chain(&kept.head.aside) {
            // A date says when it was sent, not when it was found to be true still.
            let is_said_anew = *name == DATE || answer.headers.contains_key(name);
            if is_of_the_body(name) || !is_said_anew {
                headers.append(name, value.clone());
            }
        }
        for (name, value) in &answer.headers {
            if !is_of_the_body(name) {
                headers.append(name, value.clone());
            }
        }
        let mut whole = Response::new(()).into_parts().0;
        whole.headers = headers;
        if let Some(head) = self.head(asked, &whole)
            && self
                .room(asked, &head)
                .is_some_and(|room| kept.body.len() <= room)
        {
            self.put(asked, head, kept.body.clone());
        }
    }

    /// Keeps an answer whose body has come to its end, unless what is kept was asked for later: whoever reads slowly ends last.
    pub(super) fn keep(&self, asked: &Asked, head: Head, body: Vec<u8>) {
        self.put(asked, head, body.into_boxed_slice().into());
    }

    fn put(&self, asked: &Asked, head: Head, body: Bytes) {
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
        let new = Arc::new(Kept { head, body });
        let until = self.now().after(new.head.left(self.now()));
        let number = self.number(key, &new.head.names, until);
        let slot = Slot::Answer(number, values(asked, &new.head.names));
        let entry = self.cache.entry_by_ref(&slot);
        let put = entry.and_compute_with(|known| match known.map(moka::Entry::into_value) {
            Some(Entry::Answer(known)) if known.head.asked_at > asked.at => Op::Nop,
            _ => Op::Put(Entry::Answer(new)),
        });
        // Once more: who dropped what is kept between the first look and the put may have been too early to find it.
        // Whoever counts after this look drops it.
        if is_dropped() {
            self.cache.invalidate(&Slot::Resource(key.clone()));
            self.cache.invalidate(&slot);
        } else if !matches!(put, CompResult::Unchanged(_) | CompResult::StillNone(_)) {
            self.stored.fetch_add(1, Ordering::Relaxed);
        }
        // Now rather than some writes later: moka would hold hundreds of entries beyond its bound until then.
        self.cache.run_pending_tasks();
    }

    /// What may be served for this request, and when that was found.
    pub(super) fn find(&self, asked: &Asked) -> Option<(Arc<Kept>, Moment)> {
        let now = self.now();
        let found = self
            .answers(asked)
            .filter(|kept| kept.head.may_be_served(asked, now))
            .max_by_key(|kept| kept.head.asked_at);
        let count = if found.is_some() {
            &self.served
        } else {
            &self.missed
        };
        count.fetch_add(1, Ordering::Relaxed);
        found.map(|kept| (kept, now))
    }

    /// What is kept for all that this request says: one answer for each set of names at most.
    fn answers(&self, asked: &Asked) -> impl Iterator<Item = Arc<Kept>> {
        let resource = match self.cache.get(&Slot::Resource(asked.key.clone())) {
            Some(Entry::Resource(resource)) => Some(resource),
            _ => None,
        };
        let slots = resource.into_iter().flat_map(|resource| {
            let sets = resource.sets.iter();
            let slots = sets.map(|names| Slot::Answer(resource.number, values(asked, names)));
            slots.collect::<Vec<_>>()
        });
        slots.filter_map(|slot| match self.cache.get(&slot)? {
            Entry::Answer(kept) => Some(kept),
            Entry::Resource(_) => None,
        })
    }

    pub(super) fn forget(&self, key: &Arc<Key>) {
        // First: what is put in from here on either sees it, or was there to be dropped.
        self.epoch(key).fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(&Slot::Resource(key.clone()));
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
        let is_resource = |slot: &Slot| matches!(slot, Slot::Resource(_));
        let resources = self.cache.iter().filter(|(slot, _)| is_resource(slot));
        LastGoodCounts {
            stored: self.stored.load(Ordering::Relaxed),
            served: self.served.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            resources: resources.count() as u64,
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
fn names(headers: &HeaderMap) -> Option<Box<[HeaderName]>> {
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

/// What the headers that are not served meant for how long an answer is kept, and which body it has.
const ASIDE: [HeaderName; 4] = [CACHE_CONTROL, ETAG, EXPIRES, PRAGMA];

fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut only = HeaderMap::new();
    for name in names {
        for value in headers.get_all(name) {
            only.append(name, own(value));
        }
    }
    only
}

/// What a 304 cannot change: it has no body (RFC 9111, 3.2).
fn is_of_the_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-")
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
        // Of a time before the recovery that this answer may outlive.
        || text == crate::http::cache_bust::GENERATION_HEADER
        || matches!(
            text,
            "age"
                | "authentication-info"
                | "cache-tag"
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
                | "surrogate-key"
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
