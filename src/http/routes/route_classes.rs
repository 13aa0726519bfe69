//! The classes of routes whose method misleads.
//!
//! An OAuth callback is a GET that writes, and a search may be a POST that reads. By the method
//! alone, a read-only hold would let the first pass and refuse the second. A route that is not
//! listed follows its method.

use std::fmt;

use http::{Method, Request};

use super::{
    path_ambiguity::is_ambiguous,
    path_pattern::{BadPattern, Matcher, Shapes},
    readings::{Readings, fold},
};
use crate::{base::one_line::OneLine, facts::endpoint::Class, http::method_class::by_head};

/// The classes of your own routes. A view takes them by
/// [`with_route_classes`](crate::MaintenanceLayer::with_route_classes).
///
/// Patterns are in the syntax of axum's router: `/carts/{id}`, `/files/{*rest}`. The names of the
/// parameters do not matter. A route that is not listed follows its method: GET, HEAD, OPTIONS and
/// TRACE read, all others write. A request that asks for another protocol (a WebSocket) writes too:
/// `read` says otherwise. An offer of `h2c` is none. A route that must always pass is an
/// [`Exemption::route`](crate::Exemption::route), which goes before any class.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::{Router, body::Body, routing::{get, post}};
/// use http::{Method, Request};
/// use tower::ServiceExt;
/// use tower_maintenance::{Class, Hold, MaintenanceLayer, http::RouteClasses};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = MaintenanceLayer::new("zuora");
/// let classes = RouteClasses::new()
///     .read("/billing/search") // a POST that reads
///     .write("/oauth/callback") // a GET that writes
///     .never("/billing/settlement") // in `Serving` alone
///     .method(Method::POST, "/billing/quotes", Class::Read);
/// let app: Router = Router::new()
///     .route("/billing/prices", get(async || "12 EUR"))
///     .route("/billing/search", post(async || "found"))
///     .route("/oauth/callback", get(async || "linked"))
///     .layer(layer.routes().with_route_classes(classes)?);
///
/// layer.handle().engage(Hold::new("on-call", "the ledger moves").read_only())?;
/// let ask = |request: http::request::Builder| {
///     app.clone().oneshot(request.body(Body::empty()).unwrap())
/// };
/// assert_eq!(ask(Request::get("/billing/prices")).await?.status(), 200);
/// assert_eq!(ask(Request::post("/billing/search")).await?.status(), 200);
/// assert_eq!(ask(Request::get("/oauth/callback")).await?.status(), 503);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "classes do nothing until `with_route_classes` gives them to a view"]
pub struct RouteClasses {
    entries: Vec<(String, Option<Method>, Class)>,
}

impl RouteClasses {
    /// Returns no classes: every route follows its method.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets that the route reads, for every method.
    pub fn read(self, pattern: &str) -> Self {
        self.put(None, pattern, Class::Read)
    }

    /// Sets that the route writes, for every method.
    pub fn write(self, pattern: &str) -> Self {
        self.put(None, pattern, Class::Write)
    }

    /// Sets that the route passes only in `Serving`, for every method.
    pub fn never(self, pattern: &str) -> Self {
        self.put(None, pattern, Class::Never)
    }

    /// Sets the class of one method of the route. It goes before the class of the whole route. A
    /// class for GET also applies to HEAD, and to a WebSocket: over HTTP/1.1 that is a GET, and
    /// over HTTP/2 a CONNECT.
    pub fn method(self, method: Method, pattern: &str, class: Class) -> Self {
        self.put(Some(method), pattern, class)
    }

    fn put(mut self, method: Option<Method>, pattern: &str, class: Class) -> Self {
        self.entries.push((pattern.to_owned(), method, class));
        self
    }
}

/// Route classes, or [known routes](crate::MaintenanceLayer::with_known_routes), are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassError {
    /// The same route and the same method have two classes.
    #[error("`{}` has two classes, {first} and {second}: give it one", OneLine(.route))]
    #[non_exhaustive]
    Twice {
        /// The route, with the method if it was set for one method.
        route: String,
        /// The class that was set first.
        first: Class,
        /// The class that was set second.
        second: Class,
    },
    /// The router would reject a pattern.
    #[error("the pattern `{}` is not valid: {}", OneLine(.pattern), OneLine(.why))]
    #[non_exhaustive]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The router's reason.
        why: String,
    },
}

/// The classes, compiled for lookup.
#[derive(Debug)]
pub(crate) struct Classes {
    by_pattern: Shapes,
    patterns: Vec<String>,
    routes: Vec<OfRoute>,
    paths: Readings,
    /// Each folded pattern (see [`fold`]) by itself: two patterns that differ only in case may both
    /// match.
    folded: Vec<(usize, Matcher)>,
}

#[derive(Debug, Default)]
struct OfRoute {
    whole: Option<Class>,
    methods: Vec<(Method, Class)>,
}

