//! What the layer must know of a protocol at one placement, and the ticket of a call.
//!
//! One trait, because the two placements cannot share a type: a router wants refusals as responses
//! and errors that are `Infallible`; around a client nobody can make up a body. The protocol owns
//! the call's [`Ticket`] once the inner service has answered, so that the verdict may be given at
//! once, or be moved into the response (a body, trailers) and given later.

use std::{fmt, mem::ManuallyDrop, num::NonZeroU64, sync::Arc, time::Duration};

use crate::{
    base::{moment::Moment, spare},
    facts::{
        endpoint::{Endpoint, Placement},
        outcome::{Outcome, Verdict},
        refused::Refused,
    },
    machine::{Ending, Role, Slot, word::era_bits},
    state::{Admitted, root::Local},
};

/// What the layer must know of a protocol at one placement; `Response` and `Error` are what callers see.
///
/// Ready-made: [`Calls`](crate::Calls) for any `Result`, [`BoxedCalls`](crate::BoxedCalls) for stacks
/// whose errors are `BoxError`, and with the feature `http` those of `tower_maintenance::http`. For
/// another way of judging a `Result` a [`Judge`](crate::Judge) is enough; implement this trait for
/// a protocol whose responses must be wrapped, or whose refusals are responses.
///
/// It is cloned once a call: keep it small, and free of allocation.
pub trait Protocol<Req, Res, E>: Clone {
    /// Where a view with this protocol stands.
    const PLACEMENT: Placement;
    /// What callers get.
    type Response;
    /// What callers get when it fails.
    type Error;

    /// The protocol as one call carries it to its end. Default: a clone.
    ///
    /// For a protocol that judges calls differently by what was asked: [`finish`](Self::finish) sees the answer and
    /// not the request, which is gone by then. The layer asks for it when it lets a request in.
    #[must_use]
    fn for_call(&self, _request: &Req) -> Self {
        self.clone()
    }

    /// Tells the endpoint's name, and whether it may probe.
    fn endpoint<'r>(&self, request: &'r Req) -> Endpoint<'r>;

    /// Settles the ticket, or moves it into the response to be settled later. A ticket that is
    /// dropped here was not judged, and is neutral.
    ///
    /// # Errors
    ///
    /// What callers get for the inner service's error.
    fn finish(&self, ticket: Ticket, result: Result<Res, E>)
    -> Result<Self::Response, Self::Error>;

    /// Makes a refusal of what the gate says; the request is given back, untouched, for what the refusal
    /// must know of it (what it accepts, in which language).
    ///
    /// # Errors
    ///
    /// Where a refusal is an error.
    fn refuse(&self, request: Req, refused: Refused) -> Result<Self::Response, Self::Error>;

    /// Turns an error of the inner `poll_ready`, which has no response to give.
    fn unready(&self, error: E) -> Self::Error;
}

/// An admitted call. It is settled exactly once: by [`settle`](Self::settle), or by its drop.
///
/// Dropped unsettled it is judged by who holds it: a failure if the inner service panicked; neutral
/// if the judge did; otherwise a failure if nothing had come from the partner for at least the
/// policy's `hang_limit`, and neutral if something had. That time begins when the call is first waited for, at the
/// first poll that finds no answer: one that is there at once costs no look at the clock.
///
/// A ticket of a call that is not measured (exempt, before routes) takes everything and counts nothing.
#[must_use = "a ticket that is dropped counts as given up"]
pub struct Ticket {
    /// `None` if the call is not measured, or has ended. The ticket's own drop takes it out, so that nothing is there to
    /// be dropped after.
    shared: ManuallyDrop<Option<Arc<Local>>>,
    terms: Terms,
    /// [`Moment::NEVER`] until somebody has waited for the answer: one that is there at once took no time, and
    /// needs no clock.
    began: Moment,
    /// When something last came from the partner, the beginning at first.
    heard: Moment,
}

/// Era, role and holder in one word: a ticket goes from hand to hand with every call.
///
/// Never zero, so that an optional ticket is as small as a ticket.
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

