//! Values that users and operators see: plain data without a clock or a lock.

pub(crate) mod audit;
pub(crate) mod endpoint;
pub(crate) mod episode;
mod error_chain;
pub(crate) mod event;
pub(crate) mod evidence;
pub(crate) mod extras;
pub mod fault;
pub(crate) mod find_refused;
pub(crate) mod glance;
pub(crate) mod mode;
pub(crate) mod outcome;
pub(crate) mod partner_word;
pub(crate) mod recovery;
pub(crate) mod refusals_in_events;
pub(crate) mod refused;
pub(crate) mod status;
pub(crate) mod totals;
