//! The form and the language of a refusal that a client accepts.

use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT, ACCEPT_LANGUAGE},
};

/// The form of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Problem,
    Page,
}

/// The types that get the page. A client that names only XHTML is a browser, and reads HTML.
const PAGE: [&str; 2] = ["text/html", "application/xhtml+xml"];
/// The types that get the problem document.
const PROBLEM: [&str; 2] = ["application/problem+json", "application/json"];

impl Form {
    /// Returns the form that `Accept` prefers.
    ///
    /// A client whose `Accept` is absent, `*/*` or invalid is taken for a program and gets the
    /// problem document. A browser names `text/html`. Parameters other than the weight do not
    /// matter: `text/html; charset=utf-8` is HTML. A member of the list that is malformed is passed
    /// over, and the others count.
    pub(super) fn preferred(headers: &HeaderMap) -> Self {
        let accept = joined(headers, ACCEPT).unwrap_or_default();
        let ranges: Vec<Range<'_>> = members(&accept).filter_map(Range::of).collect();
        let excluded = ranges
            .iter()
            .any(|range| range.weight == 0 && range.is(PAGE[0]));
        let page = best(&ranges, &PAGE).filter(|_| !excluded);
        match (page, best(&ranges, &PROBLEM)) {
            (Some(page), Some(problem)) if page > problem => Self::Page,
            (Some(_), None) => Self::Page,
            _ => Self::Problem,
        }
    }
}

/// How much a client wants a type: by the weight, then how exactly a range names the type, then how
/// early it stands in the list.
type Wanted = (u32, u8, std::cmp::Reverse<usize>);

/// A member of `Accept`: a media range with its weight.
#[derive(Debug, Clone, Copy)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u32,
}

impl<'a> Range<'a> {
    /// Reads a member; `None` if it is malformed.
    fn of(member: &'a str) -> Option<Self> {
        let mut parts = split(member, b';').map(str::trim);
        let range = parts.next()?;
        let (kind, subtype) = match range {
            // Sent by some programs in place of `*/*`.
            "*" => ("*", "*"),
            range => range.split_once('/')?,
        };
        let is_token = |text: &str| {
            let is_part = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
            !text.is_empty() && text.bytes().all(is_part)
        };
        if !is_token(kind) || !is_token(subtype) || (kind == "*" && subtype != "*") {
            return None;
        }
        let is_weight = |part: &&str| {
            let name = part.split('=').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("q")
        };
        let weight = match parts.find(is_weight) {
            Some(part) => weight(part)?,
            None => 1000,
        };
        Some(Self {
            kind,
            subtype,
            weight,
        })
    }

    /// Returns how exactly the range names the type; `None` if it does not.
    fn exactness(&self, media_type: &str) -> Option<u8> {
        let (kind, subtype) = media_type.split_once('/')?;
        let (is_kind, is_subtype) = (
            self.kind.eq_ignore_ascii_case(kind),
            self.subtype.eq_ignore_ascii_case(subtype),
        );
        match (self.kind, self.subtype) {
            _ if is_kind && is_subtype => Some(2),
            (_, "*") if is_kind => Some(1),
            ("*", _) => Some(0),
            _ => None,
        }
    }

    fn is(&self, media_type: &str) -> bool {
        self.exactness(media_type) == Some(2)
    }
}

/// Returns how much the client wants one of these types; `None` if it accepts none.
fn best(ranges: &[Range<'_>], types: &[&str]) -> Option<Wanted> {
    let wanted = types.iter().filter_map(|media_type| {
        let named = ranges.iter().enumerate().filter_map(|(at, range)| {
            let exactness = range.exactness(media_type)?;
            Some((exactness, range.weight, std::cmp::Reverse(at)))
        });
        // The most exact range decides (RFC 9110, 12.5.1), also if its weight is 0.
        let (exactness, weight, at) = named.max()?;
        (weight > 0).then_some((weight, exactness, at))
    });
    wanted.max()
}

/// Splits a list at its commas, but not within a quoted text.
fn members(list: &str) -> impl Iterator<Item = &str> {
    split(list, b',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// Splits a text at a separator that is not within quotes. A quote that does not end goes on to the
/// end of the text.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let is_end = byte == separator && !quoted;
            quoted ^= byte == b'"' && !escaped;
            escaped = byte == b'\\' && quoted && !escaped;
            is_end
        });
        let (member, after) = match end {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(member)
    })
}

