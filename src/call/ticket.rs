//! The ticket of an admitted call: the call ends when its ticket does.

use std::{
    fmt,
    mem::{self, ManuallyDrop},
    num::NonZeroU64,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use crate::{
    base::clock::Reading,
    call::just_refused,
    facts::{
        outcome::{Outcome, Verdict},
        refused::Refused,
    },
    machine::{Ending, Role, Slot, word::era_bits},
    state::root::{Local, Root},
};

/// An admitted call. It is settled exactly once: by [`settle`](Self::settle), or by its drop.
///
/// A ticket that is dropped unsettled is judged by which code held it. The call failed if the inner
/// service panicked. It is neutral if the judge panicked. Otherwise it failed if its caller had
/// waited for the partner for at least the policy's `hang_limit`, and is neutral if not.
///
/// A wait begins with the first poll that finds nothing, and ends when something comes from the
/// partner. A caller that does not poll after that does not wait, because the partner's data is
/// there.
///
/// A ticket of a call that is not measured (exempt, before routes) accepts everything and counts
/// nothing.
#[must_use = "a ticket that is dropped counts as given up"]
pub struct Ticket {
    /// `None` if the call is not measured, or has ended.
    local: Option<Arc<Local>>,
    terms: Terms,
    /// Since when the caller waits for the partner; `None` if it does not.
    since: Option<Reading>,
    /// How long the caller had waited for what came before, in nanoseconds.
    waited: u64,
}

/// Era, role and holder in one word: three fields cost 9 instructions more per call
/// (`cargo run --release -p peers`, `waiting`).
///
/// It is never zero, so that an optional ticket is as small as a ticket.
#[derive(Debug, Clone, Copy)]
struct Terms(NonZeroU64);

impl Terms {
    const HOLDER: u32 = 20;
    const ROLE: u32 = 22;
    const SLOT: u32 = 32;
    const NEVER_ZERO: NonZeroU64 = NonZeroU64::new(1 << 24).unwrap();

    #[inline]
    fn new(role: Role, era: u32) -> Self {
        let (role, slot) = match role {
            Role::Plain => (0, 0),
            Role::Ramp => (1, 0),
            Role::Probe(slot) => (2, slot.number()),
        };
        // An era has 20 bits.
        let bits = u64::from(era) | role << Self::ROLE | u64::from(slot) << Self::SLOT;
        Self(Self::NEVER_ZERO | bits)
    }

    #[inline]
    fn role(self) -> Role {
        match self.0.get() >> Self::ROLE & 3 {
            0 => Role::Plain,
            1 => Role::Ramp,
            _ => Role::Probe(Slot::numbered((self.0.get() >> Self::SLOT) as u32)),
        }
    }

    #[inline]
    fn era(self) -> u32 {
        era_bits(self.0.get())
    }

    #[inline]
    fn holder(self) -> Holder {
        match self.0.get() >> Self::HOLDER & 3 {
            0 => Holder::Waiting,
            1 => Holder::Inner,
            _ => Holder::Classifier,
        }
    }

    #[inline]
    fn held_by(&mut self, holder: Holder) {
        let others = self.0.get() & !(3 << Self::HOLDER);
        self.0 = Self::NEVER_ZERO | others | (holder as u64) << Self::HOLDER;
    }
}

/// The code that holds the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// None: the call waits for the partner, or for its reader.
    Waiting,
    /// The inner service, called or polled.
    Inner,
    /// The protocol, judging.
    Classifier,
}

impl Holder {
    /// Returns how an unsettled call ends (R5, R6). It is never judged by `thread::panicking()`: a
    /// drop may run while an unrelated panic unwinds.
    pub(crate) fn unsettled(self, took: Duration, wait: Option<Duration>) -> Ending {
        match self {
            Self::Inner => Ending::Judged {
                verdict: Outcome::Failure.into(),
                took,
            },
            Self::Classifier => Ending::Unjudged,
            Self::Waiting => Ending::Dropped { wait, took },
        }
    }
}

impl Ticket {
    /// Makes the ticket of a call that the gate lets through in this era of `Serving`.
    #[inline(always)]
    pub(crate) fn begin(root: &Root, era: u32) -> Self {
        root.count_admitted();
        Self::new(root.local(), Role::Plain, era)
    }

