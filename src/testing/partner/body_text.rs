//! The text of the partner's bodies.

/// Returns the JSON of a body. `path` is that of the request, if there is one.
pub(crate) fn body(success: bool, path: Option<&str>, number: u64) -> String {
    match (success, path) {
        (true, None) => format!(r#"{{"success": true, "n": {number}}}"#),
        (true, Some(path)) => {
            let path = json_escaped(path);
            format!(r#"{{"success": true, "path": "{path}", "n": {number}}}"#)
        }
        // A code of Zuora: six digits for the resource, which is unspecified here, and 60 for an
        // internal error.
        (false, _) => format!(
            r#"{{"success": false, "reasons": [{{"code": 50000060, "message": "simulated failure of call {number}"}}]}}"#
        ),
    }
}

fn json_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c < ' ' => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}
