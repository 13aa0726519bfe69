//! Exemptions that ask a request's head: its method, or any condition.

use std::{any::Any, fmt, sync::Arc};

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

use crate::{
    exemptions::Exemption,
    facts::endpoint::{Endpoint, Head, Placement},
};

/// The head of a request, for the condition of an [`Exemption::requests`].
#[derive(Clone, Copy)]
pub struct RequestHead<'r> {
    method: &'r Method,
    uri: &'r Uri,
    version: Version,
    headers: &'r HeaderMap,
    extensions: &'r Extensions,
}

impl<'r> RequestHead<'r> {
    fn of<A>(request: &'r Request<A>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &'r Method {
        self.method
    }

    /// Returns the URI as the view sees it. Inside axum's `nest` it lacks the prefix; the URI that
    /// the client sent is the extension `OriginalUri`.
    #[must_use]
    pub fn uri(&self) -> &'r Uri {
        self.uri
    }

    /// Returns the version of HTTP.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the headers, which a client sets as it likes.
    #[must_use]
    pub fn headers(&self) -> &'r HeaderMap {
        self.headers
    }

    /// Returns the extensions, which only layers of this process set.
    #[must_use]
    pub fn extensions(&self) -> &'r Extensions {
        self.extensions
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Without the headers, which may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

/// The condition of an exemption.
struct HeadCondition(Box<dyn Fn(&RequestHead<'_>) -> bool + Send + Sync>);

impl<A> Head for Request<A> {
    fn method(&self) -> &str {
        self.method().as_str()
    }

    fn meets(&self, condition: &(dyn Any + Send + Sync)) -> bool {
        let condition = condition.downcast_ref::<HeadCondition>();
        condition.is_some_and(|HeadCondition(is_met)| is_met(&RequestHead::of(self)))
    }
}

impl<'r> Endpoint<'r> {
    /// Sets the request, so that exemptions can ask for its method, or have a condition.
    ///
    /// It is for protocols of your own. The views over HTTP and gRPC do it.
    #[must_use]
    pub fn with_request<A>(self, request: &'r Request<A>) -> Self {
        self.with_head(request)
    }
}

impl Exemption {
    /// Exempts the requests at `placement` whose head meets `condition`, whatever their path.
    /// `name` says in the runbook which ones these are.
    ///
    /// So staff can look behind a hold before it is released. The condition is asked for each
    /// request in every mode, unless an exemption by route applies: keep it cheap. Ask for an
    /// *extension* that the layer sets which authenticates; a header alone can be forged. That
    /// layer must then stand outside this view. A condition that panics does so for the caller of
    /// the service, before the request has taken anything.
    ///
    /// It needs a view whose requests are HTTP requests, or a protocol of your own that gives them
    /// ([`Endpoint::with_request`]). No other view asks it.
    ///
    #[cfg_attr(feature = "axum", doc = "```")]
    #[cfg_attr(not(feature = "axum"), doc = "```ignore")]
    /// use axum::{Router, body::Body, routing::get};
    /// use http::Request;
    /// use tower::ServiceExt;
    /// use tower_maintenance::{Exemption, Hold, MaintenanceLayer, Placement};
    ///
    /// /// Set by the layer that authenticates.
    /// #[derive(Clone)]
    /// struct Staff;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let why = "staff check that billing works before the hold is released";
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::requests(Placement::BeforeRoutes, "staff", why, |head| {
    ///         head.extensions().get::<Staff>().is_some()
    ///     }))
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     .route("/billing/prices", get(async || "12 EUR"))
    ///     .layer(layer.routes());
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let prices = || Request::get("/billing/prices");
    /// let customer = prices().body(Body::empty())?;
    /// assert_eq!(app.clone().oneshot(customer).await?.status(), 503);
    /// let staff = prices().extension(Staff).body(Body::empty())?;
    /// assert_eq!(app.clone().oneshot(staff).await?.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn requests(
        placement: Placement,
        name: &str,
        why: &str,
        condition: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let condition = Arc::new(HeadCondition(Box::new(condition)));
        Self::condition(placement, name, why, condition)
    }

    /// Adds methods: only requests with one of them are exempt. GET stands for HEAD too, as in
    /// axum's `get`. Default: every method is exempt.
    ///
    /// One endpoint may have several exemptions, each for other methods and with its own reason.
    ///
    /// ```
    /// use http::Method;
    /// use tower_maintenance::{Exemption, MaintenanceLayer};
    ///
    /// let invoices = Exemption::route("/billing/invoices/{id}", "customers may see them");
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(invoices.for_methods([Method::GET]))
    ///     .build()?;
    /// let table = layer.handle().exemptions().to_string();
    /// assert!(table.contains("| `/billing/invoices/{id}` | GET, HEAD | no |"));
    /// # Ok::<(), tower_maintenance::BuildError>(())
    /// ```
    #[must_use]
    pub fn for_methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        let methods = methods.into_iter().flat_map(|method| {
            let too = (method == Method::GET).then_some(Method::HEAD);
            [Some(method), too].into_iter().flatten()
        });
        self.with_methods(methods.map(|method| method.as_str().into()))
    }
}
