//! The endpoint that serves the script.

use http::{Response, request};

use crate::http::{always_ready::always_ready, notices::script};

/// The script as it is served. `crates/browser/minify` makes it from `push.js`.
const SCRIPT: &str = include_str!("push.min.js");

/// The first 16 digits of the script's SHA-256. A test in `tests/push.rs` compares it.
macro_rules! hash {
    () => {
        "280f46e38fbf1a2c"
    };
}

/// Serves the script that refetches what a tab shows. [`Push::script`](super::Push::script) makes
/// it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushScript {}

impl PushScript {
    /// The name to serve the script under, beside the events: `push-<hash>.js`. It changes with the
    /// script.
    pub const NAME: &'static str = concat!("push-", hash!(), ".js");

    /// The value of the `integrity` attribute ([Subresource
    /// Integrity](https://www.w3.org/TR/SRI/)), by which browsers verify the script.
    pub const INTEGRITY: &'static str = "sha256-KA9G44+/GizwkesUPQhc3TRIFnXC8dD/YpophCy6B78=";

    fn answer(&self, request: &request::Parts) -> Response<String> {
        let named = request.uri.path().rsplit('/').next() == Some(Self::NAME);
        let cache = if named {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let tag = concat!("\"", hash!(), "\"");
        script(&request.headers, SCRIPT, tag, cache)
    }
}

always_ready!(PushScript, String);
