//! The simulated partner, and the plain tower service in front of it.
//!
//! One place decides what becomes of call *n* that begins at time *t*, for the services in memory
//! and for the server: [`Reply`](reply::Reply). The decision depends on the phase, the seed and the
//! number of the call. It does not depend on the thread, and on time only through the phase. So two
//! runs whose calls begin in the same order at the same times are the same.

mod answer;
pub(super) mod body_text;
pub(super) mod call;
mod record;
pub(super) mod reply;
mod run;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::sync::watch;
use tower::Service;

pub use self::{
    answer::{Answer, PartnerError},
    record::{CallEnd, CallRecord, Counts},
};
use self::{
    call::{Call, Due},
    reply::Reply,
    run::Shared,
};
use super::script::{Phase, Place, Script, ScriptError};

/// A partner to test against: a tower service that follows a [`Script`] or your commands.
///
/// Clones are the same partner: they share its clock, its numbers and its log. Give one to the
/// stack under test, and keep another to break it, mend it and read its log. The service takes any
/// request, is always ready, and fails only as its phase says.
///
/// Time is tokio's: under `#[tokio::test(start_paused = true)]` an outage of an hour takes a
/// millisecond. The same seed and the same order of calls give the same run. Which calls of a
/// [`Failing`](Phase::Failing) phase fail depends only on the seed and the number of the call, on
/// every platform and in every release.
///
/// An answer with a status of 500 or more comes as [`PartnerError::Status`], as a client without
/// HTTP would report it. Every other answer comes as [`Answer`], also one that says
/// `"success": false`. For HTTP requests and responses see [`over_http`](Self::over_http), for a
/// real port [`listen`](Self::listen).
///
/// ```
/// use std::time::Duration;
/// use tower::Service;
/// use tower_maintenance::testing::{CallEnd, PartnerError, Phase, SimulatedPartner};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let partner = SimulatedPartner::healthy();
/// let mut client = partner.clone();
/// assert_eq!(client.call("charge 7").await?.status, 200);
///
/// partner.switch_to(Phase::retry_after(Duration::from_secs(20)))?;
/// let error = client.call("charge 8").await.unwrap_err();
/// assert_eq!(error.retry_after(), Some(Duration::from_secs(20)));
///
/// partner.switch_to(Phase::Hanging)?;
/// let call = client.call("charge 9");
/// assert!(tokio::time::timeout(Duration::from_secs(3600), call).await.is_err());
/// assert_eq!(partner.log()[2].end, Some(CallEnd::Hung));
///
/// partner.mend();
/// assert!(client.call("charge 9").await?.success);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimulatedPartner {
    shared: Arc<Shared>,
}

