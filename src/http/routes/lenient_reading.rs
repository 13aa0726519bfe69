//! What a lenient reader may take a path for.
//!
//! A reader is whatever chooses the handler: a router, a file system behind it, a proxy before it.
//! Besides percent-encoding, case and a slash at the end, some readers ignore dots and blanks at
//! the end of a segment (Windows), cut off an extension or a stream name (`export.json`,
//! `export::$DATA`), and fold other letters to ASCII: full-width ones, letters with accents, or
//! characters that cannot be seen. All of these are covered at once: a character outside ASCII may
//! stand for any text, and a segment may have more after the text that it begins with.

use percent_encoding::percent_decode_str;

use super::pattern_check::{Part, parts};

/// A pattern, in segments.
#[derive(Debug)]
pub(super) struct LenientPattern(Vec<Segment>);

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// The text alone.
    Text(Vec<char>),
    /// A parameter after this text, which is mostly empty.
    Parameter(Vec<char>),
    /// The rest of the path, after this text.
    Rest(Vec<char>),
}

impl LenientPattern {
    pub(super) fn new(pattern: &str) -> Self {
        let segments = pattern.trim_end_matches('/').split('/').skip(1);
        Self(segments.map(Segment::new).collect())
    }

    /// Cuts a path into its segments.
    pub(super) fn segments(path: &str) -> Vec<Vec<char>> {
        let path = fold(path);
        let segments = path.trim_end_matches(['/', ' ', '.']).split('/').skip(1);
        segments.map(|segment| segment.chars().collect()).collect()
    }

    /// Returns whether a lenient reader may find that the pattern matches the path with these
    /// segments.
    pub(super) fn may_match(&self, path: &[Vec<char>]) -> bool {
        let mut path = path.iter();
        for segment in &self.0 {
            let Some(given) = path.next() else {
                return false;
            };
            let (fits, ends) = match segment {
                Segment::Text(text) => (may_be(given, text, Then::Suffix), false),
                Segment::Parameter(text) => (may_be(given, text, Then::Anything), false),
                Segment::Rest(text) => (may_be(given, text, Then::Anything), true),
            };
            if !fits || ends {
                return fits;
            }
        }
        path.next().is_none()
    }

    /// Returns whether a router prefers this pattern to `other` for a path that both match: where
    /// they differ first, this one has a text and the other has a parameter.
    pub(super) fn is_preferred_to(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        let differ = pairs.into_iter().find(|(one, other)| one != other);
        differ.is_some_and(|pair| match pair {
            // A path that matches the other does not match this one.
            (Segment::Text(_), Segment::Text(_)) => false,
            (one, other) => one.fixed() > other.fixed(),
        })
    }
}

impl Segment {
    fn new(segment: &str) -> Self {
        let mut text = String::new();
        for part in parts(segment) {
            match part {
                Part::Text(c) => text.push(c),
                Part::Parameter(name) if name.starts_with('*') => {
                    return Self::Rest(fold(&text).chars().collect());
                }
                Part::Parameter(_) => return Self::Parameter(fold(&text).chars().collect()),
            }
        }
        Self::Text(fold(&text).chars().collect())
    }

    /// Returns how much of the segment is fixed: a text is more than a parameter after any text.
    fn fixed(&self) -> (u8, usize) {
        match self {
            Self::Text(text) => (2, text.len()),
            Self::Parameter(text) => (1, text.len()),
            Self::Rest(text) => (0, text.len()),
        }
    }
}

/// What may come after the text that a segment begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Only what some reader cuts off.
    Suffix,
    Anything,
}

