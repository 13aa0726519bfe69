//! Cache tags (surrogate keys), as far as CDNs agree on them.

use http::HeaderValue;

use super::error::CacheBustError;

/// Fastly ignores what lies behind 16,384 bytes of a `Surrogate-Key`, Cloudflare what lies behind 16 KB of a `Cache-Tag`.
const LONGEST_HEADER: usize = 16 * 1024;
/// Fastly's longest key, and the longest tag in Cloudflare's purge.
const LONGEST_TAG: usize = 1024;

/// Whether the tag is one for both: 1 to 1024 bytes of visible ASCII, without the comma, which parts tags at Cloudflare.
pub(super) fn check(field: &'static str, tag: &str) -> Result<(), CacheBustError> {
    let in_tag = |byte| matches!(byte, 0x21..=0x7e) && byte != b',';
    if (1..=LONGEST_TAG).contains(&tag.len()) && tag.bytes().all(in_tag) {
        return Ok(());
    }
    let shown: String = tag.chars().take(64).collect();
    Err(CacheBustError::new(
        field,
        &shown,
        "a tag of 1 to 1024 bytes of visible ASCII, without spaces and commas",
    ))
}

/// All of them as a header's value.
pub(super) fn joined(
    field: &'static str,
    tags: &[String],
    separator: &str,
) -> Result<HeaderValue, CacheBustError> {
    for tag in tags {
        check(field, tag)?;
    }
    let joined = tags.join(separator);
    let length = format!("{} bytes", joined.len());
    let bad = |_| CacheBustError::new(field, &length, "1 to 16384 bytes in all");
    if !(1..=LONGEST_HEADER).contains(&joined.len()) {
        return Err(bad(()));
    }
    HeaderValue::try_from(joined).map_err(|_| bad(()))
}