/// Chooses among the `offered` languages by `Accept-Language`, and returns the index of the choice.
///
/// A range finds a language by the lookup of RFC 4647, 3.4: `de` serves `de-AT`. If that finds
/// none, it finds the nearest relative: `pt-BR` serves `pt-PT` and `pt` better than English does.
/// Of the languages found, the one with the largest weight is chosen. The default is the first
/// offered language.
///
/// The parser is written here, because the available crates either ignore weights or compare them
/// as floats that may be NaN.
pub(crate) fn language<'l>(
    headers: &HeaderMap,
    offered: impl Iterator<Item = &'l str> + Clone,
) -> usize {
    let Some(wanted) = joined(headers, ACCEPT_LANGUAGE) else {
        return 0;
    };
    let ranges: Vec<_> = wanted
        .split(',')
        .filter_map(|range| {
            let (tag, weight) = match range.split_once(';') {
                Some((tag, parameter)) => (tag.trim(), weight(parameter)?),
                None => (range.trim(), 1000),
            };
            let found = lookup(tag, offered.clone());
            // A range that finds nothing is not kept: a field may have thousands of commas.
            (found.is_some() || tag == "*").then_some((tag, weight, found))
        })
        .collect();
    // For each language: whether a range finds it, and whether a range excludes it with a weight of
    // 0.
    let mut named = vec![(false, false); offered.clone().count()];
    for (tag, weight, found) in &ranges {
        if let Some(number) = *found {
            let itself = offered.clone().nth(number);
            let is_itself = itself.is_some_and(|itself| itself.eq_ignore_ascii_case(tag));
            named[number].0 = true;
            named[number].1 |= *weight == 0 && is_itself;
        }
    }
    let unnamed = named.iter().position(|(is_named, _)| !is_named);
    let mut best = None;
    for (tag, weight, found) in ranges {
        // An asterisk matches every language that no other range finds (RFC 9110, 12.5.4).
        let found = if tag == "*" { unnamed } else { found };
        let Some(number) = found.filter(|number| weight > 0 && !named[*number].1) else {
            continue;
        };
        // Of equal weights the first wins.
        if best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, number));
        }
    }
    best.map_or(0, |(_, number)| number)
}

