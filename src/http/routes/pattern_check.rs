//! Which path patterns are valid.
//!
//! A pattern that no path can match would do nothing, in silence: a class that leaves a route open,
//! or an exemption that exempts nothing. So it is an error when it is configured.

use http::uri::PathAndQuery;

/// The right forms, which every error names.
pub(super) const FORMS: &str = "write a parameter as `{id}` and the rest of a path as `{*rest}`";

/// More parameters would make the router panic.
const MOST_PARAMETERS: usize = 25;

/// A part of a pattern, between two slashes or within them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'p> {
    /// A character that stands for itself.
    Text(char),
    /// A parameter, with the text between its braces.
    Parameter(&'p str),
}

/// Iterates over the parts of a pattern. Two braces are an escaped brace.
///
/// A brace without its pair is text here; the router rejects it.
pub(super) fn parts(pattern: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let escaped = rest.starts_with("{{") || rest.starts_with("}}");
        let (part, len) = match rest.find('}') {
            _ if escaped => (Part::Text(first), 2),
            Some(end) if first == '{' => (Part::Parameter(&rest[1..end]), end + 1),
            _ => (Part::Text(first), first.len_utf8()),
        };
        rest = &rest[len..];
        Some(part)
    })
}

/// Returns a path that the pattern matches.
pub(super) fn sample(pattern: &str) -> String {
    let text = |part| match part {
        Part::Text(c) => c,
        // Of the characters of a path, the one that a text is least likely to be.
        Part::Parameter(_) => '~',
    };
    parts(pattern).map(text).collect()
}

/// Checks that a router takes the pattern and that a path can match it. The error says why not, and
/// names the right forms.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    match fault(pattern) {
        None => Ok(()),
        Some(fault) => Err(format!("{fault}; {FORMS}")),
    }
}

fn fault(pattern: &str) -> Option<String> {
    if !pattern.starts_with('/') {
        return Some("a path pattern begins with `/`".into());
    }
    let parameters = parts(pattern).filter_map(|part| match part {
        Part::Parameter(name) => Some(name),
        Part::Text(_) => None,
    });
    let parameters: Vec<&str> = parameters.collect();
    if parameters.len() > MOST_PARAMETERS {
        return Some(format!("there are more than {MOST_PARAMETERS} parameters"));
    }
    let bad_name = |name: &&&str| {
        let name = name.strip_prefix('*').unwrap_or(name);
        let is_fine = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        name.is_empty() || !name.chars().all(is_fine)
    };
    if let Some(name) = parameters.iter().find(bad_name) {
        return Some(format!(
            "`{{{name}}}` is no parameter: its name has letters, digits, `_` and `-`, and there is \
             no syntax for its values"
        ));
    }
    let fault = pattern.split('/').find_map(of_segment);
    fault.or_else(|| of_path(&sample(pattern)))
}

/// Finds another router's syntax in a segment.
fn of_segment(segment: &str) -> Option<String> {
    let text = |part: &Part<'_>| match part {
        Part::Text(c) => *c,
        // No character that is looked for.
        Part::Parameter(_) => 'x',
    };
    let text: String = parts(segment).map(|part| text(&part)).collect();
    if segment.starts_with(':') {
        return Some(format!("`{segment}` is no parameter"));
    }
    if text.contains('*') {
        return Some(format!("`*` in `{segment}` matches nothing by itself"));
    }
    let is_group = text.starts_with('(') && text.ends_with(')');
    if is_group || text.contains(".+") || text.ends_with('$') {
        return Some(format!(
            "`{segment}` is a regular expression, and the pattern is none"
        ));
    }
    matches!(segment, "." | "..").then(|| format!("no client sends the segment `{segment}`"))
}

