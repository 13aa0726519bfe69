//! Telling open tabs: they are right again after a recovery, without a reload by hand.
//!
//! A browser asks nothing about what it has cached, so that it must be told. Server-sent events
//! ([WHATWG HTML](https://html.spec.whatwg.org/multipage/server-sent-events.html)) rather than web sockets: plain HTTP, one way is enough, and
//! browsers reconnect by themselves and say what they heard last.

mod builder;
mod events;
mod options;
mod registry;
mod script;
mod stream;
mod subscribers;

pub use self::{
    builder::{PushBuilder, PushError},
    events::{Push, PushEvents},
    registry::PushCounts,
    script::PushScript,
    stream::EventStream,
};
