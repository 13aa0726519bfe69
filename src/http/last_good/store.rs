//! The store of the answers.

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
    under_way::UnderWay,
};
use crate::{
    base::{clock::Clock, moment::Moment},
    http::calls::answer_prefix::AnswerPrefix,
    operator::weak_handle::WeakHandle,
};

/// How many sets of names the answers of a resource may have in `Vary`: with and without `Origin`,
/// of an old release and of a new one.
const MOST_SETS: usize = 4;
/// The number of drop counters. If two resources share one, a drop of one loses at worst a copy of
/// the other that is on its way.
const EPOCHS: usize = 256;

pub(super) type Good = dyn Fn(&AnswerPrefix<'_>) -> bool + Send + Sync;

/// The settings of the store.
pub(super) struct Limits {
    pub(super) keyed: Box<[HeaderName]>,
    pub(super) max_stale: Duration,
    pub(super) max_entry: usize,
    pub(super) max_total: u64,
    pub(super) good: Option<Arc<Good>>,
    pub(super) recoveries: Option<WeakHandle>,
}

pub(super) struct Store {
    limits: Limits,
    clock: Clock,
    cache: Cache<Slot, Entry>,
    under_way: Arc<UnderWay>,
    /// How many resources have a number.
    numbered: AtomicU64,
    /// How often stored answers were dropped, by a hash of their key.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
    stored: AtomicU64,
    served: AtomicU64,
    missed: AtomicU64,
}

/// Counts of stored and served answers. [`LastGoodLayer::counts`](super::LastGoodLayer::counts)
/// returns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastGoodCounts {
    /// The answers that were stored since the layer was built, including those that replaced an
    /// older one and those that a 304 confirmed.
    pub stored: u64,
    /// The requests that were answered from the store.
    pub served: u64,
    /// The opted-in requests that found no answer in the store.
    pub missed: u64,
    /// The resources that are stored now, counted per user and not per variant. Counting iterates
    /// over the whole store.
    pub resources: u64,
    /// The bytes that they take: bodies, headers, keys, and an estimate of the rest.
    pub bytes: u64,
    /// The bytes of the answers that are being copied now. Together with
    /// [`bytes`](Self::bytes) they are within
    /// [`max_total_bytes`](super::LastGoodBuilder::max_total_bytes).
    pub under_way: u64,
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
            // Not moka's default policy. It rejects a new entry until it was asked for more often
            // than all entries that it would evict. A large answer among small ones would never be
            // stored, because the counters end at 15.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(WhileServable(clock))
            .build();
        Self {
            under_way: Arc::new(UnderWay::new(
                cache.clone(),
                limits.max_entry,
                limits.max_total,
            )),
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

    pub(super) fn max_entry(&self) -> usize {
        self.limits.max_entry
    }

    pub(super) fn under_way(&self) -> &Arc<UnderWay> {
        &self.under_way
    }

    fn epoch(&self, key: &Key) -> &AtomicU64 {
        // The remainder is below 256, so both casts keep its value.
        &self.epochs[(self.hasher.hash_one(key) % EPOCHS as u64) as usize]
    }

    /// Returns an opted-in request as the store needs it, with the time and the drop counter.
    pub(super) fn asked(&self, parts: &request::Parts, user: Option<String>) -> Asked {
        let mut asked = Asked::new(parts, user, &self.limits.keyed, self.now());
        asked.epoch = self.epoch(&asked.key).load(Ordering::SeqCst);
        asked.generation = self.generation();
        asked
    }

    /// Returns the generation of the layer whose recoveries count.
    fn generation(&self) -> Option<u64> {
        let layer = self.limits.recoveries.as_ref()?;
        layer.upgrade().map(|handle| handle.generation_now())
    }

    /// Returns the head as it is to be stored; `None` if the answer must not be stored.
    pub(super) fn head(&self, asked: &Asked, answer: &response::Parts) -> Option<Head> {
        let head = Head::of(asked, answer, self.limits.max_stale, self.now())?;
        (self.room(asked, &head).is_some() && !head.left(self.now()).is_zero()).then_some(head)
    }

    /// Returns how large the body may be within the limit per answer; `None` if the head exceeds
    /// it.
    pub(super) fn room(&self, asked: &Asked, head: &Head) -> Option<usize> {
        let names: usize = head.names.iter().map(|name| name.as_str().len() + 64).sum();
        let resource = OVERHEAD + asked.key.bytes() + names;
        let answer = head.bytes() + varied_bytes(&values(asked, &head.names));
        self.limits.max_entry.checked_sub(resource + answer)
    }

    /// Returns the number of a resource, and adds a set of names to those of its answers' `Vary`.
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
            Entry::Answer(_) | Entry::Ballast(_) => unreachable!("a resource was put there"),
        }
    }

    /// Renews the stored answer that a 304 confirms by its `ETag` (RFC 9111, 4.3.4).
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
        // With fewer names in `Vary` the answer would match requests of other clients.
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

    /// Stores an answer whose body has come to its end, unless the stored one was asked for later:
    /// a slow reader ends late.
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
        let is_dropped = || {
            // After a recovery the answer to a request from before it may be an old one.
            let has_recovered = self
                .generation()
                .is_some_and(|present| Some(present) != asked.generation);
            has_recovered || self.epoch(key).load(Ordering::SeqCst) != asked.epoch
        };
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
        // Asked again. A drop between the first time and the put may have come too early to find
        // the entry. A drop that counts after this time finds it.
        if is_dropped() {
            self.cache.invalidate(&Slot::Resource(key.clone()));
            self.cache.invalidate(&slot);
        } else if !matches!(put, CompResult::Unchanged(_) | CompResult::StillNone(_)) {
            self.stored.fetch_add(1, Ordering::Relaxed);
        }
        self.under_way.touch_ballast();
        // Evicts now. Otherwise moka would hold hundreds of entries beyond its bound for some
        // writes.
        self.cache.run_pending_tasks();
        self.under_way.restore_ballast();
    }

    /// Returns the answer that may be served for this request, and the present time.
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

    /// Returns the stored answers that match this request: at most one per set of names in `Vary`.
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
            Entry::Resource(_) | Entry::Ballast(_) => None,
        })
    }

    /// Drops the answers to a resource, and those that are on their way.
    pub(super) fn forget(&self, key: &Arc<Key>) {
        // Counted first: a concurrent `put` either sees the new count, or its entry is dropped
        // here.
        self.epoch(key).fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(&Slot::Resource(key.clone()));
    }

    /// Drops all answers, and those that are on their way.
    pub(super) fn clear(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
        self.cache.invalidate_all();
        self.cache.run_pending_tasks();
        self.under_way.restore_ballast();
    }

    pub(super) fn counts(&self) -> LastGoodCounts {
        self.cache.run_pending_tasks();
        let ballast = self.under_way.ballast();
        let is_resource = |slot: &Slot| matches!(slot, Slot::Resource(_));
        let resources = self.cache.iter().filter(|(slot, _)| is_resource(slot));
        LastGoodCounts {
            stored: self.stored.load(Ordering::Relaxed),
            served: self.served.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            resources: resources.count() as u64,
            bytes: self.cache.weighted_size().saturating_sub(ballast),
            under_way: self.under_way.taken(),
        }
    }
}
