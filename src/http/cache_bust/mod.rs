//! Cache-bust over HTTP: after a recovery, browsers, proxies and CDNs do not show data from before
//! it.
//!
//! This is a layer of its own, because it stands elsewhere than the gate: outside of it, around the
//! routes that are to be healed. It also works while the gate is idle. It learns of a recovery from
//! the published generation alone. So it needs no task and can miss no signal. It tries the lock
//! only when a hold or a wait has run out and no other caller has applied that yet.

mod builder;
mod cdn_purge;
mod clear_site_data;
mod conditions;
mod cookies;
mod error;
mod etag;
mod layer;
mod response_headers;
pub(super) mod rules;
mod service;
mod tags;

pub(super) use self::etag::is_known;
pub use self::{
    builder::CacheBustBuilder,
    cdn_purge::CdnPurge,
    cookies::NamedCookie,
    error::CacheBustError,
    layer::{CacheBustCounts, CacheBustLayer},
    service::{CacheBustFuture, CacheBusting},
};
