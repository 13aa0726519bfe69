//! A synthetic ping: the user's own check of the partner, which probes in place of customers.
//!
//! A future that the user spawns, because the core runs no task behind anybody's back. It keeps
//! nothing alive: it knows the layer weakly, and ends when no layer, service or handle is left.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    base::moment::Moment,
    call::ticket::Holder,
    facts::{
        mode::Mode,
        outcome::{Outcome, Verdict},
    },
    machine::{Ending, Role},
    operator::{
        handle::MaintenanceHandle,
        subscribe::{next_news, unless_gone},
    },
    state::root::Root,
};
use pin_project_lite::pin_project;

/// What a check may answer: a [`Verdict`], an [`Outcome`], or a `Result` whose `Ok` is a success.
pub trait CheckAnswer {
    /// What it says about the partner.
    fn verdict(self) -> Verdict;
}

impl CheckAnswer for Verdict {
    fn verdict(self) -> Verdict {
        self
    }
}

impl CheckAnswer for Outcome {
    fn verdict(self) -> Verdict {
        self.into()
    }
}

impl<T, E> CheckAnswer for Result<T, E> {
    fn verdict(self) -> Verdict {
        match self {
            Ok(_) => Outcome::Success.into(),
            Err(_) => Outcome::Failure.into(),
        }
    }
}

impl MaintenanceHandle {
    /// A future that runs `check` in `Probing`, one after another every `ping_every` (default 1 s), and
    /// is idle otherwise. Spawn it; it ends by itself when no layer, service or handle is left.
    ///
    /// It takes ordinary probe slots, and each check is bounded by the lease. From its first poll until
    /// it is dropped customers do not probe.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends a check under way, as neutral unless nothing came from the partner for
    /// `hang_limit`; from then on customers probe again.
    ///
    /// # Panics
    ///
    /// If `check` panics: the probe counts as failed, and the future is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, Mode};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::new("zuora");
    /// let handle = layer.handle();
    /// // Somewhere a request to the partner's health endpoint:
    /// tokio::spawn(handle.ping(async || Ok::<_, std::io::Error>(())));
    ///
    /// handle.trip("on-call", "drill")?;
    /// handle.wait_until_serving().await;
    /// assert_eq!(handle.mode(), Mode::Serving);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a ping does nothing until it is spawned"]
    pub fn ping<C, F>(&self, check: C) -> Ping<impl Future<Output = ()> + use<C, F>>
    where
        C: FnMut() -> F,
        F: Future<Output: CheckAnswer>,
    {
        Ping {
            run: run(Arc::downgrade(self.shared()), check),
        }
    }
}

pin_project! {
    /// A synthetic ping, to be spawned; made by [`MaintenanceHandle::ping`].
    #[must_use = "a ping does nothing until it is spawned"]
    pub struct Ping<F> {
        #[pin]
        run: F,
    }
}

impl<F: Future<Output = ()>> Future for Ping<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().run.poll(cx)
    }
}

impl<F> fmt::Debug for Ping<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ping").finish_non_exhaustive()
    }
}

async fn run<C, F>(layer: Weak<Root>, mut check: C)
where
    C: FnMut() -> F,
    F: Future<Output: CheckAnswer>,
{
    let Some((mut news, _presence)) = layer
        .upgrade()
        .map(|shared| (shared.subscribe(), Presence::new(&shared)))
    else {
        return;
    };
    loop {
        news.mark_unchanged();
        match next_step(&layer) {
            Step::Idle => {
                if next_news(&layer, &mut news).await.is_none() {
                    return;
                }
            }
            Step::Check {
                trial,
                every,
                lease,
            } => {
                let rest = tokio::time::sleep(every);
                if let Some(trial) = trial
                    && unless_gone(trial.run(&mut check, lease), &mut news)
                        .await
                        .is_none()
                {
                    return;
                }
                if unless_gone(rest, &mut news).await.is_none() {
                    return;
                }
            }
            Step::Gone => return,
        }
    }
}

enum Step {
    Idle,
    /// Check now if a slot was free, and not again before `every` has passed.
    Check {
        trial: Option<Trial>,
        every: Duration,
        lease: Duration,
    },
    Gone,
}

fn next_step(layer: &Weak<Root>) -> Step {
    let Some(shared) = layer.upgrade() else {
        return Step::Gone;
    };
    let (mode, every, lease) = shared.locked(|machine| {
        (
            machine.mode(),
            machine.rules().ping_every,
            machine.rules().trials.lease,
        )
    });
    if mode != Mode::Probing {
        return Step::Idle;
    }
    Step::Check {
        trial: Trial::begin(layer, &shared),
        every,
        lease,
    }
}

/// The layer knows that a ping is alive for as long as this is.
struct Presence(Weak<Root>);

impl Presence {
    fn new(shared: &Arc<Root>) -> Self {
        shared.locked(|machine| machine.ping_began());
        Self(Arc::downgrade(shared))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.locked(|machine| machine.ping_ended());
        }
    }
}

/// One check under way. Like a [`Ticket`](crate::Ticket), but it knows the layer weakly.
struct Trial {
    layer: Weak<Root>,
    admission: Option<(Role, u32, Moment)>,
    holder: Holder,
}

impl Trial {
    fn begin(layer: &Weak<Root>, shared: &Root) -> Option<Self> {
        let admission = shared.admit_ping()?;
        Some(Self {
            layer: layer.clone(),
            admission: Some(admission),
            holder: Holder::Waiting,
        })
    }

    async fn run<C, F>(mut self, check: &mut C, lease: Duration)
    where
        C: FnMut() -> F,
        F: Future<Output: CheckAnswer>,
    {
        // A panic in the check drops the trial as it is held here.
        self.holder = Holder::Inner;
        let mut checking = pin!(tokio::time::timeout(lease, check()));
        let answer = poll_fn(|cx| {
            self.holder = Holder::Inner;
            let polled = checking.as_mut().poll(cx);
            self.holder = Holder::Waiting;
            polled
        });
        let verdict = match answer.await {
            Ok(answer) => answer.verdict(),
            Err(_elapsed) => Outcome::Failure.into(),
        };
        self.end(|took| Ending::Judged { verdict, took });
    }

    fn end(&mut self, ending: impl FnOnce(Duration) -> Ending) {
        let Some((role, era, began)) = self.admission.take() else {
            return;
        };
        if let Some(shared) = self.layer.upgrade() {
            let now = shared.now();
            shared.settle(role, era, ending(now.since(began)), now);
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let holder = self.holder;
        self.end(|took| holder.unsettled(took, took));
    }
}
