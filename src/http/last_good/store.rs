//! What is kept, of whom, and for how long.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, Response, StatusCode,
    header::{ETAG, VARY},
    request, response,
};
use moka::{
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
    sync::Cache,
};

use super::{
    entry::{Entry, Kept, Resource, Slot, WhileServable, values, varied_bytes},
    head::{Head, OVERHEAD, names},
    request_key::{Asked, Key},
};
use crate::{
    base::{clock::Clock, moment::Moment},
    http::calls::answer_prefix::AnswerPrefix,
};

/// How many sets of names a resource's answers may have in `Vary`: with `Origin` and without it, of an old release and a new one.
const MOST_SETS: usize = 4;
/// How many counters tell what was begun before a write. Two resources that share one lose a copy under way at worst.
const EPOCHS: usize = 256;

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

/// How much is kept, and what became of it; by [`LastGoodLayer::counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastGoodCounts {
    /// How many answers were kept since the layer was built, those included that replaced an older one, or that a 304 confirmed.
    pub stored: u64,
    /// How many requests were answered from what is kept.
    pub served: u64,
    /// How many requests that were opted in would have been, but nothing was there for them.
    pub missed: u64,
    /// How many resources are kept now, users counted apart, variants not. Counting goes through all that is kept.
    pub resources: u64,
    /// How many bytes they take: bodies, headers, keys, and an allowance for the rest.
    pub bytes: u64,
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
        let head = Head::of(asked, answer, self.limits.max_stale, self.now())?;
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
        let mut whole = Response::new(()).into_parts().0;
        whole.headers = kept.head.confirmed_by(&answer.headers);
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
