//! The endpoint that serves the script of the banner.

use http::{Response, request};

use super::script_response::script;
use crate::http::always_ready::always_ready;

const SCRIPT: &str = include_str!("notice.js");
/// The entity-tag of the script: the version of the crate, because the script changes only with it.
const SCRIPT_TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// An endpoint that serves the script of the banner. [`Notices::script`](super::Notices::script)
/// makes it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NoticeScript {}

impl NoticeScript {
    fn answer(&self, request: &request::Parts) -> Response<String> {
        script(&request.headers, SCRIPT, SCRIPT_TAG, "no-cache")
    }
}

always_ready!(NoticeScript, String);
