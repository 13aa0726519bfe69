//! The run of a partner: its script, its clock, its log and its counts.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    record::{CallEnd, CallRecord, Counts},
    reply::Reply,
};
use crate::testing::script::{Phase, Script, ScriptMoment};

/// How many calls the log keeps. Older calls remain in the [`Counts`] only.
const LOG_CAPACITY: usize = 100_000;

/// The state that the clones of a partner and its calls share.
pub(super) struct Shared {
    script: Script,
    seed: u64,
    run: Mutex<Run>,
    /// Changed only while `run` is locked, so that it never contradicts the log. A watch channel,
    /// so that a test can wait for it.
    counts: watch::Sender<Counts>,
    /// The number of commands; making the partner is the first. It grows whenever the result of
    /// [`Shared::moment`] may have changed for another reason than time.
    commands: watch::Sender<u64>,
}

/// Everything since the start or the last restart.
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

/// A call that has begun, and what the partner does with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    run: u64,
    pub(super) number: u64,
    pub(super) at: Instant,
    pub(super) latency: Duration,
    pub(super) reply: Reply,
}

impl Shared {
    pub(super) fn new(script: Script, seed: u64) -> Self {
        let run = Run {
            id: 0,
            started: now(),
            switched: None,
            calls: 0,
            log: VecDeque::new(),
        };
        Self {
            script,
            seed,
            run: Mutex::new(run),
            counts: watch::Sender::new(Counts::default()),
            commands: watch::Sender::new(1),
        }
    }

    pub(super) fn script(&self) -> &Script {
        &self.script
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn counts(&self) -> &watch::Sender<Counts> {
        &self.counts
    }

    pub(super) fn commands(&self) -> watch::Receiver<u64> {
        self.commands.subscribe()
    }

    /// Returns where the partner stands now.
    pub(super) fn moment(&self) -> ScriptMoment {
        self.lock().moment(&self.script, now())
    }

    /// Returns the phase in force, and how long from now it ends by itself.
    pub(super) fn phase_and_rest(&self) -> (Phase, Option<Duration>) {
        let now = now();
        let run = self.lock();
        let moment = run.moment(&self.script, now);
        let elapsed = now.saturating_duration_since(run.started);
        (moment.phase, moment.ends.map(|ends| ends - elapsed))
    }

    pub(super) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.lock().started)
    }

    /// Runs `look` on the newest calls, which are ordered by number. The lock is held meanwhile.
    pub(super) fn with_log<T>(&self, look: impl FnOnce(&VecDeque<CallRecord>) -> T) -> T {
        look(&self.lock().log)
    }

    // ---- commands -----------------------------------------------------------------------------

    /// Puts the partner into a phase; `None` gives it back to its script.
    pub(super) fn switch_to(&self, phase: Option<Phase>) {
        self.lock().switched = phase.map(|phase| (phase, now()));
        self.commands.send_modify(|command| *command += 1);
    }

    pub(super) fn restart(&self) {
        let mut run = self.lock();
        run.id += 1;
        run.started = now();
        run.switched = None;
        run.calls = 0;
        run.log.clear();
        self.counts.send_modify(|counts| {
            *counts = Counts {
                in_flight: counts.in_flight,
                hanging: counts.hanging,
                ..Counts::default()
            };
        });
        drop(run);
        self.commands.send_modify(|command| *command += 1);
    }

    // ---- calls --------------------------------------------------------------------------------

    /// Numbers a call that begins now, decides on it, and records it as in flight.
    pub(super) fn begin(&self, target: Option<String>) -> Begun {
        let now = now();
        let mut run = self.lock();
        run.calls += 1;
        let number = run.calls;
        let moment = run.moment(&self.script, now);
        let reply = Reply::decide(moment.phase, moment.into, self.seed, number);
        let latency = match moment.phase {
            Phase::Slow { latency } => latency,
            Phase::ConnectionRefused => Duration::ZERO,
            _ => self.script.latency(),
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
        self.counts.send_modify(|counts| {
            counts.calls += 1;
            counts.in_flight += 1;
            counts.hanging += u64::from(reply == Reply::Hang);
        });
        Begun {
            run: run.id,
            number,
            at: now,
            latency,
            reply,
        }
    }

    /// Records how a call ended.
    pub(super) fn end(&self, call: &Begun, end: CallEnd) {
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
        self.counts.send_modify(|counts| {
            counts.in_flight -= 1;
            counts.hanging -= u64::from(call.reply == Reply::Hang);
            if of_this_run {
                *counts.of(end) += 1;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        // A poisoned lock is taken as it is: no code of the user's runs under it.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulator is no part of a layer, and reads tokio's clock itself"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
