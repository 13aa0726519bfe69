//! Our own layer with the default policy, whose window is 60 s, around plain calls.

use std::{any::Any, hint::black_box, sync::Arc, time::Duration};

use tower::Layer;
use tower_maintenance::{
    CoarseClock, Error, Hold, MaintenanceHandle, MaintenanceLayer, Policy, Window,
};

use crate::{
    partner::Partner,
    subject::{Answer, Breaker, Caller, MaybeRefusal, Subject, Tower},
};

pub(crate) const NAME: &str = "tower-maintenance";

/// Longer than any measurement.
pub(crate) const LONG: Duration = Duration::from_secs(86_400);

pub(crate) const fn ours<P: Partner>() -> Breaker {
    Breaker::flat(NAME, |wait| {
        around_calls::<P>(&with_policy(Policy::default().with_wait(wait)))
    })
}

/// Ours with a cheaper and coarser clock.
pub(crate) const fn ours_coarse<P: Partner>() -> Breaker {
    Breaker::flat(NAME, |wait| {
        let built = MaintenanceLayer::builder("partner")
            .policy(Policy::default().with_wait(wait))
            .clock(CoarseClock::new())
            .build();
        around_calls::<P>(&built.expect("the policy is valid"))
    })
}

fn with_policy(policy: Policy) -> MaintenanceLayer {
    MaintenanceLayer::builder("partner")
        .policy(policy)
        .build()
        .expect("the policy is valid")
}

fn around_calls<P: Partner>(layer: &MaintenanceLayer) -> Box<dyn Subject> {
    Box::new(Tower::<_, P>::new(layer.layer(P::NEW)))
}

impl<E> MaybeRefusal for Error<E> {
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

pub(crate) fn hold(handle: &MaintenanceHandle) {
    let held = handle.engage(Hold::new("a bench", "refuses everything"));
    held.expect("actor and reason are given");
}

/// Held by an operator without expiry, so no deadline is pending.
pub(crate) fn held<P: Partner>() -> Box<dyn Subject> {
    let layer = with_policy(Policy::default());
    hold(&layer.handle());
    around_calls::<P>(&layer)
}

// ---- windows, subscribers, readers --------------------------------------------------------------

/// A window, and the number of calls that fill it as far as a bench fills it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    window: Window,
    pub(crate) calls: u64,
}

impl Shape {
    const fn time(name: &'static str, seconds: u64) -> Self {
        Self {
            name,
            window: Window::time(Duration::from_secs(seconds)),
            calls: 10_000,
        }
    }

    const fn calls(name: &'static str, size: u32) -> Self {
        Self {
            name,
            window: Window::calls(size),
            // Once around, and a little more.
            calls: size as u64 + 10_000,
        }
    }

    pub(crate) fn layer(self) -> MaintenanceLayer {
        with_policy(Policy::default().with_window(self.window).with_wait(LONG))
    }

    pub(crate) fn subject<P: Partner>(self) -> Box<dyn Subject> {
        around_calls::<P>(&self.layer())
    }
}

pub(crate) const SHAPES: [Shape; 7] = [
    Shape::time("window of 1 s", 1),
    Shape::time("window of 60 s", 60),
    Shape::time("window of 1 h", 3_600),
    Shape::time("window of 24 h", 86_400),
    Shape::calls("window of 10 calls", 10),
    Shape::calls("window of 1,000 calls", 1_000),
    Shape::calls("window of 1,000,000 calls", 1_000_000),
];

/// A caller, and subscribers or readers that live as long as it.
#[derive(Debug, Clone)]
struct Beside<C> {
    caller: C,
    _kept: Arc<dyn Any + Send + Sync>,
}

impl<C: Caller> Caller for Beside<C> {
    #[inline]
    fn call(&mut self, request: u64) -> Answer {
        self.caller.call(request)
    }
}

fn beside<P: Partner, K: Send + Sync + 'static>(
    number: usize,
    keep: impl Fn(&MaintenanceHandle) -> K,
) -> Box<dyn Subject> {
    let layer = with_policy(Policy::default().with_wait(LONG));
    let kept: Vec<K> = (0..number).map(|_| keep(&layer.handle())).collect();
    Box::new(Beside {
        caller: Tower::<_, P>::new(layer.layer(P::NEW)),
        _kept: Arc::new(kept),
    })
}

/// With this number of subscribers to the recovery signal.
pub(crate) fn beside_subscribers<P: Partner>(number: usize) -> Box<dyn Subject> {
    beside::<P, _>(number, MaintenanceHandle::cache_bust)
}

/// With this number of readers. Each has a handle of its own and has read the status with it.
pub(crate) fn beside_readers<P: Partner>(number: usize) -> Box<dyn Subject> {
    beside::<P, _>(number, |handle| {
        black_box(handle.status());
        handle.clone()
    })
}
