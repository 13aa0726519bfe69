//! One period of `Probing`: slots, leases, and the ramp that may follow (R12 to R15).

use std::time::Duration;

use crate::{
    base::moment::{Moment, nanos},
    counting::{
        counts::{Counts, Landing},
        window::Tally,
    },
    facts::outcome::Verdict,
    policy::{
        rules::{Ramp, Trials},
        window::Window,
    },
};

/// The number of a probe within its era.
///
/// Numbers repeat after 2^32 probes. No lease lasts that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) fn numbered(number: u32) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// Tells whether the caller of the probe in this era's slot waited for the partner at a moment. The
/// machine does not hold the call, so that the caller of `tick` answers.
pub(crate) type Waits<'w> = &'w dyn Fn(u32, Slot, Moment) -> bool;

/// One period of `Probing`. It ends under the policy that it began with (R20).
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) trials: Trials,
    pub(crate) stage: Stage,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// Probes, until enough of them succeed in a row.
    Trials(Slots),
    /// A growing share of all calls.
    Ramp(Climb),
}

/// The probes under way, and the outcomes of those before them.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The probes under way and the ends of their leases. All leases have the same length, so the
    /// first entry ends first.
    in_flight: Vec<(Slot, Moment)>,
    pub(crate) successes: u32,
    counts: Counts,
    admitted: u32,
    /// Since when no probe is under way: the beginning of `Probing`, or the end of the last probe.
    idle_since: Moment,
    /// How long `Probing` may go without a probe before the warning: the wait of the trip.
    patience: Duration,
    pub(crate) warned: bool,
    /// The answers of the partner in a row that proved nothing.
    proofless: u32,
    /// When the slots that rest are free again.
    resting: Vec<Moment>,
    proof: Proof,
}

/// What the probes since the last success proved: nothing. A trip for which the partner asked, and
/// that is no evidence either, carries it to the next period of `Probing`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proof {
    /// When the present wait without evidence began.
    since: Moment,
    /// When it is over.
    due: Moment,
    /// How many probes ended in that wait.
    ended: u64,
    /// The code of the partner's last answer that proved nothing.
    last_code: Option<u16>,
    /// Whether a whole wait has passed.
    is_missing: bool,
}

impl Proof {
    fn wanted_within(patience: Duration, since: Moment) -> Self {
        Self {
            since,
            due: since.after(patience),
            ended: 0,
            last_code: None,
            is_missing: false,
        }
    }

    /// Returns the same proof for a period of `Probing` that begins at `at`.
    fn carried(self, patience: Duration, at: Moment) -> Self {
        Self {
            due: self.since.after(patience).max(at),
            ..self
        }
    }

    fn note(&mut self, answer: Option<Verdict>, patience: Duration, at: Moment) {
        // A whole wait without any probe is not one of probes without evidence.
        if self.ended == 0 && self.due <= at {
            self.since = at;
            self.due = at.after(patience);
        }
        self.ended += 1;
        if let Some(answer) = answer {
            self.last_code = answer.code;
        }
    }
}

/// A ramp under way.
#[derive(Debug)]
pub(crate) struct Climb {
    ramp: Ramp,
    since: Moment,
    calls: u64,
    /// The window of the ramp.
    pub(crate) tally: Tally,
}

impl Probing {
    pub(crate) fn begin(
        trials: Trials,
        patience: Duration,
        proof: Option<Proof>,
        at: Moment,
    ) -> Self {
        let proof = match proof {
            Some(proof) => proof.carried(patience, at),
            None => Proof::wanted_within(patience, at),
        };
        let at_once = trials.probes.min(trials.needed) as usize;
        let slots = Slots {
            // The full capacity, so that admitting a probe allocates nothing.
            in_flight: Vec::with_capacity(at_once),
            successes: 0,
            counts: Counts::default(),
            admitted: 0,
            idle_since: at,
            patience,
            warned: false,
            proofless: 0,
            resting: Vec::with_capacity(at_once),
            proof,
        };
        Self {
            trials,
            stage: Stage::Trials(slots),
        }
    }

