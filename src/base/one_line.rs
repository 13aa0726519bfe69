//! Text from operators and partners, made safe for a line of a log.

use std::fmt;

/// Shows a text on one line.
///
/// Control characters, line separators and characters that change the writing direction are written
/// as escapes. So a text can neither forge a log line, nor colour a terminal, nor hide other text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneLine<'t>(pub(crate) &'t str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_treacherous) {
            let (plain, from) = rest.split_at(at);
            f.write_str(plain)?;
            let mut chars = from.chars();
            if let Some(treacherous) = chars.next() {
                write!(f, "{}", treacherous.escape_unicode())?;
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// Whether [`OneLine`] escapes `c`.
pub(crate) fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        // Marks, embeddings, overrides and isolates of the Unicode bidirectional algorithm (UAX 9).
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::OneLine;

    #[test]
    fn what_forges_a_line_is_escaped_and_the_rest_left_alone() {
        let shown = |text| OneLine(text).to_string();
        assert_eq!(
            shown("Zuora ist gestört, Ticket 4711"),
            "Zuora ist gestört, Ticket 4711"
        );
        assert_eq!(shown("a\nINFO all is well"), "a\\u{a}INFO all is well");
        assert_eq!(shown("\u{1b}[31mred\r"), "\\u{1b}[31mred\\u{d}");
        assert_eq!(
            shown("a\u{202e}b\u{2028}c\u{85}\u{61c}\0"),
            "a\\u{202e}b\\u{2028}c\\u{85}\\u{61c}\\u{0}"
        );
    }
}