impl OfRoute {
    /// Sets the class of a method, or of all. It is an error if it has one.
    fn put(
        &mut self,
        pattern: &str,
        method: Option<Method>,
        class: Class,
    ) -> Result<(), ClassError> {
        let before = match &method {
            None => self.whole.replace(class),
            Some(method) => {
                let listed = self.methods.iter().find(|(named, _)| named == method);
                let before = listed.map(|(_, class)| *class);
                self.methods.push((method.clone(), class));
                before
            }
        };
        let Some(first) = before else {
            return Ok(());
        };
        let route = method.map_or(pattern.to_owned(), |method| format!("{method} {pattern}"));
        Err(ClassError::Twice {
            route,
            first,
            second: class,
        })
    }

    fn of(&self, method: &Method) -> Option<Class> {
        let named = |named: &Method| self.methods.iter().find(|(method, _)| method == named);
        let listed = match *method {
            // Over HTTP/2, a WebSocket is a CONNECT in place of a GET (RFC 8441).
            Method::HEAD | Method::CONNECT => named(method).or_else(|| named(&Method::GET)),
            _ => named(method),
        };
        listed.map(|(_, class)| *class).or(self.whole)
    }
}

/// Returns the class under which fewer requests pass.
pub(in crate::http) fn stricter(one: Class, other: Class) -> Class {
    if strictness(other) > strictness(one) {
        other
    } else {
        one
    }
}

fn strictness(class: Class) -> u8 {
    match class {
        Class::Read => 0,
        Class::Write => 1,
        Class::Never => 2,
    }
}

impl Classes {
    pub(crate) fn new(given: RouteClasses) -> Result<Self, ClassError> {
        let mut by_pattern = Shapes::default();
        let mut patterns: Vec<String> = Vec::new();
        let mut routes: Vec<OfRoute> = Vec::new();
        for (pattern, method, class) in given.entries {
            let number = by_pattern.get(&pattern).unwrap_or(routes.len());
            if by_pattern.insert(&pattern, number).is_ok() {
                routes.push(OfRoute::default());
                patterns.push(pattern.clone());
            }
            routes[number].put(&pattern, method, class)?;
        }
        let numbered = patterns.iter().map(String::as_str).enumerate();
        let bad = |BadPattern { pattern, why }| ClassError::Pattern { pattern, why };
        let paths = Readings::new(numbered.clone()).map_err(bad)?;
        let folded = numbered
            .map(|(number, pattern)| Ok((number, Matcher::of_readings([(0, &*fold(pattern))])?)))
            .collect::<Result<_, _>>()
            .map_err(bad)?;
        Ok(Self {
            by_pattern,
            patterns,
            routes,
            paths,
            folded,
        })
    }

    /// Checks that each pattern matches a path that is not ambiguous.
    pub(crate) fn check_paths(&self) -> Result<(), ClassError> {
        let bad = |BadPattern { pattern, why }| ClassError::Pattern { pattern, why };
        Matcher::new(self.patterns().enumerate()).map_err(bad)?;
        Ok(())
    }

    /// Returns the class of a request for the route with this pattern.
    pub(crate) fn of_route<A>(&self, pattern: &str, request: &Request<A>) -> Class {
        self.listed(pattern)
            .and_then(|route| route.of(request.method()))
            .unwrap_or_else(|| by_head(request))
    }

    /// Returns the class of a request for `path`, where no router tells the route.
    ///
    /// The service behind the gate may take another spelling of a path for a listed route:
    /// percent-encoded, in another case, or with a slash at the end. Then the request is at least
    /// as strict as that route. A request with an ambiguous path writes.
    pub(crate) fn of_path<A>(&self, path: &str, request: &Request<A>) -> Class {
        let method = request.method();
        if let Some(class) = self
            .paths
            .find(path)
            .and_then(|route| self.routes[route].of(method))
        {
            return class;
        }
        if is_ambiguous(path) {
            return Class::Write;
        }
        let folded = fold(path);
        let alike = self
            .folded
            .iter()
            .filter(|(_, pattern)| pattern.find(&folded).is_some());
        let alike = alike
            .map(|(route, _)| *route)
            .chain(self.paths.may_be(path));
        let classes = alike.filter_map(|route| self.routes[route].of(method));
        classes.fold(by_head(request), stricter)
    }

    /// Iterates over the patterns that have a class.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(String::as_str)
    }

    fn listed(&self, pattern: &str) -> Option<&OfRoute> {
        self.routes.get(self.by_pattern.get(pattern)?)
    }
}

