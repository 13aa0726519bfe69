//! Finds a refusal under the status that a gRPC client makes.

use std::error::Error as StdError;

use crate::facts::refused::Refused;

/// Finds a refusal in a status, or in any other error: `find(&status)`.
///
/// A status that was made from an error has the error as its source, and there the refusal is found
/// ([`Refused::find`]). A status that was made from an answer is the word of the sender: its code,
/// its message, its metadata and its details came over the wire, and anything could have written
/// them. Such a status is never taken for a refusal, even if it is one of another process.
///
/// The views [`grpc_calls`](crate::MaintenanceLayer::grpc_calls) and
/// [`grpc_routes`](crate::MaintenanceLayer::grpc_routes) refuse by an answer. As long as it is an
/// `http::Response`, it has the [`Refused`] among its extensions: a layer around the channel finds
/// it. A client such as tonic's drops the extensions when it makes a status. To find refusals
/// outside such a client, refuse by an error:
/// [`boxed`](crate::MaintenanceLayer::boxed).
#[must_use]
pub fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Refused> {
    Refused::find(error)
}
