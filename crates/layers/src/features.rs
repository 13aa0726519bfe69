//! `#[cfg(feature = "...")]` within an item.

use proc_macro2::{Delimiter, LineColumn, TokenStream, TokenTree};
use syn::{
    Attribute, ImplItem, Item, Macro, Stmt, TraitItem,
    visit::{self, Visit},
};

use crate::{
    modules::Sources,
    report::Violation,
    rules::Rules,
    syntax::{
        impl_item_attributes, item_attributes, names_feature, tests_feature, trait_item_attributes,
    },
};

/// Finds every place in `src` where a feature is tested within an item.
pub(crate) fn check(rules: &Rules, sources: &Sources, found: &mut Vec<Violation>) {
    for (file, parsed) in sources {
        if rules.in_src(file).is_none() || rules.is_of(&rules.cfg_feature_in, file) {
            continue;
        }
        let mut search = Search::default();
        search.visit_file(parsed);
        found.extend(search.lines.into_iter().map(|line| Violation {
            file: file.clone(),
            line,
            what: "tests a feature within an item".to_owned(),
            rule: "features",
        }));
    }
}

#[derive(Default)]
struct Search {
    /// The places of items' own attributes.
    of_items: Vec<LineColumn>,
    lines: Vec<usize>,
}

impl Search {
    fn allow(&mut self, attributes: &[Attribute]) {
        let places = attributes.iter().map(place);
        self.of_items.extend(places);
    }

    fn search_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else {
                continue;
            };
            if is_cfg(&tokens[..at], group) && !is_before_item(&tokens[at + 1..]) {
                self.lines.push(group.span_open().start().line);
            } else {
                self.search_tokens(group.stream());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Search {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.allow(&file.attrs);
        visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        self.allow(item_attributes(item));
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        self.allow(impl_item_attributes(item));
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        self.allow(trait_item_attributes(item));
        visit::visit_trait_item(self, item);
    }

    /// An item among statements counts as a statement.
    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        match statement {
            Stmt::Item(item) => visit::visit_item(self, item),
            Stmt::Local(_) | Stmt::Expr(..) | Stmt::Macro(_) => visit::visit_stmt(self, statement),
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let place = place(attribute);
        if tests_feature(attribute) && !self.of_items.contains(&place) {
            self.lines.push(place.line);
        }
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if called.path.is_ident("cfg") && names_feature(called.tokens.clone()) {
            self.lines.push(called.bang_token.span.start().line);
        }
        self.search_tokens(called.tokens.clone());
    }
}

fn place(attribute: &Attribute) -> LineColumn {
    attribute.pound_token.span.start()
}

/// Whether a group is `[cfg(feature = ...)]` after a `#`, or `(feature = ...)` after `cfg!`.
fn is_cfg(before: &[TokenTree], group: &proc_macro2::Group) -> bool {
    let is_mark = |mark: char| {
        let last = before.last();
        last.is_some_and(|last| matches!(last, TokenTree::Punct(punct) if punct.as_char() == mark))
    };
    let names = || names_feature(group.stream());
    match group.delimiter() {
        Delimiter::Bracket => is_mark('#') && names(),
        Delimiter::Parenthesis => is_mark('!') && names(),
        Delimiter::Brace | Delimiter::None => false,
    }
}

/// Whether what follows an attribute in a macro is an item.
fn is_before_item(after: &[TokenTree]) -> bool {
    const WORDS: [&str; 14] = [
        "async", "const", "enum", "extern", "fn", "impl", "mod", "static", "struct", "trait",
        "type", "union", "unsafe", "use",
    ];
    let mut after = after.iter().filter(|token| !is_before_word(token));
    let first = after.next();
    first.is_some_and(|token| WORDS.contains(&token.to_string().as_str()))
}

/// Whether a token is of another attribute, or of `pub(...)`.
fn is_before_word(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == '#',
        TokenTree::Group(group) => group.delimiter() != Delimiter::Brace,
        TokenTree::Ident(word) => word == "pub",
        TokenTree::Literal(_) => false,
    }
}
