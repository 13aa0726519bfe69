//! What the `Content-Type` of an answer promises, as far as a judge of JSON must know it.

use http::{HeaderMap, header::CONTENT_TYPE};

/// Returns whether an answer declares JSON, HTML or plain text, or nothing that can be read.
///
/// A page that announces maintenance comes as one of these. With any other type the answer is
/// something that was asked for, such as a PDF.
pub(super) fn promises_text(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_TYPE).iter();
    let types = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // Of several the last valid one counts, as in browsers (Fetch, "extract a MIME type").
    let Some((kind, subtype)) = types.filter_map(essence).next_back() else {
        return true;
    };
    let is = |one: &[u8], name: &str| one.eq_ignore_ascii_case(name.as_bytes());
    let suffix = subtype.rsplit(|byte| *byte == b'+').next();
    let is_suffixed = suffix.is_some_and(|suffix| suffix.len() < subtype.len());
    if is_suffixed && suffix.is_some_and(|suffix| is(suffix, "json")) {
        return true;
    }
    if is(kind, "text") {
        return ["plain", "html", "json", "x-json"]
            .iter()
            .any(|name| is(subtype, name));
    }
    is(kind, "application")
        && ["json", "x-json", "xhtml+xml"]
            .iter()
            .any(|name| is(subtype, name))
}

/// Returns type and subtype of a media type, without its parameters.
fn essence(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = value.iter().position(|byte| *byte == b';');
    let value = value[..end.unwrap_or(value.len())].trim_ascii();
    let slash = value.iter().position(|byte| *byte == b'/')?;
    let (kind, subtype) = (&value[..slash], &value[slash + 1..]);
    (is_token(kind) && is_token(subtype)).then_some((kind, subtype))
}

/// Returns whether the bytes are a token (RFC 9110, 5.6.2). `*` is one, but names no type.
fn is_token(bytes: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn promised(values: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, HeaderValue::from_bytes(value).unwrap());
        }
        promises_text(&headers)
    }

    #[test]
    fn json_html_plain_text_and_nothing_promise_text() {
        for value in [
            "application/json",
            "APPLICATION/JSON",
            " application/json ",
            "application/json;charset=utf-8",
            "application/json ; charset=utf-8",
            "application/problem+json",
            "application/vnd.zuora.v1+JSON; version=1",
            "model/gltf+json",
            "text/json",
            "text/x-json",
            "application/x-json",
            "text/html; charset=ISO-8859-1",
            "Text/HTML",
            "application/xhtml+xml",
            "text/plain",
            // Nothing that can be read.
            "",
            " ",
            ";charset=utf-8",
            "json",
            "json/",
            "/json",
            "application/json/pdf",
            "application /pdf",
            "*/*",
            "image/*",
            // The last one counts. A parameter with a comma leaves a rest that is no type.
            "application/pdf, text/html",
            "application/json, application/json",
            "text/html; title=\"a, b\"",
        ] {
            assert!(promised(&[value.as_bytes()]), "{value:?}");
        }
        assert!(promised(&[]));
        assert!(promised(&["anwendung/jsön".as_bytes()]));
        assert!(promised(&[b"application/pdf", b"text/html"]));
    }

    #[test]
    fn any_other_type_promises_something_else() {
        for value in [
            "application/pdf",
            "text/csv; charset=utf-8",
            "text/xml",
            "application/xml",
            "application/soap+xml",
            "image/png",
            "application/octet-stream",
            "text/event-stream",
            "application/x-ndjson",
            "application/json-seq",
            "application/json5",
            "application/jsonp",
            "application/geo+json-seq",
            "application/plain",
            "image/html",
            "x/json",
            "text/html, application/pdf",
        ] {
            assert!(!promised(&[value.as_bytes()]), "{value:?}");
        }
        assert!(!promised(&[b"text/html", b"application/pdf"]));
    }
}
