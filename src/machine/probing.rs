//! One stretch of `Probing`: slots, leases, and the ramp that may follow (R12 to R15).

use std::time::Duration;

use crate::{
    base::moment::{Moment, nanos},
    counting::window::{Counts, Landing, Tally},
    policy::{
        rules::{Ramp, Trials},
        window::Window,
    },
};

/// Names one probe within its era; a number comes again after four billion others, and no lease lasts as long.
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

/// A stretch of `Probing`; it ends under the numbers it began with.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) trials: Trials,
    pub(crate) stage: Stage,
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// Probes, until enough in a row succeed.
    Trials(Slots),
    /// Growing traffic.
    Ramp(Climb),
}

/// The probes under way, and what those before them came to.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Whose lease ends when. All leases are equally long, so the first is the first to end.
    in_flight: Vec<(Slot, Moment)>,
    pub(crate) successes: u32,
    counts: Counts,
    admitted: u32,
    /// Since when nobody probes: the entry, or the end of the last probe.
    idle_since: Moment,
    /// How long nobody may probe before it is worth a warning: the wait of the trip.
    patience: Duration,
    pub(crate) warned: bool,
}

/// A ramp under way.
#[derive(Debug)]
pub(crate) struct Climb {
    ramp: Ramp,
    since: Moment,
    calls: u64,
    /// The ramp's own window.
    pub(crate) tally: Tally,
}

impl Probing {
    pub(crate) fn begin(trials: Trials, patience: Duration, at: Moment) -> Self {
        let slots = Slots {
            // Room for all, so that admitting allocates nothing.
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
        if free == 0 {
            return None;
        }
        let slot = Slot(slots.admitted);
        slots.admitted = slots.admitted.wrapping_add(1);
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

    /// When time alone will change something here.
    pub(crate) fn next_deadline(&self) -> Moment {
        match &self.stage {
            Stage::Trials(slots) => slots.lease_end().min(slots.patience_end()),
            Stage::Ramp(climb) => climb.since.after(climb.ramp.duration),
        }
    }

    /// What the probes of this stretch, or the calls of its ramp, came to.
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

    /// Gives the slot back; false if it was not taken (any more).
    pub(crate) fn give_back(&mut self, slot: Slot, at: Moment) -> bool {
        let Some(index) = self.in_flight.iter().position(|(taken, _)| *taken == slot) else {
            return false;
        };
        self.in_flight.remove(index);
        self.idle_since = at;
        true
    }

    /// When the first lease ends.
    pub(crate) fn lease_end(&self) -> Moment {
        self.in_flight
            .first()
            .map_or(Moment::NEVER, |(_, end)| *end)
    }

    /// Whether a whole wait has passed without a request that may probe.
    pub(crate) fn is_waiting(&self, at: Moment) -> bool {
        self.in_flight.is_empty() && self.idle_since.after(self.patience) <= at
    }

    /// When that will be worth the one warning of this stretch.
    fn patience_end(&self) -> Moment {
        if self.warned || !self.in_flight.is_empty() {
            return Moment::NEVER;
        }
        self.idle_since.after(self.patience)
    }
}

impl Climb {
    /// The share of calls to let in at `at`, as an exact fraction: a tenth is not 0.0999.
    fn share(&self, at: Moment) -> (u128, u128) {
        let whole = u128::from(nanos(self.ramp.duration)).max(1);
        let gone = u128::from(nanos(at.since(self.since))).min(whole);
        let start = u128::from(self.ramp.start.per_million());
        (
            start * whole + (1_000_000 - start) * gone,
            1_000_000 * whole,
        )
    }

    pub(crate) fn share_as_ratio(&self, at: Moment) -> f64 {
        let (part, whole) = self.share(at);
        part as f64 / whole as f64
    }

    /// Draws for the next call: it is let in where the running total of shares passes a whole number.
    pub(crate) fn draw(&mut self, at: Moment) -> bool {
        self.calls += 1;
        let (part, whole) = self.share(at);
        let floor = |calls: u64| u128::from(calls).saturating_mul(part) / whole;
        floor(self.calls) > floor(self.calls - 1)
    }
}
