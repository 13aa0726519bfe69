//! Everybody who waits to be told, and the one task that tells them.
//!
//! Ten thousand receivers, each with a timer and each waking at every deadline of the layer, would be a herd at its
//! lock. So there is one *watcher* for all: a task that the first subscriber starts (not the first that is polled: who never is would keep its seat for ever), that waits for
//! recoveries (which moves time) and heartbeats, and that ends at the first heartbeat nobody waits for.
//!
//! What is told is the *newest value*, made once and shared by all. A subscriber has no queue: it keeps which
//! generation it was told of last, and is behind or is not. So a slow one costs no more than a quick one, and
//! nobody waits for it.
//!
//! Each heartbeat wakes everybody, and whoever is not polled after that is stuck: its server has more to write than
//! its reader takes. It loses its seat after [`PATIENCE`] heartbeats. But what it costs is given back by its server alone, which
//! drops its body: so that the bound is on bodies, not on seats.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use serde_json::json;
use tokio::{runtime::Handle, time::MissedTickBehavior};

use super::{Options, PushCounts, millis};
use crate::{operator::subscribe::CacheBusts, state::root::Root};

/// For how many heartbeats a subscriber may go unpolled.
const PATIENCE: u64 = 3;

pub(super) struct Room {
    /// Weak: who waits for a layer does not keep it.
    layer: Weak<Root>,
    pub(super) options: Options,
    seats: Mutex<Seats>,
}

/// No waker is dropped or woken while this is locked: what hangs on it may come back in here.
#[derive(Default)]
struct Seats {
    taken: HashMap<u64, Seat>,
    /// How many subscriptions are not dropped yet, with a seat or without.
    streams: usize,
    /// Of those, how many each client has that was named; who has none is not in here.
    clients: HashMap<Arc<str>, usize>,
    next: u64,
    beat: u64,
    newest: Newest,
    /// Whether there is a watcher.
    watched: bool,
    stalled: u64,
    refused: u64,
    over_share: u64,
}

struct Seat {
    waker: Option<Waker>,
    /// The number of the heartbeat it was last polled after.
    polled: u64,
}

/// What everybody is told, in the words of an event stream.
#[derive(Default, Clone)]
struct Newest {
    generation: u64,
    hello: Bytes,
    recovered: Bytes,
}