impl SimulatedPartner {
    /// Returns a partner that follows `script`, whose clock starts now.
    ///
    /// `seed` decides which calls fail in a phase where only a share of them fails. It works
    /// outside a runtime too. A partner that shall follow a paused clock must be made under that
    /// clock.
    #[must_use]
    pub fn new(script: Script, seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared::new(script, seed)),
        }
    }

    /// Returns a partner that is healthy until it is told otherwise, for tests that break and mend
    /// it by hand. Its seed is 0.
    #[must_use]
    pub fn healthy() -> Self {
        Self::new(Script::healthy(), 0)
    }

    /// Puts the partner into `phase` for every call that begins from now on, whatever its script
    /// says.
    ///
    /// The phase lasts until the partner is switched again, [mended](Self::mend), or given back to
    /// its script by [`follow_script`](Self::follow_script) or [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// If the phase is invalid: for instance, its share is not within 0 and 1. The phase in force
    /// stays.
    pub fn switch_to(&self, phase: Phase) -> Result<(), ScriptError> {
        self.shared.switch_to(Some(phase.checked(Place::Switch)?));
        Ok(())
    }

    /// Breaks the partner: every call that begins from now on fails with 503.
    pub fn break_down(&self) {
        self.shared.switch_to(Some(Phase::failing(1.0)));
    }

    /// Mends the partner: every call that begins from now on succeeds. Calls that hang still hang.
    pub fn mend(&self) {
        self.shared.switch_to(Some(Phase::Healthy));
    }

    /// Gives the partner back to its script. The clock of the script went on meanwhile.
    pub fn follow_script(&self) {
        self.shared.switch_to(None);
    }

    /// Begins the run anew, as if the partner were just made: the script from its first phase, call
    /// numbers from 1, an empty log, counts of zero.
    ///
    /// Calls in flight get the answers that were decided for them. They still count as
    /// [`in_flight`](Counts::in_flight), but their end is not recorded.
    pub fn restart(&self) {
        self.shared.restart();
    }

    /// Returns the phase in force.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.moment().phase
    }

    /// Returns how long the script has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.elapsed()
    }

    /// Returns the script.
    #[must_use]
    pub fn script(&self) -> &Script {
        self.shared.script()
    }

    /// Returns how many calls have reached the partner.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counts().calls
    }

    /// Returns how many calls have begun and not ended, including those that hang.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.counts().in_flight
    }

    /// Returns the number of calls by how they ended.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.shared.counts().borrow()
    }

    /// Returns how many of the [logged](Self::log) requests went to `path`, whatever their method
    /// and query.
    ///
    /// It is always 0 for calls to the plain service, because the paths of its requests are
    /// unknown.
    #[must_use]
    pub fn calls_to(&self, path: &str) -> usize {
        self.shared.with_log(|log| {
            let paths = log.iter().filter_map(CallRecord::path);
            paths.filter(|called| *called == path).count()
        })
    }

    /// Returns what became of each call, in the order in which they began, including calls in
    /// flight.
    ///
    /// The log keeps the newest 100 000 calls; [`counts`](Self::counts) has all.
    #[must_use]
    pub fn log(&self) -> Vec<CallRecord> {
        self.shared.with_log(|log| log.iter().cloned().collect())
    }

    /// Waits until the counts satisfy `condition`, and returns them. Use it to wait for the partner
    /// where time is real.
    ///
    /// There is no limit of time: put it under a [timeout](tokio::time::timeout). The condition is
    /// checked once at the beginning, and again after changes. Changes in quick succession may be
    /// seen as one, so ask for "at least", not for "exactly".
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future loses nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::ServiceExt;
    /// use tower_maintenance::testing::{Phase, SimulatedPartner};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let partner = SimulatedPartner::healthy();
    /// partner.switch_to(Phase::Hanging)?;
    /// let call = tokio::spawn(partner.clone().oneshot("a call"));
    /// let counts = partner.until(|counts| counts.hanging >= 1).await;
    /// assert_eq!(counts.calls, 1);
    /// # call.abort();
    /// # Ok(())
    /// # }
    /// ```
    #[expect(
        clippy::missing_panics_doc,
        reason = "the `expect` cannot fail, as its message says"
    )]
    pub async fn until(&self, mut condition: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts().subscribe();
        loop {
            // Copied out, so that `condition`, which is the user's, runs under no lock.
            let seen = *counts.borrow_and_update();
            if condition(&seen) {
                return seen;
            }
            counts
                .changed()
                .await
                .expect("the sender lives in `self`, which is borrowed");
        }
    }

    /// Returns a receiver that changes at every command that may change the phase. Its value
    /// numbers the commands.
    pub(super) fn commands(&self) -> watch::Receiver<u64> {
        self.shared.commands()
    }

    /// Returns the phase in force, and how long from now it ends by itself.
    pub(super) fn phase_and_rest(&self) -> (Phase, Option<Duration>) {
        self.shared.phase_and_rest()
    }

    /// Begins a call and decides what becomes of it.
    pub(super) fn begin(&self, target: Option<String>) -> Call {
        Call::begin(self.shared.clone(), target)
    }
}

impl fmt::Debug for SimulatedPartner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedPartner")
            .field("script", self.shared.script())
            .field("seed", &self.shared.seed())
            .field("phase", &self.phase())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl<R> Service<R> for SimulatedPartner {
    type Response = Answer;
    type Error = PartnerError;
    type Future = AnswerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PartnerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> AnswerFuture {
        AnswerFuture {
            due: Due::new(self.begin(None)),
        }
    }
}

pin_project! {
    /// The future of the partner's answer; made by [`SimulatedPartner`].
    ///
    /// The call began when [`call`](Service::call) returned this future, polled or not. It ends
    /// when the future is ready or dropped.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct AnswerFuture {
        #[pin]
        due: Due,
    }
}

impl Future for AnswerFuture {
    type Output = Result<Answer, PartnerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut call = ready!(self.project().due.poll(cx));
        Poll::Ready(match call.reply() {
            Reply::Answer {
                status,
                success,
                retry_after,
            } => {
                call.settle(CallEnd::Answered { status, success });
                if status >= 500 {
                    Err(PartnerError::Status {
                        status,
                        retry_after,
                    })
                } else {
                    Ok(Answer {
                        number: call.number(),
                        status,
                        success,
                        retry_after,
                    })
                }
            }
            Reply::Refuse => {
                call.settle(CallEnd::ConnectionRefused);
                Err(PartnerError::ConnectionRefused)
            }
            // Without a transport there is no first half of a body. `Hang` is never due.
            Reply::Reset | Reply::Hang => {
                call.settle(CallEnd::ConnectionReset);
                Err(PartnerError::ConnectionReset)
            }
        })
    }
}
