//! The protocol before one's own HTTP service: which requests pass, and how a refusal looks.

use std::{fmt, sync::Arc};

use http::{Method, Request, Response};

use super::route_classes::{ClassError, Classes, RouteClasses, stricter};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement},
        refused::Refused,
    },
    http::{
        method_class::by_method,
        refusal::{Asked, Refusals},
    },
    layer::MaintenanceLayer,
};

/// The protocol before one's own HTTP service: it gates, measures nothing, and refuses with a 503.
///
/// `F` finds the endpoint of a request. [`MaintenanceLayer::paths`] makes the protocol, and with
/// the feature `axum` also `MaintenanceLayer::routes`.
#[derive(Clone, Default)]
#[doc(alias = "BeforeRoutes")]
pub struct RouteGate<F> {
    find: F,
    /// `None` for the default, as `classes`: a protocol is cloned once per call.
    refusals: Option<Arc<Refusals>>,
    classes: Option<Arc<Classes>>,
}

/// Finds the endpoint of a request.
pub(crate) trait Find: Clone {
    /// Returns the name under which the exemptions and the classes list the endpoint.
    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r>;

    /// Returns the path that the client sent.
    fn path<'r, A>(&self, request: &'r Request<A>) -> &'r str;
}

/// The known facts about the endpoint of a request.
#[derive(Clone, Copy)]
pub(crate) enum Found<'r> {
    /// The pattern that the router matched.
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "only a router that tells its pattern makes it")
    )]
    Route(&'r str),
    /// The pattern that a router would match for this path, among the routes that the user listed.
    Told { route: &'r str, path: &'r str },
    /// The path alone.
    Path(&'r str),
    /// A path without a route: a fallback, or a service with routes of its own. Never exempt.
    Unknown(&'r str),
}

impl<F> RouteGate<F> {
    pub(crate) fn new(find: F) -> Self {
        Self {
            find,
            refusals: None,
            classes: None,
        }
    }

    /// Returns the same protocol with another way to find endpoints.
    pub(super) fn with_find(self, find: F) -> Self {
        Self { find, ..self }
    }

    /// Returns whether the route has a class.
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "called only for a router that shows its routes")
    )]
    pub(crate) fn lists(&self, pattern: &str) -> bool {
        self.classes
            .as_ref()
            .is_some_and(|classes| classes.lists(pattern))
    }
}

/// Returns the class of a request, by its route or else by its method.
fn class(classes: Option<&Classes>, found: Found<'_>, method: &Method) -> Class {
    match (classes, found) {
        (Some(classes), Found::Route(pattern)) => classes.of_route(pattern, method),
        // A class may be listed for a path that is no route of its own.
        (Some(classes), Found::Told { route, path }) => stricter(
            classes.of_route(route, method),
            classes.of_path(path, method),
        ),
        (Some(classes), Found::Path(path) | Found::Unknown(path)) => classes.of_path(path, method),
        (None, _) => by_method(method),
    }
}

impl<F: Clone> MaintenanceLayer<RouteGate<F>> {
    /// Returns the same view with these refusals: texts, support, page, problem document.
    /// Default: [`Refusals::new`].
    #[must_use]
    #[doc(alias = "refusing")]
    pub fn with_refusals(&self, refusals: Refusals) -> Self {
        let mut protocol = self.protocol().clone();
        protocol.refusals = Some(Arc::new(refusals));
        self.view(protocol)
    }

    /// Returns the same view with these route classes. Default: every route follows its method.
    ///
    /// # Errors
    ///
    /// If a pattern is invalid, or a route has two classes.
    #[doc(alias = "classed")]
    pub fn with_route_classes(&self, classes: RouteClasses) -> Result<Self, ClassError> {
        let mut protocol = self.protocol().clone();
        protocol.classes = Some(Arc::new(Classes::new(classes)?));
        Ok(self.view(protocol))
    }
}

impl<F: Find, A, B: From<String>, E> Protocol<Request<A>, Response<B>, E> for RouteGate<F> {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let found = self.find.find(request);
        let class = class(self.classes.as_deref(), found, request.method());
        // Only a request that is safe to repeat may probe (RFC 9110, 9.2.1).
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
        let refusals = self.refusals.as_deref();
        let refusals = refusals.unwrap_or_else(|| Refusals::of(&refused));
        Ok(refusals.answer_at_gate(&asked, &refused))
    }

    fn unready(&self, error: E) -> E {
        error
    }
}

impl<F: fmt::Debug> fmt::Debug for RouteGate<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteGate")
            .field("find", &self.find)
            .field("refusals", &self.refusals)
            .field("classes", &self.classes)
            .finish()
    }
}
