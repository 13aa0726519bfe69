//! The view before one's own gRPC services.

use std::time::Duration;

use http::{Request, Response};

use super::{
    methods::{Methods, Setting, sets_methods},
    refusal::{DelayError, Longest},
    web::Form,
};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        refused::Refused,
    },
    http::preflight::is_preflight,
};

/// The protocol before one's own gRPC services: it only gates, exempts by path, and refuses with
/// `UNAVAILABLE`.
///
/// See [`MaintenanceLayer::grpc_routes`](crate::MaintenanceLayer::grpc_routes).
#[derive(Debug, Clone, Default)]
pub struct GrpcRoutes {
    methods: Methods,
    longest: Longest,
    gates_preflights: bool,
}

impl GrpcRoutes {
    /// Returns the defaults: while the partner is being probed, only exempt requests pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    sets_methods! {
        /// Adds our own methods that only read, written as `/package.Service/Method`. Default:
        /// none.
        ///
        /// They pass while the partner is being probed, so that the calls they make to it can be
        /// the probes. They also pass under a [read-only hold](crate::Hold::read_only).
        ///
        /// ```
        /// use tower_maintenance::{MaintenanceLayer, grpc::GrpcRoutes};
        ///
        /// let routes = GrpcRoutes::new().reads(["/shop.v1.Shop/ListPrices"])?;
        /// let view = MaintenanceLayer::new("zuora").with_protocol(routes);
        /// # let _ = view;
        ///
        /// let error = GrpcRoutes::new().reads(["shop.v1.Shop.ListPrices"]).unwrap_err();
        /// assert_eq!(
        ///     error.to_string(),
        ///     "the method `shop.v1.Shop.ListPrices` is not valid: write it as on the wire, \
        ///      `/package.Service/Method`",
        /// );
        /// # Ok::<(), tower_maintenance::grpc::MethodError>(())
        /// ```
        ///
        /// # Errors
        ///
        /// If a name has another form, or the method also stands in [`never`](Self::never). The
        /// error names the method.
        reads: Setting::Class(Class::Read)
    }

    sets_methods! {
        /// Adds our own methods that pass in `Serving` only, as those of [`Class::Never`]. Default:
        /// none.
        ///
        /// A yearly settlement, for example, should not run while the partner is only being probed.
        ///
        /// # Errors
        ///
        /// As [`reads`](Self::reads), if the method also stands there.
        never: Setting::Class(Class::Never)
    }

    /// Gates CORS preflights as any other request. Default: they pass in every mode, so that a
    /// browser that speaks gRPC-Web sees the refusal of the call itself.
    #[must_use]
    pub fn with_gated_preflights(self) -> Self {
        Self {
            gates_preflights: true,
            ..self
        }
    }

    /// Sets the longest delay in a refusal's `RetryInfo`; see
    /// [`GrpcCalls::longest_retry_delay`](super::GrpcCalls::longest_retry_delay). Default: 5 min.
    ///
    /// # Errors
    ///
    /// If `longest` is shorter than 1 s.
    pub fn longest_retry_delay(self, longest: Duration) -> Result<Self, DelayError> {
        let longest = Longest::new(longest)?;
        Ok(Self { longest, ..self })
    }
}

impl<A, B: Default, E> Protocol<Request<A>, Response<B>, E> for GrpcRoutes {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let endpoint = self.methods.endpoint(request.uri().path());
        let endpoint = Endpoint {
            passes: !self.gates_preflights && is_preflight(request),
            ..endpoint
        };
        endpoint.with_request(request)
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, request: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        let form = Form::of(request.headers());
        Ok(self.longest.refusal(&refused.nothing_processed(), form))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}
