//! Path patterns in the syntax of the router, and exemption by them.

use std::iter;

use super::{
    path_ambiguity::is_ambiguous,
    pattern_check::{FORMS, check, sample},
};
use crate::{
    exemptions::{self, Exemption, ExemptionError},
    facts::endpoint::Placement,
};

/// Finds the pattern that a path matches.
#[derive(Debug)]
pub(in crate::http) struct Matcher(matchit::Router<usize>);

/// A pattern that the router would reject, with its reason.
#[derive(Debug)]
pub(in crate::http) struct BadPattern {
    pub(in crate::http) pattern: String,
    pub(in crate::http) why: String,
}

impl From<BadPattern> for ExemptionError {
    fn from(BadPattern { pattern, why }: BadPattern) -> Self {
        Self::Pattern { pattern, why }
    }
}

impl Matcher {
    /// Compiles numbered patterns, each of which must match a path that is not ambiguous.
    pub(in crate::http) fn new<'p>(
        patterns: impl IntoIterator<Item = (usize, &'p str)>,
    ) -> Result<Self, BadPattern> {
        let matcher = patterns.into_iter().map(|(number, pattern)| {
            let why = "parts of a stack read such a path in different ways, so none matches: \
                       leave out `//`, `;`, and escapes of separators";
            // Its other faults are found below.
            if check(pattern).is_ok() && is_ambiguous(&sample(pattern)) {
                return Err(bad(pattern, why));
            }
            Ok((number, pattern))
        });
        Self::of_routes(matcher.collect::<Result<Vec<_>, _>>()?)
    }

    /// Compiles the numbered patterns of routes, which a router may find by a path that is
    /// ambiguous.
    pub(super) fn of_routes<'p>(
        patterns: impl IntoIterator<Item = (usize, &'p str)>,
    ) -> Result<Self, BadPattern> {
        let mut shapes = Shapes::default();
        let patterns = patterns.into_iter().map(|(number, pattern)| {
            check(pattern).map_err(|why| bad(pattern, why))?;
            match shapes.insert(pattern, number) {
                Ok(()) => Ok((number, pattern)),
                Err(()) => Err(bad(pattern, "another one matches the same paths: list it once, and spell both the same if they are for \
             different methods")),
            }
        });
        Self::of_readings(patterns.collect::<Result<Vec<_>, _>>()?)
    }

    /// Compiles numbered patterns that may have been changed since they were checked.
    pub(super) fn of_readings<'p>(
        patterns: impl IntoIterator<Item = (usize, &'p str)>,
    ) -> Result<Self, BadPattern> {
        let mut router = matchit::Router::new();
        for (number, pattern) in patterns {
            router
                .insert(pattern, number)
                .map_err(|error| bad(pattern, format!("{error}; {FORMS}")))?;
        }
        Ok(Self(router))
    }

    /// Returns the number of the pattern that `path` matches. An ambiguous path matches none.
    #[inline]
    pub(in crate::http) fn find(&self, path: &str) -> Option<usize> {
        let found = self.0.at(path).ok()?;
        // Checked last: most paths match no pattern.
        (!is_ambiguous(path)).then_some(*found.value)
    }
}

fn bad(pattern: &str, why: impl Into<String>) -> BadPattern {
    BadPattern {
        pattern: pattern.to_owned(),
        why: why.into(),
    }
}

/// Numbered patterns by their shape, which is a pattern without the names of its parameters.
#[derive(Debug, Default)]
pub(in crate::http) struct Shapes(Vec<(Box<[u8]>, usize)>);

impl Shapes {
    /// Collects patterns without numbers.
    #[cfg(feature = "axum")]
    pub(super) fn of<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        let mut shapes = Self::default();
        for pattern in patterns {
            // One is enough.
            let _ = shapes.insert(pattern, 0);
        }
        shapes
    }

    /// Adds a pattern. It is an error if one of its shape is there.
    pub(in crate::http) fn insert(&mut self, pattern: &str, number: usize) -> Result<(), ()> {
        match self.place(pattern) {
            Ok(_) => Err(()),
            Err(place) => {
                self.0.insert(place, (shape(pattern).collect(), number));
                Ok(())
            }
        }
    }

    /// Returns the number of the pattern with the shape of `pattern`. It allocates nothing.
    pub(in crate::http) fn get(&self, pattern: &str) -> Option<usize> {
        Some(self.0[self.place(pattern).ok()?].1)
    }

    fn place(&self, pattern: &str) -> Result<usize, usize> {
        let bytes = pattern.as_bytes();
        if is_its_own_shape(bytes) {
            // Whole slices compare faster than byte by byte. Every routed request asks this.
            return self.0.binary_search_by(|(listed, _)| (**listed).cmp(bytes));
        }
        self.0
            .binary_search_by(|(listed, _)| listed.iter().copied().cmp(shape(pattern)))
    }
}

