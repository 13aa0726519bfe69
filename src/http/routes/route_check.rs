//! Whether exemptions and classes fit the routes that there are, in both directions.

use std::fmt;

use super::{
    axum::ByMatchedPath,
    by_path::ByPath,
    path_pattern::{Matcher, Shapes},
    pattern_check::sample,
    route_classes::Classes,
    route_gate::RouteGate,
    route_list::{Listed, RouteList},
};
use crate::{
    base::one_line::OneLine, exemptions::Exemption, facts::endpoint::Placement,
    layer::MaintenanceLayer,
};

/// The differences between the routes and what is configured for them. Its `Display` has a line for
/// each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct RouteGaps {
    /// The routes that are neither exempt nor have a class. They follow their method.
    pub unconsidered: Vec<String>,
    /// The exemptions and classes that no request can meet.
    pub without_effect: Vec<StrayEntry>,
}

/// An exemption or a class that no request can meet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StrayEntry {
    /// The pattern.
    pub pattern: String,
    /// Whether it is an exemption. Otherwise it is a class.
    pub is_exemption: bool,
    /// Why no request can meet it.
    pub why: String,
}

impl fmt::Display for RouteGaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (routes, entries) = (self.unconsidered.len(), self.without_effect.len());
        write!(
            f,
            "{routes} routes are neither exempt nor have a class, and {entries} entries have no effect"
        )?;
        for route in &self.unconsidered {
            write!(
                f,
                "\n  the route `{}`: exempt it or give it a class",
                OneLine(route)
            )?;
        }
        for entry in &self.without_effect {
            let kind = if entry.is_exemption {
                "exemption"
            } else {
                "class"
            };
            let (pattern, why) = (OneLine(&entry.pattern), OneLine(&entry.why));
            write!(f, "\n  the {kind} of `{pattern}`: {why}")?;
        }
        Ok(())
    }
}

impl MaintenanceLayer<RouteGate<ByMatchedPath>> {
    /// Checks that each route is exempt or has a class, and that each exemption and each class has
    /// a route. It is for a test and for the start of a service.
    ///
    /// A class or an exemption for some methods of a route is enough. The check sees what the gate
    /// sees: a request for a service under `nest_service` and for a fallback has no route, so an
    /// exemption of its path has no effect. Exemptions by a condition have no route.
    ///
    /// ```
    /// use axum::{Router, routing::{get, post}};
    /// use tower_maintenance::{Exemption, MaintenanceLayer, http::{RouteClasses, RouteList}};
    ///
    /// let layer = MaintenanceLayer::builder("zuora")
    ///     .exempt(Exemption::route("/billing/invoices/{id}", "customers may see what they owe"))
    ///     .exempt(Exemption::route("/health/", "a 503 restarts healthy pods"))
    ///     .build()?;
    /// let classes = RouteClasses::new().read("/billing/prices");
    /// let view = layer.routes().with_route_classes(classes)?;
    /// let router: Router = Router::new()
    ///     .route("/health", get(async || "alive"))
    ///     .route("/billing/prices", get(async || "12 EUR"))
    ///     .route("/billing/invoices/{id}", get(async || "invoice"))
    ///     .layer(view.clone());
    ///
    /// let gaps = view.check_routes(&RouteList::of(&router)?).unwrap_err();
    /// assert_eq!(gaps.unconsidered, ["/health"]);
    /// assert_eq!(gaps.without_effect[0].pattern, "/health/");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All routes and all entries that do not fit.
    pub fn check_routes(&self, routes: &RouteList) -> Result<(), RouteGaps> {
        let exemptions = Entries::exempt(self);
        let classes = Entries::classes(self.protocol().classes());
        let told = || routes.routes.iter().filter(|listed| listed.is_told);
        let by_path = Patterns::new(routes.routes.iter().filter(|listed| !listed.is_told));
        let shapes = Shapes::of(told().map(|listed| &*listed.pattern));
        let is_considered = |route: &Listed| {
            let is_exempt = route.is_told && exemptions.shapes.get(&route.pattern).is_some();
            is_exempt || classes.shapes.get(&route.pattern).is_some()
        };
        let has_route = |pattern: &str, is_exemption: bool| {
            shapes.get(pattern).is_some() || (!is_exemption && by_path.overlap(pattern))
        };
        let why = |pattern: &str| {
            if by_path.overlap(pattern) {
                "the router tells no route for it (`nest_service`, or a fallback): use `nest`, or \
                 `paths()` around that service"
                    .to_owned()
            } else {
                guess(pattern, routes)
            }
        };
        gaps(
            routes,
            [&exemptions, &classes],
            is_considered,
            has_route,
            why,
        )
    }

    /// Returns the routes of `router` that have no class and are not exempt: one half of
    /// [`check_routes`](Self::check_routes).
    ///
    /// # Panics
    ///
    /// If the router does not show its routes; see [`RouteList::of`].
    #[must_use]
    pub fn unclassified<S>(&self, router: &axum::Router<S>) -> Vec<String> {
        let routes = RouteList::of(router).expect("axum's `Debug` shows a router's paths");
        let gaps = self.check_routes(&routes);
        gaps.map_or_else(|gaps| gaps.unconsidered, |()| Vec::new())
    }
}

