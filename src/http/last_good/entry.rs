//! The entries of the store, and the memory that each takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use moka::Expiry;

use super::{
    head::{Head, OVERHEAD},
    request_key::{Asked, Key},
    stored_headers::own,
};
use crate::base::{clock::Clock, moment::Moment};

/// The key of an entry.
///
/// Each answer is an entry of its own, so that answers that are asked for stay. A client that makes
/// up values of the headers in `Vary` evicts no answer that other clients ask for meanwhile.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Resource(Arc<Key>),
    /// The resource's number, and the request's values of the headers that `Vary` names.
    Answer(u64, Varied),
    /// The only entry that is not found by a request.
    Ballast,
}

/// Headers and their values, sorted by name without duplicates.
pub(super) type Varied = Vec<(HeaderName, Vec<HeaderValue>)>;

#[derive(Clone)]
pub(super) enum Entry {
    Resource(Resource),
    Answer(Arc<Kept>),
    /// Takes the place of the answers that are on their way, by their bytes.
    Ballast(u64),
}

/// The index of the answers to one resource of one user.
#[derive(Clone)]
pub(super) struct Resource {
    /// The number is never used twice. So removing the resource makes all its answers unreachable.
    pub(super) number: u64,
    /// The sets of names in the `Vary` of the answers, the most recent first.
    pub(super) sets: Arc<[Box<[HeaderName]>]>,
    /// The time until which at least one of the answers may be served.
    pub(super) until: Moment,
}

impl Slot {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Resource(key) => key.bytes(),
            Self::Answer(_, varied) => varied_bytes(varied),
            Self::Ballast => 0,
        }
    }
}

impl Entry {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Resource(resource) => {
                let names = resource.sets.iter().flatten();
                let names: usize = names.map(|name| name.as_str().len() + 64).sum();
                OVERHEAD + names
            }
            Self::Answer(kept) => kept.head.bytes() + kept.body.len(),
            Self::Ballast(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
        }
    }
}

pub(super) fn varied_bytes(varied: &Varied) -> usize {
    let each = varied.iter().map(|(name, values)| {
        let values: usize = values.iter().map(|value| value.len() + 64).sum();
        name.as_str().len() + 64 + values
    });
    each.sum()
}

/// Returns the request's values of some headers.
pub(super) fn values(asked: &Asked, names: &[HeaderName]) -> Varied {
    let of = |name: &HeaderName| (name.clone(), asked.values(name).map(own).collect());
    names.iter().map(of).collect()
}

/// A stored answer.
pub(super) struct Kept {
    pub(super) head: Head,
    pub(super) body: Bytes,
}

/// Lets an entry expire once it may no longer be served.
pub(super) struct WhileServable(pub(super) Clock);

impl WhileServable {
    fn left(&self, entry: &Entry) -> Option<Duration> {
        let now = self.0.now();
        Some(match entry {
            Entry::Resource(resource) => resource.until.since(now),
            Entry::Answer(kept) => kept.head.left(now),
            Entry::Ballast(_) => return None,
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
