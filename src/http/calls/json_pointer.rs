//! JSON pointers (RFC 6901), followed through bytes without building the document.
//!
//! The parser stops as soon as the value is read. The bytes after the value may be cut off,
//! invalid, or hostile, and cost nothing. The bytes before it are skipped and not built into
//! values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess};
use serde_json::Value;

use super::json_scalar::JsonScalar;

/// Returns whether the bytes are one JSON value, with white space around it. No value is built, and
/// the depth is not limited.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = <IgnoredAny as serde::Deserialize>::deserialize(&mut deserializer);
    read.and_then(|_| deserializer.end()).is_ok()
}

/// A rule of a [`JsonAnswer`](super::JsonAnswer) is invalid: its pointer is no JSON pointer (RFC
/// 6901), or it can never decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("JSON pointer `{pointer}`: {fault}")]
pub struct PointerError {
    pointer: String,
    fault: String,
}

impl PointerError {
    pub(super) fn new(pointer: &str, fault: impl Into<String>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            fault: fault.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    pub(super) fn parse(pointer: &str) -> Result<Self, PointerError> {
        let refused = |fault| PointerError::new(pointer, fault);
        if pointer.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let Some(rest) = pointer.strip_prefix('/') else {
            return Err(refused(format!(
                "it must be empty or begin with `/`, as in `/{pointer}`"
            )));
        };
        let mut after_tilde = pointer.split('~').skip(1);
        if after_tilde.any(|rest| !rest.starts_with(['0', '1'])) {
            let fault = "`~` must be followed by 0, for `~` itself, or by 1, for `/`";
            return Err(refused(fault.to_owned()));
        }
        // The order matters: `~01` stands for `~1`, not for `/`.
        let unescaped = |token: &str| token.replace("~1", "/").replace("~0", "~");
        Ok(Self(rest.split('/').map(unescaped).collect()))
    }

    /// Returns the value that the pointer leads to.
    ///
    /// It is `None` if the bytes are not JSON up to the value, and for null, a list or an object.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<JsonScalar> {
        let mut found = None;
        let follow = Follow {
            path: &self.0,
            found: &mut found,
        };
        // `Follow` always ends with an error once the value is found. After a real error `found` is
        // still `None`.
        let _ = follow.deserialize(&mut serde_json::Deserializer::from_slice(bytes));
        JsonScalar::of(found?)
    }
}

/// Follows a path, and stores the value at its end in `found`.
///
/// When the value is found, or known to be absent, it returns an error. That is the only way to
/// stop serde without reading the rest of the enclosing lists and objects.
struct Follow<'p> {
    path: &'p [String],
    found: &'p mut Option<Value>,
}

impl<'de> DeserializeSeed<'de> for Follow<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.path.is_empty() {
            return deserializer.deserialize_any(self);
        }
        *self.found = Some(serde::Deserialize::deserialize(deserializer)?);
        Err(D::Error::custom("found"))
    }
}

impl<'de> serde::de::Visitor<'de> for Follow<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((key, path)) = self.path.split_first() else {
            return Err(A::Error::custom("the path ends here"));
        };
        while let Some(is_it) = map.next_key_seed(IsKey(key))? {
            if is_it {
                let found = self.found;
                map.next_value_seed(Follow { path, found })?;
                return Err(A::Error::custom("the key leads nowhere"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((token, path)) = self.path.split_first() else {
            return Err(A::Error::custom("the path ends here"));
        };
        let Some(index) = index(token) else {
            return Err(A::Error::custom("no index"));
        };
        for _ in 0..index {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        let found = self.found;
        list.next_element_seed(Follow { path, found })?;
        Err(A::Error::custom("the index leads nowhere"))
    }
}

/// Returns an index if it is written as RFC 6901 demands: without a sign and without leading zeros.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (token.len() > 1 && token.starts_with('0')) {
        return None;
    }
    token.parse().ok()
}

/// Reads a key and returns whether it is this one. The key is not stored.
struct IsKey<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl serde::de::Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::http::calls) fn found(pointer: &str, body: &[u8]) -> Option<JsonScalar> {
        Pointer::parse(pointer).unwrap().find(body)
    }

    #[test]
    fn a_pointer_finds_what_rfc_6901_says() {
        let body = br#"{
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8, "~1": 9, "null": null, "01": 10, "deep": {"01": [[false]]}
        }"#;
        for (pointer, wanted) in [
            ("/foo/0", Some("bar".into())),
            ("/foo/1", Some("baz".into())),
            ("/", Some(0.into())),
            ("/a~1b", Some(1.into())),
            ("/c%d", Some(2.into())),
            ("/e^f", Some(3.into())),
            ("/g|h", Some(4.into())),
            ("/i\\j", Some(5.into())),
            ("/k\"l", Some(6.into())),
            ("/ ", Some(7.into())),
            ("/m~0n", Some(8.into())),
            ("/~01", Some(9.into())),
            ("/01", Some(10.into())),
            ("/deep/01/0/0", Some(false.into())),
            ("", None),
            ("/foo", None),
            ("/null", None),
            ("/foo/2", None),
            ("/foo/-", None),
            ("/foo/00", None),
            ("/foo/+1", None),
            ("/foo/0/0", None),
            ("/foo/99999999999999999999999", None),
            ("/foo/", None),
            ("/nowhere/at/all", None),
        ] {
            assert_eq!(found(pointer, body), wanted, "{pointer}");
        }
        assert_eq!(found("", b"true"), Some(true.into()));
        assert_eq!(found("/0", b"[4.5]"), Some(4.5.into()));
    }

    pub(in crate::http::calls) fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e9..1e9).prop_map(Value::from),
            "[a-b~/\\PC]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[ab~/01]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_the_whole_document_holds_there(
            document in json(),
            pointer in "(/([ab/01]|~0|~1){0,2}){0,4}",
            pretty in any::<bool>(),
        ) {
            let text = if pretty {
                serde_json::to_vec_pretty(&document)
            } else {
                serde_json::to_vec(&document)
            };
            let text = text.unwrap();
            // Parsed again: serde_json may read a fraction with another last bit than was written.
            let document: Value = serde_json::from_slice(&text).unwrap();
            let there = document.pointer(&pointer).cloned().and_then(JsonScalar::of);
            prop_assert_eq!(found(&pointer, &text), there);
        }
    }
}
