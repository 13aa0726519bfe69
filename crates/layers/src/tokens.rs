//! Reads paths and method calls from the tokens of a macro, which syn does not parse.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The paths and the method calls in the tokens of a macro.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) paths: Vec<TokenPath>,
    /// The name and the line of each call.
    pub(crate) methods: Vec<(String, usize)>,
}

/// A path in the tokens of a macro.
#[derive(Debug)]
pub(crate) struct TokenPath {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) is_called: bool,
}

/// Finds the paths and the method calls, groups within groups included.
pub(crate) fn find(tokens: TokenStream, found: &mut Found) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => find(group.stream(), found),
            TokenTree::Ident(_) => {
                at = found.name(&tokens, at);
                continue;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
}

impl Found {
    /// Takes the path that begins at `at`; returns the index after it.
    fn name(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        let line = tokens[at].span().start().line;
        let (path, end) = path_at(tokens, at);
        let group = tokens.get(end).and_then(group_of);
        let is_called = group.is_some_and(|group| group.delimiter() == Delimiter::Parenthesis);
        if before.is_some_and(|before| is_punct(before, '.')) {
            if is_called && path.len() == 1 {
                self.methods.push((path[0].clone(), line));
            }
            return end;
        }
        // A lifetime, or a macro variable.
        let is_other = before.is_some_and(|before| is_punct(before, '\'') || is_punct(before, '$'));
        if is_other && path[0] != "crate" {
            return end;
        }
        let is_use = end >= 2 && is_punct(&tokens[end - 1], ':');
        match group {
            Some(group) if is_use => {
                self.group_of_use(&path, group);
                end + 1
            }
            _ => {
                self.paths.push(TokenPath {
                    path,
                    line,
                    is_called,
                });
                end
            }
        }
    }

    /// `above::{a, b::c}`.
    fn group_of_use(&mut self, above: &[String], group: &Group) {
        let mut within = Self::default();
        find(group.stream(), &mut within);
        for mut found in within.paths {
            found.path.splice(0..0, above.iter().cloned());
            self.paths.push(found);
        }
    }
}

/// The path that begins at `at`, and the index after its last name or after a final `::`.
fn path_at(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let mut path = vec![tokens[at].to_string()];
    let mut end = at + 1;
    while let [first, second, ..] = &tokens[end..] {
        if !(is_punct(first, ':') && is_punct(second, ':')) {
            break;
        }
        end += 2;
        let Some(TokenTree::Ident(name)) = tokens.get(end) else {
            break;
        };
        path.push(name.to_string());
        end += 1;
    }
    (path, end)
}

fn group_of(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) => Some(group),
        TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    }
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}
