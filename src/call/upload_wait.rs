//! The wait of a call whose request's own body is watched (R6).
//!
//! The body is polled by the inner service, often in another task, and the ticket is with the
//! caller. So both ends tell what they see to one small value that they share, and the caller's end
//! corrects the ticket before each poll and before the ticket is dropped. A ticket that no watch
//! corrects pays nothing for this.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    base::{
        clock::{Clock, Reading},
        moment::{Moment, nanos},
    },
    call::ticket::{ProbeWait, Ticket},
};

/// A part of a call that holds its ticket.
#[expect(unnameable_types, reason = "sealed: where a ticket stands may change")]
pub trait Ticketed {
    /// Lends the ticket; `None` if the call has ended, or has not reached the inner service.
    fn ticket(self: Pin<&mut Self>) -> Option<&mut Ticket>;
}

/// Returns the two ends of a watch of one call.
pub(crate) fn watch(clock: Clock) -> (CallersEnd, UploadsEnd) {
    let shared = Arc::new(Shared {
        clock,
        wait: Mutex::default(),
    });
    (CallersEnd(shared.clone()), UploadsEnd(shared))
}

struct Shared {
    clock: Clock,
    wait: Mutex<Wait>,
}

impl Shared {
    fn locked(&self) -> (MutexGuard<'_, Wait>, Now) {
        let wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that no two readings change places.
        let reading = self.clock.read();
        let at = self.clock.moment(reading);
        (wait, Now { reading, at })
    }
}

/// The end at the caller, beside the ticket. Its drop ends the watch.
pub(crate) struct CallersEnd(Arc<Shared>);

impl CallersEnd {
    /// Corrects the ticket before something is polled.
    pub(crate) fn correct(&self, ticket: &mut Ticket) {
        let (wait, now) = self.0.locked();
        self.set(ticket, &wait, now);
    }

    /// Corrects the ticket before it is dropped.
    pub(crate) fn correct_last(self, ticket: &mut Ticket) {
        let (wait, now) = self.0.locked();
        self.set(ticket, &wait, now);
        // Between the poll of the caller and that of the body the inner service is at work, often
        // in another task. That is no wait for the partner.
        if wait.late_since.is_some() && wait.present(now.at) < Wait::MEASURABLE {
            ticket.waits_not();
        }
    }

    fn set(&self, ticket: &mut Ticket, wait: &Wait, now: Now) {
        if wait.caller_waits {
            let since = Moment(now.at.0.saturating_sub(nanos(wait.present(now.at))));
            // A clock that cannot show a moment of the past does not exist.
            if let Some(since) = self.0.clock.reading(since) {
                ticket.has_waited(nanos(wait.over), since);
            }
        }
    }

    /// Notes that a poll found nothing.
    pub(crate) fn found_nothing(&self, ticket: &Ticket) {
        if let Some(since) = ticket.waits_since() {
            let since = self.0.clock.moment(since);
            let (mut wait, now) = self.0.locked();
            wait.caller_waits(since, || ticket.probe_wait(), now);
        }
    }

    /// Notes that something came from the partner.
    pub(crate) fn found_something(&self) {
        let (mut wait, now) = self.0.locked();
        wait.caller_has_something(now);
    }
}

impl Drop for CallersEnd {
    fn drop(&mut self) {
        let (mut wait, now) = self.0.locked();
        wait.caller_has_something(now);
        if let Some(probe) = wait.probe.take() {
            // The body, in another task, may have noted a wait since the ticket was settled.
            probe.stands_still(now.reading);
        }
    }
}

/// The end at the request's own body.
pub(crate) struct UploadsEnd(Arc<Shared>);

impl UploadsEnd {
    /// Notes that a poll of the body found nothing.
    pub(crate) fn found_nothing(&self) {
        let (mut wait, now) = self.0.locked();
        wait.upload_is_late(now);
    }

    /// Notes that a poll of the body found something, or its end.
    pub(crate) fn found_something(&self) {
        let (mut wait, now) = self.0.locked();
        wait.upload_had_something(now);
    }
}

impl Drop for UploadsEnd {
    fn drop(&mut self) {
        let (mut wait, now) = self.0.locked();
        // From here on the inner service waits for the partner alone.
        if wait.late_since.is_some() {
            wait.upload_had_something(now);
        }
    }
}

/// One reading of the clock.
#[derive(Debug, Clone, Copy)]
struct Now {
    reading: Reading,
    at: Moment,
}

/// How long the caller has waited for the partner.
#[derive(Default)]
struct Wait {
    caller_waits: bool,
    /// Since when the polls of the request's own body find nothing.
    late_since: Option<Moment>,
    /// When that body last had something.
    had_at: Option<Moment>,
    /// Since when the present wait runs; `None` if there is none, or if it stands still.
    runs_since: Option<Moment>,
    /// How long the present wait was when it came to a stand.
    stood_at: Duration,
    /// The sum of the waits that are over.
    over: Duration,
    /// Where the wait of a probe is noted for the end of its lease.
    probe: Option<ProbeWait>,
}

impl Wait {
    const MEASURABLE: Duration = Duration::from_millis(1);

    /// Returns how long the present wait is.
    fn present(&self, now: Moment) -> Duration {
        let running = self.runs_since.map(|since| now.since(since));
        self.stood_at + running.unwrap_or_default()
    }

    /// Ends the present wait.
    fn is_over(&mut self, now: Moment) {
        self.over += self.present(now);
        self.runs_since = None;
        self.stood_at = Duration::ZERO;
    }

    fn caller_waits(&mut self, since: Moment, probe: impl FnOnce() -> Option<ProbeWait>, now: Now) {
        if mem::replace(&mut self.caller_waits, true) {
            return;
        }
        self.probe = probe();
        // The poll that found nothing may have polled the body first.
        let since = match self.had_at {
            Some(had_at) if had_at > since => {
                self.over += had_at.since(since);
                had_at
            }
            _ => since,
        };
        match self.late_since {
            None => self.runs_since = Some(since),
            Some(late_since) => {
                self.stood_at = late_since.since(since);
                self.probe_stands_still(now);
            }
        }
    }

    fn caller_has_something(&mut self, now: Now) {
        if mem::replace(&mut self.caller_waits, false) {
            self.is_over(now.at);
        }
    }

    fn upload_is_late(&mut self, now: Now) {
        if self.late_since.is_some() {
            return;
        }
        self.late_since = Some(now.at);
        if let Some(since) = self.runs_since.take() {
            self.stood_at = now.at.since(since);
            self.probe_stands_still(now);
        }
    }

    fn upload_had_something(&mut self, now: Now) {
        self.late_since = None;
        self.had_at = Some(now.at);
        if self.caller_waits {
            self.is_over(now.at);
            self.runs_since = Some(now.at);
            if let Some(probe) = &self.probe {
                probe.stands_still(now.reading);
                probe.runs(now.reading);
            }
        }
    }

    fn probe_stands_still(&self, now: Now) {
        if let Some(probe) = &self.probe {
            probe.stands_still(now.reading);
        }
    }
}
