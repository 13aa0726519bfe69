//! The simulated partner: one decision, one log, and the plain tower service in front of them.
//!
//! "What becomes of call *n* that begins at *t*" is decided in one place, [`SimulatedPartner::begin`],
//! for both the in-memory services and the real server. The decision depends on the phase, on the
//! seed and on the number of the call, and on nothing else: not on the thread, and on time only
//! through the phase. So a run whose calls begin in the same order at the same times is the same run.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};
use tower::Service;

use super::script::{Phase, Place, Script, ScriptError, ScriptMoment};

/// How many calls the log remembers; of older ones only the [`Counts`] remain.
const LOG_CAPACITY: usize = 100_000;

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

struct Shared {
    script: Script,
    seed: u64,
    run: Mutex<Run>,
    /// Changed only with `run` locked, so that it never contradicts the log. A watch, so that
    /// [`SimulatedPartner::until`] can wait for it.
    counts: watch::Sender<Counts>,
    /// Numbers the commands; making the partner is the first. Grows whenever what
    /// [`SimulatedPartner::moment`] said may no longer hold.
    commands: watch::Sender<u64>,
}

/// Everything since the start or the last [`SimulatedPartner::restart`].
struct Run {
    id: u64,
    started: Instant,
    switched: Option<(Phase, Instant)>,
    calls: u64,
    /// The newest calls, ending with number `calls`.
    log: VecDeque<CallRecord>,
}

impl Run {
    fn moment(&self, script: &Script, now: Instant) -> ScriptMoment {
        match self.switched {
            Some((phase, since)) => ScriptMoment {
                phase,
                into: now.saturating_duration_since(since),
                ends: None,
            },
            None => script.moment(now.saturating_duration_since(self.started)),
        }
    }

    fn record(&mut self, number: u64) -> Option<&mut CallRecord> {
        let back = usize::try_from(self.calls.checked_sub(number)?).ok()?;
        let index = self.log.len().checked_sub(back + 1)?;
        self.log.get_mut(index)
    }
}

impl SimulatedPartner {
    /// A partner that follows `script`, whose clock starts now.
    ///
    /// `seed` decides which calls are struck where only a share of them fails. Works outside a
    /// runtime too; but a partner that shall follow a paused clock is made under that clock.
    #[must_use]
    pub fn new(script: Script, seed: u64) -> Self {
        let run = Run {
            id: 0,
            started: now(),
            switched: None,
            calls: 0,
            log: VecDeque::new(),
        };
        Self {
            shared: Arc::new(Shared {
                script,
                seed,
                run: Mutex::new(run),
                counts: watch::Sender::new(Counts::default()),
                commands: watch::Sender::new(1),
            }),
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
        self.put_into(phase.checked(Place::Switch)?);
        Ok(())
    }

    /// Breaks the partner: every call that begins from now on fails with 503.
    pub fn break_down(&self) {
        self.put_into(Phase::failing(1.0));
    }

    /// Mends the partner: every call that begins from now on succeeds. Calls that hang go on
    /// hanging.
    pub fn mend(&self) {
        self.put_into(Phase::Healthy);
    }

    fn put_into(&self, phase: Phase) {
        self.lock().switched = Some((phase, now()));
        self.shared.commands.send_modify(|command| *command += 1);
    }

    /// Gives the partner back to its script, whose clock went on meanwhile.
    pub fn follow_script(&self) {
        self.lock().switched = None;
        self.shared.commands.send_modify(|command| *command += 1);
    }

    /// Begins the run anew, as if the partner were just made: the script from its first phase, call
    /// numbers from 1, an empty log, counts of zero.
    ///
    /// Calls in flight are answered as they would have been. They still count as
    /// [`in_flight`](Counts::in_flight), but their end is no longer recorded.
    pub fn restart(&self) {
        let mut run = self.lock();
        run.id += 1;
        run.started = now();
        run.switched = None;
        run.calls = 0;
        run.log.clear();
        self.shared.counts.send_modify(|counts| {
            *counts = Counts {
                in_flight: counts.in_flight,
                hanging: counts.hanging,
                ..Counts::default()
            };
        });
        drop(run);
        self.shared.commands.send_modify(|command| *command += 1);
    }

    /// The phase in force.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.moment().phase
    }