/// Returns whether a lenient reader may take `given` for `text`.
fn may_be(given: &[char], text: &[char], then: Then) -> bool {
    // The numbers of characters of the text that may have been read so far.
    let mut read = vec![false; text.len() + 1];
    read[0] = true;
    for c in given {
        let is_all_read = read[text.len()];
        if is_all_read && (then == Then::Anything || begins_suffix(*c)) {
            return true;
        }
        if c.is_ascii() {
            let is_ignored = read[0] && c.is_whitespace();
            for at in (0..text.len()).rev() {
                read[at + 1] = read[at] && (text[at] == *c || !text[at].is_ascii());
            }
            read[0] = is_ignored;
        } else {
            // Any text, or none.
            let first = read.iter().position(|read| *read);
            read.iter_mut()
                .skip(first.unwrap_or(text.len()))
                .for_each(|read| *read = true);
        }
        if !read.contains(&true) {
            return false;
        }
    }
    read[text.len()]
}

/// Returns whether some reader cuts off a segment before this character.
fn begins_suffix(c: char) -> bool {
    !c.is_ascii() || c.is_whitespace() || ".:,+".contains(c)
}

/// Decodes a text and lowers its case. Bytes that are no UTF-8 become a character outside ASCII.
fn fold(text: &str) -> String {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    decoded.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_match(pattern: &str, path: &str) -> bool {
        LenientPattern::new(pattern).may_match(&LenientPattern::segments(path))
    }

    #[test]
    fn a_lenient_reader_finds_a_text_under_many_spellings() {
        for spelling in [
            "export",
            "Export",
            "%65xport",
            "export/",
            "export.",
            "export...",
            "export%20",
            "%20export",
            "export.json",
            "export.tar.gz",
            "export::$DATA",
            "export%e3%80%82json", // an ideographic full stop
            "%ef%bd%85xport",      // a full-width e
            "%EF%BD%85%EF%BD%98%EF%BD%90%EF%BD%8F%EF%BD%92%EF%BD%94", // all of it
            "ex%c2%adport",        // a soft hyphen
            "ex%e2%80%8bport",     // a zero-width space
            "%c3%a9xport",         // an e with an accent
            "expor%ef%ac%86",      // a ligature: st, or t to a careless table
            "export%c2%ad",
            "exp%f0%9d%90%a8rt", // a mathematical o
            "exp%6frt%ff",
        ] {
            let path = format!("/invoices/{spelling}");
            assert!(may_match("/invoices/export", &path), "{path}");
        }
        for another in [
            "exports",
            "expor",
            "xport",
            "7",
            "caf%c3%a9",
            "export-7",
            "export_all",
        ] {
            let path = format!("/invoices/{another}");
            assert!(!may_match("/invoices/export", &path), "{path}");
        }
    }

    #[test]
    fn segments_are_compared_one_by_one() {
        for (pattern, path, may) in [
            ("/", "/", true),
            ("/a/{id}/b", "/a/7/b.json", true),
            ("/a/{id}/b", "/a/7/c", false),
            ("/a/{id}/b", "/a/7", false),
            ("/a", "/a/7", false),
            ("/files/{*rest}", "/files./a/b", true),
            ("/files/{*rest}", "/files", false),
            ("/sku-{n}", "/SKU-7", true),
            ("/sku-{n}", "/sku", false),
            ("/caf%C3%A9", "/cafe%CC%81", true),
            ("/{{a}}", "/%7Ba%7D", true),
        ] {
            assert_eq!(may_match(pattern, path), may, "{pattern} {path}");
        }
    }

    #[test]
    fn a_text_is_preferred_to_a_parameter_and_that_to_the_rest() {
        let preferred =
            |one, other| LenientPattern::new(one).is_preferred_to(&LenientPattern::new(other));
        for (one, other) in [
            ("/a/export", "/a/{id}"),
            ("/a/sku-{n}", "/a/{id}"),
            ("/a/{id}", "/a/{*rest}"),
            ("/a/export/{id}", "/a/{*rest}"),
        ] {
            assert!(preferred(one, other), "{one} {other}");
            assert!(!preferred(other, one), "{one} {other}");
        }
        assert!(!preferred("/a/{id}", "/a/{name}"));
        assert!(!preferred("/b/export", "/a/{id}"));
    }
}