/// Finds what no path can have.
fn of_path(path: &str) -> Option<String> {
    let stranger = |c: &char| !(c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/{}".contains(*c));
    match path.chars().find(stranger) {
        Some('?') => return Some("the query (`?`) is no part of a path".into()),
        Some('#') => return Some("the fragment (`#`) is no part of a path".into()),
        Some(c) if c.is_ascii() => {
            return Some(format!("a path cannot have {c:?}: percent-encode it"));
        }
        Some(c) => {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).bytes();
            let encoded: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
            return Some(format!("a path has {c:?} only as `{encoded}`"));
        }
        None => {}
    }
    let is_escape = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !path.split('%').skip(1).all(is_escape) {
        return Some("a `%` begins no escape such as `%20`".into());
    }
    PathAndQuery::try_from(path)
        .is_err()
        .then(|| "it is longer than a path can be".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::property_cases::cases;

    #[test]
    fn what_a_router_takes_and_a_path_can_match_is_valid() {
        for pattern in [
            "/",
            "/health/",
            "/billing/invoices/{id}",
            "/billing/invoices/{invoice-id}/lines/{line_2}",
            "/files/{*rest}",
            "/v1/customers:batchGet",
            "/odata/$metadata",
            "/wiki/Foo_(bar)",
            "/caf%C3%A9",
            "/feed.xml",
            "/{{a}}",
            "/sku-{number}",
            "/.well-known/{name}",
            "/a;b",
            "//a",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    /// What no path can match, or what another router would read otherwise.
    const INVALID: &[&str] = &[
        "",
        "health",
        "*",
        "https://ours.example/health",
        "GET /health",
        "^/health$",
        "/oauth/:provider/callback",
        "/webhooks/*",
        "/webhooks/*rest",
        "/webhooks/**",
        "/webhooks*",
        "/{**rest}",
        "/billing/.*",
        "/billing/.+",
        "/billing/[0-9]+",
        "/billing/\\d+",
        "/billing/(a|b)",
        "/billing/(:any)",
        "/billing$",
        "/invoices/<id>",
        "/invoices/<int:id>",
        "/invoices/{id:int}",
        "/invoices/{id:[0-9]+}",
        "/invoices/{id?}",
        "/invoices/{rest...}",
        "/health?x",
        "/health#x",
        "/health ",
        " /health",
        "/he alth",
        "/health\t",
        "/health\n",
        "/health\u{0}",
        "/health\u{7f}",
        "/caf\u{e9}",
        "/a%2",
        "/a%zz",
        "/a/../b",
        "/a/.",
        "/\"a\"",
    ];

    #[test]
    fn what_no_path_can_match_is_an_error_that_names_the_right_forms() {
        for pattern in INVALID {
            let why = check(pattern).unwrap_err();
            assert!(why.contains("`{id}`") && why.contains("`{*rest}`"), "{why}");
        }
        assert!(check(&format!("/{}", "a".repeat(70_000))).is_err());
        assert!(check(&"/{a}".repeat(MOST_PARAMETERS)).is_ok());
        assert!(check(&"/{a}".repeat(MOST_PARAMETERS + 1)).is_err());
        let why = check("/caf\u{e9}").unwrap_err();
        assert!(
            why.starts_with("a path has 'é' only as `%C3%A9`; "),
            "{why}"
        );
    }

    proptest! {
        #![proptest_config(cases(512))]

        /// A pattern that is valid here and that the matcher takes, axum takes too. Nothing panics.
        #[test]
        fn what_is_valid_is_a_route(pattern in "/?([a-z:*.{}$()?]|/|\\{[a-z*:]{0,3}\\}){0,8}") {
            let is_valid = check(&pattern).is_ok();
            if is_valid && matchit::Router::new().insert(&*pattern, ()).is_ok() {
                let _router: axum::Router = axum::Router::new().route(&pattern, axum::routing::get(async || ""));
                let mut router = matchit::Router::new();
                router.insert(&*pattern, ()).unwrap();
                prop_assert!(router.at(&sample(&pattern)).is_ok(), "{pattern}");
            }
        }
    }

    #[test]
    fn a_sample_is_a_path_that_the_pattern_matches() {
        for pattern in ["/a/{id}", "/a/{*rest}", "/{{a}}", "/sku-{n}/b"] {
            let mut router = matchit::Router::new();
            router.insert(pattern, ()).unwrap();
            assert!(router.at(&sample(pattern)).is_ok(), "{pattern}");
        }
    }
}
