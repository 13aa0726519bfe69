//! The script that heals the tab.

use std::sync::LazyLock;

use http::{Response, request};

use crate::http::{always_ready::always_ready, notices::script};

/// The script without its comments, and without the spaces and line ends that only make it readable.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("push.js").lines().map(str::trim);
    let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    code.flat_map(|line| {
        // After these the language needs none.
        let end = if line.ends_with(['{', ',', ';']) {
            ""
        } else {
            "\n"
        };
        [tight(line), end.to_owned()]
    })
    .collect()
});

/// A line of the script without the spaces beside its punctuation. Text in quotes stays as it is.
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

/// The first 16 digits of the script's SHA-256; a test says what it has to be.
macro_rules! hash {
    () => {
        "f2d2142c43015d09"
    };
}

/// Serves the script that heals the tab; made by [`Push::script`](super::Push::script).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushScript {}

impl PushScript {
    /// The name to serve it under, beside the events: `push-<hash>.js`. It changes whenever the script does.
    pub const NAME: &'static str = concat!("push-", hash!(), ".js");

    /// The script's `integrity` ([Subresource Integrity](https://www.w3.org/TR/SRI/)), for pages that want browsers to verify it.
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
