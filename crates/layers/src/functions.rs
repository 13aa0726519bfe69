//! Measures the length and the nesting of functions.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Block, Expr, ExprAsync, ExprClosure, ExprForLoop, ExprIf, ExprLoop, ExprMatch, ExprWhile,
    ImplItemFn, Item, ItemFn, Macro, Signature, TraitItemFn,
    visit::{self, Visit},
};

use crate::syntax::{is_braces, is_for_tests, item_attributes};

/// A function, measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// The lines from `fn` to the closing brace.
    pub(crate) lines: usize,
    /// The number of nested blocks of control flow at the deepest place.
    pub(crate) depth: usize,
    /// The line of the deepest block.
    pub(crate) deepest: usize,
    /// Whether it is compiled for tests only.
    pub(crate) is_test: bool,
}

/// Measures every function of a file, those in macros included.
pub(crate) fn measure(file: &syn::File) -> Vec<Function> {
    let mut measuring = Measuring::default();
    measuring.visit_file(file);
    measuring.functions
}

#[derive(Default)]
struct Measuring {
    functions: Vec<Function>,
    /// The enclosing functions, as indices into `functions`, each with the current depth in it.
    around: Vec<(usize, usize)>,
    is_test: bool,
}

impl Measuring {
    fn function(&mut self, name: String, from: Span, to: Span, body: impl FnOnce(&mut Self)) {
        let line = from.start().line;
        self.around.push((self.functions.len(), 0));
        self.functions.push(Function {
            name,
            line,
            lines: to.end().line - line + 1,
            depth: 0,
            deepest: line,
            is_test: self.is_test,
        });
        body(self);
        self.around.pop();
    }

    fn function_with_block(&mut self, signature: &Signature, block: &Block) {
        let (from, to) = (signature.fn_token.span, block.brace_token.span.close());
        self.function(signature.ident.to_string(), from, to, |within| {
            within.visit_block(block);
        });
    }

    /// Reads one block of control flow.
    fn deeper(&mut self, at: Span, body: impl FnOnce(&mut Self)) {
        let Some((index, depth)) = self.around.last_mut() else {
            return body(self);
        };
        *depth += 1;
        let function = &mut self.functions[*index];
        if *depth > function.depth {
            function.depth = *depth;
            function.deepest = at.start().line;
        }
        body(self);
        if let Some((_, depth)) = self.around.last_mut() {
            *depth -= 1;
        }
    }

    fn block(&mut self, block: &Block) {
        self.deeper(block.brace_token.span.open(), |within| {
            within.visit_block(block)
        });
    }

    /// Reads the tokens of a macro, where a keyword before braces gives their meaning.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut opener = Opener::None;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) => opener = opener.after(&word.to_string(), at, &tokens),
                TokenTree::Group(group) if is_braces(token) && !is_pattern(&tokens[at + 1..]) => {
                    let (open, close) = (group.span_open(), group.span_close());
                    let within = |measuring: &mut Self| measuring.tokens(group.stream());
                    match std::mem::take(&mut opener) {
                        Opener::Flow => self.deeper(open, within),
                        Opener::Function { name, from } => self.function(name, from, close, within),
                        Opener::None | Opener::Item => within(self),
                    }
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Punct(punct) if punct.as_char() == ';' => opener = Opener::None,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

/// The meaning of the next braces in the tokens of a macro.
#[derive(Default)]
enum Opener {
    #[default]
    None,
    Flow,
    Item,
    Function {
        name: String,
        from: Span,
    },
}

impl Opener {
    fn after(self, word: &str, at: usize, tokens: &[TokenTree]) -> Self {
        match (word, self) {
            ("fn", _) => match tokens.get(at + 1) {
                // The type of a function pointer.
                None | Some(TokenTree::Group(_)) => Self::None,
                Some(name) => Self::Function {
                    name: name.to_string(),
                    from: tokens[at].span(),
                },
            },
            // `impl A for B { }`
            (_, known @ (Self::Item | Self::Function { .. })) => known,
            ("impl" | "trait" | "struct" | "enum" | "union" | "mod", _) => Self::Item,
            ("if" | "match" | "while" | "for" | "loop" | "async", _) => Self::Flow,
            (_, known) => known,
        }
    }
}

/// Whether braces are the pattern of an `if let`, a `while let` or a `for`.
fn is_pattern(after: &[TokenTree]) -> bool {
    match after {
        [TokenTree::Ident(word), ..] => word == "in",
        [TokenTree::Punct(first), TokenTree::Punct(second), ..] => {
            first.as_char() == '=' && second.as_char() != '>'
        }
        [TokenTree::Punct(first), ..] => first.as_char() == '=',
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Measuring {
    fn visit_item(&mut self, item: &'ast Item) {
        let around = self.is_test;
        self.is_test |= is_for_tests(item_attributes(item));
        visit::visit_item(self, item);
        self.is_test = around;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function_with_block(&item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function_with_block(&item.sig, &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function_with_block(&item.sig, block);
        }
    }

    /// An `else if` is as deep as its `if`.
    fn visit_expr_if(&mut self, expr: &'ast ExprIf) {
        self.visit_expr(&expr.cond);
        self.block(&expr.then_branch);
        match expr.else_branch.as_ref().map(|(_, other)| &**other) {
            Some(Expr::Block(other)) => self.block(&other.block),
            Some(other) => self.visit_expr(other),
            None => {}
        }
    }

    fn visit_expr_match(&mut self, expr: &'ast ExprMatch) {
        self.visit_expr(&expr.expr);
        self.deeper(expr.brace_token.span.open(), |within| {
            for arm in &expr.arms {
                within.visit_arm(arm);
            }
        });
    }

    fn visit_expr_while(&mut self, expr: &'ast ExprWhile) {
        self.visit_expr(&expr.cond);
        self.block(&expr.body);
    }

    fn visit_expr_for_loop(&mut self, expr: &'ast ExprForLoop) {
        self.visit_expr(&expr.expr);
        self.block(&expr.body);
    }

    fn visit_expr_loop(&mut self, expr: &'ast ExprLoop) {
        self.block(&expr.body);
    }

    /// A closure without braces opens no block.
    fn visit_expr_closure(&mut self, expr: &'ast ExprClosure) {
        match &*expr.body {
            Expr::Block(body) => self.block(&body.block),
            body => visit::visit_expr(self, body),
        }
    }

    fn visit_expr_async(&mut self, expr: &'ast ExprAsync) {
        self.block(&expr.block);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.tokens(called.tokens.clone());
    }
}
