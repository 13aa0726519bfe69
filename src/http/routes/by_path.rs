//! The view before an HTTP service that does not tell its route: exemption by path pattern.

use std::sync::Arc;

use http::Request;

use super::{
    original_path::original_path,
    path_pattern::BadPattern,
    readings::Readings,
    route_classes::ClassError,
    route_gate::{Find, Found, RouteGate},
};
use crate::layer::MaintenanceLayer;

/// The protocol before an HTTP service that does not tell its route: exempt by path pattern.
///
/// [`MaintenanceLayer::paths`] makes it.
pub type Paths = RouteGate<ByPath>;

/// Finds the endpoint of a request by its path.
#[derive(Debug, Clone, Default)]
pub struct ByPath {
    /// All the routes, if the user listed them.
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

impl ByPath {
    /// Returns the known route of a path; `None` if no routes were listed.
    pub(super) fn known(&self, path: &str) -> Option<Option<&'static str>> {
        let known = self.known.as_ref()?;
        Some(known.find(path))
    }
}

impl Find for ByPath {
    const BY_PATH: bool = true;

    fn find<'r, A>(&self, request: &'r Request<A>) -> Found<'r> {
        let path = original_path(request);
        match &self.known {
            None => Found::Path(path),
            Some(known) => match known.find(path) {
                Some(route) => Found::Told { route, path },
                None => Found::Unknown(path),
            },
        }
    }
}

impl<P> MaintenanceLayer<P> {
    /// Returns a view before an HTTP service of your own that is not an axum router: exempt by
    /// path, refused with a 503. Inside an axum router use [`routes`](MaintenanceLayer::routes),
    /// which asks the router.
    ///
    /// The path is that which the client sent, also inside `nest` and `nest_service`: axum keeps it
    /// in the extension `OriginalUri`, which is why the view needs the feature `axum`.
    ///
    /// An ambiguous path is not exempt. A path is ambiguous if it has dot segments, `//`, `;` or
    /// `\`; if one of `. / \ ; ? # %` or a control character is percent-encoded, or stands there in
    /// a full-width or another form outside ASCII; if it has overlong UTF-8; or if a `%` begins no
    /// escape.
    ///
    /// The view knows its exemptions but not your routes. If another route overlaps with an exempt
    /// pattern, both are exempt: with `/invoices/{id}` exempt, your `/invoices/export` is exempt
    /// too, although a router would prefer the latter route. List all routes by
    /// [`with_known_routes`](MaintenanceLayer::with_known_routes) to avoid this.
    ///
    /// [`with_refusals`](MaintenanceLayer::with_refusals) and
    /// [`with_route_classes`](MaintenanceLayer::with_route_classes) have the options.
    #[must_use]
    pub fn paths(&self) -> MaintenanceLayer<Paths> {
        self.view(RouteGate::new(ByPath::default()))
    }
}

impl MaintenanceLayer<Paths> {
    /// Returns the same view with a list of all the routes behind it, in the router's pattern
    /// syntax. Default: the view knows the exemptions alone, and a route that overlaps with an
    /// exempt pattern is exempt too.
    ///
    /// A path belongs to the most specific route that matches it, as for a router. The request is
    /// exempt if that route is listed as exempt; the names of the parameters do not matter. It is
    /// not exempt if the path belongs to no route, or if a lenient reader could choose another
    /// known route for it: one that decodes percent-encoding, ignores case, a slash or dots or
    /// blanks at the end, cuts off an extension (`export.json`) or a stream name (`export::$DATA`),
    /// or takes letters outside ASCII for others (full-width, with accents, or not to be seen). The
    /// class of the request is that of the route or that listed for the path, whichever is
    /// stricter.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_maintenance::{Exemption, Hold, MaintenanceLayer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::route("/invoices/{id}", "customers may see what they owe"))
    ///     .build()?;
    /// let ours = service_fn(async |_: Request<()>| {
    ///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    /// });
    /// let routes = ["/invoices/{id}", "/invoices/export"];
    /// let gated = layer.paths().with_known_routes(routes)?.layer(ours);
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
    /// If a pattern is invalid, or two patterns match the same paths, if only for a lenient router.
    #[doc(alias = "knowing")]
    pub fn with_known_routes(
        &self,
        routes: impl IntoIterator<Item = &'static str>,
    ) -> Result<Self, ClassError> {
        let bad = |BadPattern { pattern, why }| ClassError::Pattern { pattern, why };
        let patterns: Vec<_> = routes.into_iter().collect();
        let readings = Readings::new(patterns.iter().copied().enumerate()).map_err(bad)?;
        let find = ByPath {
            known: Some(Arc::new(Known { patterns, readings })),
        };
        Ok(self.view(self.protocol().clone().with_find(find)))
    }
}
