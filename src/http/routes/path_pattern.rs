//! Path patterns in the router's own syntax.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use crate::exemptions::{self, ExemptionError};

/// Finds the pattern a path matches.
#[derive(Debug)]
pub(in crate::http) struct Matcher(matchit::Router<usize>);

/// A pattern that the router would not take, and why.
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

    /// The number of the pattern that `path` matches; none if it is ambiguous.
    #[inline]
    pub(in crate::http) fn find(&self, path: &str) -> Option<usize> {
        let found = self.0.at(path).ok()?;
        // Asked only then: most paths match nothing.
        (!is_ambiguous(path)).then_some(*found.value)
    }
}

/// Compiles numbered patterns, for [`exemptions::Exemption`].
pub(in crate::http) fn compile(
    patterns: &[(usize, &str)],
) -> Result<Box<dyn exemptions::Paths>, ExemptionError> {
    Ok(Box::new(Matcher::new(patterns.iter().copied())?))
}

/// Numbered patterns, for who must know which one is meant whoever reads the path.
#[derive(Debug)]
pub(in crate::http) struct Readings {
    /// By the number of a pattern.
    strict: Matcher,
    /// As [`fold`] leaves them, by their place in `spellings`.
    lenient: Matcher,
    /// The numbers of the patterns that are alike: `/a` and `/A/` are two, and one for who reads leniently.
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

    /// The number of the pattern that `path` matches; none if it is ambiguous, or who reads leniently would choose another.
    pub(in crate::http) fn find(&self, path: &str) -> Option<usize> {
        let number = self.strict.find(path)?;
        let alike = &self.spellings[self.lenient.find(&fold(path))?];
        alike.contains(&number).then_some(number)
    }
}

/// A pattern without the names of its parameters, which tell none from another.
fn unnamed(pattern: &str) -> String {
    // Two braces are one that stands for itself.
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

/// A path, or a pattern, as one who reads leniently takes it.
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

/// Whether two parts of a stack might read the path differently. What is ambiguous is not exempt.
#[inline]
pub(in crate::http) fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return true; // `*`, or the authority of a CONNECT
    }
    // Nearly every path is plain, and every call with an exemption by path comes through here.
    !is_plain(bytes) && is_ambiguous_somewhere(path)
}

/// The same, of every byte.
#[inline(never)]
fn is_ambiguous_somewhere(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut has_escapes = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b';' | b'\\' | b'\0' => return true,
            b'%' => has_escapes = true,
            b'/' => match &bytes[at + 1..] {
                [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => {
                    return true;
                }
                _ => {}
            },
            _ => {}
        }
    }
    has_escapes && has_odd_escape(path)
}

/// As many bytes as processors compare at once.
const AT_ONCE: usize = 16;

/// Whether nothing in the path could make it ambiguous: no byte that has a meaning but `/`, and no two of those together.
#[inline]
fn is_plain(path: &[u8]) -> bool {
    let mut padded = [b'a'; AT_ONCE + 1];
    let path = if path.len() < padded.len() {
        padded[..path.len()].copy_from_slice(path);
        &padded
    } else {
        path
    };
    let [first, after @ ..] = path else {
        return true;
    };
    // Each byte with the one before it.
    let before = &path[..after.len()];
    let mut odd = [is_odd(*first); AT_ONCE];
    let mut look = |after: &[u8; AT_ONCE], before: &[u8; AT_ONCE]| {
        for (odd, (byte, before)) in odd.iter_mut().zip(after.iter().zip(before)) {
            *odd |= is_odd_after(*byte, *before);
        }
    };
    for (after, before) in after.as_chunks().0.iter().zip(before.as_chunks().0) {
        look(after, before);
    }
    // The last ones overlap with what they follow.
    if let (Some(after), Some(before)) = (after.last_chunk(), before.last_chunk()) {
        look(after, before);
    }
    !odd.into_iter().fold(false, |any, odd| any | odd)
}

/// Whether a byte might make a path ambiguous by itself.
#[inline]
fn is_odd(byte: u8) -> bool {
    // Without a branch in it.
    (byte == b';') | (byte == b'\\') | (byte == 0) | (byte == b'%') | (byte == b'.')
}

/// The same, after this one: two slashes together do it as well.
#[inline]
fn is_odd_after(byte: u8, before: u8) -> bool {
    is_odd(byte) | ((byte == b'/') & (before == b'/'))
}

/// Whether something stands percent-encoded that another part of a stack might act upon once it has
/// decoded it: a separator, another `%`, a control character, an overlong form of such a one; or
/// whether a `%` begins no escape, which each part mends in its own way.
fn has_odd_escape(path: &str) -> bool {
    let mut before = None;
    path.split('%').skip(1).any(|after| {
        let Some(byte) = after.as_bytes().get(..2).and_then(from_hex) else {
            return true;
        };
        let odd = match byte {
            b'.' | b'/' | b'\\' | b';' | b'%' | b'?' | b'#' => true,
            // UTF-8 never has these two; lenient decoders take %c0%af for a slash.
            0xc0 | 0xc1 => true,
            0x80..0xa0 if before == Some(0xe0) => true,
            0x80..0x90 if before == Some(0xf0) => true,
            _ => byte.is_ascii_control(),
        };
        before = (after.len() == 2).then_some(byte);
        odd
    })
}

fn from_hex(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0, |byte, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(byte << 4 | digit as u8)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::property_cases::cases;

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
            // No escapes, and what becomes of them after two rounds of decoding.
            "/health/%",
            "/health/%2",
            "/health/%+f",
            "/health/%u002f",
            "/health/%%32%65",
            // Overlong UTF-8: `.` and `/` for a decoder that does not mind.
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

    proptest! {
        #![proptest_config(cases(2_000))]

        /// What the quick look lets pass, the thorough one lets pass.
        #[test]
        fn a_plain_path_is_not_ambiguous(path in "/([a-z/.;%\\\\\\x00]|/[a-z]{1,9}|%2[eEfF])*") {
            if is_plain(path.as_bytes()) {
                prop_assert!(!is_ambiguous_somewhere(&path), "{path}");
            }
        }
    }

    #[test]
    fn what_may_be_ambiguous_is_not_plain() {
        for plain in ["/", "/v1/invoices/7", "/a/"] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for odd in ["/a.b", "//", "/a//b", "/%41", "/;", "/\\", "/\0"] {
            assert!(!is_plain(odd.as_bytes()), "{odd}");
            // Wherever it stands, however long the path is.
            for (before, after) in
                (0..40).flat_map(|before| (0..40).map(move |after| (before, after)))
            {
                let path = format!("{}{odd}{}", "a".repeat(before), "a".repeat(after));
                assert!(!is_plain(path.as_bytes()), "{path}");
            }
        }
        for length in 0..80 {
            assert!(is_plain("a".repeat(length).as_bytes()), "{length}");
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