/// Reads a weight such as `q=0.25`, in thousandths. More digits are cut off, and `q=.2` is read
/// too: programs send both.
fn weight(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.trim().split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value = value.trim();
    let (whole, part) = value.split_once('.').unwrap_or((value, ""));
    let digits = part.bytes().all(|digit| digit.is_ascii_digit());
    let part = part.get(..3).filter(|_| digits).unwrap_or(part);
    let part: u32 = format!("{part:0<3}").parse().ok().filter(|_| digits)?;
    match (whole, part) {
        ("", part) if value.len() > 1 => Some(part),
        ("0", part) => Some(part),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

fn lookup<'l>(range: &str, offered: impl Iterator<Item = &'l str> + Clone) -> Option<usize> {
    let mut range = range;
    loop {
        let exactly = |tag: &str| tag.eq_ignore_ascii_case(range);
        let more_closely = |tag: &str| {
            tag.split_at_checked(range.len())
                .is_some_and(|(begin, rest)| exactly(begin) && rest.starts_with('-'))
        };
        let found = offered.clone().position(exactly);
        let found = found.or_else(|| offered.clone().position(more_closely));
        if found.is_some() {
            return found;
        }
        (range, _) = range.rsplit_once('-')?;
    }
}

/// Joins the fields of one name into one list (RFC 9110, 5.3). Bytes that are no UTF-8 spoil the
/// member that they stand in, and no other.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter();
    let values: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::base::property_cases::cases;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const HTML: &[&str] = &[
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html",
        "TEXT/HTML; q=0.7",
        "text/*",
        "application/json;q=0.5, text/html;q=0.6",
        "text/html; charset=utf-8",
        "text/html;charset=UTF-8;q=0.9, application/json;q=0.8",
        "text/html ; q = 0.9 ; charset=utf-8, */* ; q=0.1",
        "text/html;level=1;note=\"a, b; q=0\", application/json;q=0.9",
        "application/xhtml+xml",
        "application/xhtml+xml;q=0.9, */*;q=0.8",
        "APPLICATION/XHTML+XML, application/json;q=0.5",
        // Java's default.
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "text/html;q=0.9999, application/json;q=0.9",
        "text/html, application/json",
        "text/html, */*",
        "*/*, text/html",
        // A malformed member is passed over.
        "text/html, application/json;q=high",
        "text/html, ;;;, /, a, a/, */json, application/json;q=2",
        ", text/html,",
        "text/html, \"",
        "json, text/html",
    ];

    const JSON: &[&str] = &[
        "*/*",
        "application/json",
        "application/problem+json",
        "application/json, text/html;q=0.9",
        "text/html;q=0, */*",
        "text/html;q=0.1, */*",
        "application/json, text/html",
        "text/html;q=0",
        "text/html;q=0, text/*",
        "text/html;q=0, application/xhtml+xml",
        "text/html;q=high",
        "application/json;charset=utf-8, text/html;q=0.9",
        "application/problem+json, text/html;q=0.5",
        "*",
        "\"text/html",
        "application/json;note=\"a, text/html\"",
        "image/*",
        "text/html/",
        "\"",
        "",
    ];

    #[test]
    fn a_browser_gets_the_page_and_a_program_the_problem() {
        let form = |accept: &[&str]| Form::preferred(&with(ACCEPT, accept));
        for accept in HTML {
            assert_eq!(form(&[accept]), Form::Page, "{accept}");
        }
        for accept in JSON {
            assert_eq!(form(&[accept]), Form::Problem, "{accept}");
        }
        assert_eq!(form(&[]), Form::Problem);
        assert_eq!(form(&["application/json;q=0.1", "text/html"]), Form::Page);
    }

    #[test]
    fn the_language_is_the_one_wanted_most_of_those_there_are() {
        let offered = ["en", "de", "pt-BR"];
        let chosen = |wanted: &str| {
            offered[language(&with(ACCEPT_LANGUAGE, &[wanted]), offered.into_iter())]
        };
        for (wanted, expected) in [
            ("de", "de"),
            ("DE-at", "de"),
            ("fr, de;q=0.3", "de"),
            ("en;Q=0.5, de;Q=0.6", "de"),
            ("en;q=0.2, de;q=0.25", "de"),
            ("de;q=0.2, en;q=0.25", "en"),
            ("pt-br", "pt-BR"),
            // A relative is better than the default, but a language that is offered goes before it.
            ("pt", "pt-BR"),
            ("pt-PT", "pt-BR"),
            ("pt-PT,pt;q=0.9,en;q=0.8", "pt-BR"),
            ("pt-PT;q=0.4, de;q=0.5", "de"),
            ("p", "en"),
            ("pt-B", "pt-BR"),
            ("ptx", "en"),
            // An asterisk matches the languages that no range names.
            ("*", "en"),
            ("en;q=0, *", "de"),
            ("*;q=0.5, en;q=0.1", "de"),
            ("en;q=0, de;q=0, pt;q=0, *", "en"),
            // A relative does not serve a range if it is excluded itself.
            ("PT-br;q=0, pt, de;q=0.5", "de"),
            ("pt, pt-BR;q=0", "en"),
            ("fr", "en"),
            ("de;q=0", "en"),
            ("de;q=nan, pt-BR;q=0.1", "pt-BR"),
            ("de;q=2, de;q=-1, de;q=0.5x", "en"),
            ("*;q=0.5, de", "de"),
            (",,;;q,de-", "de"),
            ("", "en"),
        ] {
            assert_eq!(chosen(wanted), expected, "{wanted}");
        }
        assert_eq!(language(&HeaderMap::new(), offered.into_iter()), 0);
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn whatever_a_client_accepts_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, value.clone());
            headers.insert(ACCEPT_LANGUAGE, value);
            Form::preferred(&headers);
            prop_assert!(language(&headers, ["en", "de"].into_iter()) < 2);
        }
    }
}
