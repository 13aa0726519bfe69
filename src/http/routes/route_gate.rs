//! The protocol before one's own HTTP service: which requests pass, and how a refusal looks.

use std::{fmt, sync::Arc};

use http::{Request, Response};

use super::{
    original_path::original_path,
    route_classes::{ClassError, Classes, RouteClasses, stricter},
};
use crate::{
    call::{protocol::Protocol, ticket::Ticket},
    facts::{
        endpoint::{Class, Endpoint, Placement, Unrouted},
        refused::Refused,
    },
    http::{
        method_class::by_head,
        preflight::is_preflight,
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
    gates_preflights: bool,
}

/// Finds the endpoint of a request.
pub(crate) trait Find: Clone {
    /// Whether the path alone decides: an ambiguous path then belongs to no pattern.
    const BY_PATH: bool;

    /// Returns the name under which the exemptions and the classes list the endpoint.
    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r>;
}

/// The known facts about the endpoint of a request.
#[derive(Clone, Copy)]
pub(crate) enum Found<'r> {
    /// The pattern that the router matched.
    Route(&'r str),
    /// The pattern that a router would match for this path, among the routes that the user listed.
    Told { route: &'r str, path: &'r str },
    /// The path alone.
    Path(&'r str),
    /// A path that belongs to none of the routes that the user listed. Never exempt by its path.
    Unknown(&'r str),
    /// A path for which the router told no pattern: a fallback, or a service with routes of its
    /// own. Never exempt by its path.
    Unrouted(Unrouted<'r>),
}

impl<F> RouteGate<F> {
    pub(crate) fn new(find: F) -> Self {
        Self {
            find,
            refusals: None,
            classes: None,
            gates_preflights: false,
        }
    }

    /// Returns the same protocol with another way to find endpoints.
    pub(super) fn with_find(self, find: F) -> Self {
        Self { find, ..self }
    }

    pub(super) fn classes(&self) -> Option<&Classes> {
        self.classes.as_deref()
    }

    pub(super) fn find(&self) -> &F {
        &self.find
    }
}

/// Returns the class of a request, by its route or else by its head.
fn class<A>(classes: Option<&Classes>, found: Found<'_>, request: &Request<A>) -> Class {
    let Some(classes) = classes else {
        return by_head(request);
    };
    match found {
        Found::Route(pattern) => classes.of_route(pattern, request),
        // A class may be listed for a path that is no route of its own.
        Found::Told { route, path } => stricter(
            classes.of_route(route, request),
            classes.of_path(path, request),
        ),
        Found::Path(path) | Found::Unknown(path) | Found::Unrouted(Unrouted { path, .. }) => {
            classes.of_path(path, request)
        }
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

    /// Returns the same view, in which CORS preflights are gated as any other request.
    ///
    /// Default: a preflight passes in every mode, and is not counted. It is the browser's question
    /// whether it may send a request, and an answer without CORS headers hides the refusal of that
    /// request from the page. A preflight is an OPTIONS with an `Origin` and exactly one valid
    /// `Access-Control-Request-Method`. It runs the code that serves OPTIONS: a `CorsLayer` inside
    /// the gate, or a handler of your own. A route of axum's `any()` runs its handler for OPTIONS
    /// too. If such a handler calls the partner, set this, or put the `CorsLayer` around that
    /// route: it answers preflights before the handler.
    #[must_use]
    pub fn with_gated_preflights(&self) -> Self {
        let mut protocol = self.protocol().clone();
        protocol.gates_preflights = true;
        self.view(protocol)
    }

    /// Returns the same view with these route classes. Default: every route follows its method.
    ///
    /// # Errors
    ///
    /// If a pattern is invalid, no path can match it, or a route has two classes.
    #[doc(alias = "classed")]
    #[expect(private_bounds, reason = "the ways to find an endpoint are ours alone")]
    pub fn with_route_classes(&self, classes: RouteClasses) -> Result<Self, ClassError>
    where
        F: Find,
    {
        let classes = Classes::new(classes)?;
        if F::BY_PATH {
            classes.check_paths()?;
        }
        let mut protocol = self.protocol().clone();
        protocol.classes = Some(Arc::new(classes));
        Ok(self.view(protocol))
    }
}

impl<F: Find, A, B: From<String>, E> Protocol<Request<A>, Response<B>, E> for RouteGate<F> {
    const PLACEMENT: Placement = Placement::BeforeRoutes;
    type Response = Response<B>;
    type Error = E;

    fn endpoint<'r>(&self, request: &'r Request<A>) -> Endpoint<'r> {
        let found = self.find.find(request);
        let class = class(self.classes.as_deref(), found, request);
        // Only a request that is safe to repeat may probe (RFC 9110, 9.2.1).
        let may_probe = class == Class::Read;
        let endpoint = match found {
            Found::Route(pattern) | Found::Told { route: pattern, .. } => {
                Endpoint::named(pattern, may_probe)
            }
            Found::Path(path) => Endpoint::at_path(path, may_probe),
            Found::Unknown(_) => Endpoint::unnamed(may_probe),
            Found::Unrouted(unrouted) => Endpoint {
                unrouted: Some(unrouted),
                ..Endpoint::unnamed(may_probe)
            },
        };
        let endpoint = Endpoint {
            passes: !self.gates_preflights && is_preflight(request),
            ..endpoint
        };
        endpoint.with_class(class).with_request(request)
    }

    fn finish(&self, _uncounted: Ticket, result: Result<Response<B>, E>) -> Result<Response<B>, E> {
        result
    }

    fn refuse(&self, request: Request<A>, refused: Refused) -> Result<Response<B>, E> {
        let asked = Asked {
            method: request.method(),
            uri: Some(request.uri()),
            path: Some(original_path(&request)),
            headers: request.headers(),
            class: class(self.classes.as_deref(), self.find.find(&request), &request),
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
            .field("gates_preflights", &self.gates_preflights)
            .finish()
    }
}
