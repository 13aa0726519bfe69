//! The conditions of a request, which name entity-tags that bear a generation.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
};

use super::etag::{List, Salt, without_any_salt};

/// An `If-Match` that nothing matches: it asks for a strong comparison, and this is weak (RFC 9110, 13.1.1).
const NOTHING_MATCHES: HeaderValue = HeaderValue::from_static("W/\"of-another-generation\"");

/// Whose tags a condition may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generations {
    /// Those of the present generation alone.
    Present,
    /// Those of every generation.
    Any,
}

/// Turns a client's conditions into those of the inner service.
pub(super) fn unsalt(headers: &mut HeaderMap, generation: u64, read: bool, strict_writes: bool) {
    if read {
        // A date says nothing of the generation. Beside an `If-None-Match` it never counts (RFC 9110, 13.1.3), but where
        // that is removed it would, and the old body would be confirmed.
        headers.remove(IF_MODIFIED_SINCE);
    }
    // Most requests have none: no salt is made for them.
    let bears_tags = [IF_NONE_MATCH, IF_MATCH, IF_RANGE].map(|name| headers.contains_key(name));
    if bears_tags == [false; 3] {
        return;
    }
    let salt = Salt::new(generation);
    // Of a write the inner service judges all tags: replicas differ in their generations, but not in their validators.
    let of = |only_present| {
        if only_present {
            Generations::Present
        } else {
            Generations::Any
        }
    };
    unsalt_if_none_match(headers, &salt, of(read));
    unsalt_if_match(headers, &salt, of(read || strict_writes));
    if read {
        unsalt_if_range(headers, &salt);
    }
}

/// The tags of a header without their salt; `None` without the header.
fn unsalted(
    headers: &HeaderMap,
    name: HeaderName,
    salt: &Salt,
    generations: Generations,
) -> Option<List> {
    if !headers.contains_key(&name) {
        return None;
    }
    let lines = headers.get_all(name).iter();
    Some(match generations {
        Generations::Present => salt.unsalted(lines),
        Generations::Any => without_any_salt(lines),
    })
}

fn unsalt_if_none_match(headers: &mut HeaderMap, salt: &Salt, generations: Generations) {
    match unsalted(headers, IF_NONE_MATCH, salt, generations) {
        None | Some(List::Any) => {}
        Some(List::Ours(tags)) => {
            headers.insert(IF_NONE_MATCH, tags);
        }
        // Of a read the whole answer is always right; of a write the inner service judges.
        Some(List::Malformed) if generations == Generations::Any => {}
        Some(List::NoneOfOurs | List::Malformed) => {
            headers.remove(IF_NONE_MATCH);
        }
    }
}

fn unsalt_if_match(headers: &mut HeaderMap, salt: &Salt, generations: Generations) {
    match unsalted(headers, IF_MATCH, salt, generations) {
        None | Some(List::Any) => {}
        Some(List::Ours(tags)) => {
            headers.insert(IF_MATCH, tags);
        }
        Some(List::Malformed) if generations == Generations::Any => {}
        // Not taken away, for then the write would go ahead; and not answered here, since who may not write at
        // all is told so first (RFC 9110, 13.2.1).
        Some(List::NoneOfOurs | List::Malformed) => {
            headers.insert(IF_MATCH, NOTHING_MATCHES);
        }
    }
}

fn unsalt_if_range(headers: &mut HeaderMap, salt: &Salt) {
    match unsalted(headers, IF_RANGE, salt, Generations::Present) {
        None => {}
        Some(List::Ours(tag)) => {
            headers.insert(IF_RANGE, tag);
        }
        // Without the range too: it would be a part of the new body, glued to a part of the old one.
        Some(List::Any | List::NoneOfOurs | List::Malformed) => {
            headers.remove(IF_RANGE);
            headers.remove(RANGE);
        }
    }
}