impl MaintenanceLayer<RouteGate<ByPath>> {
    /// Checks that each route is exempt or has a class, and that each exemption and each class has
    /// a route. It is for a test and for the start of a service.
    ///
    /// The check sees what the gate sees: a pattern applies to each path that it matches, unless
    /// [`with_known_routes`](Self::with_known_routes) lists the routes. Then an exemption applies
    /// to the route of its pattern.
    ///
    /// # Errors
    ///
    /// All routes and all entries that do not fit.
    pub fn check_routes(&self, routes: &RouteList) -> Result<(), RouteGaps> {
        let exemptions = Entries::exempt(self);
        let classes = Entries::classes(self.protocol().classes());
        let by_path = Patterns::new(routes.routes.iter());
        let find = self.protocol().find();
        let is_exempt = |path: &str| match find.known(path) {
            None => exemptions.patterns.find(path).is_some(),
            Some(route) => route.is_some_and(|route| exemptions.shapes.get(route).is_some()),
        };
        let is_considered = |route: &Listed| {
            let path = sample(&route.pattern);
            is_exempt(&path) || classes.patterns.find(&path).is_some()
        };
        let has_route = |pattern: &str, is_exemption: bool| {
            let path = sample(pattern);
            let is_met = by_path.overlap(pattern);
            is_met && (!is_exemption || is_exempt(&path))
        };
        let why = |pattern: &str| match by_path.overlap(pattern) {
            true => "`with_known_routes` does not list it, or parts of a stack read its path in \
                     different ways"
                .to_owned(),
            false => guess(pattern, routes),
        };
        gaps(
            routes,
            [&exemptions, &classes],
            is_considered,
            has_route,
            why,
        )
    }
}

/// The patterns of the exemptions, or of the classes.
struct Entries {
    listed: Vec<String>,
    shapes: Shapes,
    patterns: Patterns,
}

impl Entries {
    fn exempt<P>(layer: &MaintenanceLayer<P>) -> Self {
        let table = layer.handle().exemptions();
        let here = |exemption: &&Exemption| {
            exemption.placement() == Placement::BeforeRoutes && !exemption.is_condition()
        };
        Self::new(table.iter().filter(here).map(Exemption::name))
    }

    fn classes(classes: Option<&Classes>) -> Self {
        Self::new(classes.into_iter().flat_map(Classes::patterns))
    }

    fn new<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        // Two of one shape are for other methods of one route.
        let mut shapes = Shapes::default();
        let new = patterns.filter(|pattern| shapes.insert(pattern, 0).is_ok());
        let listed: Vec<String> = new.map(str::to_owned).collect();
        Self {
            patterns: Patterns::of(listed.iter().map(String::as_str)),
            shapes,
            listed,
        }
    }
}

/// Patterns, each with its matcher: all that match a path are asked for, not the best one.
struct Patterns(Vec<(String, Matcher)>);

impl Patterns {
    fn new<'l>(routes: impl Iterator<Item = &'l Listed>) -> Self {
        Self::of(routes.map(|listed| &*listed.pattern))
    }

    fn of<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        // A route that is no pattern here matches no path.
        let compiled = patterns.filter_map(|pattern| {
            let matcher = Matcher::of_routes([(0, pattern)]).ok()?;
            Some((pattern.to_owned(), matcher))
        });
        Self(compiled.collect())
    }

    fn find(&self, path: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(_, matcher)| matcher.find(path).is_some());
        found.map(|(pattern, _)| &**pattern)
    }

    /// Returns whether a path may match both `pattern` and one of these.
    fn overlap(&self, pattern: &str) -> bool {
        let Ok(matcher) = Matcher::of_routes([(0, pattern)]) else {
            return false;
        };
        let mut mine = self.0.iter();
        self.find(&sample(pattern)).is_some()
            || mine.any(|(mine, _)| matcher.find(&sample(mine)).is_some())
    }
}

/// Collects the differences.
fn gaps(
    routes: &RouteList,
    [exemptions, classes]: [&Entries; 2],
    is_considered: impl Fn(&Listed) -> bool,
    has_route: impl Fn(&str, bool) -> bool,
    why: impl Fn(&str) -> String,
) -> Result<(), RouteGaps> {
    let unconsidered = routes.routes.iter().filter(|route| !is_considered(route));
    let mut unconsidered: Vec<_> = unconsidered.map(|route| route.pattern.clone()).collect();
    unconsidered.dedup();
    let entries = [(exemptions, true), (classes, false)];
    let entries = entries.into_iter().flat_map(|(entries, is_exemption)| {
        let listed = entries.listed.iter();
        listed.map(move |pattern| (pattern, is_exemption))
    });
    let stray = entries.filter(|(pattern, is_exemption)| !has_route(pattern, *is_exemption));
    let without_effect: Vec<_> = stray
        .map(|(pattern, is_exemption)| StrayEntry {
            why: why(pattern),
            pattern: pattern.clone(),
            is_exemption,
        })
        .collect();
    if unconsidered.is_empty() && without_effect.is_empty() {
        return Ok(());
    }
    Err(RouteGaps {
        unconsidered,
        without_effect,
    })
}

/// Says why no route has the pattern, as far as that can be guessed.
fn guess(pattern: &str, routes: &RouteList) -> String {
    let trimmed = pattern.trim_end_matches('/');
    let slash = routes
        .iter()
        .find(|route| route.trim_end_matches('/') == trimmed);
    if let Some(route) = slash {
        return format!("no route has it; there is `{route}`, and a slash at the end matters");
    }
    let case = routes
        .iter()
        .find(|route| route.eq_ignore_ascii_case(pattern));
    if let Some(route) = case {
        return format!("no route has it; there is `{route}`, and the case matters");
    }
    let below = format!("{trimmed}/");
    if let Some(route) = routes.iter().find(|route| route.starts_with(&below)) {
        return format!("no route has it; `{route}` begins with it, and has its own pattern");
    }
    "no route has it".to_owned()
}
