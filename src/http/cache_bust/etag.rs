//! Entity-tags that bear a generation, and the lists of them that clients send back.
//!
//! The salt is a prefix inside the quotes: `"abc"` becomes `"g1722457620000-abc"`. Proxies append
//! to the tag (`"abc-gzip"`, `"abc;br"`) or put `W/` before the quotes. Their additions survive the
//! salt in both directions.
//!
//! Lists come from untrusted clients. They are read by the grammar of RFC 9110, 8.8.3 and 5.6.1, in
//! one pass. The output is never longer than the input.

use http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};

use super::cookies::parsed;

/// An entity-tag, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Reads a tag at the beginning of `text`, and returns it with the rest of the text.
    fn read(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let after_weak = text.strip_prefix(b"W/");
        let quoted = after_weak.unwrap_or(text).strip_prefix(b"\"")?;
        let end = quoted.iter().position(|&byte| !is_etagc(byte))?;
        let rest = quoted[end..].strip_prefix(b"\"")?;
        let tag = Self {
            weak: after_weak.is_some(),
            opaque: &quoted[..end],
        };
        Some((tag, rest))
    }

    fn write(self, salt: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(if self.weak { b"W/\"" } else { b"\"" });
        to.extend_from_slice(salt);
        to.extend_from_slice(self.opaque);
        to.push(b'"');
    }
}

/// Whether the byte may stand between the quotes.
fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

/// Iterates over the entity-tags of a list. At a malformed tag it yields `None` as an item, and
/// ends.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Option<Tag<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        // The grammar allows empty elements.
        let begin = self
            .0
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let read = Tag::read(&self.0[begin..]).and_then(|(tag, rest)| {
            let rest = rest.trim_ascii_start();
            (rest.is_empty() || rest.starts_with(b",")).then_some((tag, rest))
        });
        self.0 = read.map_or(&[][..], |(_, rest)| rest);
        Some(read.map(|(tag, _)| tag))
    }
}

/// A client's list of entity-tags, as the inner service is to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum List {
    /// `*`.
    Any,
    /// The tags that are kept, without their salt and in their order.
    Ours(HeaderValue),
    /// A list without a tag of this generation.
    NoneOfOurs,
    /// Not a list of entity-tags.
    Malformed,
}

/// The prefix by which entity-tags of one generation differ from those of all others.
#[derive(Debug, Clone)]
pub(super) struct Salt(Vec<u8>);

impl Salt {
    pub(super) fn new(generation: u64) -> Self {
        Self(format!("g{generation}-").into_bytes())
    }

    /// Adds the salt to an entity-tag; `None` if `value` is not one.
    pub(super) fn salted(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let (tag, rest) = Tag::read(value.as_bytes().trim_ascii())?;
        if !rest.is_empty() {
            return None;
        }
        let mut salted = Vec::with_capacity(value.len() + self.0.len());
        tag.write(&self.0, &mut salted);
        HeaderValue::from_bytes(&salted).ok()
    }

    /// Reads the lines of an `If-Match` or `If-None-Match`, and keeps the tags of this generation.
    pub(super) fn unsalted<'v>(&self, lines: impl Iterator<Item = &'v HeaderValue>) -> List {
        read(lines, |opaque| opaque.strip_prefix(&self.0[..]))
    }
}

/// Reads the lines of an `If-Match` or `If-None-Match`, and keeps every tag, without the salt of
/// any generation.
pub(super) fn without_any_salt<'v>(lines: impl Iterator<Item = &'v HeaderValue>) -> List {
    let after_salt = |opaque: &'v [u8]| {
        let salted = opaque.strip_prefix(b"g")?;
        let end = salted.iter().position(|&byte| byte == b'-')?;
        parsed(&salted[..end])?;
        Some(&salted[end + 1..])
    };
    read(lines, |opaque| Some(after_salt(opaque).unwrap_or(opaque)))
}

/// Whether the request's `If-None-Match` names the entity-tag `tag` (weak comparison, RFC 9110,
/// 13.1.2).
pub(in crate::http) fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let opaque = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
    let same = |known: &[u8]| known == opaque.as_bytes();
    let lines = request.get_all(IF_NONE_MATCH).iter();
    match read(lines, |known| same(known).then_some(known)) {
        List::Any | List::Ours(_) => true,
        List::NoneOfOurs | List::Malformed => false,
    }
}

