//! One period of `Probing`: slots, leases, and the ramp that may follow (R12 to R15).

use std::time::Duration;

use crate::{
    base::moment::{Moment, nanos},
    counting::{
        counts::{Counts, Landing},
        window::Tally,
    },
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
    pub(crate) fn begin(trials: Trials, patience: Duration, at: Moment) -> Self {
        let slots = Slots {
            // The full capacity, so that admitting a probe allocates nothing.
            in_flight: Vec::with_capacity(trials.probes.min(trials.needed) as usize),
            successes: 0,
            counts: Counts::default(),
            admitted: 0,
            idle_since: at,
            patience,
            warned: false,
        };
        Self {
            trials,
            stage: Stage::Trials(slots),
        }
    }

    /// Takes a slot if one is free (R12).
    pub(crate) fn take_slot(&mut self, at: Moment) -> Option<Slot> {
        let free = self.free_slots();
        let Stage::Trials(slots) = &mut self.stage else {
            return None;
        };
        if free == 0 && !mutant!("a probe needs no free slot") {
            return None;
        }
        let slot = Slot(slots.admitted);
        slots.admitted = slots.admitted.wrapping_add(1);
        if mutant!("a slot is allocated when it is taken") {
            slots.in_flight.shrink_to_fit();
        }
        slots.in_flight.push((slot, at.after(self.trials.lease)));
        Some(slot)
    }

    pub(crate) fn free_slots(&self) -> u32 {
        let Stage::Trials(slots) = &self.stage else {
            return 0;
        };
        let in_flight = slots.in_flight();
        let by_probes = self.trials.probes.saturating_sub(in_flight);
        by_probes.min(
            self.trials
                .needed
                .saturating_sub(in_flight + slots.successes),
        )
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
            Stage::Trials(slots) => slots.lease_end().min(slots.patience_end()),
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

    /// Returns when the warning is due. There is one in each period of `Probing`.
    fn patience_end(&self) -> Moment {
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
