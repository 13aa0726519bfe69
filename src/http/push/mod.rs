//! Push: open browser tabs show the right data after a recovery, without a reload by hand.
//!
//! A browser does not ask about what it has cached, so it must be told. The events are server-sent
//! events ([WHATWG HTML]), not web sockets: they are plain HTTP, one direction is enough, and
//! browsers reconnect by themselves and send the `id` of the last event that they received.
//!
//! [WHATWG HTML]: https://html.spec.whatwg.org/multipage/server-sent-events.html

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
