//! The subscribers of a push, and the newest event that each of them is sent.
//!
//! Subscribers share one *newest event*, which is built once per generation. A subscriber has no
//! queue: it remembers the generation of the last event that it was sent, and is behind if that is
//! lower. So a slow subscriber costs as much as a fast one, and no other subscriber waits for it.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::Arc,
    task::Waker,
};

use bytes::Bytes;
use serde_json::json;

use super::options::{Options, millis};
use crate::operator::handle::MaintenanceHandle;

/// The number of heartbeats after which a subscriber that was not polled loses its place.
const PATIENCE: u64 = 3;

/// Counts of subscribers and of refused clients. [`Push::counts`](super::Push::counts) returns
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushCounts {
    /// The subscribers at this moment.
    pub subscribers: usize,
    /// The streams that the server has not dropped yet: those of subscribers, and those that lost
    /// their place because they were stuck.
    /// [`max_subscribers`](super::PushBuilder::max_subscribers) bounds this number.
    pub streams: usize,
    /// The streams that have lost their place because they were stuck, since the push was built.
    pub stalled: u64,
    /// The requests that got a 503 since the push was built: the bound was reached, or the layer
    /// was gone.
    pub refused: u64,
    /// The requests that got a 429 since the push was built: their client had as many streams as
    /// [`max_of_client`](super::PushBuilder::max_of_client) allows.
    pub over_share: u64,
}

/// What a client says in `Last-Event-ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The header is missing: this is the client's first connection.
    Nothing,
    /// The header is not a generation.
    Nonsense,
    Generation(u64),
}

/// Why a client gets no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// The push is closed.
    Closed,
    /// The bound on all streams is reached, or the layer is gone.
    FullForAll,
    /// The client's own bound is reached.
    FullForClient,
}

/// Returns the field of an event stream that says how long a browser waits before it reconnects.
pub(super) fn retry_field(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n\n").into()
}

/// All state of the subscribers, behind one lock.
///
/// No waker is dropped or woken under that lock: a waker may run code that takes the lock again.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) places: HashMap<u64, Place>,
    /// Subscriptions that are not dropped yet, with a place or without.
    streams: usize,
    /// How many of those each named client has. A client without a stream has no entry.
    clients: HashMap<Arc<str>, usize>,
    next: u64,
    pub(super) beat: u64,
    pub(super) newest: Newest,
    /// Whether a watcher runs.
    pub(super) watched: bool,
    /// Whether the push is closed.
    closed: bool,
    stalled: u64,
    refused: u64,
    over_share: u64,
}

pub(super) struct Place {
    pub(super) waker: Option<Waker>,
    /// The number of the heartbeat after which it was last polled.
    pub(super) polled: u64,
}

/// What one heartbeat leaves to do once the lock is free.
pub(super) struct Beat {
    pub(super) wakers: Vec<Waker>,
    /// The places that were taken away. They hold wakers, and so are dropped outside the lock.
    pub(super) stuck: Vec<(u64, Place)>,
}

/// The newest event, in the format of an event stream.
#[derive(Default, Clone)]
pub(super) struct Newest {
    pub(super) generation: u64,
    hello: Bytes,
    pub(super) recovered: Bytes,
}

impl Newest {
    fn new(handle: &MaintenanceHandle, generation: u64, options: &Options) -> Self {
        // `serde_json` writes no line break, so the data is one line, as the format demands.
        let data = json!({
            "generation": generation,
            "urls": handle.cache_urls(),
            "spread_ms": millis(options.spread),
        });
        let event =
            |name| Bytes::from(format!("event: {name}\nid: {generation}\ndata: {data}\n\n"));
        Self {
            generation,
            hello: event("hello"),
            recovered: event("recovered"),
        }
    }
}

impl Registry {
    pub(super) fn counts(&self) -> PushCounts {
        PushCounts {
            subscribers: self.places.len(),
            streams: self.streams,
            stalled: self.stalled,
            refused: self.refused,
            over_share: self.over_share,
        }
    }

    /// Checks the bounds, and counts a refusal.
    pub(super) fn check(
        &mut self,
        is_layer_gone: bool,
        client: Option<&str>,
        options: &Options,
    ) -> Result<(), Denied> {
        if self.closed {
            return Err(Denied::Closed);
        }
        let streams_of = |client| self.clients.get(client).copied().unwrap_or_default();
        // The client's bound comes first: its refusal says nothing about the bound on all.
        if client.is_some_and(|client| streams_of(client) >= options.max_of_client) {
            self.over_share += 1;
            return Err(Denied::FullForClient);
        }
        if is_layer_gone || self.streams >= options.max_subscribers {
            self.refused += 1;
            return Err(Denied::FullForAll);
        }
        Ok(())
    }

    /// Builds the newest event anew if the generation has grown.
    pub(super) fn update(&mut self, handle: &MaintenanceHandle, options: &Options) {
        let generation = handle.generation();
        if self.newest.generation < generation {
            self.newest = Newest::new(handle, generation, options);
        }
    }

    /// Returns the generation that a new subscriber knows, and the first bytes of its stream.
    pub(super) fn greeting(&self, known: Known, retry_ms: u64) -> (u64, Bytes) {
        let present = self.newest.generation;
        let retry = retry_field(retry_ms);
        match known {
            Known::Nothing => {
                let hello = [&*retry, &self.newest.hello].concat();
                (present, hello.into())
            }
            Known::Nonsense => (present, retry),
            Known::Generation(known) => (known.min(present), retry),
        }
    }

    /// Adds a subscriber, and returns the number of its place.
    pub(super) fn insert(&mut self, client: Option<&Arc<str>>) -> u64 {
        self.next += 1;
        let place = Place {
            waker: None,
            polled: self.beat,
        };
        self.places.insert(self.next, place);
        self.streams += 1;
        if let Some(client) = client {
            *self.clients.entry(client.clone()).or_default() += 1;
        }
        self.next
    }

    /// Removes a subscriber. The caller drops the place once the lock is free.
    pub(super) fn remove(&mut self, place: u64, client: Option<Arc<str>>) -> Option<Place> {
        self.streams -= 1;
        if let Some(client) = client
            && let Entry::Occupied(mut streams) = self.clients.entry(client)
        {
            *streams.get_mut() -= 1;
            if *streams.get() == 0 {
                streams.remove();
            }
        }
        self.places.remove(&place)
    }

    /// Counts a heartbeat, and takes the places of subscribers that are stuck. Without a subscriber
    /// it returns `None` and notes that the watcher ends.
    pub(super) fn count_beat(&mut self) -> Option<Beat> {
        if self.places.is_empty() {
            self.places.shrink_to_fit();
            self.clients.shrink_to_fit();
            self.watched = false;
            return None;
        }
        self.beat += 1;
        let wakers = self.wakers();
        let beat = self.beat;
        let is_stuck = |_: &u64, place: &mut Place| place.polled + PATIENCE < beat;
        let stuck: Vec<_> = self.places.extract_if(is_stuck).collect();
        self.stalled += stuck.len() as u64;
        Some(Beat { wakers, stuck })
    }

    /// Takes the wakers of all subscribers.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        let places = self.places.values_mut();
        places.filter_map(|place| place.waker.take()).collect()
    }

    /// Takes all places, and lets no client have one from now on. Returns their wakers.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        self.end()
    }

    /// Takes all places, so that every stream ends at its next poll. Returns their wakers.
    pub(super) fn end(&mut self) -> Vec<Waker> {
        self.watched = false;
        let places = mem::take(&mut self.places).into_values();
        places.filter_map(|place| place.waker).collect()
    }
}
