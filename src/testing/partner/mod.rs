//! The simulated partner: one decision, one log, and the plain tower service in front of them.
//!
//! "What becomes of call *n* that begins at *t*" is decided in one place, [`SimulatedPartner::begin`],
//! for both the in-memory services and the real server. The decision depends on the phase, on the
//! seed and on the number of the call, and on nothing else: not on the thread, and on time only
//! through the phase. So a run whose calls begin in the same order at the same times is the same run.

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

/// A partner to test against: a tower service that follows a [`Script`], or your commands.
///
/// Clones are the same partner: they share its clock, its numbers and its log, so one is given to
/// the stack under test and another kept to break it, mend it and ask it. It takes any request,
/// is always ready, and never fails by itself.
///
/// Time is tokio's: under `#[tokio::test(start_paused = true)]` an hour's outage takes a
/// millisecond. The same seed and the same order of calls give the same run; which calls of a
/// [`Failing`](Phase::Failing) phase fail depends on the seed and the number of the call only, on
/// every platform and in every release.
///
/// Answers with a status of 500 or more come as [`PartnerError::Status`], because a client that
/// knows no HTTP reports them as errors; all others come as [`Answer`], also those that say
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
    /// A partner that follows `script`, whose clock starts now.
    ///
    /// `seed` decides which calls are struck where only a share of them fails. Works outside a
    /// runtime too; but a partner that shall follow a paused clock is made under that clock.
    #[must_use]
    pub fn new(script: Script, seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared::new(script, seed)),
        }
    }

    /// A partner that is well until it is told otherwise: for tests that break and mend it by hand.
    ///
    /// Its seed is 0.
    #[must_use]
    pub fn healthy() -> Self {
        Self::new(Script::healthy(), 0)
    }

    /// Puts the partner into `phase` for every call that begins from now on, whatever its script
    /// says, until it is switched again, [mended](Self::mend), or given back to its script by
    /// [`follow_script`](Self::follow_script) or [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// If the phase cannot be, a share that is not within 0 and 1 for instance; then the phase in
    /// force stays.
    pub fn switch_to(&self, phase: Phase) -> Result<(), ScriptError> {
        self.shared.switch_to(Some(phase.checked(Place::Switch)?));
        Ok(())
    }

    /// Breaks the partner: every call that begins from now on fails with 503.
    pub fn break_down(&self) {
        self.shared.switch_to(Some(Phase::failing(1.0)));
    }

    /// Mends the partner: every call that begins from now on succeeds. Calls that hang go on
    /// hanging.
    pub fn mend(&self) {
        self.shared.switch_to(Some(Phase::Healthy));
    }

    /// Gives the partner back to its script, whose clock went on meanwhile.
    pub fn follow_script(&self) {
        self.shared.switch_to(None);
    }

    /// Begins the run anew, as if the partner were just made: the script from its first phase, call
    /// numbers from 1, an empty log, counts of zero.
    ///
    /// Calls in flight are answered as they would have been. They still count as
    /// [`in_flight`](Counts::in_flight), but their end is no longer recorded.
    pub fn restart(&self) {
        self.shared.restart();
    }

    /// The phase in force.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.moment().phase
    }

    /// How long the script has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.elapsed()
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> &Script {
        self.shared.script()
    }

    /// How many calls have reached the partner.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counts().calls
    }

    /// How many calls have begun and not ended, those that hang included.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.counts().in_flight
    }

    /// How many calls ended how.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.shared.counts().borrow()
    }

    /// How many of the [logged](Self::log) requests went to `path`, whatever their method and query.
    ///
    /// Always 0 for calls to the plain service, which cannot know what its requests say.
    #[must_use]
    pub fn calls_to(&self, path: &str) -> usize {
        self.shared.with_log(|log| {
            let paths = log.iter().filter_map(CallRecord::path);
            paths.filter(|called| *called == path).count()
        })
    }

    /// What became of each call, in the order they began; calls in flight included.
    ///
    /// It remembers the newest 100 000 calls; [`counts`](Self::counts) knows all.
    #[must_use]
    pub fn log(&self) -> Vec<CallRecord> {
        self.shared.with_log(|log| log.iter().cloned().collect())
    }

    /// Waits until the counts are such, and returns them: the event to wait for where time is real.
    ///
    /// There is no limit of time; put it under a [timeout](tokio::time::timeout). The condition is
    /// asked once at the beginning and again after changes; changes in quick succession may be seen
    /// as one, so ask for "at least", not for "exactly".
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
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
        reason = "the `expect` cannot fail, as it says"
    )]
    pub async fn until(&self, mut condition: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts().subscribe();
        loop {
            // Copied out: `condition` is the user's, and runs under no lock.
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

    /// Tells of every command that may have changed the phase; its value numbers the commands.
    pub(super) fn commands(&self) -> watch::Receiver<u64> {
        self.shared.commands()
    }

    /// The phase in force, and how long from now it ends by itself.
    pub(super) fn phase_and_rest(&self) -> (Phase, Option<Duration>) {
        self.shared.phase_and_rest()
    }

    /// Begins a call, and decides what becomes of it.
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
    /// The partner's answer to come; made by [`SimulatedPartner`].
    ///
    /// The call began when [`call`](Service::call) returned this, polled or not, and ends when it is
    /// ready or dropped.
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
            // Without a transport there is no first half to see; `Hang` is never due.
            Reply::Reset | Reply::Hang => {
                call.settle(CallEnd::ConnectionReset);
                Err(PartnerError::ConnectionReset)
            }
        })
    }
}
