//! Cache-bust over HTTP: what a browser, a proxy or a CDN has stored of the time before a recovery is not shown after it.
//!
//! A layer of its own, because it has another place than the gate (outside of it, around what is to be healed) and works
//! while the gate does nothing. It learns of a recovery from the published generation alone: no task, nothing to miss, and
//! no lock but at the moment when a hold or a wait has run out and nobody has looked yet.

mod builder;
mod cdn_purge;
mod clear_site_data;
mod conditions;
mod cookies;
mod error;
mod etag;
mod layer;
mod response_headers;
mod rules;
mod service;
mod tags;

pub use self::{
    builder::CacheBustBuilder,
    cdn_purge::CdnPurge,
    cookies::NamedCookie,
    error::CacheBustError,
    layer::{CacheBustCounts, CacheBustLayer},
    service::{CacheBustFuture, CacheBusting},
};
pub(super) use self::{etag::is_known, rules::GENERATION_HEADER};