    #[inline]
    pub(crate) fn new(local: Arc<Local>, role: Role, era: u32) -> Self {
        Self {
            local: Some(local),
            terms: Terms::new(role, era),
            since: None,
            waited: 0,
        }
    }

    /// Makes a ticket that counts nothing.
    #[inline]
    pub(crate) fn uncounted() -> Self {
        Self {
            local: None,
            terms: Terms::new(Role::Plain, 0),
            since: None,
            waited: 0,
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.terms.role()
    }

    #[inline]
    pub(crate) fn held_by(&mut self, holder: Holder) {
        self.terms.held_by(holder);
    }

    /// Notes that a poll found nothing: the caller waits for the partner.
    #[inline]
    pub(crate) fn is_pending(&mut self) {
        if let (Some(local), None) = (&self.local, self.since) {
            let now = local.read_clock();
            self.since = Some(now);
            if let Role::Probe(slot) = self.terms.role() {
                local.probe_waits(self.terms.era(), slot, now);
            }
        }
    }

    /// Tells whether the call is measured. An exempt call is not, and neither is a call before the
    /// application's routes.
    #[must_use]
    #[inline]
    pub fn is_measured(&self) -> bool {
        self.local.is_some()
    }

    /// Returns the policy's present `hang_limit`: how long the partner may be silent while a caller
    /// waits for it. `None` if the call is not measured.
    ///
    /// For a streaming protocol of your own: read it when a wait for the partner begins, and
    /// [settle](Self::settle) as a failure if so much time passes and nothing comes. A ticket runs
    /// no timer of its own, and is judged by this number only when it is dropped. Reading it takes
    /// no lock.
    #[must_use]
    pub fn hang_limit(&self) -> Option<Duration> {
        Some(self.local.as_ref()?.hang_limit())
    }

    /// Returns how long the caller has waited by now for what comes next; zero if it does not wait.
    #[cfg(feature = "http")]
    pub(crate) fn wait(&self) -> Duration {
        let wait = self.since.zip(self.local.as_ref());
        let nanos = wait.map_or(0, |(since, local)| local.read_clock().nanos_since(since));
        Duration::from_nanos(nanos)
    }

    /// Returns since when the caller waits; `None` if it does not.
    #[cfg(feature = "http")]
    pub(crate) fn waits_since(&self) -> Option<Reading> {
        self.since
    }

    /// Sets how long the caller has waited, if it waits: in all up to the present wait, in
    /// nanoseconds, and since when in that.
    #[cfg(feature = "http")]
    pub(crate) fn has_waited(&mut self, waited: u64, since: Reading) {
        if self.since.is_some() {
            self.waited = waited;
            self.since = Some(since);
        }
    }

    /// Notes that the caller does not wait for the partner.
    #[cfg(feature = "http")]
    pub(crate) fn waits_not(&mut self) {
        self.since = None;
    }

    /// Returns where the wait of a probe is noted; `None` if the call is no probe.
    #[cfg(feature = "http")]
    pub(crate) fn probe_wait(&self) -> Option<ProbeWait> {
        match (&self.local, self.terms.role()) {
            (Some(local), Role::Probe(slot)) => Some(ProbeWait {
                local: local.clone(),
                era: self.terms.era(),
                slot,
            }),
            _ => None,
        }
    }

    /// Ends the call with a verdict.
    #[inline(always)]
    pub fn settle(self, verdict: impl Into<Verdict>) {
        // Before `local` is taken: the conversion is user code and may panic, and then the ticket
        // is dropped unsettled.
        let verdict = verdict.into();
        // `ManuallyDrop` leaves no drop glue, so that no field is kept in memory for it. That saves
        // 11 instructions per call (`cargo run --release -p peers`, `waiting`).
        let mut ended = ManuallyDrop::new(self);
        if let Some(local) = ended.local.take() {
            local.judged(
                ended.terms.role(),
                ended.terms.era(),
                verdict,
                ended.since,
                ended.waited,
            );
            Local::leave(local);
        }
    }

    /// Ends a call whose answer is the refusal of a layer of this crate further in: neutral, since
    /// the partner was not asked ([`Verdict::refused_within`]).
    ///
    /// For a protocol of your own: call it where [`Refused::find`] finds a refusal in the inner
    /// service's error, or where the answer carries one that was made in this process. One warning
    /// per layer is traced if that layer is this one, and the call was its probe: a layer that
    /// stands twice around a call refuses its own probes.
    pub fn settle_refused(self, refused: &Refused) {
        just_refused::note(refused);
        self.settle_just_refused();
    }

    /// Ends a call in whose last poll a layer of this crate further in refused.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle_just_refused(self) {
        if let (Some(local), Role::Probe(_)) = (&self.local, self.terms.role()) {
            local.probe_was_refused(just_refused::address());
        }
        self.settle(Verdict::refused_within());
    }

