//! gRPC in both placements: calls judged by `grpc-status` in headers and trailers, refused with `UNAVAILABLE`.
//!
//! | where | view | refusal | exempt by |
//! |---|---|---|---|
//! | around a gRPC client's channel | [`MaintenanceLayer::grpc_calls`] | an answer: `UNAVAILABLE` | path, [`Exemption::grpc_call`] |
//! | before one's own gRPC services | [`MaintenanceLayer::grpc_routes`] | `UNAVAILABLE` | path, [`Exemption::grpc_route`] |
//!
//! HTTP says little of a gRPC call: whatever became of it, the answer is a 200, and the truth comes last, in
//! the trailers. So the call's ticket moves into the body, and is settled at the trailers. And a gRPC client wants
//! its refusals as answers too: an error of the channel reaches the caller as a status without details, an answer as
//! the status it is. Both views speak `http::Request` and `http::Response`; no gRPC library is needed, and tonic's `Channel` and
//! `Routes` fit as they are.
//!
//! A method is its path, `/package.Service/Method`. Everything goes by POST, so nothing may probe
//! unless [`GrpcCalls::reads`] names it: without one, give the layer a [ping](crate::MaintenanceHandle::ping).
//!
//! Nothing on the wire tells a stream from a single answer either. A stream whose messages come seldom would look like a partner who hangs:
//! name such methods by [`GrpcCalls::streams`], and they are judged at their first message; one that may be silent from its
//! start, by [`GrpcCalls::subscriptions`].
//!
//! gRPC-Web, where the trailers are a frame of the body, is read and refused as such by its `content-type`, binary or in base64. With
//! `tonic-web` the layer may stand on either side of its translation.
//!
//! # Example
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Request, Response};
//! use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
//! use std::convert::Infallible;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_maintenance::{Exemption, MaintenanceLayer, Mode, Refused, grpc::GrpcCalls};
//!
//! type Body = UnsyncBoxBody<&'static [u8], Infallible>;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer = MaintenanceLayer::builder("zuora")
//!     .exempt(Exemption::grpc_call("/billing.v1.Billing/GetInvoice", "customers may always see what they owe"))
//!     .build()?;
//! let handle = layer.handle();
//!
//! // Somewhere tonic's `Channel`; here a partner who is down, and says so in the trailers.
//! let channel = service_fn(async |_: Request<()>| {
//!     let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("14"))]);
//!     let body = Full::from(&b"\0\0\0\0\0"[..]).with_trailers(async move { Some(Ok(trailers)) });
//!     Ok::<_, Infallible>(Response::new(Body::new(body)))
//! });
//! let reads = GrpcCalls::new().reads(["/billing.v1.Billing/GetPrices"])?; // these may probe
//! let mut partner = ServiceBuilder::new().layer(layer.speaking(reads)).service(channel);
//! let mut call = async |path: &str| {
//!     let request = Request::post(format!("http://zuora.example{path}")).body(()).unwrap();
//!     let (head, body) = partner.ready().await.unwrap().call(request).await.unwrap().into_parts();
//!     (head, body.collect().await.unwrap())
//! };
//!
//! // Five failures in a row trip, each judged at its trailers.
//! for _ in 0..5 {
//!     let (head, body) = call("/billing.v1.Billing/Charge").await;
//!     assert_eq!(head.status, 200);
//!     assert_eq!(body.trailers().unwrap()["grpc-status"], "14");
//! }
//! assert_eq!(handle.mode(), Mode::Maintenance);
//!
//! // A refusal is an answer: Trailers-Only, with details in `grpc-status-details-bin`.
//! let (head, body) = call("/billing.v1.Billing/Charge").await;
//! assert_eq!(head.headers["grpc-status"], "14");
//! assert_eq!(head.extensions.get::<Refused>().unwrap().partner(), "zuora");
//! assert!(body.to_bytes().is_empty());
//!
//! // What is exempt still reaches the partner.
//! let (_, body) = call("/billing.v1.Billing/GetInvoice").await;
//! assert_eq!(body.trailers().unwrap()["grpc-status"], "14");
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! - A stream that neither [`GrpcCalls::streams`] nor [`GrpcCalls::subscriptions`] names counts as hanging when its reader waits `hang_limit`
//!   (5 s by default) for a message.
//! - In gRPC-Web, trailers longer than 16 KiB, or compressed, are not read: such a call is neutral.
//! - A retry between this layer and the caller sees the head of an answer only; a status in the trailers is past it.

