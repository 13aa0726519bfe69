//! Path patterns in the syntax of the router, and exemption by them.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::path_ambiguity::is_ambiguous;
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
    /// Compiles numbered patterns.
    pub(in crate::http) fn new<'p>(
        patterns: impl IntoIterator<Item = (usize, &'p str)>,
    ) -> Result<Self, BadPattern> {
        let mut router = matchit::Router::new();
        for (number, pattern) in patterns {
            let bad = |why: String| BadPattern {
                pattern: pattern.to_owned(),
                why,
            };
            if !pattern.starts_with('/') {
                return Err(bad("a path pattern begins with `/`".into()));
            }
            router
                .insert(pattern, number)
                .map_err(|error| bad(error.to_string()))?;
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

/// Compiles numbered patterns, for [`exemptions::Exemption`].
pub(in crate::http) fn compile(
    patterns: &[(usize, &str)],
) -> Result<Box<dyn exemptions::Paths>, ExemptionError> {
    Ok(Box::new(Matcher::new(patterns.iter().copied())?))
}

impl Exemption {
    /// Exempts a route of your own, in the syntax of the router: `/billing/invoices/{id}`.
    #[must_use]
    pub fn route(pattern: &str, why: &str) -> Self {
        Self::pattern(Placement::BeforeRoutes, pattern, why, compile)
    }

    /// Exempts calls to paths of the partner, in the syntax of the router: `/v1/invoices/{id}`.
    #[must_use]
    pub fn http_call(pattern: &str, why: &str) -> Self {
        Self::pattern(Placement::AroundCalls, pattern, why, compile)
    }
}

/// Numbered patterns that are matched both strictly and leniently.
///
/// A path matches only if both readings choose the same pattern.
#[derive(Debug)]
pub(in crate::http) struct Readings {
    /// The patterns as they are, by their numbers.
    strict: Matcher,
    /// The folded patterns (see [`fold`]), by their index in `spellings`.
    lenient: Matcher,
    /// The numbers of the patterns that fold to the same one, such as `/a` and `/A/`.
    spellings: Vec<Vec<usize>>,
}

impl Readings {
    pub(in crate::http) fn new<'p>(
        patterns: impl Iterator<Item = (usize, &'p str)> + Clone,
    ) -> Result<Self, BadPattern> {
        let strict = Matcher::new(patterns.clone())?;
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut spellings: Vec<Vec<usize>> = Vec::new();
        let mut folded = Vec::new();
        for (number, pattern) in patterns {
            let pattern = fold(pattern);
            let place = *places.entry(unnamed(&pattern)).or_insert_with(|| {
                folded.push(pattern);
                spellings.push(Vec::new());
                spellings.len() - 1
            });
            spellings[place].push(number);
        }
        let lenient = Matcher::new(folded.iter().map(String::as_str).enumerate())?;
        Ok(Self {
            strict,
            lenient,
            spellings,
        })
    }

    /// Returns the number of the pattern that `path` matches.
    ///
    /// It is `None` if the path is ambiguous, or if a lenient reader would choose another pattern.
    pub(in crate::http) fn find(&self, path: &str) -> Option<usize> {
        let number = self.strict.find(path)?;
        let alike = &self.spellings[self.lenient.find(&fold(path))?];
        alike.contains(&number).then_some(number)
    }
}

/// Returns a pattern without the names of its parameters, which do not distinguish patterns.
fn unnamed(pattern: &str) -> String {
    // Two braces are an escaped brace.
    let pattern = pattern.replace("{{", "\0").replace("}}", "\u{1}");
    let mut unnamed = String::with_capacity(pattern.len());
    let mut within = false;
    for c in pattern.chars() {
        within &= c != '}';
        if !within || c == '*' {
            unnamed.push(c);
        }
        within |= c == '{';
    }
    unnamed
}

/// Returns a path or a pattern as a lenient reader takes it: decoded, in lower case, without a
/// slash or white space at the end.
pub(in crate::http) fn fold(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    let folded = decoded.trim_end_matches(|c: char| c == '/' || c.is_whitespace());
    if folded.is_empty() {
        "/".to_owned()
    } else {
        folded.to_owned()
    }
}

impl exemptions::Paths for Matcher {
    fn find(&self, path: &str) -> Option<usize> {
        self.find(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Option<usize> {
        compile(&[(0, "/billing/invoices/{id}"), (7, "/health/{*rest}")])
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

    #[test]
    fn an_ambiguous_path_is_not_exempt() {
        for path in [
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
        ] {
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
        let error = compile(&[(0, "/a/{")]).unwrap_err();
        assert!(error.to_string().contains("`/a/{`"), "{error}");
        let error = compile(&[(0, "health")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the pattern `health` is not valid: a path pattern begins with `/`"
        );
    }

    #[test]
    fn patterns_are_alike_whatever_their_parameters_are_called() {
        for (one, other, alike) in [
            ("/a/{id}", "/a/{name}", true),
            ("/a/{*rest}", "/a/{*path}", true),
            ("/a/{rest}", "/a/{*rest}", false),
            ("/a/{id}/b", "/a/{id}/c", false),
            ("/{{a}}", "/{{b}}", false),
            ("/{a}/{b}", "/{b}/{a}", true),
        ] {
            assert_eq!(unnamed(one) == unnamed(other), alike, "{one} {other}");
        }
    }

    #[test]
    fn a_pattern_is_found_only_where_all_readings_choose_it() {
        let patterns = [
            "/users/{id}",
            "/Users/{name}/",
            "/users/export",
            "/files/{*path}",
            "/{{a}}",
        ];
        let readings = Readings::new(patterns.into_iter().enumerate()).unwrap();
        for (path, found) in [
            ("/users/7", Some(0)),
            ("/users/INV%207", Some(0)),
            ("/Users/7/", Some(1)),
            ("/users/export", Some(2)),
            ("/users/%65xport", None),
            ("/users/Export", None),
            ("/users/export/", None),
            ("/files/a/b/", Some(3)),
            ("/files/../users/export", None),
            ("/{a}", Some(4)),
            ("/prices", None),
        ] {
            assert_eq!(readings.find(path), found, "{path}");
        }
    }
}
