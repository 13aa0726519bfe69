//! gRPC at both placements: calls are judged by `grpc-status`, refusals are answers with
//! `UNAVAILABLE`.
//!
//! | placement | view | exempt by path |
//! |---|---|---|
//! | around a gRPC client's channel | [`MaintenanceLayer::grpc_calls`] | [`Exemption::grpc_call`] |
//! | before our own gRPC services | [`MaintenanceLayer::grpc_routes`] | [`Exemption::grpc_route`] |
//!
//! Both views speak `http::Request` and `http::Response`. They need no gRPC library, and tonic's
//! `Channel` and `Routes` fit as they are.
//!
//! - **Judging.** The HTTP status of a gRPC answer is 200 whatever became of the call. The result
//!   stands in the trailers, which come last. So the call's ticket moves into the body, and the
//!   call is settled when the trailers arrive.
//! - **Refusing.** A refusal is an answer, not an error of the channel. The caller sees an error of
//!   the channel as a status without details, and an answer with the status and details that it
//!   carries.
//! - **gRPC-Web.** There the trailers are a frame of the body. The layer recognises it by its
//!   `content-type`, binary or base64, and reads and refuses in the same form. With `tonic-web` the
//!   layer may stand on either side of its translation.
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
//!     .exempt(Exemption::grpc_call(
//!         "/billing.v1.Billing/GetInvoice",
//!         "customers may always see what they owe",
//!     ))
//!     .build()?;
//! let handle = layer.handle();
//!
//! // In a real stack this is tonic's `Channel`. This partner is down and says so in the trailers.
//! let channel = service_fn(async |_: Request<()>| {
//!     let status = ("grpc-status".parse().unwrap(), HeaderValue::from_static("14"));
//!     let trailers = HeaderMap::from_iter([status]);
//!     let message = Full::from(&b"\0\0\0\0\0"[..]);
//!     let body = message.with_trailers(async move { Some(Ok(trailers)) });
//!     Ok::<_, Infallible>(Response::new(Body::new(body)))
//! });
//! let reads = GrpcCalls::new().reads(["/billing.v1.Billing/GetPrices"])?; // these may probe
//! let mut partner = ServiceBuilder::new().layer(layer.with_protocol(reads)).service(channel);
//! let mut call = async |path: &str| {
//!     let request = Request::post(format!("http://zuora.example{path}")).body(()).unwrap();
//!     let (head, body) = partner.ready().await.unwrap().call(request).await.unwrap().into_parts();
//!     (head, body.collect().await.unwrap())
//! };
//!
//! // Five failures in a row trip the layer. Each is judged at its trailers.
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
//! // An exempt call still reaches the partner.
//! let (_, body) = call("/billing.v1.Billing/GetInvoice").await;
//! assert_eq!(body.trailers().unwrap()["grpc-status"], "14");
//! # Ok(())
//! # }
//! ```
//!
//! # Pitfalls
//!
//! - **No method may probe until it is named.** A method is named by its path,
//!   `/package.Service/Method`. gRPC sends every call by POST, so the layer cannot tell a read from
//!   a charge. Name the reads by [`GrpcCalls::reads`], or give the layer a
//!   [ping](crate::MaintenanceHandle::ping).
//! - **A quiet stream looks like a partner that hangs.** Nothing on the wire tells a stream from a
//!   single answer: when a reader waits `hang_limit` (5 s by default) for a message, the call
//!   fails. Name the methods that stream by [`GrpcCalls::streams`], and they are judged at their
//!   first message. Name those that may be silent from their start by [`GrpcCalls::subscriptions`].
//! - In gRPC-Web, trailers that are compressed or longer than 16 KiB are not read. Such a call is
//!   neutral.
//! - A retry between this layer and the caller sees only the head of an answer. A status in the
//!   trailers comes too late for it.

mod body;
mod boxed_calls;
mod calls;
mod code;
mod find;
mod first_message;
mod judge;
mod methods;
mod refusal;
mod routes;
mod web;
mod wire;

pub use self::{
    body::GrpcCallBody,
    boxed_calls::BoxedGrpcCalls,
    calls::GrpcCalls,
    code::Code,
    find::find,
    methods::MethodError,
    refusal::{DOMAIN, DelayError, REASON, refusal},
    routes::GrpcRoutes,
};
use crate::{exemptions::Exemption, layer::MaintenanceLayer};

