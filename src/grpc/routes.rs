//! Before one's own gRPC services: what passes, and how a refusal looks.

use http::{Request, Response};

use super::{
    methods::{MethodError, Methods},
    refusal::refusal,
};
use crate::{
    endpoint::{Endpoint, Placement},
    error::Refused,
    protocol::{Protocol, Ticket},
};

/// Before one's own gRPC services: gates only, exempt by path, refused with `UNAVAILABLE`. See
/// [`MaintenanceLayer::grpc_routes`](crate::MaintenanceLayer::grpc_routes).
#[derive(Debug, Clone, Default)]
pub struct GrpcRoutes {
    reads: Methods,
}

impl GrpcRoutes {
    /// Nothing passes while the partner is being probed, but what is exempt.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds our own methods that only read, as `/package.Service/Method`: while the partner is being probed
    /// they pass, so that the calls they make can be the probes. Default: none.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, grpc::GrpcRoutes};
    ///
    /// let routes = GrpcRoutes::new().reads(["/shop.v1.Shop/ListPrices"])?;
    /// let view = MaintenanceLayer::new("zuora").speaking(routes);
    /// # let _ = view;
    /// let error = GrpcRoutes::new().reads(["shop.v1.Shop.ListPrices"]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "the method `shop.v1.Shop.ListPrices` is not valid: write it as on the wire, `/package.Service/Method`",
    /// );
    /// # Ok::<(), tower_maintenance::grpc::MethodError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name is not of that form; the error names it.
    pub fn reads<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let reads = self.reads.and(methods)?;
        Ok(Self { reads })
    }
}

impl<A, B: Default, E> Protocol<Request<A>, Response<B>, E> for GrpcRoutes {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        self.reads.endpoint(request.uri().path())
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, _: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        Ok(refusal(&refused))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}
