//! Before one's own gRPC services: what passes, and how a refusal looks.

use std::time::Duration;

use http::{Request, Response};

use super::{
    methods::{MethodError, Methods},
    refusal::{DelayError, Longest},
    web::Form,
};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        refused::Refused,
    },
};

/// Before one's own gRPC services: gates only, exempt by path, refused with `UNAVAILABLE`. See
/// [`MaintenanceLayer::grpc_routes`](crate::MaintenanceLayer::grpc_routes).
#[derive(Debug, Clone, Default)]
pub struct GrpcRoutes {
    methods: Methods,
    longest: Longest,
}

impl GrpcRoutes {
    /// Nothing passes while the partner is being probed, but what is exempt.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds our own methods that only read, as `/package.Service/Method`: while the partner is being probed
    /// they pass, so that the calls they make can be the probes. They pass under a
    /// [read-only hold](crate::Hold::read_only) too. Default: none.
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
    /// If a name is not of that form, or the method is said to [never](Self::never) pass too; the error names it.
    pub fn reads<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let methods = self.methods.class(Class::Read, methods)?;
        Ok(Self { methods, ..self })
    }

    /// Adds methods that pass in `Serving` alone ([`Class::Never`]), as `/package.Service/Method`: a yearly settlement has no part in
    /// proving that we are back. Default: none.
    ///
    /// # Errors
    ///
    /// If a name is not of that form, or the method is said to read too; the error names it.
    pub fn never<M: Into<String>>(
        self,
        methods: impl IntoIterator<Item = M>,
    ) -> Result<Self, MethodError> {
        let methods = self.methods.class(Class::Never, methods)?;
        Ok(Self { methods, ..self })
    }

    /// The longest that a refusal's `RetryInfo` says, at least 1 s. Default: 5 min, as the longest `Retry-After` over HTTP: who was told
    /// longer would stay away though maintenance may end early.
    ///
    /// No delay is longer, those guessed neither; and none is past an end that is known.
    ///
    /// # Errors
    ///
    /// If it is shorter than 1 s.
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
        self.methods.endpoint(request.uri().path())
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, request: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        let form = Form::of(request.headers());
        Ok(self.longest.refusal(&refused, form))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}
