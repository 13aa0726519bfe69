//! The error of an invalid setting of refusals or notices.

use crate::base::setting_error::setting_error;

setting_error! {
    /// A setting of [`Refusals`](super::Refusals) or of a notice is invalid.
    RefusalsError,
    "Returns the rejected value in backquotes. For a template: the line, and what is wrong there.",
    "{} is {}: allowed is {}"
}

impl RefusalsError {
    /// Returns the error of `field` with `value` in backquotes.
    pub(in crate::http) fn quoting(field: &'static str, value: &str, allowed: &str) -> Self {
        Self::new(field, format!("`{value}`"), allowed)
    }

    /// Returns the error of a template, with the line of `source` in which it occurs.
    #[cfg(feature = "page-templates")]
    pub(super) fn template(error: &minijinja::Error, source: &str) -> Self {
        let what = error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned);
        let line = error.line().unwrap_or(1);
        let text = source.lines().nth(line - 1).unwrap_or_default().trim();
        let value = format!("`{text}` in line {line}: {what}");
        let allowed = "a template that uses only the names documented at `page_template`";
        Self::new("page_template", value, allowed)
    }
}