    /// How long the script has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.lock().started)
    }

    /// The script.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.shared.script
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
        *self.shared.counts.borrow()
    }

    /// How many of the [logged](Self::log) requests went to `path`, whatever their method and query.
    ///
    /// Always 0 for calls to the plain service, which cannot know what its requests say.
    #[must_use]
    pub fn calls_to(&self, path: &str) -> usize {
        let run = self.lock();
        let paths = run.log.iter().filter_map(CallRecord::path);
        paths.filter(|called| *called == path).count()
    }

    /// What became of each call, in the order they began; calls in flight included.
    ///
    /// It remembers the newest 100 000 calls; [`counts`](Self::counts) knows all.
    #[must_use]
    pub fn log(&self) -> Vec<CallRecord> {
        self.lock().log.iter().cloned().collect()
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
        let mut counts = self.shared.counts.subscribe();
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
        self.shared.commands.subscribe()
    }

    /// The phase in force, and how long from now it ends by itself.
    pub(super) fn phase_and_rest(&self) -> (Phase, Option<Duration>) {
        let now = now();
        let run = self.lock();
        let moment = run.moment(&self.shared.script, now);
        let elapsed = now.saturating_duration_since(run.started);
        (moment.phase, moment.ends.map(|ends| ends - elapsed))
    }

    fn moment(&self) -> ScriptMoment {
        self.lock().moment(&self.shared.script, now())
    }

    /// Numbers a call that begins now, decides what becomes of it, and records it as in flight.
    pub(super) fn begin(&self, target: Option<String>) -> Call {
        let now = now();
        let mut run = self.lock();
        run.calls += 1;
        let number = run.calls;
        let moment = run.moment(&self.shared.script, now);
        let reply = Reply::decide(moment.phase, moment.into, self.shared.seed, number);
        let latency = match moment.phase {
            Phase::Slow { latency } => latency,
            Phase::ConnectionRefused => Duration::ZERO,
            _ => self.shared.script.latency(),
        };
        if run.log.len() == LOG_CAPACITY {
            run.log.pop_front();
        }
        let began = now.saturating_duration_since(run.started);
        run.log.push_back(CallRecord {
            number,
            target,
            phase: moment.phase,
            began,
            ended: None,
            end: None,
        });
        self.shared.counts.send_modify(|counts| {
            counts.calls += 1;
            counts.in_flight += 1;
            counts.hanging += u64::from(reply == Reply::Hang);
        });
        Call {
            partner: self.clone(),
            run: run.id,
            number,
            reply,
            latency,
            began: now,
            settled: false,
            cut: None,
        }
    }

    fn end(&self, call: &Call, end: CallEnd) {
        let now = now();
        let mut run = self.lock();
        let of_this_run = run.id == call.run;
        if of_this_run {
            let ended = now.saturating_duration_since(run.started);
            if let Some(record) = run.record(call.number) {
                record.ended = Some(ended);
                record.end = Some(end);
            }
        }
        self.shared.counts.send_modify(|counts| {
            counts.in_flight -= 1;
            counts.hanging -= u64::from(call.reply == Reply::Hang);
            if of_this_run {
                *counts.of(end) += 1;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        // No code that can panic runs under the lock, the user's least of all.
        self.shared
            .run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimulatedPartner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedPartner")
            .field("script", &self.shared.script)
            .field("seed", &self.shared.seed)
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
        Poll::Ready(match call.reply {
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
                        number: call.number,
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

/// What the partner answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The number of the call, counted from 1.
    pub number: u64,
    /// The HTTP status, below 500.
    pub status: u16,
    /// What the body says; `false` beside a status of 200 in a phase of
    /// [`FailingWith200`](Phase::FailingWith200).
    pub success: bool,
    /// How long the partner asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// The JSON a partner sends along: `{"success": true, "n": 7}`, or
    /// `{"success": false, "reasons": [{"code": 50000060, "message": "..."}]}`.
    ///
    /// Written when asked for, so that a call that nobody reads allocates nothing for it.
    #[must_use]
    pub fn body(&self) -> String {
        body(self.success, None, self.number)
    }
}

/// How a call to the partner failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartnerError {
    /// Nobody listens; see [`Phase::ConnectionRefused`].
    #[error("the simulated partner refused the connection")]
    ConnectionRefused,
    /// The connection broke amid the answer; see [`Phase::ResetMidBody`].
    #[error("the simulated partner reset the connection")]
    ConnectionReset,
    /// The answer was an error of the partner's own, 500 or more.
    #[error("the simulated partner answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// How long the partner asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl PartnerError {
    /// The HTTP status, if there was an answer at all.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status),
            Self::ConnectionRefused | Self::ConnectionReset => None,
        }
    }

    /// How long the partner asks to be left alone.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => retry_after,
            Self::ConnectionRefused | Self::ConnectionReset => None,
        }
    }
}

