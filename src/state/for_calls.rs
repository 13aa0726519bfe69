//! What a call does with the state.
//!
//! While the gate serves or refuses, a call needs only the published word and takes no lock. It
//! needs the machine near a deadline, for a probe slot, and to land an outcome that may change more
//! than a count.

use std::{
    sync::{Arc, TryLockError, atomic::Ordering},
    time::Duration,
};

use super::{Shared, trace::warn_stacked};
#[cfg(feature = "http")]
use crate::base::clock::Clock;
use crate::{
    base::{clock::Reading, harmless::harmless, loom_or_std::MutexGuard, moment::Moment},
    counting::lanes::Counter,
    facts::{
        glance::Glance,
        outcome::{Ended, Origin, Outcome, Verdict},
        refused::{Notice, Refused},
    },
    machine::{
        Asker, Ending, Machine, Role, Slot,
        word::{Op, Word, era_bits},
    },
};

/// Number of times that a call tries the lock. It is 1 under loom: a model explores each try.
const TRIES: u32 = if cfg!(maintenance_loom) { 1 } else { 64 };

/// How often it tries at most while a reading of the state is under way.
const TRIES_BESIDE_A_READING: u32 = if cfg!(maintenance_loom) { 1 } else { 4096 };

/// The role and the era in which an admitted call lands.
pub(crate) type Admitted = (Role, u32);

/// The machine's answer to a call that only tried its lock.
enum Answer {
    /// Another caller holds the lock, and is moving the state.
    Busy,
    /// The machine answered. `None` means no.
    Is(Option<Admitted>),
}

