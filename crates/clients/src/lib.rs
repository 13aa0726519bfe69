//! The closures of `tower_maintenance::guide::errors` for clients with an error type of their own.
//!
//! The tests of this member try them on real sockets, and compare what comes out with the table of
//! that page.

use std::error::Error;

use tower_maintenance::{Verdict, fault, grpc::GrpcCalls, http::HttpCalls};

/// Calls through reqwest.
#[must_use]
pub fn reqwest_calls() -> HttpCalls {
    HttpCalls::new().judged_errors(of_reqwest)
}

/// Calls through tonic's channel.
#[must_use]
pub fn tonic_calls() -> GrpcCalls {
    GrpcCalls::new()
        .judged_errors(|error: &tonic::transport::Error| fault::by_type(error))
        .judged_errors(|error: &tonic::Status| fault::by_type(error))
}

/// Judges an error of reqwest: a request that it could not build was never sent.
#[must_use]
pub fn of_reqwest(error: &reqwest::Error) -> Option<Verdict> {
    match error.is_builder() {
        true => Some(Verdict::ours()),
        false => fault::by_type(error),
    }
}

/// Judges a name that does not resolve as this process's own trouble. The resolver of hyper-util,
/// which reqwest and tonic use too, says so only by its text.
#[must_use]
pub fn of_resolver(error: &(dyn Error + 'static)) -> Option<Verdict> {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    let is_resolver = chain.any(|error| error.to_string() == "dns error");
    is_resolver.then(Verdict::ours)
}
