//! The comments of a Rust file, line by line.

/// A line that has a comment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommentLine<'a> {
    pub(crate) line: usize,
    pub(crate) text: &'a str,
    /// The columns of the whole line, code before the comment included.
    pub(crate) columns: usize,
}

/// Every line that has a comment. A line with two comments stands twice.
pub(crate) fn comment_lines(source: &str) -> Vec<CommentLine<'_>> {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(source.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let mut found = Vec::new();
    for (from, to) in comments(source) {
        let first = starts.partition_point(|&start| start <= from) - 1;
        for (line, &start) in starts.iter().enumerate().skip(first) {
            if start >= to {
                break;
            }
            let whole = source[start..].lines().next().unwrap_or_default();
            let end = to.min(start + whole.len());
            found.push(CommentLine {
                line: line + 1,
                text: &source[from.max(start)..end],
                columns: whole.chars().count(),
            });
        }
    }
    found
}

/// Where each comment begins and ends.
fn comments(source: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else {
            at += literal(rest, &source[..at]);
            continue;
        };
        found.push((at, at + length));
        at += length;
    }
    found
}

/// The length of a block comment, nested ones included.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += char_length(rest);
        }
    }
    at
}

/// The length of the literal that `text` begins with, or of its first character.
fn literal(text: &str, before: &str) -> usize {
    if text.starts_with('"') {
        let hashes = before.len() - before.trim_end_matches('#').len();
        let is_raw = before.trim_end_matches('#').ends_with('r');
        return if is_raw {
            raw_string(text, hashes)
        } else {
            quoted(text, '"')
        };
    }
    if text.starts_with('\'') && is_char(text) {
        return quoted(text, '\'');
    }
    char_length(text)
}

/// Whether a `'` begins a character, not a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    let first = chars.next();
    first == Some('\\') || chars.next() == Some('\'')
}

fn raw_string(text: &str, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    text[1..]
        .find(&end)
        .map_or(text.len(), |at| 1 + at + end.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        if char == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    text.len()
}

fn char_length(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

/// Whether one of `words` stands in a text, as a word.
pub(crate) fn has_word(text: &str, words: &[String]) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    let mut spoken = text.split(|char| !is_part(char));
    spoken.any(|spoken| words.iter().any(|word| spoken.eq_ignore_ascii_case(word)))
}
