//! The admission of a request at either placement: exempt, admitted, or refused.

use crate::{
    call::ticket::Ticket,
    exemptions::Exemption,
    facts::{
        endpoint::{Class, Endpoint, Placement},
        refused::Refused,
    },
    machine::{Asker, word::Op},
    state::root::Root,
};

/// The decision on a request.
pub(crate) enum Decision {
    Refused(Refused),
    /// It is admitted, and the instance that was asked is ready for it.
    Now(Ticket),
    /// It is admitted, and waits for an instance to be ready. It may wait as long as its stay
    /// lasts, or in every mode if it is exempt.
    Wait(Ticket, Option<Stay>),
}

/// The terms of an admission: the request may wait only as long as the era lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) era: u32,
    pub(crate) request: Request,
}

/// The parts of an endpoint that outlive the borrow of the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    may_probe: bool,
    class: Class,
}

impl Request {
    #[inline]
    fn of(endpoint: &Endpoint<'_>) -> Self {
        Self {
            may_probe: endpoint.may_probe,
            class: endpoint.class,
        }
    }

    #[inline]
    fn is_read(self) -> bool {
        self.class == Class::Read
    }

    #[inline]
    fn asker(self) -> Asker {
        match (self.class, self.may_probe) {
            (Class::Never, _) => Asker::Barred,
            (Class::Read | Class::Write, true) => Asker::Eligible,
            (Class::Read | Class::Write, false) => Asker::Ineligible,
        }
    }
}

/// Admits a request by the word alone, as most calls are admitted. Returns `None` if [`decide`]
/// must be asked.
///
/// This and [`refuse_by_word`] are separate from `decide`, because its result goes through memory.
/// That costs an admitted call 10 instructions (`cargo run --release -p peers`, `waiting`).
#[inline(always)]
pub(crate) fn admit_by_word(
    root: &Root,
    placement: Placement,
    endpoint: &Endpoint<'_>,
    ready: bool,
) -> Option<Ticket> {
    let word = root.word();
    let is_plain = placement == Placement::AroundCalls && ready && !endpoint.may_be_exempt();
    (word.op() == Op::Serve && is_plain).then(|| Ticket::begin(root, word.era()))
}

/// Refuses a request by the word alone, as most refusals are made. Returns `None` if [`decide`]
/// must be asked.
#[inline(always)]
pub(crate) fn refuse_by_word(root: &Root, endpoint: &Endpoint<'_>) -> Option<Refused> {
    let is_plain = !endpoint.may_be_exempt() && !Request::of(endpoint).is_read();
    if root.word().op() == Op::Refuse && is_plain {
        root.refuse_by_word()
    } else {
        None
    }
}

/// Decides on a request for `endpoint`. `ready` tells whether the polled inner instance is ready.
#[inline(never)]
pub(crate) fn decide(
    root: &Root,
    placement: Placement,
    endpoint: &Endpoint<'_>,
    ready: bool,
) -> Decision {
    match admit_or_exempt(root, placement, endpoint) {
        Ok((ticket, _)) if ready => Decision::Now(ticket),
        Ok((ticket, stay)) => Decision::Wait(ticket, stay),
        Err(refused) => Decision::Refused(refused),
    }
}

/// Decides on a call to the partner that has no inner instance to wait for.
#[inline(never)]
pub(crate) fn decide_now(root: &Root, endpoint: &Endpoint<'_>) -> Result<Ticket, Refused> {
    if endpoint.name.is_some() {
        root.calls_have_names();
    }
    let (ticket, _) = admit_or_exempt(root, Placement::AroundCalls, endpoint)?;
    Ok(ticket)
}

/// Returns the ticket of a request, and how long it may wait.
#[inline]
fn admit_or_exempt(
    root: &Root,
    placement: Placement,
    endpoint: &Endpoint<'_>,
) -> Result<(Ticket, Option<Stay>), Refused> {
    let passes = endpoint.passes && placement == Placement::BeforeRoutes;
    let ticket = if passes {
        Some(Ticket::uncounted())
    } else if endpoint.may_be_exempt() {
        exempt(root, placement, endpoint)
    } else {
        None
    };
    if let Some(ticket) = ticket
        && (!mutant!("exemptions hold while serving only") || root.is_serving())
    {
        return Ok((ticket, None));
    }
    let (ticket, stay) = admit(root, placement, Request::of(endpoint))?;
    Ok((ticket, Some(stay)))
}

/// Returns the ticket of an exempt request; `None` if it is not exempt.
#[inline(never)]
fn exempt(root: &Root, placement: Placement, endpoint: &Endpoint<'_>) -> Option<Ticket> {
    let counted = root.with_exemptions(|exemptions| {
        let found = exemptions.find(placement, endpoint);
        if found.is_none() && exemptions.warns_of_unrouted(endpoint) {
            root.warn_of_unrouted();
        }
        found.map(Exemption::is_counted)
    })?;
    root.count_exempt();
    let measured = (counted || mutant!("exempt calls are counted unasked"))
        && placement == Placement::AroundCalls;
    let admitted = if measured { root.admit_counted() } else { None };
    Some(admitted.map_or_else(Ticket::uncounted, |(role, era)| {
        Ticket::new(root.local(), role, era)
    }))
}

/// Asks the gate for a request that is not exempt.
#[inline]
pub(crate) fn admit(
    root: &Root,
    placement: Placement,
    request: Request,
) -> Result<(Ticket, Stay), Refused> {
    // The usual case before the application's routes.
    let word = root.word();
    if placement == Placement::BeforeRoutes
        && (word.op() == Op::Serve || mutant!("the gate before the routes never refuses"))
    {
        let era = word.era();
        return Ok((Ticket::uncounted(), Stay { era, request }));
    }
    ask(root, placement, request)
}

#[inline(never)]
fn ask(root: &Root, placement: Placement, request: Request) -> Result<(Ticket, Stay), Refused> {
    if request.is_read()
        && let Some(era) = root.read_only()
    {
        // Not measured: the operator has permitted the read, whatever the partner's record says.
        return Ok((Ticket::uncounted(), Stay { era, request }));
    }
    let asker = request.asker();
    match placement {
        Placement::AroundCalls => {
            let (role, era) = root.admit(asker)?;
            Ok((Ticket::new(root.local(), role, era), Stay { era, request }))
        }
        Placement::BeforeRoutes => {
            let era = root.pass(asker)?;
            Ok((Ticket::uncounted(), Stay { era, request }))
        }
    }
}
