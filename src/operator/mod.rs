//! The operator's side: commands, subscriptions, pings, and what an operator reads.

pub(crate) mod borrowed_handle;
pub(crate) mod cache_fill;
#[cfg(feature = "http")]
mod for_caches;
pub(crate) mod handle;
pub(crate) mod hold;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod modes;
#[cfg(feature = "http")]
pub(crate) mod partner_feed;
pub(crate) mod ping;
pub(crate) mod receipt;
#[cfg(feature = "serde")]
mod serialize;
pub(crate) mod subscribe;
#[cfg(feature = "http")]
pub(crate) mod weak_handle;
pub(crate) mod while_serving;