/// One call in the partner's log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CallRecord {
    /// The number of the call, counted from 1.
    pub number: u64,
    /// Method and target of an HTTP request, `GET /v1/prices?page=2`; `None` for calls to the plain
    /// service.
    pub target: Option<String>,
    /// The phase the call began in, which decided what became of it.
    pub phase: Phase,
    /// When it began, counted from the start of the run.
    pub began: Duration,
    /// When it ended; `None` while it is in flight.
    pub ended: Option<Duration>,
    /// How it ended; `None` while it is in flight.
    pub end: Option<CallEnd>,
}

impl CallRecord {
    /// The path of an HTTP request, without its query.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        let (_method, target) = self.target.as_deref()?.split_once(' ')?;
        target.split('?').next()
    }
}

/// How a call ended, as the partner saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// The caller got the whole answer.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Whether the partner did what it was asked to.
        success: bool,
    },
    /// Nobody listened. Over a real port such calls are not seen, hence not recorded.
    ConnectionRefused,
    /// The partner broke the connection.
    ConnectionReset,
    /// The caller left a call that would never have been answered.
    Hung,
    /// The caller left before the answer, or amid its body.
    Dropped,
}

/// How many calls ended how.
///
/// `calls` is the sum of all others but `hanging`, except for calls that were in flight during a
/// [`restart`](SimulatedPartner::restart): they are in `in_flight` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that reached the partner.
    pub calls: u64,
    /// Calls that began and have not ended.
    pub in_flight: u64,
    /// Those in flight that will never be answered.
    pub hanging: u64,
    /// Answered, and the partner did what it was asked to.
    pub succeeded: u64,
    /// Answered with a failure, be it a status or `"success": false`.
    pub failed: u64,
    /// Ended by [`CallEnd::ConnectionRefused`].
    pub refused: u64,
    /// Ended by [`CallEnd::ConnectionReset`].
    pub reset: u64,
    /// Ended by [`CallEnd::Hung`].
    pub hung: u64,
    /// Ended by [`CallEnd::Dropped`].
    pub dropped: u64,
}

impl Counts {
    fn of(&mut self, end: CallEnd) -> &mut u64 {
        match end {
            CallEnd::Answered { success: true, .. } => &mut self.succeeded,
            CallEnd::Answered { success: false, .. } => &mut self.failed,
            CallEnd::ConnectionRefused => &mut self.refused,
            CallEnd::ConnectionReset => &mut self.reset,
            CallEnd::Hung => &mut self.hung,
            CallEnd::Dropped => &mut self.dropped,
        }
    }
}

/// What the partner does with a call, once its latency is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Answer {
        status: u16,
        success: bool,
        retry_after: Option<Duration>,
    },
    Refuse,
    Reset,
    Hang,
}

impl Reply {
    const GOOD: Self = Self::Answer {
        status: 200,
        success: true,
        retry_after: None,
    };

    const fn bad(status: u16, retry_after: Option<Duration>) -> Self {
        Self::Answer {
            status,
            success: false,
            retry_after,
        }
    }

