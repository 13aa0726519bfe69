//! Helpers that the tests of `tower-maintenance` and of its members share.
//!
//! A helper panics where it cannot go on: that is how the test that called it fails.

mod alloc;
mod body;
mod net;
mod time;

pub use self::{
    alloc::{
        Counting, allocations, allocations_in, at_next_allocation, bytes, bytes_of_process,
        resident,
    },
    body::{ScriptedBody, Step},
    net::{HttpClient, collected, exchange, http_client, serve},
    time::{CAP, HOUR, alive_tasks, at_once, millis, now, poll_once, secs, soon, until},
};
