//! The subscriptions, and the one task that wakes them.
//!
//! One task, the *watcher*, serves all subscribers. With a timer and a receiver per subscriber, ten
//! thousand of them would wake at every deadline of the layer and contend for its lock. The watcher
//! waits for recoveries, which also applies transitions that fall due, and for heartbeats.
//!
//! The first subscriber starts the watcher, not the first poll: a subscriber that is never polled
//! would otherwise keep its place for ever. The watcher ends at the first heartbeat without a
//! subscriber.
//!
//! Each heartbeat wakes all subscribers. A subscriber that is not polled after that is stuck: its
//! server has more to write than its reader takes. After three such heartbeats it loses its place.
//! Only the server can free the memory of a stuck stream, by dropping the body, so the bound counts
//! bodies, not places.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Notify, time::MissedTickBehavior};

use super::{
    options::{Options, millis},
    registry::{Denied, Known, PushCounts, Registry},
};
use crate::operator::weak_handle::WeakHandle;

pub(super) struct Subscribers {
    layer: WeakHandle,
    options: Options,
    /// The event that a heartbeat sends.
    beat: Bytes,
    registry: Mutex<Registry>,
    /// Ends the watcher.
    closing: Notify,
}

/// A subscriber's place, and its share of the bounds. Dropping it frees both.
pub(super) struct Subscription {
    subscribers: Arc<Subscribers>,
    place: u64,
    client: Option<Arc<str>>,
    /// The first bytes of the stream, until they are sent.
    greeting: Option<Bytes>,
    /// The generation that the client knows.
    told: u64,
    /// The number of heartbeats so far when the last piece was sent.
    beat: u64,
}

impl Subscribers {
    pub(super) fn new(layer: WeakHandle, options: Options) -> Self {
        let heartbeat = millis(options.heartbeat);
        Self {
            layer,
            options,
            beat: format!("event: beat\ndata: {heartbeat}\n\n").into(),
            registry: Mutex::default(),
            closing: Notify::new(),
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> PushCounts {
        self.registry().counts()
    }

    /// Adds a subscriber, within the client's share if the client is named.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        known: Known,
        client: Option<Arc<str>>,
        retry_ms: u64,
    ) -> Result<Subscription, Denied> {
        // Declared before the lock, and so dropped after it: dropping the last handle of a layer
        // wakes its listeners.
        let handle = self.layer.upgrade();
        let mut registry = self.registry();
        registry.check(handle.is_none(), client.as_deref(), &self.options)?;
        if let Some(handle) = &handle {
            registry.update(handle, &self.options);
        }
        let (told, greeting) = registry.greeting(known, retry_ms);
        let place = registry.insert(client.as_ref());
        let beat = registry.beat;
        // Without a runtime the first poll starts the watcher.
        let runtime = Handle::try_current().ok();
        let start = runtime.filter(|_| !mem::replace(&mut registry.watched, true));
        drop(registry);
        if let Some(runtime) = start {
            self.watch(&runtime);
        }
        Ok(Subscription {
            subscribers: self.clone(),
            place,
            client,
            greeting: Some(greeting),
            told,
            beat,
        })
    }

    /// Starts the watcher. Not under the lock: a runtime that shuts down drops the task at once,
    /// and its `Drop` takes the lock.
    fn watch(self: &Arc<Self>, runtime: &Handle) {
        let watcher = Watcher {
            subscribers: self.clone(),
            done: false,
        };
        runtime.spawn(watcher.run());
    }

    /// Takes over a new generation, and wakes all subscribers.
    fn recovered(&self) {
        let Some(handle) = self.layer.upgrade() else {
            return;
        };
        let wakers = {
            let mut registry = self.registry();
            registry.update(&handle, &self.options);
            registry.wakers()
        };
        wake(wakers);
    }

    /// Counts a heartbeat, and wakes all subscribers; `false` if there are none, and the watcher
    /// ends.
    fn beat(&self) -> bool {
        // A statement of its own, so that the lock is free when wakers are dropped and woken.
        let beat = self.registry().count_beat();
        let Some(beat) = beat else {
            return false;
        };
        drop(beat.stuck);
        wake(beat.wakers);
        true
    }

    /// Ends all streams, now and from now on.
    pub(super) fn close(&self) {
        let wakers = self.registry().close();
        wake(wakers);
        self.closing.notify_one();
    }

    /// Ends all streams.
    fn end(&self) {
        let wakers = self.registry().end();
        wake(wakers);
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl Subscription {
    /// Returns the next piece of the stream; `None` at its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut old = None;
        let (polled, start) = {
            let mut registry = self.subscribers.registry();
            let beat = registry.beat;
            let Registry {
                places,
                newest,
                watched,
                ..
            } = &mut *registry;
            let Some(place) = places.get_mut(&self.place) else {
                return Poll::Ready(None);
            };
            // Before anything changes: outside a runtime this panics, and a later poll within one
            // goes on.
            let start = (!*watched).then(Handle::current);
            *watched = true;
            place.polled = beat;
            let polled = if let Some(greeting) = self.greeting.take() {
                Poll::Ready(Some(greeting))
            } else if self.told < newest.generation {
                self.told = newest.generation;
                Poll::Ready(Some(newest.recovered.clone()))
            } else if self.beat < beat {
                Poll::Ready(Some(self.subscribers.beat.clone()))
            } else {
                old = place.waker.replace(cx.waker().clone());
                Poll::Pending
            };
            if polled.is_ready() {
                self.beat = beat;
            }
            (polled, start)
        };
        drop(old);
        if let Some(runtime) = start {
            self.subscribers.watch(&runtime);
        }
        polled
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let place = {
            let mut registry = self.subscribers.registry();
            registry.remove(self.place, self.client.take())
        };
        drop(place);
    }
}

/// What the watcher waits for.
enum Next {
    Recovered,
    Beat,
    Closed,
    LayerGone,
}

struct Watcher {
    subscribers: Arc<Subscribers>,
    done: bool,
}

impl Watcher {
    async fn run(mut self) {
        // The handle is dropped here: while the watcher waits, it keeps no layer alive.
        let Some(mut busts) = self
            .subscribers
            .layer
            .upgrade()
            .map(|handle| handle.cache_bust())
        else {
            return;
        };
        let mut beats = tokio::time::interval(self.subscribers.options.heartbeat);
        // Not `Burst`: after a pause of the whole process the subscribers had no time to be polled.
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats.reset();
        loop {
            let next = {
                let mut bust = pin!(busts.recv());
                let mut closing = pin!(self.subscribers.closing.notified());
                poll_fn(|cx| {
                    if closing.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Next::Closed);
                    }
                    match bust.as_mut().poll(cx) {
                        Poll::Ready(Some(_)) => Poll::Ready(Next::Recovered),
                        Poll::Ready(None) => Poll::Ready(Next::LayerGone),
                        Poll::Pending => beats.poll_tick(cx).map(|_| Next::Beat),
                    }
                })
                .await
            };
            match next {
                Next::Recovered => self.subscribers.recovered(),
                Next::LayerGone => return,
                Next::Beat if self.subscribers.beat() => {}
                Next::Beat | Next::Closed => {
                    self.done = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Watcher {
    /// Ends all streams if the watcher ends while subscribers are left: the layer is gone, or the
    /// runtime that it ran on. Without a watcher they would be told nothing, so that browsers must
    /// reconnect.
    fn drop(&mut self) {
        if !self.done {
            self.subscribers.end();
        }
    }
}