/// Reads lines of entity-tags. `kept` maps the text between the quotes, or drops the tag.
fn read<'v>(
    lines: impl Iterator<Item = &'v HeaderValue>,
    kept: impl Fn(&'v [u8]) -> Option<&'v [u8]>,
) -> List {
    let mut ours = Vec::new();
    let (mut any, mut tags) = (false, false);
    for line in lines {
        let line = line.as_bytes().trim_ascii();
        if line == b"*" {
            if any {
                return List::Malformed;
            }
            any = true;
            continue;
        }
        for tag in Tags(line) {
            let Some(tag) = tag else {
                return List::Malformed;
            };
            tags = true;
            if let Some(opaque) = kept(tag.opaque) {
                if !ours.is_empty() {
                    ours.push(b',');
                }
                Tag { opaque, ..tag }.write(b"", &mut ours);
            }
        }
    }
    match (any, tags, ours.is_empty()) {
        (true, false, _) => List::Any,
        (false, true, true) => List::NoneOfOurs,
        (false, true, false) => HeaderValue::from_bytes(&ours).map_or(List::Malformed, List::Ours),
        // An empty list, or `*` beside entity-tags.
        (false, false, _) | (true, true, _) => List::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: impl AsRef<[u8]>) -> HeaderValue {
        HeaderValue::from_bytes(text.as_ref()).unwrap()
    }

    fn read(salt: &Salt, lines: &[&str]) -> List {
        let lines: Vec<_> = lines.iter().map(value).collect();
        salt.unsalted(lines.iter())
    }

    fn ours(text: &str) -> List {
        List::Ours(value(text))
    }

    #[test]
    fn the_salt_stands_within_the_quotes_and_weak_stays_weak() {
        let salt = Salt::new(7);
        assert_eq!(salt.salted(&value("\"abc\"")).unwrap(), "\"g7-abc\"");
        assert_eq!(salt.salted(&value("W/\"abc\"")).unwrap(), "W/\"g7-abc\"");
        assert_eq!(salt.salted(&value("\"\"")).unwrap(), "\"g7-\"");
        for none in ["abc", "w/\"a\"", "\"a", "a\"", "\"a\"b", "\"a b\"", "*", ""] {
            assert_eq!(salt.salted(&value(none)), None, "{none}");
        }
    }

    #[test]
    fn a_list_keeps_what_is_of_this_generation() {
        let salt = Salt::new(7);
        assert_eq!(
            read(&salt, &["\"g7-a\", W/\"g7-b\""]),
            ours("\"a\",W/\"b\"")
        );
        assert_eq!(read(&salt, &["\"g6-a\",\"g7-b\""]), ours("\"b\""));
        assert_eq!(read(&salt, &["\"g6-a\"", " \"g7-b\"\t"]), ours("\"b\""));
        assert_eq!(read(&salt, &[",, \"g7-a\" ,"]), ours("\"a\""));
        assert_eq!(
            read(&salt, &["\"g7-a,b\""]),
            ours("\"a,b\""),
            "a comma within quotes"
        );
        assert_eq!(
            read(&salt, &["\"g7-g7-a\""]),
            ours("\"g7-a\""),
            "one salt, not all"
        );
        assert_eq!(read(&salt, &["*"]), List::Any);
        for nobodys in [
            "\"g6-a\"",
            "\"g77-a\"",
            "\"g07-a\"",
            "\"g+7-a\"",
            "\"G7-a\"",
            "\"g7\"",
            "\"a\"",
            "\"\"",
        ] {
            assert_eq!(read(&salt, &[nobodys]), List::NoneOfOurs, "{nobodys}");
        }
        for bad in [
            "",
            ",",
            "g7-a",
            "\"g7-a",
            "\"g7-a\" \"g7-b\"",
            "*, \"g7-a\"",
            "\"g7-a\", *",
            "w/\"g7-a\"",
        ] {
            assert_eq!(read(&salt, &[bad]), List::Malformed, "{bad}");
        }
        assert_eq!(read(&salt, &["*", "\"g7-a\""]), List::Malformed);
        assert_eq!(read(&salt, &["*", "*"]), List::Malformed);
    }

    #[test]
    fn the_salt_of_any_generation_goes_and_all_else_stays() {
        let read = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(value).collect();
            without_any_salt(lines.iter())
        };
        assert_eq!(
            read(&["\"g7-a\", W/\"g1722457620000-b\"", "\"c\""]),
            ours("\"a\",W/\"b\",\"c\"")
        );
        assert_eq!(read(&["\"g7-g8-a\""]), ours("\"g8-a\""), "one salt");
        for kept in [
            "\"g-a\"",
            "\"g07-a\"",
            "\"g+7-a\"",
            "\"G7-a\"",
            "\"g7\"",
            "\"gx7-a\"",
            "\"g99999999999999999999-a\"",
            "\"\"",
        ] {
            assert_eq!(read(&[kept]), ours(kept), "{kept}");
        }
        assert_eq!(read(&["*"]), List::Any);
        for bad in ["", ",", "g7-a", "*, \"g7-a\"", "\"g7-a"] {
            assert_eq!(read(&[bad]), List::Malformed, "{bad}");
        }
    }

    fn entity_tag() -> impl Strategy<Value = Vec<u8>> {
        let opaque = proptest::collection::vec(any::<u8>(), 0..40);
        (any::<bool>(), opaque).prop_map(|(weak, opaque)| {
            let mut tag = if weak {
                b"W/\"".to_vec()
            } else {
                b"\"".to_vec()
            };
            tag.extend(opaque.into_iter().filter(|byte| is_etagc(*byte)));
            tag.push(b'"');
            tag
        })
    }

    proptest! {
        #[test]
        fn every_entity_tag_comes_back_as_it_was(tag in entity_tag(), generation: u64) {
            let salt = Salt::new(generation);
            let salted = salt.salted(&value(&tag)).unwrap();
            prop_assert_eq!(salt.unsalted([&salted].into_iter()), List::Ours(value(&tag)));
            // The result is an entity-tag again, so that layers can be nested.
            prop_assert!(salt.salted(&salted).is_some());
        }

        #[test]
        fn only_this_generation_is_recognised(tag in entity_tag(), generation: u64, other: u64) {
            prop_assume!(generation != other);
            let salted = Salt::new(other).salted(&value(&tag)).unwrap();
            let salt = Salt::new(generation);
            prop_assert_eq!(salt.unsalted([&salted].into_iter()), List::NoneOfOurs);
        }

        #[test]
        fn a_list_is_its_entries_in_their_order(
            entries in proptest::collection::vec((entity_tag(), any::<bool>()), 1..20),
            lines in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let (salt, other) = (Salt::new(7), Salt::new(6));
            let mut sent: Vec<Vec<u8>> = vec![Vec::new()];
            let mut kept: Vec<Vec<u8>> = Vec::new();
            for ((tag, is_ours), new_line) in entries.iter().zip(lines) {
                if new_line {
                    sent.push(Vec::new());
                }
                let salted = if *is_ours { &salt } else { &other }.salted(&value(tag)).unwrap();
                let line = sent.last_mut().unwrap();
                line.extend_from_slice(b" , ");
                line.extend_from_slice(salted.as_bytes());
                if *is_ours {
                    kept.push(tag.clone());
                }
            }
            let sent: Vec<_> = sent.iter().map(value).collect();
            let expected = if kept.is_empty() {
                List::NoneOfOurs
            } else {
                List::Ours(value(kept.join(&b","[..])))
            };
            prop_assert_eq!(salt.unsalted(sent.iter()), expected);
        }

        #[test]
        fn whatever_a_client_sends_is_read_without_growing(
            lines in proptest::collection::vec("[\"W/*, \tg7\\-a\u{e9}]{0,60}", 0..5),
        ) {
            let lines: Vec<_> = lines.iter().map(value).collect();
            let sent: usize = lines.iter().map(HeaderValue::len).sum();
            let salt = Salt::new(7);
            if let List::Ours(kept) = salt.unsalted(lines.iter()) {
                prop_assert!(kept.len() <= sent);
            }
            for line in &lines {
                let _ = salt.salted(line);
            }
        }
    }
}
