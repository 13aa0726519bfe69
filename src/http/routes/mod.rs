//! Before one's own HTTP service: what passes, and how a refusal looks.

use std::{fmt, sync::Arc};

use http::{Method, Request, Response};

#[cfg(feature = "axum")]
pub(crate) mod axum;
pub(crate) mod path_pattern;
pub(crate) mod route_classes;

use self::{
    path_pattern::{BadPattern, Readings},
    route_classes::{ClassError, Classes, RouteClasses, by_method, stricter},
};
use super::refusal::{Asked, Refusals};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        refused::Refused,
    },
    layer::MaintenanceLayer,
};

/// Before one's own HTTP service: gates only, refused with a 503; `F` tells which endpoint a request is for.
///
/// Made by [`MaintenanceLayer::paths`], and with the feature `axum` by `MaintenanceLayer::routes`.
#[derive(Clone, Default)]
pub struct BeforeRoutes<F> {
    find: F,
    /// Both only if they are not the defaults: a protocol is cloned once a call.
    refusals: Option<Arc<Refusals>>,
    classes: Option<Arc<Classes>>,
}

/// Before one's own HTTP service where no router says which route it chose: exempt by path pattern.
pub type Paths = BeforeRoutes<ByPath>;

/// Tells which of one's own endpoints a request is for.
pub(crate) trait Find: Clone {
    /// The name that the exemptions and classes know it by.
    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r>;

    /// The path that was asked for.
    fn path<'r, A>(&self, request: &'r Request<A>) -> &'r str;
}

/// What is known of a request's endpoint.
#[derive(Clone, Copy)]
pub(crate) enum Found<'r> {
    /// The router's own pattern for it.
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "the seam for routers that say so")
    )]
    Route(&'r str),
    /// The pattern that a router would choose for this path, if it is as we were told.
    Told { route: &'r str, path: &'r str },
    /// Its path.
    Path(&'r str),
    /// No more than its path: a fallback, or a service with routes of its own. Never exempt.
    Unknown(&'r str),
}

/// Finds an endpoint by the request's path.
#[derive(Debug, Clone, Default)]
pub struct ByPath {
    /// All the routes there are, if somebody said so.
    known: Option<Arc<Known>>,
}

#[derive(Debug)]
struct Known {
    patterns: Vec<&'static str>,
    readings: Readings,
}

impl Known {
    fn find(&self, path: &str) -> Option<&'static str> {
        self.patterns.get(self.readings.find(path)?).copied()
    }
}

impl Find for ByPath {
    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r> {
        let path = self.path(request);
        match &self.known {
            None => Found::Path(path),
            Some(known) => match known.find(path) {
                Some(route) => Found::Told { route, path },
                None => Found::Unknown(path),
            },
        }
    }

    fn path<'r, A>(&self, request: &'r Request<A>) -> &'r str {
        request.uri().path()
    }
}

impl<F> BeforeRoutes<F> {
    pub(crate) fn new(find: F) -> Self {
        Self {
            find,
            refusals: None,
            classes: None,
        }
    }

    /// Whether the route was given a class.
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "asked only where a router has routes to show")
    )]
    pub(crate) fn lists(&self, pattern: &str) -> bool {
        self.classes
            .as_ref()
            .is_some_and(|classes| classes.lists(pattern))
    }
}

/// What the request does, by its route's class or its method.
fn class(classes: Option<&Classes>, found: Found<'_>, method: &Method) -> Class {
    match (classes, found) {
        (Some(classes), Found::Route(pattern)) => classes.of_route(pattern, method),
        // What is listed may be a path, and no route of its own.
        (Some(classes), Found::Told { route, path }) => stricter(
            classes.of_route(route, method),
            classes.of_path(path, method),
        ),
        (Some(classes), Found::Path(path) | Found::Unknown(path)) => classes.of_path(path, method),
        (None, _) => by_method(method),
    }
}