    /// What becomes of call `number` that begins `into` a phase.
    fn decide(phase: Phase, into: Duration, seed: u64, number: u64) -> Self {
        match phase {
            Phase::Failing { share, status } if is_struck(share, seed, number) => {
                Self::bad(status, None)
            }
            Phase::FailingWith200 { share } if is_struck(share, seed, number) => {
                Self::bad(200, None)
            }
            // No division by zero: a period of zero is refused when the phase is checked.
            Phase::Flapping { every } if (into.as_nanos() / every.as_nanos()).is_multiple_of(2) => {
                Self::bad(503, None)
            }
            Phase::Healthy
            | Phase::Slow { .. }
            | Phase::Failing { .. }
            | Phase::FailingWith200 { .. }
            | Phase::Flapping { .. } => Self::GOOD,
            Phase::Hanging => Self::Hang,
            Phase::ConnectionRefused => Self::Refuse,
            Phase::ResetMidBody => Self::Reset,
            Phase::RetryAfter { status, after } => Self::bad(status, Some(after)),
        }
    }
}

/// Whether call `number` belongs to the `share` of calls that fail.
fn is_struck(share: f64, seed: u64, number: u64) -> bool {
    // SplitMix64's finaliser, not std's hasher: "same seed, same run" shall survive an upgrade of
    // Rust. The seed is mixed first, lest seeds 1 and 2 be the same run shifted.
    const fn mix(z: u64) -> u64 {
        let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    // 53 bits are what an f64 holds exactly, so 0 strikes none and 1 strikes all.
    let drawn = (mix(mix(seed) ^ number) >> 11) as f64 / (1_u64 << 53) as f64;
    drawn < share
}

/// A call in flight; ends its record exactly once, on drop at the latest.
pub(super) struct Call {
    partner: SimulatedPartner,
    run: u64,
    pub(super) number: u64,
    pub(super) reply: Reply,
    latency: Duration,
    began: Instant,
    settled: bool,
    /// Set by a server that is about to drop its calls itself.
    cut: Option<Arc<AtomicBool>>,
}

impl Call {
    /// Lets `cut` tell a call that the partner broke off from one that the caller left.
    pub(super) fn cut_by(mut self, cut: Option<Arc<AtomicBool>>) -> Self {
        self.cut = cut;
        self
    }

    pub(super) fn settle(&mut self, end: CallEnd) {
        if !self.settled {
            self.settled = true;
            self.partner.end(self, end);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Relaxed: whoever sets it drops the call through the runtime afterwards, which synchronises.
        let cut = self
            .cut
            .as_ref()
            .is_some_and(|cut| cut.load(Ordering::Relaxed));
        self.settle(match self.reply {
            _ if cut => CallEnd::ConnectionReset,
            Reply::Hang => CallEnd::Hung,
            _ => CallEnd::Dropped,
        });
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("number", &self.number)
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// Gives a call back when the partner is due to do something about it: never for one that hangs.
    #[derive(Debug)]
    pub(super) struct Due {
        call: Option<Call>,
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Due {
    pub(super) fn new(call: Call) -> Self {
        Self {
            call: Some(call),
            sleep: None,
        }
    }
}

impl Future for Due {
    type Output = Call;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Call> {
        let mut this = self.project();
        let call = this.call.as_ref().expect("not polled after it was ready");
        if call.reply == Reply::Hang {
            return Poll::Pending;
        }
        // Made on the first poll and only where there is latency, so that `call` works outside a
        // runtime, and a partner without latency needs no timer.
        if this.sleep.is_none() && !call.latency.is_zero() {
            let passed = now().saturating_duration_since(call.began);
            let rest = call.latency.saturating_sub(passed);
            this.sleep.set(Some(tokio::time::sleep(rest)));
        }
        if let Some(sleep) = this.sleep.as_pin_mut() {
            ready!(sleep.poll(cx));
        }
        Poll::Ready(this.call.take().expect("seen above"))
    }
}

/// What the partner writes. `path` is `None` where there is none.
pub(super) fn body(success: bool, path: Option<&str>, number: u64) -> String {
    match (success, path) {
        (true, None) => format!(r#"{{"success": true, "n": {number}}}"#),
        (true, Some(path)) => {
            let path = json_escaped(path);
            format!(r#"{{"success": true, "path": "{path}", "n": {number}}}"#)
        }
        // Zuora's codes: six digits for the resource, here none, and 60 for an internal error.
        (false, _) => format!(
            r#"{{"success": false, "reasons": [{{"code": 50000060, "message": "simulated failure of call {number}"}}]}}"#
        ),
    }
}

fn json_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c < ' ' => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulator is no part of a layer; it stands on tokio's clock by itself"
)]
fn now() -> Instant {
    Instant::now()
}
