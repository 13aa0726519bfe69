//! (front page to come)
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod calls;
mod clock;
mod episode;
mod error;
mod event;
mod exempt;
mod future;
mod gate;
mod handle;
mod journal;
mod layer;
mod machine;
mod mode;
mod moment;
mod parked;
mod ping;
mod policy;
mod protocol;
mod service;
mod shared;
mod signal;
mod snapshot;
mod sync;
mod tally;
mod verdict;

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "rt")]
mod rt;
#[cfg(feature = "serde")]
mod serialize;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "axum")]
pub use crate::axum::Routes;
pub use crate::{
    calls::{BoxedCalls, Calls, Judge, JudgedBy, MayProbe, Named, Plain},
    episode::Episode,
    error::{BuildError, CommandError, Error, ExemptionError, PolicyError, Refused},
    event::{Event, EventKind, Evidence, Rule},
    exempt::{Exemption, ExemptionTable},
    future::ResponseFuture,
    handle::{Hold, MaintenanceHandle, Reach, Receipt},
    journal::{Action, AuditEntry, Events},
    layer::{Builder, MaintenanceLayer},
    mode::{Cause, Mode, Switches},
    ping::{CheckAnswer, Ping},
    policy::{Policy, Rate, Window},
    protocol::{Endpoint, Placement, Protocol, Ticket},
    service::Maintenance,
    signal::{CacheBust, CacheBusts},
    snapshot::{CallCounts, CauseReport, ProbingReport, ShadowReport, Status, WindowReport},
    verdict::{Outcome, Verdict},
};
