//! The last good answer: in maintenance, reads that are opted in are answered from a store.
//!
//! Customers still see prices while purchases are refused. The danger is not staleness, which is
//! bounded and shows in `Age`. The danger is that one customer sees the data of another. So an
//! answer that may be personal is not stored until the user of this crate names the customer, and
//! an answer that cannot be interpreted is not stored at all.

mod body;
mod builder;
mod config;
mod credentials;
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
mod target;
mod under_way;

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