/// Whether [`shape`] leaves a pattern as it is: it has no parameter and no escaped brace.
fn is_its_own_shape(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'{' | b'}'))
}

/// Returns the bytes of a pattern without the names of its parameters, which do not distinguish
/// patterns. An escaped brace becomes a byte that no pattern has.
pub(super) fn shape(pattern: &str) -> impl Iterator<Item = u8> {
    let mut rest = pattern.as_bytes();
    let mut within = false;
    iter::from_fn(move || {
        loop {
            let (byte, len) = match rest {
                [b'{', b'{', ..] if !within => (0, 2),
                [b'}', b'}', ..] if !within => (1, 2),
                [first, ..] => (*first, 1),
                [] => return None,
            };
            rest = &rest[len..];
            within &= byte != b'}';
            let named = within && byte != b'*';
            within |= byte == b'{';
            if !named {
                return Some(byte);
            }
        }
    })
}

/// The patterns of exemptions: found by path, and by the pattern that a router tells.
#[derive(Debug)]
struct Patterns {
    paths: Matcher,
    shapes: Shapes,
}

impl Patterns {
    fn boxed(paths: Matcher, patterns: &[(usize, &str)]) -> Box<dyn exemptions::Paths> {
        let mut shapes = Shapes::default();
        for (number, pattern) in patterns {
            // The matcher has none twice.
            let _ = shapes.insert(pattern, *number);
        }
        Box::new(Self { paths, shapes })
    }
}

impl exemptions::Paths for Patterns {
    fn find(&self, path: &str) -> Option<usize> {
        self.paths.find(path)
    }

    fn find_alike(&self, pattern: &str) -> Option<usize> {
        self.shapes.get(pattern)
    }
}

/// Compiles numbered patterns of calls, for [`exemptions::Exemption`].
fn compile_calls(patterns: &[(usize, &str)]) -> Result<Box<dyn exemptions::Paths>, ExemptionError> {
    let paths = Matcher::new(patterns.iter().copied())?;
    Ok(Patterns::boxed(paths, patterns))
}

/// Compiles numbered patterns of routes, for [`exemptions::Exemption`].
fn compile_routes(
    patterns: &[(usize, &str)],
) -> Result<Box<dyn exemptions::Paths>, ExemptionError> {
    let paths = Matcher::of_routes(patterns.iter().copied())?;
    Ok(Patterns::boxed(paths, patterns))
}

impl Exemption {
    /// Exempts a route of your own, in the syntax of axum's router: `/billing/invoices/{id}`,
    /// `/files/{*rest}`.
    ///
    /// It is the whole pattern from the root, also inside `nest`. The names of the parameters do
    /// not matter. All methods are exempt unless [`for_methods`](Self::for_methods) names some: a
    /// `DELETE` of an invoice passes too. A pattern that no path can match is an error when the
    /// layer is built.
    #[must_use]
    pub fn route(pattern: &str, why: &str) -> Self {
        Self::pattern(Placement::BeforeRoutes, pattern, why, compile_routes)
    }