impl Newest {
    fn new(shared: &Root, generation: u64, options: &Options) -> Self {
        // JSON has no line break of its own, so that one line is the whole of it.
        let data = json!({
            "generation": generation,
            "urls": shared.urls(),
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

/// What a subscriber says it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It comes for the first time.
    Nothing,
    /// It says something that no generation is.
    Nonsense,
    Generation(u64),
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many streams as may be, or the layer is gone.
    ForAll,
    /// The client has as many as it may have.
    ForClient,
}

/// A seat, and a stream of the bound; dropping it frees both.
pub(super) struct Subscription {
    room: Arc<Room>,
    seat: u64,
    client: Option<Arc<str>>,
    /// What is said before anything else.
    greeting: Option<Bytes>,
    told: u64,
    beat: u64,
}

impl Room {
    pub(super) fn new(shared: &Arc<Root>, options: Options) -> Self {
        Self {
            layer: Arc::downgrade(shared),
            options,
            seats: Mutex::default(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> PushCounts {
        let seats = self.seats();
        PushCounts {
            subscribers: seats.taken.len(),
            streams: seats.streams,
            stalled: seats.stalled,
            refused: seats.refused,
            over_share: seats.over_share,
        }
    }

    /// Takes a seat, of its share if the client is named.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        known: Known,
        client: Option<Arc<str>>,
        retry_ms: u64,
    ) -> Result<Subscription, Full> {
        let layer = self.layer.upgrade();
        let mut seats = self.seats();
        let has = |client| seats.clients.get(client).copied().unwrap_or_default();
        // First: who has their share is no news of the room.
        if client
            .as_ref()
            .is_some_and(|client| has(client) >= self.options.max_of_client)
        {
            seats.over_share += 1;
            return Err(Full::ForClient);
        }
        let Some(shared) = layer
            .as_deref()
            .filter(|_| seats.streams < self.options.max_subscribers)
        else {
            seats.refused += 1;
            return Err(Full::ForAll);
        };
        seats.hear(shared, &self.options);
        let present = seats.newest.generation;
        let retry = format!("retry: {retry_ms}\n\n");
        let (told, greeting) = match known {
            Known::Nothing => {
                let hello = [retry.as_bytes(), &seats.newest.hello].concat();
                (present, hello.into())
            }
            Known::Nonsense => (present, retry.into()),
            Known::Generation(known) => (known.min(present), retry.into()),
        };
        seats.next += 1;
        let (seat, beat) = (seats.next, seats.beat);
        let taken = Seat {
            waker: None,
            polled: beat,
        };
        seats.taken.insert(seat, taken);
        seats.streams += 1;
        if let Some(client) = &client {
            *seats.clients.entry(client.clone()).or_default() += 1;
        }
        // Outside of a runtime there is none: the first poll starts it.
        let runtime = Handle::try_current().ok();
        let start = runtime.filter(|_| !mem::replace(&mut seats.watched, true));
        drop(seats);
        if let Some(runtime) = start {
            self.watch(&runtime);
        }
        Ok(Subscription {
            room: self.clone(),
            seat,
            client,
            greeting: Some(greeting),
            told,
            beat,
        })
    }

    /// Starts the watcher; not while the seats are locked, for a runtime that is shutting down drops it at once.
    fn watch(self: &Arc<Self>, runtime: &Handle) {
        let watcher = Watcher {
            room: self.clone(),
            done: false,
        };
        runtime.spawn(watcher.run());
    }

    /// Takes over a new generation, and wakes everybody.
    fn hear(&self) {
        let Some(shared) = self.layer.upgrade() else {
            return;
        };
        let wakers = {
            let mut seats = self.seats();
            seats.hear(&shared, &self.options);
            seats.wakers()
        };
        wake(wakers);
    }

    /// Counts a heartbeat, wakes everybody, and takes the seats of those who are stuck. Whether anybody is left:
    /// if not, the watcher is told so once.
    fn beat(&self) -> bool {
        let (wakers, stuck) = {
            let mut seats = self.seats();
            if seats.taken.is_empty() {
                seats.taken.shrink_to_fit();
                seats.clients.shrink_to_fit();
                seats.watched = false;
                return false;
            }
            seats.beat += 1;
            let wakers = seats.wakers();
            let beat = seats.beat;
            let is_stuck = |_: &u64, seat: &mut Seat| seat.polled + PATIENCE < beat;
            let stuck: Vec<_> = seats.taken.extract_if(is_stuck).collect();
            seats.stalled += stuck.len() as u64;
            (wakers, stuck)
        };
        drop(stuck);
        wake(wakers);
        true
    }

    /// Ends all streams.
    fn end(&self) {
        let taken = {
            let mut seats = self.seats();
            seats.watched = false;
            mem::take(&mut seats.taken)
        };
        wake(taken.into_values().filter_map(|seat| seat.waker).collect());
    }
}

impl Seats {
    fn hear(&mut self, shared: &Root, options: &Options) {
        let generation = shared.generation();
        if self.newest.generation < generation {
            self.newest = Newest::new(shared, generation, options);
        }
    }

    fn wakers(&mut self) -> Vec<Waker> {
        let seats = self.taken.values_mut();
        seats.filter_map(|seat| seat.waker.take()).collect()
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl Subscription {
    /// The next piece of the stream; `None` at its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut old = None;
        let (polled, start) = {
            let mut seats = self.room.seats();
            let beat = seats.beat;
            let Seats {
                taken,
                newest,
                watched,
                ..
            } = &mut *seats;
            let Some(seat) = taken.get_mut(&self.seat) else {
                return Poll::Ready(None);
            };
            // Before anything is changed: outside of a runtime this panics, and the next poll within one does it.
            let start = (!*watched).then(Handle::current);
            *watched = true;
            seat.polled = beat;
            let polled = if let Some(greeting) = self.greeting.take() {
                Poll::Ready(Some(greeting))
            } else if self.told < newest.generation {
                self.told = newest.generation;
                Poll::Ready(Some(newest.recovered.clone()))
            } else if self.beat < beat {
                Poll::Ready(Some(self.room.options.beat.clone()))
            } else {
                old = seat.waker.replace(cx.waker().clone());
                Poll::Pending
            };
            if polled.is_ready() {
                self.beat = beat;
            }
            (polled, start)
        };
        drop(old);
        if let Some(runtime) = start {
            self.room.watch(&runtime);
        }
        polled.map(Some).map(Option::flatten)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let seat = {
            let mut seats = self.room.seats();
            seats.streams -= 1;
            if let Some(client) = self.client.take()
                && let Entry::Occupied(mut has) = seats.clients.entry(client)
            {
                *has.get_mut() -= 1;
                if *has.get() == 0 {
                    has.remove();
                }
            }
            seats.taken.remove(&self.seat)
        };
        drop(seat);
    }
}

struct Watcher {
    room: Arc<Room>,
    done: bool,
}

impl Watcher {
    async fn run(mut self) {
        let Some(mut busts) = self
            .room
            .layer
            .upgrade()
            .map(|shared| CacheBusts::new(&shared))
        else {
            return;
        };
        let mut beats = tokio::time::interval(self.room.options.heartbeat);
        // Not a burst: after a pause of the whole process nobody has had the time to be polled.
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.reset();
        loop {
            let next = {
                let mut bust = pin!(busts.recv());
                poll_fn(|cx| match bust.as_mut().poll(cx) {
                    Poll::Ready(bust) => Poll::Ready(Some(bust)),
                    Poll::Pending => beats.poll_tick(cx).map(|_| None),
                })
                .await
            };
            match next {
                Some(Some(_)) => self.room.hear(),
                // No layer is left.
                Some(None) => return,
                None if self.room.beat() => {}
                None => {
                    self.done = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Watcher {
    /// If it ends while somebody waits (the layer is gone, or the runtime it ran on), nobody would be told any more:
    /// better that the streams end, and browsers come back.
    fn drop(&mut self) {
        if !self.done {
            self.room.end();
        }
    }
}
