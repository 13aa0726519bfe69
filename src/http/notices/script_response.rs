//! The response that serves a script from memory.

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, X_CONTENT_TYPE_OPTIONS},
};

use crate::http::cache_bust::is_known;

/// Returns a response with the script, or a 304 if the client knows the script by its entity-tag.
pub(in crate::http) fn script(
    headers: &HeaderMap,
    text: &str,
    tag: &'static str,
    cache: &'static str,
) -> Response<String> {
    let is_known = is_known(headers, tag);
    let text = if is_known { "" } else { text };
    let mut response = Response::new(text.to_owned());
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/javascript; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(ETAG, HeaderValue::from_static(tag));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_script_that_is_known_is_not_sent_again_however_its_tag_comes_back() {
        let status = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            let answer = script(&headers, "text", "\"v1\"", "no-cache");
            assert_eq!(answer.headers()[ETAG], "\"v1\"");
            assert_eq!(answer.body().is_empty(), answer.status() == 304);
            answer.status().as_u16()
        };
        for known in [
            &["\"v1\""][..],
            &["W/\"v1\""],
            &["\"v0\", \"v1\""],
            &["\"v0\",W/\"v1\" , \"v2\""],
            &["\"v0\"", "\"v1\""],
            &["*"],
        ] {
            assert_eq!(status(known), 304, "{known:?}");
        }
        for unknown in [
            &[][..],
            &[""],
            &["v1"],
            &["\"v11\""],
            &["\"v0\", W/\"v2\""],
            &["\"v1"],
        ] {
            assert_eq!(status(unknown), 200, "{unknown:?}");
        }
    }
}