impl<F: Clone> MaintenanceLayer<BeforeRoutes<F>> {
    /// The same view with these refusals: texts, support, page, problem document. Default: [`Refusals::new`].
    #[must_use]
    pub fn refusing(&self, refusals: Refusals) -> Self {
        let mut protocol = self.protocol().clone();
        protocol.refusals = Some(Arc::new(refusals));
        self.view(protocol)
    }

    /// The same view with these route classes. Default: every route follows its method.
    ///
    /// # Errors
    ///
    /// If a pattern is not valid, or a route has two classes.
    pub fn classed(&self, classes: RouteClasses) -> Result<Self, ClassError> {
        let mut protocol = self.protocol().clone();
        protocol.classes = Some(Arc::new(Classes::new(classes)?));
        Ok(self.view(protocol))
    }
}

impl MaintenanceLayer<Paths> {
    /// The same view, told of all the routes that stand behind it, in the router's pattern syntax. Default: it knows the exemptions alone, and
    /// where a route overlaps with an exempt pattern, both are exempt.
    ///
    /// A path belongs to the route that a router would choose, the most specific one. Exempt is what belongs to a
    /// route that is listed as exempt, written the same in both places; what belongs to none is never exempt, nor is what belongs to
    /// another route for a router that reads paths leniently: percent-encoded, in other case, with a slash at their end. A class is
    /// the route's or what is listed for such a path, whichever is stricter.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_maintenance::{Exemption, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::route("/invoices/{id}", "customers may always see what they owe"))
    ///     .build()?;
    /// let ours = service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
    /// let gated = layer.paths().knowing(["/invoices/{id}", "/invoices/export"])?.layer(ours);
    ///
    /// layer.handle().engage(Hold::new("on-call", "drill"))?;
    /// let get = |path: &str| gated.clone().oneshot(Request::get(path).body(()).unwrap());
    /// assert_eq!(get("/invoices/7").await?.status(), 200);
    /// assert_eq!(get("/invoices/export").await?.status(), 503);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If a pattern is not valid, or two of them take the same paths, for a router that reads leniently at least.
    pub fn knowing(
        &self,
        routes: impl IntoIterator<Item = &'static str>,
    ) -> Result<Self, ClassError> {
        let bad = |BadPattern { pattern, why }| ClassError::Pattern { pattern, why };
        let patterns: Vec<_> = routes.into_iter().collect();
        let readings = Readings::new(patterns.iter().copied().enumerate()).map_err(bad)?;
        let mut protocol = self.protocol().clone();
        protocol.find.known = Some(Arc::new(Known { patterns, readings }));
        Ok(self.view(protocol))
    }
}

impl<F: Find, A, B: From<String>, E> Protocol<Request<A>, Response<B>, E> for BeforeRoutes<F> {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let found = self.find.find(request);
        let class = class(self.classes.as_deref(), found, request.method());
        // Only what may be repeated without harm probes (RFC 9110, 9.2.1).
        let may_probe = class == Class::Read;
        let endpoint = match found {
            Found::Route(pattern) | Found::Told { route: pattern, .. } => {
                Endpoint::named(pattern, may_probe)
            }
            Found::Path(path) => Endpoint::at_path(path, may_probe),
            Found::Unknown(_) => Endpoint::unnamed(may_probe),
        };
        endpoint.with_class(class)
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, request: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        let asked = Asked {
            method: request.method(),
            uri: Some(request.uri()),
            path: Some(self.find.path(&request)),
            headers: request.headers(),
            class: class(
                self.classes.as_deref(),
                self.find.find(&request),
                request.method(),
            ),
        };
        let refusals = self.refusals.as_deref().unwrap_or(Refusals::defaults());
        Ok(refusals.answer(&asked, refused))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}

impl<F: fmt::Debug> fmt::Debug for BeforeRoutes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeforeRoutes")
            .field("find", &self.find)
            .field("refusals", &self.refusals)
            .field("classes", &self.classes)
            .finish()
    }
}