impl Shared {
    /// Reads the gate.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        self.gate.read()
    }

    #[inline]
    pub(crate) fn read_clock(&self) -> Reading {
        self.clock.read()
    }

    #[cfg(feature = "http")]
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn moment(&self, reading: Reading) -> Moment {
        self.clock.moment(reading)
    }

    #[inline]
    pub(crate) fn count_admitted(&self) {
        self.lanes.count(Counter::Admitted);
    }

    pub(crate) fn count_exempt(&self) {
        self.lanes.count(Counter::Exempt);
    }

    // ---- admission ----------------------------------------------------------------------------

    /// Asks to be let through to the partner.
    pub(crate) fn admit(&self, asker: Asker) -> Result<Admitted, Refused> {
        let admitted = self.ask_gate(|machine| machine.admit(asker))?;
        self.count_admitted();
        Ok(admitted)
    }

    /// Asks to pass before the application's routes, and returns the era. Nothing is measured there
    /// and no slot is taken.
    pub(crate) fn pass(&self, asker: Asker) -> Result<u32, Refused> {
        let (_, era) =
            self.ask_gate(|machine| machine.lets_through(asker).then_some(Role::Plain))?;
        Ok(era)
    }

    /// Asks the gate, and puts `question` to the machine where the word alone does not answer.
    fn ask_gate(
        &self,
        question: impl FnOnce(&mut Machine) -> Option<Role>,
    ) -> Result<Admitted, Refused> {
        let word = self.gate.read();
        let served = (Role::Plain, word.era());
        let answer = match word.op() {
            Op::Serve => return Ok(served),
            Op::ServeUntil => {
                let now = self.now();
                if now < self.gate.deadline() {
                    return Ok(served);
                }
                match self.try_ask(now, question) {
                    // While serving, no call is refused because of a lock.
                    Answer::Busy => return Ok(served),
                    answered @ Answer::Is(_) => answered,
                }
            }
            Op::Refuse => match self.refuse_by_word() {
                Some(refused) => return Err(refused),
                None => self.try_ask(self.now(), question),
            },
            Op::Ask => self.try_ask(self.now(), question),
        };
        match answer {
            Answer::Is(Some(admitted)) => Ok(admitted),
            Answer::Is(None) | Answer::Busy => Err(self.refuse()),
        }
    }

    /// Asks the machine if its lock is free: a refusal never waits (R3).
    fn try_ask(&self, now: Moment, question: impl FnOnce(&mut Machine) -> Option<Role>) -> Answer {
        let Some(machine) = self.try_lock() else {
            return Answer::Busy;
        };
        Answer::Is(self.moved(machine, now, |machine| {
            let role = question(machine)?;
            Some((role, era_bits(machine.era())))
        }))
    }

    /// Takes the machine's lock if it is free within [`TRIES`]: the end of a call holds it briefly.
    ///
    /// A reading of the state holds it for longer, and moves nothing that a call would be refused
    /// for. While one is under way, a call tries up to [`TRIES_BESIDE_A_READING`] times. The number
    /// is bounded all the same: a reader may lose its core while it holds the lock.
    fn try_lock(&self) -> Option<MutexGuard<'_, Machine>> {
        let mut tries = 0;
        loop {
            match self.machine.try_lock() {
                Ok(machine) => return Some(machine),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => tries += 1,
            }
            // Relaxed: a number that is read late costs a refusal, or some tries.
            let most = match self.readings.load(Ordering::Relaxed) {
                0 => TRIES,
                _ => TRIES_BESIDE_A_READING,
            };
            if tries >= most {
                return None;
            }
            std::hint::spin_loop();
        }
    }

    // ---- while a caller waits for the partner -------------------------------------------------

    /// Notes that the caller of a probe waits for the partner from `now` on.
    #[cold]
    pub(crate) fn probe_waits(&self, era: u32, slot: Slot, now: Reading) {
        self.ping_waits(era, slot, self.moment(now));
    }

    /// Notes that a ping waits for the partner from `now` on.
    pub(crate) fn ping_waits(&self, era: u32, slot: Slot, now: Moment) {
        self.waiting_probes.waits(era, slot, now);
    }

    /// Notes that something came from the partner, so that the caller of the probe no longer waits.
    /// A lease that has run out by `now` is ended first.
    #[cold]
    pub(crate) fn probe_is_answered(&self, era: u32, slot: Slot, now: Reading) {
        let now = self.moment(now);
        if self.gate.deadline().known().is_some_and(|at| at <= now) {
            self.locked_at(now, |_| ());
        }
        self.waiting_probes.ends(era, slot);
    }

    /// Notes that something came from the partner on a call that is still running.
    pub(crate) fn hear(&self, era: u32, now: Reading) {
        // A call of another era says nothing about the present one (R8).
        if self.gate.read().era() == era && !mutant!("signs of life are not noted") {
            self.pulse.hear(self.moment(now));
        }
    }

    /// Returns the era in which a read-only hold lets a read pass now, and counts it as passed.
    pub(crate) fn read_only(&self) -> Option<u32> {
        let word = self.gate.read();
        // `reads_pass` is written before the word. A value newer than the word is one on which the
        // machine has decided already.
        if word.op() != Op::Refuse || !self.reads_pass.load(Ordering::Relaxed) {
            return None;
        }
        // The hold may have expired. A call that asks in the ordinary way applies that.
        let deadline = self.gate.deadline().known();
        if deadline.is_some_and(|deadline| deadline <= self.now()) {
            return None;
        }
        self.lanes.count(Counter::Reads);
        Some(word.era())
    }

    /// Admits a call that is counted but not gated (an exempt call whose exemption asks for it).
    /// Returns `None` unless the gate serves.
    pub(crate) fn admit_counted(&self) -> Option<Admitted> {
        let word = self.gate.read();
        matches!(word.op(), Op::Serve | Op::ServeUntil).then(|| {
            self.count_admitted();
            (Role::Plain, word.era())
        })
    }

    /// Takes a slot for a synthetic ping. It may wait for the lock: no customer waits for a ping.
    pub(crate) fn admit_ping(&self) -> Option<(Role, u32, Moment)> {
        let now = self.now();
        let admitted = self.locked(|machine| {
            let role = machine.admit(Asker::Ping)?;
            Some((role, era_bits(machine.era()), now))
        })?;
        self.count_admitted();
        Some(admitted)
    }

    // ---- while a call waits -------------------------------------------------------------------

    /// Tells whether the gate neither refuses nor asks.
    #[inline]
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.gate.read().op(), Op::Serve | Op::ServeUntil)
    }

    /// Tells whether the era of an admission is still the present one.
    pub(crate) fn is_current(&self, era: u32) -> bool {
        self.gate.read().era() == era
    }

    /// Tells whether an admission still holds after deadlines that have passed are applied.
    ///
    /// A waiting call applies them too (R11). Otherwise a probe whose lease is over would reach the
    /// partner.
    pub(crate) fn lasts(&self, era: u32, role: Role) -> bool {
        self.era_lasts(era) && self.holds_its_slot(role)
    }

    /// Tells whether a call needs no slot, or is a probe that still holds its slot. A lease may end
    /// while the era goes on.
    fn holds_its_slot(&self, role: Role) -> bool {
        let Role::Probe(slot) = role else {
            return true;
        };
        // This only tries the lock (R3). If the try fails, the answer is no, and the call asks
        // again.
        let answer = self.try_ask(self.now(), |machine| machine.holds(slot).then_some(role));
        matches!(answer, Answer::Is(Some(_)))
    }

    fn era_lasts(&self, era: u32) -> bool {
        if !self.is_current(era) {
            return false;
        }
        if let Some(deadline) = self.gate.deadline().known() {
            let now = self.now();
            // This only tries the lock (R3). If the try fails while the gate is not open, the
            // answer is no, because the lock holder may be ending this era.
            if deadline <= now
                && matches!(self.try_ask(now, |_| None), Answer::Busy)
                && !self.is_serving()
            {
                return false;
            }
        }
        self.is_current(era)
    }

    /// Returns a future that resolves when the present era ends.
    pub(crate) fn era_ends(&self) -> tokio::sync::futures::OwnedNotified {
        self.parked.clone().notified_owned()
    }

    // ---- refusals -----------------------------------------------------------------------------

    /// Refuses by a word that says so. Returns `None` if a deadline has passed that the machine
    /// must apply first. It reads the clock only if a deadline is pending.
    #[inline(always)]
    pub(crate) fn refuse_by_word(&self) -> Option<Refused> {
        let notice = self.spare_notice();
        if let Some(deadline) = notice.deadline
            && !self.clock.read().is_before(deadline)
        {
            Notice::leave(notice);
            return None;
        }
        self.lanes.count(Counter::Refused);
        Some(Refused::new(notice))
    }

    /// Refuses a call and counts the refusal.
    pub(crate) fn refuse(&self) -> Refused {
        self.lanes.count(Counter::Refused);
        Refused::new(self.spare_notice())
    }

    #[inline(always)]
    fn spare_notice(&self) -> Arc<Notice> {
        self.notice.get(Notice::spare())
    }

    // ---- the end of a call --------------------------------------------------------------------

    /// Lands the verdict on a call of the present era that the inner service failed before it took
    /// it (R7).
    pub(crate) fn unready(&self, verdict: Verdict) {
        if let Some((role, era)) = self.admit_counted() {
            self.judged(role, era, verdict, None, 0);
        }
    }

    /// Lands the verdict on an admitted call. Its caller has waited since `since`, and for `waited`
    /// nanoseconds before that.
    #[inline(always)]
    pub(crate) fn judged(
        &self,
        role: Role,
        era: u32,
        verdict: Verdict,
        since: Option<Reading>,
        waited: u64,
    ) {
        // A plain success changes only a count.
        let is_plain = role == Role::Plain
            && verdict.outcome == Outcome::Success
            && verdict.origin == Origin::Partner
            && verdict.retry_after.is_none();
        if is_plain {
            self.succeeded(era, since, waited);
        } else {
            let now = self.clock.read();
            self.judged_locked(role, era, verdict, since, waited, now);
        }
    }

    /// Lands a plain success.
    #[inline(always)]
    fn succeeded(&self, era: u32, since: Option<Reading>, waited: u64) {
        let now = self.clock.read();
        let took = || waited + since.map_or(0, |since| now.nanos_since(since));
        let landed = |took| self.tell_time(Ended::Succeeded, Duration::from_nanos(took));
        if !self.lanes.land(era, now, &self.clock, took, landed) {
            self.succeeded_locked(era, since, waited, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn succeeded_locked(&self, era: u32, since: Option<Reading>, waited: u64, now: Reading) {
        let verdict = Outcome::Success.into();
        self.judged_locked(Role::Plain, era, verdict, since, waited, now);
    }

    #[cold]
    #[inline(never)]
    fn judged_locked(
        &self,
        role: Role,
        era: u32,
        verdict: Verdict,
        since: Option<Reading>,
        waited: u64,
        now: Reading,
    ) {
        let took = waited + since.map_or(0, |since| now.nanos_since(since));
        let took = Duration::from_nanos(took);
        let now = self.clock.moment(now);
        self.settle(role, era, Ending::Judged { verdict, took }, now);
    }

    /// Lands the end of an admitted call.
    #[cold]
    pub(crate) fn settle(&self, role: Role, era: u32, ending: Ending, now: Moment) {
        let ended = self.locked_at(now, |machine| machine.settle(role, era, ending));
        if let Role::Probe(slot) = role {
            self.waiting_probes.ends(era, slot);
        }
        if self.times.is_some()
            && let Ending::Judged { took, .. } | Ending::Dropped { took, .. } = ending
        {
            self.tell_time(ended, took);
        }
    }

    /// Tells how long a call took, if the layer was built to tell. The lock is free.
    #[cold]
    fn tell_time(&self, ended: Ended, took: Duration) {
        if let Some(times) = &self.times {
            harmless(|| times.ended(ended, took));
        }
    }

    /// Notes that a layer further in refused a probe of this layer. If that layer is this one, it
    /// stands twice around the call.
    #[cold]
    pub(crate) fn probe_was_refused(&self, address: usize) {
        if self.notice.is_at(address) && !self.told_stacked.swap(true, Ordering::Relaxed) {
            harmless(|| warn_stacked(&self.partner));
        }
    }

    // ---- looks --------------------------------------------------------------------------------

    /// Returns what was last published, after applying deadlines that have passed. It takes no
    /// lock, unless a deadline has passed that no caller has seen. Then it tries the lock. If the
    /// try fails, it shows what the lock holder is about to replace.
    pub(crate) fn glance(&self) -> Glance {
        self.apply_what_fell_due();
        Glance::new(self.notice.get(None))
    }

    fn apply_what_fell_due(&self) {
        if let Some(deadline) = self.gate.deadline().known() {
            let now = self.now();
            if deadline <= now {
                self.try_ask(now, |_| None);
            }
        }
    }

    // ---- generations --------------------------------------------------------------------------

    pub(crate) fn generation(&self) -> u64 {
        self.gate.read().generation()
    }

    /// Returns the generation, after applying deadlines that have passed.
    ///
    /// Without a passed deadline it takes no lock. With one it only tries the lock (R3). If the try
    /// fails, the lock holder is moving the state at this moment, and either order is correct.
    #[cfg(feature = "http")]
    pub(crate) fn generation_now(&self) -> u64 {
        self.apply_what_fell_due();
        self.generation()
    }
}
