//! The routes of a service, as far as they can be told.

use std::fmt;

/// The routes of a service, for
/// [`check_routes`](crate::MaintenanceLayer::check_routes) of a view before routes.
#[derive(Debug, Clone, Default)]
pub struct RouteList {
    pub(super) routes: Vec<Listed>,
}

/// A route of the list.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) pattern: String,
    /// Whether the router tells the route of a request.
    pub(super) is_told: bool,
}

/// An axum router does not show its routes.
///
/// axum shows them in the `Debug` output of a router, and this version of axum shows them in
/// another way. List the routes by [`RouteList::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this version of axum shows the routes of a router in an unknown way: list them by hand")]
#[non_exhaustive]
pub struct UnreadableRouter {}

impl RouteList {
    /// Lists routes by their patterns, in the syntax of axum's router.
    pub fn new<T: Into<String>>(patterns: impl IntoIterator<Item = T>) -> Self {
        Self::default().and(patterns)
    }

    /// Lists the routes of an axum router, whether or not it has the view as a layer.
    ///
    /// A service under `nest_service` is listed as `/legacy`, `/legacy/` and `/legacy/{*rest}`. The
    /// router tells no route for a request of the last: it is never exempt by its pattern, and its
    /// class is that of its path. If that service has a gate of its own, add its routes by
    /// [`nested`](Self::nested).
    ///
    /// # Errors
    ///
    /// If the router does not show its routes. axum shows them only in its `Debug` output, which
    /// another version of axum may change.
    pub fn of<S>(router: &axum::Router<S>) -> Result<Self, UnreadableRouter> {
        let shown = format!("{router:?}");
        let routes = read(&shown).ok_or(UnreadableRouter {})?;
        Ok(Self { routes })
    }

    /// Adds routes by their patterns, such as those of another router, or the methods of a gRPC
    /// service that shares the layer.
    #[must_use]
    pub fn and<T: Into<String>>(self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.add(patterns, true)
    }

    /// Adds patterns of paths that a fallback serves. The router tells no route for them: they are
    /// never exempt by their pattern, and their class is that of their path.
    #[must_use]
    pub fn by_fallback<T: Into<String>>(self, patterns: impl IntoIterator<Item = T>) -> Self {
        self.add(patterns, false)
    }

    fn add<T: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = T>,
        is_told: bool,
    ) -> Self {
        let listed = patterns.into_iter().map(|pattern| Listed {
            pattern: pattern.into(),
            is_told,
        });
        self.routes.extend(listed);
        self
    }

    /// Adds the routes of a service that `nest_service` puts at `prefix`, where that service has
    /// the view as a layer of its own.
    #[must_use]
    pub fn nested(mut self, prefix: &str, service: Self) -> Self {
        let prefix = prefix.trim_end_matches('/');
        let whole = format!("{prefix}/{{*rest}}");
        self.routes
            .retain(|listed| listed.is_told || listed.pattern != whole);
        let within = service.routes.into_iter().map(|listed| Listed {
            pattern: format!("{prefix}{}", listed.pattern),
            ..listed
        });
        self.routes.extend(within);
        self
    }

    /// Iterates over the patterns.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|listed| &*listed.pattern)
    }
}

impl fmt::Display for RouteList {
    /// One pattern per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|pattern| writeln!(f, "{pattern}"))
    }
}

/// Reads the routes from the `Debug` output of a router, sorted.
fn read(shown: &str) -> Option<Vec<Listed>> {
    // The first list has the router's own routes, a second one those of its fallback.
    let (_, mut rest) = shown.split_once("Node { paths: {")?;
    let mut routes = Vec::new();
    // `RouteId(1): "/prices", RouteId(2): "/search"}`
    while let Some(entry) = rest.trim_start_matches(", ").strip_prefix("RouteId(") {
        let (_, from) = entry.split_once(": \"")?;
        let (route, after) = from.split_once('"')?;
        rest = after;
        // axum adds such a pattern for `nest_service`. The pattern of the fallback is not a route.
        let listed = match route.split_once("{*__private__axum_nest") {
            Some((prefix, _)) => Listed {
                pattern: format!("{prefix}{{*rest}}"),
                is_told: false,
            },
            None if route.contains("{*__private") => continue,
            None => Listed {
                pattern: route.to_owned(),
                is_told: true,
            },
        };
        routes.push(listed);
    }
    if !rest.starts_with('}') {
        return None;
    }
    routes.sort_unstable_by(|one, other| one.pattern.cmp(&other.pattern));
    Some(routes)
}
