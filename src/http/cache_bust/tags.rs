//! Cache tags (surrogate keys) that both supported CDNs accept.

use http::HeaderValue;

use super::error::CacheBustError;

/// Fastly ignores the rest of a `Surrogate-Key` beyond 16,384 bytes, and Cloudflare that of a
/// `Cache-Tag` beyond 16 KB.
const LONGEST_HEADER: usize = 16 * 1024;
/// The longest key at Fastly, and the longest tag in a purge at Cloudflare.
const LONGEST_TAG: usize = 1024;

/// Checks that both CDNs accept the tag: 1 to 1024 bytes of visible ASCII without commas, which
/// separate tags at Cloudflare.
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

/// Checks the tags, and joins them to a header's value.
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
