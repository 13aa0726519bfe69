//! The pings of a keyed layer: one future checks the keys that are being probed.
//!
//! A [ping](crate::MaintenanceHandle::ping) of a single key waits for that key's news, and holds a
//! reference to its state for as long. So a key with such a ping never goes. The future here holds
//! no key: it looks at all of them once a second, and holds one only while it checks it, in
//! `Probing`, when the key stays anyway.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Context,
    time::Duration,
};

use super::registry::{Pinged, Registry};
use crate::operator::ping::{Check, PingAnswer};

/// The time between two looks at the keys.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many checks run at a time. If the partner is down for all keys, it is not asked for all of
/// them at once.
const AT_A_TIME: usize = 32;

/// Checks keys until no layer, service or `Keys` is left.
pub(super) async fn run<K, P, C, F>(registry: Weak<Registry<K, P>>, check: C)
where
    C: Fn(&K) -> F,
    F: Future<Output: PingAnswer>,
{
    let Some(_presence) = Presence::of(&registry) else {
        return;
    };
    let mut due: VecDeque<Weak<Pinged<K, P>>> = VecDeque::new();
    let mut running = Vec::new();
    loop {
        let mut rest = pin!(tokio::time::sleep(LOOK_EVERY));
        let Some(keys) = registry.upgrade() else {
            return;
        };
        if due.is_empty() {
            due.extend(keys.due_for_a_check().map(|key| Arc::downgrade(&key)));
        }
        drop(keys);
        poll_fn(|cx| {
            loop {
                // A check that ends makes room for the next.
                poll_all(&mut running, cx);
                let Some(next) = next_of(&mut due, running.len()) else {
                    return rest.as_mut().poll(cx);
                };
                if let Some((key, next)) = next.upgrade().and_then(|key| begun(&registry, key)) {
                    running.push(Box::pin(one(key, next, &check)));
                }
            }
        })
        .await;
    }
}

/// Returns the next key, if one more check may run.
fn next_of<T>(due: &mut VecDeque<T>, running: usize) -> Option<T> {
    (running < AT_A_TIME).then(|| due.pop_front()).flatten()
}

/// Polls the checks, and lets go of those that have ended.
fn poll_all<F: Future<Output = ()>>(running: &mut Vec<Pin<Box<F>>>, cx: &mut Context<'_>) {
    running.retain_mut(|check| check.as_mut().poll(cx).is_pending());
}

/// Begins a check of a key, if a slot is free.
fn begun<K, P>(
    registry: &Weak<Registry<K, P>>,
    key: Arc<Pinged<K, P>>,
) -> Option<(Arc<Pinged<K, P>>, Check)> {
    let check = Check::begin(key.layer().borrowed_handle())?;
    registry.upgrade()?.checks_now(&key, check.every());
    Some((key, check))
}

async fn one<K, P, C, F>(key: Arc<Pinged<K, P>>, next: Check, check: &C)
where
    C: Fn(&K) -> F,
    F: Future<Output: PingAnswer>,
{
    next.run(|| check(key.key())).await;
}

/// Notes in the registry that pings probe in place of requests, until it is dropped.
struct Presence<K, P>(Weak<Registry<K, P>>);

impl<K, P> Presence<K, P> {
    fn of(registry: &Weak<Registry<K, P>>) -> Option<Self> {
        registry.upgrade()?.ping_began();
        Some(Self(registry.clone()))
    }
}

impl<K, P> Drop for Presence<K, P> {
    fn drop(&mut self) {
        if let Some(registry) = self.0.upgrade() {
            registry.ping_ended();
        }
    }
}