/// Who has the call in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: it waits for the partner, or for its reader.
    Waiting,
    /// The inner service, called or polled.
    Inner,
    /// The protocol, judging.
    Classifier,
}

impl Holder {
    /// How a call ends that nobody settled, by who has it in hand (R5, R6). Never by
    /// `thread::panicking()`: a drop may run because of somebody else's panic.
    pub(crate) fn unsettled(self, took: Duration, quiet: Duration) -> Ending {
        match self {
            Self::Inner => Ending::Judged {
                verdict: Outcome::Failure.into(),
                took,
            },
            Self::Classifier => Ending::Judged {
                verdict: Outcome::Neutral.into(),
                took,
            },
            Self::Waiting => Ending::Dropped { quiet },
        }
    }
}

impl Ticket {
    #[inline]
    pub(crate) fn new(shared: Arc<Local>, (role, era): Admitted) -> Self {
        Self {
            shared: ManuallyDrop::new(Some(shared)),
            terms: Terms::new(role, era),
            began: Moment::NEVER,
            heard: Moment::NEVER,
        }
    }

    /// A ticket that counts nothing.
    #[inline]
    pub(crate) fn uncounted() -> Self {
        Self {
            shared: ManuallyDrop::new(None),
            terms: Terms::new(Role::Plain, 0),
            began: Moment::NEVER,
            heard: Moment::NEVER,
        }
    }

    #[inline]
    pub(crate) fn held_by(&mut self, holder: Holder) {
        self.terms.held_by(holder);
    }

    /// Notes that the answer is waited for.
    pub(crate) fn is_pending(&mut self) {
        self.held_by(Holder::Waiting);
        if let Some(shared) = &*self.shared
            && self.began == Moment::NEVER
        {
            self.began = shared.now();
            self.heard = self.began;
        }
    }

    /// Whether the call is measured: an exempt one is not, nor is any before one's own routes.
    #[must_use]
    #[inline]
    pub fn is_measured(&self) -> bool {
        self.shared.is_some()
    }

    /// The policy's `hang_limit` as it is now: how long the partner may be silent while somebody waits for it.
    /// `None` if the call is not measured.
    ///
    /// For a streaming protocol of your own: when a wait for the partner begins, read it, and
    /// [settle](Self::settle) as a failure if so much time passes and nothing comes. A ticket by itself
    /// runs no timer, and is judged by this number only when it is dropped. Reading it takes no lock.
    #[must_use]
    pub fn hang_limit(&self) -> Option<Duration> {
        Some(self.shared.as_ref()?.hang_limit())
    }

    /// Ends the call with a verdict.
    #[inline(always)]
    pub fn settle(mut self, verdict: impl Into<Verdict>) {
        // Before the conversion, which is the user's and may panic: then the ticket drops as it is held.
        let verdict = verdict.into();
        if let Some(shared) = self.shared.take() {
            shared.judged(self.terms.role(), self.terms.era(), verdict, self.began);
            spare::leave_local(shared);
        }
    }

    /// Notes that something came from the partner (headers, a frame) while the call goes on.
    ///
    /// From here on a drop is judged by how long ago that was: call it when the ticket moves into a
    /// response that is still streaming, and at each frame.
    pub fn progress(&mut self) {
        if let Some(shared) = &*self.shared {
            self.heard = shared.now();
            self.held_by(Holder::Waiting);
        }
    }

    /// Runs `poll`, which polls what the partner sends: a panic in it is the inner service's failure.
    pub fn while_polling<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        self.held_by(Holder::Inner);
        let polled = poll();
        self.held_by(Holder::Waiting);
        polled
    }
}

/// Ends the call by who holds it.
#[cold]
#[inline(never)]
fn unsettled(shared: Arc<Local>, terms: Terms, began: Moment, heard: Moment) {
    let now = shared.now();
    let (took, quiet) = (now.since(began), now.since(heard));
    let ending = terms.holder().unsettled(took, quiet);
    shared.settle(terms.role(), terms.era(), ending, now);
    spare::leave_local(shared);
}

impl Drop for Ticket {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            // By value, so that a ticket which is settled needs no place in memory.
            unsettled(shared, self.terms, self.began, self.heard);
        }
    }
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