impl fmt::Display for RouteClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| route | method | class |\n|---|---|---|\n")?;
        for (pattern, method, class) in &self.entries {
            let method = method.as_ref().map_or("all", Method::as_str);
            writeln!(f, "| `{pattern}` | {method} | {class} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(given: RouteClasses) -> Classes {
        Classes::new(given).unwrap()
    }

    fn with(method: &Method) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        request
    }

    #[test]
    fn what_is_not_listed_follows_its_method() {
        let classes = classes(RouteClasses::new().never("/settlement"));
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert_eq!(
                classes.of_route("/prices", &with(&method)),
                Class::Read,
                "{method}"
            );
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND"] {
            let method = method.parse().unwrap();
            assert_eq!(
                classes.of_route("/prices", &with(&method)),
                Class::Write,
                "{method}"
            );
        }
        assert_eq!(
            classes.of_route("/settlement", &with(&Method::GET)),
            Class::Never
        );
    }

    #[test]
    fn a_method_goes_before_the_whole_route() {
        let given = RouteClasses::new().write("/carts/{id}").method(
            Method::GET,
            "/carts/{id}",
            Class::Read,
        );
        let classes = classes(given);
        assert_eq!(
            classes.of_route("/carts/{id}", &with(&Method::GET)),
            Class::Read
        );
        assert_eq!(
            classes.of_route("/carts/{id}", &with(&Method::HEAD)),
            Class::Read
        );
        assert_eq!(
            classes.of_route("/carts/{id}", &with(&Method::OPTIONS)),
            Class::Write
        );
        assert_eq!(
            classes.of_path("/carts/7", &with(&Method::GET)),
            Class::Read
        );
        assert_eq!(
            classes.of_path("/carts/7", &with(&Method::OPTIONS)),
            Class::Write
        );
    }

    #[test]
    fn no_spelling_makes_a_read_of_what_is_none() {
        let given = RouteClasses::new()
            .write("/oauth/callback")
            .never("/Billing/settlement")
            .write("/links/{code}")
            .read("/search");
        let classes = classes(given);
        let of = |path, method| classes.of_path(path, &with(&method));
        assert_eq!(of("/oauth/callback", Method::GET), Class::Write);
        for path in [
            "/oauth//callback",
            "/x/../oauth/callback",
            "/oauth%2Fcallback",
            "/oauth/callback/",
            "/oauth/callback//",
            "/oauth/%63allback",
            "/OAuth/callback",
            "/oauth/callback%20",
            "/%6F%61uth/CALLBACK",
            "/links/abc/",
            "/LINKS/abc",
            "*",
        ] {
            assert_eq!(of(path, Method::GET), Class::Write, "{path}");
        }
        for path in [
            "/billing/settlement",
            "/Billing/%73ettlement",
            "/Billing/settlement/",
        ] {
            assert_eq!(of(path, Method::GET), Class::Never, "{path}");
        }
        // A POST in another spelling does not read because a listed route does.
        assert_eq!(of("/search", Method::POST), Class::Read);
        assert_eq!(of("/SEARCH", Method::POST), Class::Write);
        // A path that resembles no listed route follows its method, with or without escapes.
        for path in ["/prices", "/prices/", "/invoices/INV%202024", "/caf%C3%A9"] {
            assert_eq!(of(path, Method::GET), Class::Read, "{path}");
            assert_eq!(of(path, Method::POST), Class::Write, "{path}");
        }
    }

    #[test]
    fn no_spelling_turns_a_route_into_another_that_overlaps_with_it() {
        let given = RouteClasses::new()
            .read("/search/{what}")
            .never("/search/purge");
        let overlapping = classes(given);
        for path in ["/search/purge", "/search/%70urge", "/search/Purge"] {
            assert_eq!(
                overlapping.of_path(path, &with(&Method::POST)),
                Class::Never,
                "{path}"
            );
        }
        assert_eq!(
            overlapping.of_path("/search/prices", &with(&Method::POST)),
            Class::Read
        );
    }

    #[test]
    fn two_patterns_that_differ_only_in_case_are_two_routes() {
        let given = RouteClasses::new()
            .never("/rest/{*path}")
            .read("/rest/Prices");
        let apart = classes(given);
        assert_eq!(
            apart.of_path("/rest/Prices", &with(&Method::POST)),
            Class::Read
        );
        assert_eq!(
            apart.of_path("/rest/prices", &with(&Method::POST)),
            Class::Never
        );
    }

    #[test]
    fn two_classes_for_one_route_are_an_error_that_names_it() {
        let error = |given| Classes::new(given).unwrap_err().to_string();
        assert_eq!(
            error(RouteClasses::new().read("/a").write("/a")),
            "`/a` has two classes, read and write: give it one"
        );
        let twice = RouteClasses::new()
            .method(Method::POST, "/a", Class::Read)
            .method(Method::POST, "/a", Class::Never);
        assert_eq!(
            error(twice),
            "`POST /a` has two classes, read and never: give it one"
        );
        assert_eq!(
            error(RouteClasses::new().read("a")),
            "the pattern `a` is not valid: a path pattern begins with `/`; \
             write a parameter as `{id}` and the rest of a path as `{*rest}`"
        );
    }
}