    /// Exempts calls to paths of the partner, in the syntax of axum's router: `/v1/invoices/{id}`.
    ///
    /// All methods are exempt unless [`for_methods`](Self::for_methods) names some. A pattern that
    /// no path can match is an error when the layer is built.
    #[must_use]
    pub fn http_call(pattern: &str, why: &str) -> Self {
        Self::pattern(Placement::AroundCalls, pattern, why, compile_calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Option<usize> {
        compile_routes(&[(0, "/billing/invoices/{id}"), (7, "/health/{*rest}")])
            .unwrap()
            .find(path)
    }

    #[test]
    fn a_pattern_matches_whole_segments() {
        assert_eq!(find("/billing/invoices/7"), Some(0));
        assert_eq!(find("/health/live/deep"), Some(7));
        assert_eq!(find("/billing/invoices"), None);
        assert_eq!(find("/billing/invoices/7/pdf"), None);
        assert_eq!(find("/Billing/invoices/7"), None);
    }

    const AMBIGUOUS: &[&str] = &[
        "",
        "*",
        "host:443",
        "/health/../billing/prices",
        "/health/./x",
        "/health//x",
        "/health/x;y",
        "/health/x\\y",
        "/health/%2e%2e/billing",
        "/health/%2F",
        "/health/%5c",
        "/health/%3Bx",
        "/health/%252e",
        "/health/%00",
        "/health/x%3fy",
        "/health/x%23",
        "/health/x%0d%0a",
        "/health/%7f",
        // Invalid escapes, and escapes that are decoded twice.
        "/health/%",
        "/health/%2",
        "/health/%+f",
        "/health/%u002f",
        "/health/%%32%65",
        // Overlong UTF-8: `.` and `/` for a lenient decoder.
        "/health/%c0%ae",
        "/health/x%C1%9Cy",
        "/health/%e0%80%af",
        "/health/%f0%80%80%af",
        // A slash, a dot, a semicolon and more, in forms that some readers fold to ASCII.
        "/health/x%ef%bc%8fy",
        "/health/x\u{ff0f}y",
        "/health/%ef%bc%8e%EF%BC%8E",
        "/health/%e2%80%a5",
        "/health/x%e2%88%95y",
        "/health/x%e2%81%84y",
        "/health/x%ef%bc%bcy",
        "/health/x%ef%bc%9by",
        "/health/x%ef%bc%852f",
    ];

    #[test]
    fn an_ambiguous_path_is_not_exempt() {
        for path in AMBIGUOUS {
            assert_eq!(find(path), None, "{path}");
        }
        for fine in [
            "INV%202024",
            "caf%C3%A9",
            "%e0%a4%85",
            "%f0%90%8d%88",
            "%e2%82%ac",
        ] {
            let path = format!("/billing/invoices/{fine}");
            assert_eq!(find(&path), Some(0), "{path}: nobody's separator");
        }
    }

    #[test]
    fn a_pattern_that_no_router_takes_is_an_error_that_names_it() {
        for compile in [compile_routes, compile_calls] {
            let error = compile(&[(0, "/a/{")]).unwrap_err();
            assert!(error.to_string().contains("`/a/{`"), "{error}");
            assert!(error.to_string().contains("`{*rest}`"), "{error}");
            let error = compile(&[(0, "health")]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the pattern `health` is not valid: a path pattern begins with `/`; \
                 write a parameter as `{id}` and the rest of a path as `{*rest}`"
            );
        }
    }

    #[test]
    fn a_pattern_of_ambiguous_paths_is_an_error_where_only_the_path_decides() {
        for pattern in ["//a", "/a//b", "/a;b", "/a%2Fb/{id}", "/a%2e%2E"] {
            assert!(compile_calls(&[(0, pattern)]).is_err(), "{pattern}");
            let routes = compile_routes(&[(3, pattern)]).unwrap();
            assert_eq!(routes.find(&sample(pattern)), None, "{pattern}");
            assert_eq!(routes.find_alike(pattern), Some(3), "{pattern}");
        }
    }

    #[test]
    fn patterns_are_alike_whatever_their_parameters_are_called() {
        for (one, other, alike) in [
            ("/a/{id}", "/a/{name}", true),
            ("/a/{*rest}", "/a/{*path}", true),
            ("/a/{rest}", "/a/{*rest}", false),
            ("/a/{id}/b", "/a/{id}/c", false),
            ("/{{a}}", "/{{b}}", false),
            ("/{{a}}", "/{a}", false),
            ("/{a}/{b}", "/{b}/{a}", true),
            ("/sku-{a}", "/sku-{number}", true),
            ("/sku-{a}", "/{a}", false),
        ] {
            let mut shapes = Shapes::default();
            shapes.insert(one, 7).unwrap();
            assert_eq!(shapes.get(other).is_some(), alike, "{one} {other}");
            assert_eq!(shapes.insert(other, 8).is_err(), alike, "{one} {other}");
            assert_eq!(shapes.get(one), Some(7));
        }
    }
}
