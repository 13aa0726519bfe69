//! How a request that is not exempt gets past the gate, at either placement.

use std::sync::Arc;

use crate::{
    endpoint::Placement, error::Refused, machine::Asker, protocol::Ticket, shared::Shared,
};

/// On what terms a request was admitted: it may wait only as long as the era lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) era: u32,
    pub(crate) asker: Asker,
}

/// Asks the gate for a request that is not exempt.
pub(crate) fn admit(
    shared: &Arc<Shared>,
    placement: Placement,
    asker: Asker,
) -> Result<(Ticket, Stay), Refused> {
    match placement {
        Placement::AroundCalls => {
            let admitted = shared.admit(asker)?;
            let (_, era, _) = admitted;
            Ok((Ticket::new(shared.clone(), admitted), Stay { era, asker }))
        }
        Placement::BeforeRoutes => {
            let era = shared.pass(asker)?;
            Ok((Ticket::uncounted(), Stay { era, asker }))
        }
    }
}
