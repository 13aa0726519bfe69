//! Which of our own routes read and which write, where the method misleads.
//!
//! An OAuth callback is a GET that writes, a search may be a POST that reads: who goes by the method alone
//! lets the one pass under a read-only hold and refuses the other. What is not listed here follows its method.

use std::{collections::HashMap, fmt, sync::Arc};

use http::Method;

use super::matcher::{BadPattern, Matcher, is_ambiguous};
use crate::{endpoint::Class, text::OneLine};

/// The classes of one's own routes, given to a view by [`classed`](crate::MaintenanceLayer::classed).
///
/// Patterns are written as the router writes them. A route that is not listed follows its method: GET, HEAD,
/// OPTIONS and TRACE read, all others write. The fourth class, *always*, is
/// [`Exemption::route`](crate::Exemption::route); what is exempt passes whatever is said here.
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
///     .layer(layer.routes().classed(classes)?);
///
/// layer.handle().engage(Hold::new("on-call", "the ledger moves").read_only())?;
/// let ask = |request: http::request::Builder| app.clone().oneshot(request.body(Body::empty()).unwrap());
/// assert_eq!(ask(Request::get("/billing/prices")).await?.status(), 200);
/// assert_eq!(ask(Request::post("/billing/search")).await?.status(), 200);
/// assert_eq!(ask(Request::get("/oauth/callback")).await?.status(), 503);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "classes do nothing until a view is `classed`"]
pub struct RouteClasses {
    entries: Vec<(String, Option<Method>, Class)>,
}

impl RouteClasses {
    /// Every route follows its method.
    pub fn new() -> Self {
        Self::default()
    }

    /// The route reads, whatever the method.
    pub fn read(self, pattern: &str) -> Self {
        self.put(None, pattern, Class::Read)
    }

    /// The route writes, whatever the method.
    pub fn write(self, pattern: &str) -> Self {
        self.put(None, pattern, Class::Write)
    }

    /// The route passes in `Serving` alone, whatever the method.
    pub fn never(self, pattern: &str) -> Self {
        self.put(None, pattern, Class::Never)
    }

    /// One method of the route is of this class; it goes before what is said of the whole route. What is
    /// said of GET holds for HEAD too.
    pub fn method(self, method: Method, pattern: &str, class: Class) -> Self {
        self.put(Some(method), pattern, class)
    }

    fn put(mut self, method: Option<Method>, pattern: &str, class: Class) -> Self {
        self.entries.push((pattern.to_owned(), method, class));
        self
    }
}

/// Route classes that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassError {
    /// The same route, and the same method of it, twice.
    #[error("`{}` has two classes, {first} and {second}: give it one", OneLine(.route))]
    #[non_exhaustive]
    Twice {
        /// The route, with its method if one was named.
        route: String,
        /// The class it was given first.
        first: Class,
        /// The class it was given then.
        second: Class,
    },
    /// A pattern that the router would not take.
    #[error("the pattern `{}` is not valid: {}", OneLine(.pattern), OneLine(.why))]
    #[non_exhaustive]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the router says.
        why: String,
    },
}

/// The classes, ready to be looked up.
#[derive(Debug)]
pub(crate) struct Classes {
    by_pattern: HashMap<Arc<str>, usize>,
    routes: Vec<OfRoute>,
    paths: Matcher,
}

#[derive(Debug, Default)]
struct OfRoute {
    whole: Option<Class>,
    methods: Vec<(Method, Class)>,
}

impl OfRoute {
    fn of(&self, method: &Method) -> Option<Class> {
        let named = |named: &Method| self.methods.iter().find(|(method, _)| method == named);
        let listed = match *method {
            Method::HEAD => named(&Method::HEAD).or_else(|| named(&Method::GET)),
            _ => named(method),
        };
        listed.map(|(_, class)| *class).or(self.whole)
    }
}

/// What a method says by itself: only the safe ones read (RFC 9110, 9.2.1).
pub(crate) fn by_method(method: &Method) -> Class {
    if method.is_safe() {
        Class::Read
    } else {
        Class::Write
    }
}

