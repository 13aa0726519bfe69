//! The conditions of a request, whose entity-tags bear a generation.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
};

use super::etag::{List, Salt, without_any_salt};

/// An `If-Match` that nothing matches: the header asks for a strong comparison, and this tag is
/// weak (RFC 9110, 13.1.1).
const NOTHING_MATCHES: HeaderValue = HeaderValue::from_static("W/\"of-another-generation\"");

/// The generations whose tags a condition may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generations {
    /// The present generation.
    Present,
    /// Every generation.
    Any,
}

/// Rewrites a client's conditions to the inner service's own entity-tags.
pub(super) fn unsalt(headers: &mut HeaderMap, generation: u64, read: bool, strict_writes: bool) {
    if read {
        // A date does not name a generation. Beside an `If-None-Match` the date is ignored (RFC
        // 9110, 13.1.3). If that header is removed, the date would count and confirm the old body.
        headers.remove(IF_MODIFIED_SINCE);
    }
    // Most requests have no condition, and need no salt.
    let bears_tags = [IF_NONE_MATCH, IF_MATCH, IF_RANGE].map(|name| headers.contains_key(name));
    if bears_tags == [false; 3] {
        return;
    }
    let salt = Salt::new(generation);
    // For a write the inner service judges all tags: replicas have different generations, and the
    // same validators.
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

/// Reads the tags of a header without their salt; `None` if the header is missing.
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
        // The inner service judges the malformed condition of a write. For a read the full answer
        // is always right.
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
        // Not removed, because the write would then go ahead. Not answered here, because the inner
        // service first checks the client's permission (RFC 9110, 13.2.1).
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
        // `Range` is removed too. Otherwise the client would join a part of the new body to a part
        // of the old one.
        Some(List::Any | List::NoneOfOurs | List::Malformed) => {
            headers.remove(IF_RANGE);
            headers.remove(RANGE);
        }
    }
}
