//! The last good answer: while in maintenance, reads that were opted in are answered from what the partner last said.
//!
//! So that customers still see prices while purchases wait. The danger is not staleness, which has a bound and shows in
//! `Age`, but that somebody sees what is another's; so whatever might be personal is left alone until the user of this
//! crate says who asks, and what cannot be understood is not kept.

mod body;
mod builder;
mod config;
mod directives;
mod entry;
mod future;
mod head;
mod layer;
mod may_refuse;
mod request_key;
mod served;
mod service;
mod store;
mod stored_headers;

pub use self::{
    body::LastGoodBody,
    builder::{LastGoodBuilder, LastGoodError},
    future::LastGoodFuture,
    layer::LastGoodLayer,
    may_refuse::MayRefuse,
    served::ServedLastGood,
    service::LastGood,
    store::LastGoodCounts,
};
