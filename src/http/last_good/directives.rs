//! `Cache-Control` as a cache must read it: names without regard to case, quoted values, no
//! guesses.
//!
//! `http-cache-semantics` compares names with their case, and skips a value that is not ASCII. It
//! would take `Private` for public. So it gets the directives that are read here, and an answer
//! with a malformed header is not stored.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, PRAGMA},
};

/// The value of a number that is too large, by RFC 9111, 1.2.2: 68 years in seconds.
const LONGEST: u64 = 1 << 31;
/// A header with more directives than this is not genuine.
const MOST: usize = 32;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    /// Reads the directives; `None` if they are malformed or contradict each other.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut all = Self::default();
        for value in headers.get_all(CACHE_CONTROL) {
            let mut rest = value.to_str().ok()?;
            while !rest.is_empty() {
                let directive;
                (directive, rest) = split_at_comma(rest)?;
                if directive.is_empty() {
                    continue;
                }
                let (name, argument) = match directive.split_once('=') {
                    Some((name, argument)) => (name, Some(unquoted(argument)?)),
                    None => (directive, None),
                };
                if !is_token(name) {
                    return None;
                }
                let name = name.to_ascii_lowercase();
                match all.0.iter().find(|(known, _)| *known == name) {
                    Some((_, known)) if *known != argument => return None,
                    Some(_) => {}
                    None if all.0.len() == MOST => return None,
                    None => all.0.push((name, argument)),
                }
            }
        }
        // `Pragma` counts only without `Cache-Control` (RFC 9111, 5.4).
        if !headers.contains_key(CACHE_CONTROL) {
            for value in headers.get_all(PRAGMA) {
                if value
                    .to_str()
                    .ok()?
                    .to_ascii_lowercase()
                    .contains("no-cache")
                {
                    all.0.push(("no-cache".to_owned(), None));
                }
            }
        }
        Some(all)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Returns the seconds of a directive; 0 if its argument is missing or malformed.
    pub(super) fn seconds(&self, name: &str) -> Option<Duration> {
        let (_, argument) = self.0.iter().find(|(known, _)| known == name)?;
        let seconds = argument.as_deref().map_or(0, seconds);
        Some(Duration::from_secs(seconds))
    }

    /// Whether the directive exists without an argument.
    pub(super) fn is_bare(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(known, argument)| known == name && argument.is_none())
    }

    /// Returns those of `names` that exist as a header with plain numbers, for a simpler parser.
    pub(super) fn plain(&self, names: &[&str]) -> Option<HeaderValue> {
        let known = self.0.iter().filter(|(name, _)| names.contains(&&**name));
        let plain: Vec<String> = known
            .map(|(name, argument)| match argument {
                Some(argument) => format!("{name}={}", seconds(argument)),
                None => name.clone(),
            })
            .collect();
        HeaderValue::from_str(&plain.join(", "))
            .ok()
            .filter(|plain| !plain.is_empty())
    }
}

/// Parses delta-seconds (RFC 9111, 1.2.2). Malformed text counts as 0, so that the answer is stale,
/// as RFC 9111, 4.2.1, encourages.
pub(super) fn seconds(text: &str) -> u64 {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(LONGEST).min(LONGEST)
}

/// Splits the text at the next comma outside quotes; `None` if a quote is not closed.
fn split_at_comma(text: &str) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some((text[..at].trim(), &text[at + 1..])),
            _ => {}
        }
    }
    (!quoted).then(|| (text.trim(), ""))
}

/// Returns a token, or the text inside quotes: some servers quote numbers.
fn unquoted(argument: &str) -> Option<String> {
    if is_token(argument) {
        return Some(argument.to_owned());
    }
    let inner = argument.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.to_owned())
}

fn is_token(text: &str) -> bool {
    let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || special(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Option<Directives> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_bytes(value).unwrap());
        }
        Directives::read(&headers)
    }

    #[test]
    fn a_directive_is_known_however_it_is_written() {
        for value in [
            &b"PRIVATE"[..],
            b"max-age=5 ,\tPrivate",
            b",,private,,",
            b"private=\"set-cookie, x\", max-age=5",
            b"x=\"a\\\", b\", private",
        ] {
            let read = read(&[value]).unwrap();
            assert!(read.has("private"), "{}", value.escape_ascii());
            assert!(!read.has("set-cookie") && !read.has("b\""));
        }
        assert!(!read(&[b"x=\"private, no-store\""]).unwrap().has("private"));
        assert!(read(&[b"max-age=5", b"no-store"]).unwrap().has("no-store"));
    }

    #[test]
    fn malformed_and_contradictory_directives_are_rejected() {
        for values in [
            &[&b"public, x=\xff"[..]][..],
            &[b"max-age=\"5"],
            &[b"max age=5"],
            &[b"=5"],
            &[b"max-age=5, max-age=6"],
            &[b"max-age=5", b"Max-Age"],
        ] {
            assert_eq!(read(values), None, "{values:?}");
        }
        assert!(read(&[b"max-age=5", b"MAX-AGE=5"]).is_some());
        let many: Vec<String> = (0..100).map(|n| format!("x{n}")).collect();
        assert_eq!(read(&[many.join(",").as_bytes()]), None);
    }

    #[test]
    fn a_number_that_is_too_large_is_68_years_and_a_malformed_one_is_0() {
        let age = |text: &str| {
            let read = read(&[format!("max-age={text}").as_bytes()]).unwrap();
            read.seconds("max-age").unwrap().as_secs()
        };
        assert_eq!(age("60"), 60);
        assert_eq!(age("\"60\""), 60);
        assert_eq!(age("99999999999999999999999999"), LONGEST);
        for bad in ["-1", "1.5", "abc", "\"\"", "0x10"] {
            assert_eq!(age(bad), 0, "{bad}");
        }
    }
}
