//! The synthetic ping: a check by the user that probes the partner in place of customers.
//!
//! A ping is a future that the user spawns, because the crate starts no background tasks of its
//! own. It holds a `Weak` reference to the layer and ends when no layer, service or handle is left.

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
        fault,
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

/// The answer of a check: a [`Verdict`], an [`Outcome`], or a `Result` whose `Ok` is a success and
/// whose `Err` is a failure, unless the error's [type](crate::fault) says that it is not the
/// partner's.
#[doc(alias = "CheckAnswer")]
pub trait PingAnswer {
    /// Converts the answer to a verdict on the partner.
    fn verdict(self) -> Verdict;
}

impl PingAnswer for Verdict {
    fn verdict(self) -> Verdict {
        self
    }
}

impl PingAnswer for Outcome {
    fn verdict(self) -> Verdict {
        self.into()
    }
}

impl<T, E: 'static> PingAnswer for Result<T, E> {
    fn verdict(self) -> Verdict {
        match self {
            Ok(_) => Outcome::Success.into(),
            Err(error) => fault::of_any(&error).unwrap_or(Outcome::Failure.into()),
        }
    }
}

impl MaintenanceHandle {
    /// Builds a future that runs `check` repeatedly while the mode is `Probing`.
    ///
    /// Spawn the future. It runs one check at a time, at most one every
    /// [`ping_every`](crate::Policy::with_ping_every) (default: 1 s), and is idle outside
    /// `Probing`. It ends by itself when no layer, service or handle is left.
    ///
    /// Each check takes an ordinary probe slot and may take as long as a probe's
    /// [lease](crate::Policy::with_lease). From the first poll of the future until it is dropped,
    /// requests of customers do not probe.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends a check under way. The check counts as failed if the partner was
    /// silent for the [hang limit](crate::Policy::with_hang_limit), and is neutral otherwise. From
    /// then on requests of customers probe again.
    ///
    /// # Panics
    ///
    /// The future panics if `check` panics. The probe then counts as failed.
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
    /// // The check is usually a request to the partner's health endpoint.
    /// let ping = tokio::spawn(handle.ping(async || Ok::<_, std::io::Error>(())));
    ///
    /// handle.trip("on-call", "drill")?;
    /// handle.wait_until_serving().await;
    /// assert_eq!(handle.mode(), Mode::Serving);
    ///
    /// // Without a layer, a service or a handle the task ends. To end it earlier: `ping.abort()`.
    /// drop((layer, handle));
    /// ping.await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a ping does nothing until it is spawned"]
    pub fn ping<C, F>(&self, check: C) -> Ping<impl Future<Output = ()> + use<C, F>>
    where
        C: FnMut() -> F,
        F: Future<Output: PingAnswer>,
    {
        Ping {
            run: run(Arc::downgrade(self.shared()), check),
        }
    }
}

pin_project! {
    /// The future of a synthetic ping, which [`MaintenanceHandle::ping`] builds.
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
    F: Future<Output: PingAnswer>,
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
    /// Run a check now if a slot was free, and none again before `every` has passed.
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

/// Counts a ping as alive in the layer, until it is dropped.
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

/// One check under way: like a [`Ticket`](crate::Ticket), but with a `Weak` reference to the layer.
struct Trial {
    layer: Weak<Root>,
    admission: Option<(Role, u32, Moment)>,
    holder: Holder,
}

impl Trial {
    fn begin(layer: &Weak<Root>, shared: &Root) -> Option<Self> {
        let admission = shared.admit_ping()?;
        if let (Role::Probe(slot), era, began) = admission {
            shared.ping_waits(era, slot, began);
        }
        Some(Self {
            layer: layer.clone(),
            admission: Some(admission),
            holder: Holder::Waiting,
        })
    }

    async fn run<C, F>(mut self, check: &mut C, lease: Duration)
    where
        C: FnMut() -> F,
        F: Future<Output: PingAnswer>,
    {
        // If the check panics, the trial is dropped in this state and counts as failed.
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
        self.end(|took| holder.unsettled(took, Some(took)));
    }
}