mod body;
mod calls;
mod code;
mod first_message;
mod judge;
mod methods;
mod refusal;
mod routes;
mod web;
mod wire;

pub use self::{
    body::Measured,
    calls::GrpcCalls,
    code::Code,
    methods::MethodError,
    refusal::{DOMAIN, DelayError, REASON, refusal},
    routes::GrpcRoutes,
};
use crate::{exemptions::Exemption, layer::MaintenanceLayer};

impl<P> MaintenanceLayer<P> {
    /// A view around a gRPC client's channel: calls are judged by `grpc-status`, refusals are answers.
    ///
    /// | outcome | what |
    /// |---|---|
    /// | failure | an error of the channel (connection, timeout); `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`; a body that breaks off or ends without a status; a body that hangs: the reader waits for more and nothing comes for `hang_limit` |
    /// | neutral | `CANCELLED`, `RESOURCE_EXHAUSTED`, `PERMISSION_DENIED`, `UNAUTHENTICATED`; a body that nobody read to its end |
    /// | success | every other status; of the methods that [`GrpcCalls::streams`] names, an answer whose first message came |
    /// | as over HTTP | an answer without a status whose HTTP status is not 200 (a proxy's): by [`HttpCalls::by_status`](crate::http::HttpCalls::by_status) |
    ///
    /// [`GrpcCalls::by_code`] says why. A refusal is [`refusal`]: the caller sees `UNAVAILABLE` with details.
    /// **Nothing may probe** until [`GrpcCalls::reads`] names the methods that only read:
    /// `layer.speaking(GrpcCalls::new().reads([..])?)`.
    ///
    /// Around tonic it is a layer like any other, and what it makes is a channel for generated clients:
    ///
    /// ```text
    /// let channel = ServiceBuilder::new().layer(layer.grpc_calls()).service(channel);
    /// let client = BillingClient::new(channel);
    /// ```
    #[must_use]
    pub fn grpc_calls(&self) -> MaintenanceLayer<GrpcCalls> {
        self.view(GrpcCalls::new())
    }

    /// A view before one's own gRPC services: gates only, refuses with `UNAVAILABLE` by [`refusal`].
    ///
    /// Put it before tonic's services by `Server::builder().layer(layer.grpc_routes())`. Every request there is
    /// answered as gRPC: before routes that also serve plain HTTP, `paths` or `routes` is the right view.
    /// A stream that is under way when maintenance begins goes on.
    ///
    /// For browsers (gRPC-Web), what answers their preflights stands outside of the layer, and lets them see `grpc-status`, `grpc-message` and
    /// `grpc-status-details-bin` (`Access-Control-Expose-Headers`): a refusal says all in its headers.
    ///
    /// While the partner is being probed, only what is exempt passes, and the methods that
    /// [`GrpcRoutes::reads`] names.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_maintenance::{Exemption, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::grpc_route("/grpc.health.v1.Health/Check", "orchestrators must not restart us"))
    ///     .build()?;
    /// let ours = service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
    /// let ours = layer.grpc_routes().layer(ours);
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let call = |path: &str| ours.clone().oneshot(Request::post(path).body(()).unwrap());
    /// assert_eq!(call("/shop.v1.Shop/Buy").await?.headers()["grpc-status"], "14");
    /// assert!(!call("/grpc.health.v1.Health/Check").await?.headers().contains_key("grpc-status"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn grpc_routes(&self) -> MaintenanceLayer<GrpcRoutes> {
        self.view(GrpcRoutes::new())
    }
}

impl Exemption {
    /// Exempts calls to a method of the partner, as on the wire: `/billing.v1.Billing/GetInvoice`, or every method
    /// of a service: `/grpc.health.v1.Health/{method}`.
    ///
    /// It is [`http_call`](Self::http_call) under the name that gRPC's users look for: a method is a path.
    #[must_use]
    pub fn grpc_call(method: &str, why: &str) -> Self {
        Self::http_call(method, why)
    }

    /// Exempts one of our own methods, as on the wire: `/grpc.health.v1.Health/Check`.
    ///
    /// It is [`route`](Self::route) under the name that gRPC's users look for: a method is a path.
    #[must_use]
    pub fn grpc_route(method: &str, why: &str) -> Self {
        Self::route(method, why)
    }
}
