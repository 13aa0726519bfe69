//! The endpoint that serves the script.

use std::sync::LazyLock;

use http::{Response, request};

use crate::http::{always_ready::always_ready, notices::script};

/// The script without comments, and without spaces and line ends that JavaScript does not need.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("push.js").lines().map(str::trim);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.flat_map(|line| {
        // JavaScript needs no line end after these.
        let end = if line.ends_with(['{', ',', ';']) {
            ""
        } else {
            "\n"
        };
        [tight(line), end.to_owned()]
    })
    .collect()
});

/// Removes the spaces beside the punctuation of a line. Text in quotes stays as it is.
fn tight(line: &str) -> String {
    let is_loose = |c: Option<char>| c.is_some_and(|c| "{}()[],;:=<>!&|?*".contains(c));
    let mut tight = String::with_capacity(line.len());
    let mut quote = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '"' | '`') {
            quote = Some(c);
        }
        let parts_words = !is_loose(tight.chars().last()) && !is_loose(rest.peek().copied());
        if c != ' ' || quote.is_some() || parts_words {
            tight.push(c);
        }
    }
    tight
}

/// The first 16 digits of the script's SHA-256. A test in `tests/push.rs` compares it.
macro_rules! hash {
    () => {
        "f2d2142c43015d09"
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
    pub const INTEGRITY: &'static str = "sha256-8tIULEMBXQkodvbEWg2/NBSJ5XPqJPC7vFlF5PQT+/E=";

    fn answer(&self, request: &request::Parts) -> Response<String> {
        let named = request.uri.path().rsplit('/').next() == Some(Self::NAME);
        let cache = if named {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let tag = concat!("\"", hash!(), "\"");
        script(&request.headers, &SCRIPT, tag, cache)
    }
}

always_ready!(PushScript, String);
