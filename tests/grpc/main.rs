//! gRPC in memory, on paused time. With tonic and real sockets: `crates/grpc`.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod faults;
mod gate;
mod outcomes;
mod retry;
mod streams;
mod support;
mod web;
