//! The script that shows the banner.

use http::{Response, request};

use super::script_response::script;
use crate::http::always_ready::always_ready;

const SCRIPT: &str = include_str!("notice.js");
/// Changes with the script: the version of the crate.
const SCRIPT_TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// Serves the script that shows the banner; made by [`Notices::script`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NoticeScript {}

impl NoticeScript {
    fn answer(&self, request: &request::Parts) -> Response<String> {
        script(&request.headers, SCRIPT, SCRIPT_TAG, "no-cache")
    }
}

always_ready!(NoticeScript, String);