    /// Notes that something came from the partner (headers, a frame) while the call goes on. The
    /// caller no longer waits, until a poll finds nothing.
    ///
    /// Call it when the ticket moves into a response that is still streaming, and at each frame.
    pub fn progress(&mut self) {
        if let Some(local) = &self.local {
            let now = local.read_clock();
            if let Some(since) = self.since.take() {
                self.waited += now.nanos_since(since);
                if let Role::Probe(slot) = self.terms.role() {
                    local.probe_is_answered(self.terms.era(), slot, now);
                }
            }
            if mutant!("a reader that does not ask waits") {
                self.since = Some(now);
            }
            local.hear(self.terms.era(), now);
            self.held_by(Holder::Waiting);
        }
    }

    /// Runs `poll`, which polls what the partner sends, and notes that the caller waits if it found
    /// nothing. A panic in it is the inner service's failure.
    ///
    /// For a streaming protocol of your own: without it a drop does not know that the caller waited
    /// for the next frame.
    #[inline]
    pub fn while_polling<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let polled = self.while_calling(poll);
        if polled.is_pending() {
            self.is_pending();
        }
        polled
    }

    /// Runs `call`, which calls the inner service: a panic in it is the inner service's failure.
    #[inline]
    pub(crate) fn while_calling<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let guard = FailsOnPanic(self);
        let returned = call();
        mem::forget(guard);
        returned
    }
}

/// Where the wait of a probe's caller is noted for the end of the lease.
#[cfg(feature = "http")]
pub(crate) struct ProbeWait {
    local: Arc<Local>,
    era: u32,
    slot: Slot,
}

#[cfg(feature = "http")]
impl ProbeWait {
    /// Notes that the caller waits for the partner from `now` on.
    pub(crate) fn runs(&self, now: Reading) {
        self.local.probe_waits(self.era, self.slot, now);
    }

    /// Notes that the caller does not wait for the partner from `now` on.
    pub(crate) fn stands_still(&self, now: Reading) {
        self.local.probe_is_answered(self.era, self.slot, now);
    }
}

/// Ends the call as the inner service's failure. It is dropped only while a panic unwinds, so the
/// normal path writes nothing for it.
struct FailsOnPanic<'t>(&'t mut Ticket);

impl Drop for FailsOnPanic<'_> {
    #[cold]
    fn drop(&mut self) {
        self.0.held_by(Holder::Inner);
        drop(mem::replace(self.0, Ticket::uncounted()));
    }
}

impl Drop for Ticket {
    #[inline]
    fn drop(&mut self) {
        if let Some(local) = self.local.take() {
            unsettled(local, self.terms, self.since, self.waited);
        }
    }
}

/// Ends an unsettled call with the outcome that its holder implies.
#[cold]
#[inline(never)]
fn unsettled(local: Arc<Local>, terms: Terms, since: Option<Reading>, waited: u64) {
    let now = local.read_clock();
    let wait = since.map(|since| Duration::from_nanos(now.nanos_since(since)));
    let took = Duration::from_nanos(waited) + wait.unwrap_or_default();
    let ending = terms.holder().unsettled(took, wait);
    local.settle(terms.role(), terms.era(), ending, local.moment(now));
    Local::leave(local);
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Ticket");
        if self.is_measured() {
            out.field("role", &self.terms.role())
                .field("era", &self.terms.era())
                .field("holder", &self.terms.holder());
        }
        out.finish_non_exhaustive()
    }
}