impl Classes {
    pub(crate) fn new(given: RouteClasses) -> Result<Self, ClassError> {
        let mut by_pattern: HashMap<Arc<str>, usize> = HashMap::new();
        let mut routes: Vec<OfRoute> = Vec::new();
        for (pattern, method, class) in given.entries {
            let number = *by_pattern
                .entry(pattern.as_str().into())
                .or_insert_with(|| {
                    routes.push(OfRoute::default());
                    routes.len() - 1
                });
            let route = &mut routes[number];
            let before = match &method {
                None => route.whole.replace(class),
                Some(method) => {
                    let listed = route.methods.iter().find(|(named, _)| named == method);
                    let before = listed.map(|(_, class)| *class);
                    route.methods.push((method.clone(), class));
                    before
                }
            };
            if let Some(first) = before {
                let route = method.map_or(pattern.clone(), |method| format!("{method} {pattern}"));
                return Err(ClassError::Twice {
                    route,
                    first,
                    second: class,
                });
            }
        }
        let patterns = by_pattern
            .iter()
            .map(|(pattern, number)| (*number, &**pattern));
        let paths = Matcher::new(patterns)
            .map_err(|BadPattern { pattern, why }| ClassError::Pattern { pattern, why })?;
        Ok(Self {
            by_pattern,
            routes,
            paths,
        })
    }

    /// The class of a request for the route that the router calls `pattern`.
    pub(crate) fn of_route(&self, pattern: &str, method: &Method) -> Class {
        self.listed(pattern)
            .and_then(|route| route.of(method))
            .unwrap_or_else(|| by_method(method))
    }

    /// The class of a request for `path`, where no router says which route it is. A path that whoever stands
    /// behind may take for another route (an ambiguous one, one that ends in a slash) is no read unless listed.
    pub(crate) fn of_path(&self, path: &str, method: &Method) -> Class {
        let route = self
            .paths
            .find(path)
            .and_then(|number| self.routes.get(number));
        match route.and_then(|route| route.of(method)) {
            Some(class) => class,
            None if is_ambiguous(path) || path.len() > 1 && path.ends_with('/') => Class::Write,
            None => by_method(method),
        }
    }

    /// Whether anything was said of the route.
    pub(crate) fn lists(&self, pattern: &str) -> bool {
        self.listed(pattern).is_some()
    }

    fn listed(&self, pattern: &str) -> Option<&OfRoute> {
        self.routes.get(*self.by_pattern.get(pattern)?)
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

    #[test]
    fn what_is_not_listed_follows_its_method() {
        let classes = classes(RouteClasses::new().never("/settlement"));
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
            assert_eq!(
                classes.of_route("/prices", &method),
                Class::Read,
                "{method}"
            );
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND"] {
            let method = method.parse().unwrap();
            assert_eq!(
                classes.of_route("/prices", &method),
                Class::Write,
                "{method}"
            );
        }
        assert_eq!(classes.of_route("/settlement", &Method::GET), Class::Never);
    }

    #[test]
    fn a_method_goes_before_the_whole_route() {
        let given = RouteClasses::new().write("/carts/{id}").method(
            Method::GET,
            "/carts/{id}",
            Class::Read,
        );
        let classes = classes(given);
        assert_eq!(classes.of_route("/carts/{id}", &Method::GET), Class::Read);
        assert_eq!(classes.of_route("/carts/{id}", &Method::HEAD), Class::Read);
        assert_eq!(
            classes.of_route("/carts/{id}", &Method::OPTIONS),
            Class::Write
        );
        assert_eq!(classes.of_path("/carts/7", &Method::GET), Class::Read);
        assert_eq!(classes.of_path("/carts/7", &Method::OPTIONS), Class::Write);
    }

    #[test]
    fn an_ambiguous_path_is_no_read() {
        let classes = classes(RouteClasses::new().write("/oauth/callback"));
        assert_eq!(
            classes.of_path("/oauth/callback", &Method::GET),
            Class::Write
        );
        for path in [
            "/oauth//callback",
            "/x/../oauth/callback",
            "/oauth%2Fcallback",
            "/oauth/callback/",
            "*",
        ] {
            assert_eq!(classes.of_path(path, &Method::GET), Class::Write, "{path}");
        }
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
            "the pattern `a` is not valid: a path pattern begins with `/`"
        );
    }
}