impl<P> MaintenanceLayer<P> {
    /// Returns a view around a gRPC client's channel: calls are judged by `grpc-status`, refusals
    /// are answers.
    ///
    /// | outcome | answer |
    /// |---|---|
    /// | failure | an error of the channel (connection, timeout) that is not [ours](crate::fault) |
    /// | failure | `CANCELLED`, `UNKNOWN`, `DEADLINE_EXCEEDED` |
    /// | failure | `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS` |
    /// | failure | a body that breaks off, or that ends without a status |
    /// | failure | a body that hangs: nothing comes while its reader waits for `hang_limit` |
    /// | neutral | `RESOURCE_EXHAUSTED`, `PERMISSION_DENIED`, `UNAUTHENTICATED` |
    /// | neutral | a body that is dropped before its end, without a hang |
    /// | success | every other status |
    /// | success | of a method that [`GrpcCalls::streams`] names: its first message |
    ///
    /// An answer that has no status and whose HTTP status is not 200 comes from a proxy. It is
    /// judged by [`HttpCalls::by_status`](crate::http::HttpCalls::by_status).
    ///
    /// [`GrpcCalls::by_code`] gives the reason for each code. A refusal is made by [`refusal`]: the
    /// caller sees `UNAVAILABLE` with details. **No method may probe** until [`GrpcCalls::reads`]
    /// names the methods that only read: `layer.with_protocol(GrpcCalls::new().reads([..])?)`.
    ///
    /// Around tonic it is a layer like any other. The service that it makes is a channel for
    /// generated clients:
    ///
    /// ```text
    /// let channel = ServiceBuilder::new().layer(layer.grpc_calls()).service(channel);
    /// let client = BillingClient::new(channel);
    /// ```
    #[must_use]
    pub fn grpc_calls(&self) -> MaintenanceLayer<GrpcCalls> {
        self.view(GrpcCalls::new())
    }

    /// Returns a view before one's own gRPC services: it only gates, and refuses by [`refusal`].
    ///
    /// Put it before tonic's services by `Server::builder().layer(layer.grpc_routes())`. Every
    /// refusal is a gRPC answer: before routes that also serve plain HTTP, use `paths` or `routes`.
    /// A stream that is open when maintenance begins goes on.
    ///
    /// While the partner is being probed, two kinds of requests pass: exempt ones, and those of the
    /// methods that [`GrpcRoutes::reads`] names.
    ///
    /// For browsers (gRPC-Web), put the layer that answers preflights outside of this one. Let it
    /// expose `grpc-status`, `grpc-message` and `grpc-status-details-bin`
    /// (`Access-Control-Expose-Headers`): all that a refusal says is in these headers.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_maintenance::{Exemption, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let health = "/grpc.health.v1.Health/Check";
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::grpc_route(health, "orchestrators must not restart us"))
    ///     .build()?;
    /// let ours = service_fn(async |_: Request<()>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    /// });
    /// let ours = layer.grpc_routes().layer(ours);
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let call = |path: &str| ours.clone().oneshot(Request::post(path).body(()).unwrap());
    /// assert_eq!(call("/shop.v1.Shop/Buy").await?.headers()["grpc-status"], "14");
    /// assert!(!call(health).await?.headers().contains_key("grpc-status"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn grpc_routes(&self) -> MaintenanceLayer<GrpcRoutes> {
        self.view(GrpcRoutes::new())
    }
}

impl Exemption {
    /// Exempts calls to a method of the partner, written as on the wire:
    /// `/billing.v1.Billing/GetInvoice`. The pattern `/grpc.health.v1.Health/{method}` exempts
    /// every method of a service.
    ///
    /// A gRPC method is a path, so this is [`http_call`](Self::http_call) under a name for users of
    /// gRPC.
    #[must_use]
    pub fn grpc_call(method: &str, why: &str) -> Self {
        Self::http_call(method, why)
    }

    /// Exempts one of our own methods, written as on the wire: `/grpc.health.v1.Health/Check`.
    ///
    /// A gRPC method is a path, so this is [`route`](Self::route) under a name for users of gRPC.
    #[must_use]
    pub fn grpc_route(method: &str, why: &str) -> Self {
        Self::route(method, why)
    }
}
