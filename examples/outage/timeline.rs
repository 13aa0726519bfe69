//! 31 July 2024, and how fast it is replayed.
//!
//! Moments of the day are [`Duration`]s since 19:50 UTC; [`Pace`] turns them into real time. The
//! phases of the outage, waits, pings and the window are sped up. Time-outs are sped up too, but
//! have a minimum, because sockets and the machine do not become faster.

use std::time::Duration;

use tokio::time::Instant;
use tower_maintenance::{
    Policy, PolicyError, Rate, Window,
    testing::{Phase, Script, ScriptError},
};

/// The replay begins at 19:50.
const BEGINS: u64 = 19 * 60 + 50;

/// The partner begins to be slow.
pub(crate) const SLOW: Duration = at(19, 55);
/// The billing page is broken, and engineers look into it.
pub(crate) const BROKEN: Duration = at(19, 58);
/// On the day, people put billing into maintenance.
pub(crate) const BY_HAND: Duration = at(20, 5);
/// The partner is back; on the day, people took billing out of maintenance.
pub(crate) const BACK: Duration = at(20, 57);
/// The replay ends.
pub(crate) const ENDS: Duration = at(21, 5);

const fn at(hour: u64, minute: u64) -> Duration {
    minutes(hour * 60 + minute - BEGINS)
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// The time of day, `20:17`.
pub(crate) fn clock(story: Duration) -> String {
    let minute = BEGINS + story.as_secs() / 60;
    format!("{:02}:{:02}", minute / 60 % 24, minute % 60)
}

/// The partner's behaviour. Its single failures were never published. This script has the usual
/// ways in which partners fail, between the two times that are known, 19:58 and 20:57.
fn outage() -> Result<Script, ScriptError> {
    Ok(Script::builder()
        .then(Phase::Healthy, SLOW)
        .then(Phase::slow(Duration::from_secs(20)), BROKEN - SLOW)
        // The status is 200, and only the body says that the call has failed.
        .then(Phase::failing_with_200(0.85), BY_HAND - BROKEN)
        .then(Phase::failing(1.0).with_status(502), minutes(10))
        .then(Phase::Hanging, minutes(10))
        // Each healthy stretch is shorter than the pause between two pings, so that three pings in
        // a row cannot take one for a recovery.
        .then(Phase::flapping(Duration::from_secs(25)), minutes(10))
        .then(Phase::ResetMidBody, minutes(10))
        .then(Phase::failing(0.9), minutes(12))
        .finally(Phase::Healthy)?
        .with_latency(Duration::from_secs(1)))
}

/// How fast the day is replayed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Seconds of the day in one real second.
    factor: f64,
}

impl Pace {
    /// At speed 1 the 75 minutes take 20 seconds.
    pub(crate) fn new(speed: f64) -> Self {
        Self {
            factor: speed * ENDS.as_secs_f64() / 20.0,
        }
    }

    pub(crate) fn factor(self) -> f64 {
        self.factor
    }

    /// How long a stretch of the day takes here.
    pub(crate) fn real(self, story: Duration) -> Duration {
        story.div_f64(self.factor)
    }

    /// How much of the day passes in a stretch of real time.
    pub(crate) fn story(self, real: Duration) -> Duration {
        real.mul_f64(self.factor)
    }

    /// The outage at this pace.
    pub(crate) fn outage(self) -> Result<Script, ScriptError> {
        outage()?.sped_up(self.factor)
    }

    /// How long the billing app waits for the partner.
    pub(crate) fn partner_timeout(self) -> Duration {
        self.real(minutes(2)).max(Duration::from_millis(500))
    }

    /// How long a customer waits for the billing app.
    pub(crate) fn patience(self) -> Duration {
        self.real(minutes(10)).max(Duration::from_millis(2500))
    }

    /// How often the billing app tells the partner what customers have used.
    pub(crate) fn job_every(self) -> Duration {
        self.real(minutes(1))
    }

    /// When to enter maintenance, and what brings billing back: the default rules, at this pace.
    pub(crate) fn policy(self) -> Result<Policy, PolicyError> {
        // At most the timeout that drops the calls: a call dropped before it has waited for so
        // long would be taken for an impatient customer's, and a partner that hangs would never
        // trip.
        let hang_limit = self.partner_timeout().mul_f64(0.75);
        let policy = Policy::new(Window::time(self.real(minutes(5))), Rate::HALF)
            .with_min_calls(10)
            .with_consecutive_failures(5)
            .with_hang_limit(hang_limit)
            .with_wait(self.real(minutes(1)))
            .with_wait_growing(2.0, self.real(minutes(2)))
            .with_ping_every(self.real(Duration::from_secs(30)))
            .with_successes_needed(3)
            .with_lease(self.partner_timeout());
        policy.check()?;
        Ok(policy)
    }

    /// The numbers above, as text.
    pub(crate) fn describe(self) -> String {
        let ms = |span: Duration| format!("{} ms", span.as_millis());
        let story = |span| ms(self.real(span));
        let [window, first, longest] = [5, 1, 2].map(|n| story(minutes(n)));
        let every = story(Duration::from_secs(30));
        let timeout = ms(self.partner_timeout());
        let hang_limit = ms(self.partner_timeout().mul_f64(0.75));
        let patience = ms(self.patience());
        format!(
            "At this pace: maintenance after 5 failures in a row, or when half of at least\n\
             10 calls failed in {window}. First ping {first} later, doubling to {longest}, then\n\
             every {every}; 3 in a row bring billing back. Calls to the partner time out\n\
             after {timeout}, and count as failed if it was silent for {hang_limit}; customers\n\
             wait {patience}."
        )
    }
}

/// The one clock of this example: the same that the layer and the simulated partner read.
#[expect(
    clippy::disallowed_methods,
    reason = "an example stands outside the crate; this is the one place in it that reads a clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