    /// Takes a slot if one is free (R12).
    pub(crate) fn take_slot(&mut self, at: Moment) -> Option<Slot> {
        let free = self.free_slots(at);
        let Stage::Trials(slots) = &mut self.stage else {
            return None;
        };
        if free == 0 && !mutant!("a probe needs no free slot") {
            return None;
        }
        slots.resting.retain(|end| *end > at);
        let slot = Slot(slots.admitted);
        slots.admitted = slots.admitted.wrapping_add(1);
        if mutant!("a slot is allocated when it is taken") {
            slots.in_flight.shrink_to_fit();
        }
        slots.in_flight.push((slot, at.after(self.trials.lease)));
        Some(slot)
    }

    /// Notes a probe that ended and proved nothing. `answer` is the partner's, if it was one: after
    /// the second in a row the slot rests.
    pub(crate) fn proved_nothing(&mut self, answer: Option<Verdict>, at: Moment) {
        let rest = self.trials.rest;
        if let Stage::Trials(slots) = &mut self.stage {
            slots.proved_nothing(answer, rest, at);
        }
    }

    pub(crate) fn free_slots(&self, at: Moment) -> u32 {
        let Stage::Trials(slots) = &self.stage else {
            return 0;
        };
        let needed = self.trials.needed.saturating_sub(slots.successes);
        let at_once = self.trials.probes.min(needed);
        at_once.saturating_sub(slots.in_flight() + slots.resting_at(at))
    }

    /// Ends the trials and begins the ramp.
    pub(crate) fn begin_ramp(&mut self, ramp: Ramp, window: Window, at: Moment) {
        self.stage = Stage::Ramp(Climb {
            ramp,
            since: at,
            calls: 0,
            tally: Tally::new(window),
        });
    }

    /// Returns when time alone changes something.
    pub(crate) fn next_deadline(&self) -> Moment {
        match &self.stage {
            Stage::Trials(slots) if mutant!("a lease never ends") => slots.patience_end(),
            Stage::Trials(slots) => slots
                .lease_end()
                .min(slots.patience_end())
                .min(slots.proof_end()),
            Stage::Ramp(climb) => climb.since.after(climb.ramp.duration),
        }
    }

    /// Returns the counts of the probes, or of the ramp's calls.
    pub(crate) fn counts(&self, at: Moment) -> Counts {
        match &self.stage {
            Stage::Trials(slots) => slots.counts,
            Stage::Ramp(climb) => climb.tally.counts(at),
        }
    }

    pub(crate) fn record(&mut self, landing: Landing, at: Moment) {
        match &mut self.stage {
            Stage::Trials(slots) => slots.counts.add(landing),
            Stage::Ramp(climb) => climb.tally.record(landing, at),
        }
    }
}

