//! Before one's own HTTP service where no router says which route it chose.

use std::sync::Arc;

use http::Request;

use super::{
    before_routes::{BeforeRoutes, Find, Found},
    path_pattern::{BadPattern, Readings},
    route_classes::ClassError,
};
use crate::layer::MaintenanceLayer;

/// Before one's own HTTP service where no router says which route it chose: exempt by path pattern.
pub type Paths = BeforeRoutes<ByPath>;

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

impl<P> MaintenanceLayer<P> {
    /// A view before one's own HTTP service where no axum router stands: exempt by path, refused with a 503.
    ///
    /// A path that is ambiguous in any way is not exempt: dot segments, `//`, `;` or `\`; one of `. / \ ; ? # %` or
    /// a control character percent-encoded; overlong UTF-8; a `%` that begins no escape.
    ///
    /// The layer knows its exemptions and not your routes: where another route overlaps with an exempt pattern, both
    /// are exempt. Under `/invoices/{id}` your `/invoices/export` is, although a router would prefer the latter.
    /// Tell it of all routes by [`knowing`](MaintenanceLayer::knowing). Where an axum router stands, `routes()` knows by itself.
    ///
    /// [`refusing`](MaintenanceLayer::refusing) and [`classed`](MaintenanceLayer::classed) have the options.
    #[must_use]
    pub fn paths(&self) -> MaintenanceLayer<Paths> {
        self.view(BeforeRoutes::new(ByPath::default()))
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
        let find = ByPath {
            known: Some(Arc::new(Known { patterns, readings })),
        };
        Ok(self.view(self.protocol().clone().with_find(find)))
    }
}
