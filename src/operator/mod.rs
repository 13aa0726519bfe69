//! What an operator may do and see.

pub(crate) mod borrowed_handle;
pub(crate) mod handle;
#[cfg(feature = "http")]
pub(crate) mod partner_feed;
pub(crate) mod ping;
#[cfg(feature = "serde")]
mod serialize;
pub(crate) mod subscribe;