impl Slots {
    pub(crate) fn in_flight(&self) -> u32 {
        u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX)
    }

    /// Returns how many slots rest.
    pub(crate) fn resting_at(&self, at: Moment) -> u32 {
        let resting = self.resting.iter().filter(|end| **end > at).count();
        u32::try_from(resting).unwrap_or(u32::MAX)
    }

    /// Counts a success, which is evidence.
    pub(crate) fn succeeded(&mut self, at: Moment) {
        self.successes += 1;
        self.proofless = 0;
        self.proof = Proof::wanted_within(self.patience, at);
    }

    fn proved_nothing(&mut self, answer: Option<Verdict>, rest: Duration, at: Moment) {
        self.proof.note(answer, self.patience, at);
        if answer.is_none() {
            return;
        }
        self.proofless = self.proofless.saturating_add(1);
        if self.proofless >= 2 && !mutant!("no slot rests") {
            let end = at.after(rest);
            self.resting.push(end);
            // While it rests, no request could take it.
            self.idle_since = end;
        }
    }

    /// Returns what the probes proved up to the partner's answer that asks for a pause.
    pub(crate) fn proof_at_pause(&self, answer: Verdict, at: Moment) -> Proof {
        let mut proof = self.proof.clone();
        proof.note(Some(answer), self.patience, at);
        proof
    }

    /// Returns when a whole wait is over in which probes ended and none gave evidence.
    fn proof_end(&self) -> Moment {
        if self.proof.ended == 0 || mutant!("probing without evidence is not told") {
            return Moment::NEVER;
        }
        self.proof.due
    }

    /// Notes that a whole wait is over without evidence. Returns how many probes ended in it, and
    /// the partner's last code.
    pub(crate) fn tell_without_evidence(&mut self, at: Moment) -> (u64, Option<u16>) {
        let ended = std::mem::take(&mut self.proof.ended);
        self.proof.since = at;
        self.proof.due = at.after(self.patience);
        self.proof.is_missing = true;
        (ended, self.proof.last_code)
    }

    /// Whether a whole wait has passed without evidence since the last success.
    pub(crate) fn is_without_evidence(&self) -> bool {
        self.proof.is_missing
    }

    /// Returns the code of the partner's last answer that proved nothing.
    pub(crate) fn last_code(&self) -> Option<u16> {
        self.proof.last_code
    }

    /// Whether a probe holds this slot.
    pub(crate) fn holds(&self, slot: Slot) -> bool {
        self.in_flight.iter().any(|(taken, _)| *taken == slot)
    }

    /// Returns the probe whose lease ends first.
    pub(crate) fn first_lease(&self) -> Option<Slot> {
        self.in_flight.first().map(|(slot, _)| *slot)
    }

    /// Gives the slot back. Returns `false` if no probe holds it.
    pub(crate) fn give_back(&mut self, slot: Slot, at: Moment) -> bool {
        let Some(index) = self.in_flight.iter().position(|(taken, _)| *taken == slot) else {
            return false;
        };
        if !mutant!("a probe keeps its slot") {
            self.in_flight.remove(index);
        }
        self.idle_since = at;
        true
    }

    /// Returns when the first lease ends.
    pub(crate) fn lease_end(&self) -> Moment {
        self.in_flight
            .first()
            .map_or(Moment::NEVER, |(_, end)| *end)
    }

    /// Whether a whole wait has passed without a request that may probe.
    pub(crate) fn is_waiting(&self, at: Moment) -> bool {
        self.in_flight.is_empty() && self.idle_since.after(self.patience) <= at
    }

    /// Returns when the warning is due that no request may probe. There is one in each period of
    /// `Probing`.
    pub(crate) fn patience_end(&self) -> Moment {
        if self.warned || !self.in_flight.is_empty() {
            return Moment::NEVER;
        }
        self.idle_since.after(self.patience)
    }
}

impl Climb {
    /// Returns the share of calls to let in at `at` as a fraction. Floating point would let in
    /// 0.0999 in place of a tenth.
    fn share(&self, at: Moment) -> (u128, u128) {
        let whole = u128::from(nanos(self.ramp.duration)).max(1);
        let gone = u128::from(nanos(at.since(self.since))).min(whole);
        let start = u128::from(self.ramp.start.per_million());
        if mutant!("the share of a ramp does not grow") {
            return (start, 1_000_000);
        }
        (
            start * whole + (1_000_000 - start) * gone,
            1_000_000 * whole,
        )
    }

    pub(crate) fn share_as_ratio(&self, at: Moment) -> f64 {
        let (part, whole) = self.share(at);
        part as f64 / whole as f64
    }

    /// Decides on the next call. With a share s, call k is let in if floor(k*s) > floor((k-1)*s).
    pub(crate) fn draw(&mut self, at: Moment) -> bool {
        self.calls += 1;
        let (part, whole) = self.share(at);
        let floor = |calls: u64| u128::from(calls).saturating_mul(part) / whole;
        floor(self.calls) > floor(self.calls - 1)
    }
}
