//! How a request that is not exempt gets past the gate, at either placement.

use crate::{
    call::protocol::Ticket,
    facts::{
        endpoint::{Class, Endpoint, Placement},
        refused::Refused,
    },
    machine::{Asker, word::Op},
    state::root::Root,
};

/// On what terms a request was admitted: it may wait only as long as the era lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) era: u32,
    pub(crate) request: Request,
}

/// What of an endpoint outlasts the request's borrow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    may_probe: bool,
    class: Class,
}

impl Request {
    #[inline]
    pub(crate) fn of(endpoint: &Endpoint<'_>) -> Self {
        Self {
            may_probe: endpoint.may_probe,
            class: endpoint.class,
        }
    }

    #[inline]
    pub(crate) fn is_read(self) -> bool {
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

/// Asks the gate for a request that is not exempt.
#[inline]
pub(crate) fn admit(
    root: &Root,
    placement: Placement,
    request: Request,
) -> Result<(Ticket, Stay), Refused> {
    // What most meet before one's own routes.
    let word = root.word();
    if placement == Placement::BeforeRoutes && word.op() == Op::Serve {
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
        // The operator's word, not the partner's record: it is not measured.
        return Ok((Ticket::uncounted(), Stay { era, request }));
    }
    let asker = request.asker();
    match placement {
        Placement::AroundCalls => {
            let admitted = root.admit(asker)?;
            let (_, era) = admitted;
            Ok((Ticket::new(root.local(), admitted), Stay { era, request }))
        }
        Placement::BeforeRoutes => {
            let era = root.pass(asker)?;
            Ok((Ticket::uncounted(), Stay { era, request }))
        }
    }
}
