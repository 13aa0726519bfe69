//! A guarded reqwest client in one line.
//!
//! [`MaintenanceLayer::reqwest`] takes a `reqwest::Client` and returns a [`GuardedClient`] with the
//! same calls. What [`http_calls`](MaintenanceLayer::http_calls) says of judging holds here,
//! because it is the same view: status, time-outs, errors, and a body that breaks off or hangs
//! while it is read. The answer is a `reqwest::Response`.
//!
//! - **Several layers around a client** (retry, a limit, a [`KeyedLayer`](crate::KeyedLayer)):
//!   [`HttpService`] is the client as a tower service over the types of the crate `http`.
//! - **The crate `reqwest-middleware`**: feature `reqwest-middleware`, and
//!   `MaintenanceLayer::reqwest_middleware`.
//!
//! ```no_run
//! use tower_maintenance::{Error, MaintenanceLayer};
//!
//! # async fn prices() -> Result<(), Box<dyn std::error::Error>> {
//! let zuora = MaintenanceLayer::new("zuora").reqwest(reqwest::Client::new());
//!
//! let answer = zuora
//!     .post("https://zuora.example/v1/quotes")
//!     .header("x-tenant", "7")
//!     .json(&serde_json::json!({ "plan": "team" }))
//!     .send()
//!     .await;
//! match answer {
//!     Ok(answer) => println!("{}", answer.text().await?),
//!     Err(Error::Refused(refused)) => println!("come back in {:?}", refused.retry_after()),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Time-outs
//!
//! A time-out of the client (`ClientBuilder::timeout`, `read_timeout`, `connect_timeout`, or that
//! of one request) is an error that the layer sees: a failure, whatever its length. A time-out
//! *around* the call drops it, and must be at least the policy's
//! [`hang_limit`](crate::Policy::with_hang_limit), or it is not a failure.
//!
//! # Redirects and retries
//!
//! The client follows redirects and retries by itself, inside the layer: the layer sees one call,
//! and the last answer. See [`http_calls`](MaintenanceLayer::http_calls) for pages of a partner
//! under maintenance.

mod client;
#[cfg(feature = "reqwest-middleware")]
mod middleware;
mod request;
mod service;
mod view;

use reqwest::{Client, Error};

#[cfg(feature = "reqwest-middleware")]
pub use self::middleware::GuardMiddleware;
use self::view::View;
pub use self::{
    client::GuardedClient,
    request::GuardedRequest,
    service::{HttpFuture, HttpService},
};
use crate::{
    call::plain::Calls,
    facts::{fault, outcome::Verdict},
    http::HttpCalls,
    layer::MaintenanceLayer,
};

impl<J> MaintenanceLayer<Calls<J>> {
    /// Returns a guarded client: `client` with the same calls, behind this layer.
    ///
    /// It judges as [`http_calls`](Self::http_calls) does, and a request that reqwest could not
    /// build is [ours](crate::fault). The closures of this view judge plain calls, so they do not
    /// apply here. For options write `layer.with_protocol(HttpCalls::new()...).reqwest(client)`.
    ///
    #[doc = include_str!("example.md")]
    #[must_use]
    pub fn reqwest(&self, client: Client) -> GuardedClient {
        self.http_calls().reqwest(client)
    }

    /// Returns a middleware for the crate `reqwest-middleware`: this layer around what follows it.
    ///
    /// Add it last, so that it stands next to the client: a retry outside of it then meets a shut
    /// gate at each attempt, and the errors of the other middlewares do not count. It judges as
    /// [`reqwest`](Self::reqwest) does. A refusal is a `reqwest_middleware::Error::Middleware`, in
    /// which [`Refused::find`](crate::Refused::find) finds it.
    #[cfg(feature = "reqwest-middleware")]
    #[must_use]
    pub fn reqwest_middleware(&self) -> GuardMiddleware {
        self.http_calls().reqwest_middleware()
    }
}

impl MaintenanceLayer<HttpCalls> {
    /// Returns a guarded client with the options of this view.
    ///
    /// Closures of [`judged_errors`](HttpCalls::judged_errors) get a `&reqwest::Error`.
    #[must_use]
    pub fn reqwest(&self, client: Client) -> GuardedClient {
        GuardedClient::new(&self.opening_reqwest(), client)
    }

    /// Returns a middleware for the crate `reqwest-middleware` with the options of this view.
    ///
    /// Closures of [`judged_errors`](HttpCalls::judged_errors) get a `&reqwest::Error`.
    #[cfg(feature = "reqwest-middleware")]
    #[must_use]
    pub fn reqwest_middleware(&self) -> GuardMiddleware {
        GuardMiddleware::new(self.opening_reqwest())
    }

    fn opening_reqwest(&self) -> View {
        let calls = self.protocol().clone().judged_errors(of_reqwest);
        self.view(calls).nested()
    }
}

/// Judges an error of reqwest: a request that it could not build was never sent, and is ours. The
/// rest is told by the [types](crate::fault) in its chain, or left open.
///
/// [`MaintenanceLayer::reqwest`] asks it by itself. It is for [`HttpService`] under a view of your
/// own, and for your own [pings](crate::MaintenanceHandle::ping).
#[must_use]
pub fn of_reqwest(error: &Error) -> Option<Verdict> {
    match error.is_builder() {
        true => Some(Verdict::ours()),
        false => fault::by_type(error),
    }
}
