//! Uses of one file's items in another file.
//!
//! A file uses another file if it names an item that the other file defines, in a `use` or in a
//! path in code. A re-export is followed to the definition. Not counted as a use:
//!
//! - `pub use` of an item of the file's own child module. The same file using that name in its code
//!   does count.
//! - A `use` of a module. The items named through it count. [`Uses::modules`] lists these imports.
//! - Anything in test code.
//! - A method call on a value, because it imports no name. [`Uses::calls`] lists these calls.

use syn::{
    Attribute, Expr, ExprCall, ExprMethodCall, ImplItem, Item, ItemMod, ItemUse, Macro, Path,
    Visibility,
    visit::{self, Visit},
};

use crate::{
    modules::{Id, Modules},
    syntax::{impl_item_attributes, is_for_tests, item_attributes, leaves},
    tokens,
};

/// One file names an item of another.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) path: String,
    /// The file that defines the item.
    pub(crate) to: String,
}

/// A path through the root of its crate to something other than a module.
#[derive(Debug)]
pub(crate) struct ThroughRoot {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) path: String,
    pub(crate) root: String,
    /// The path that the root re-exports it from.
    pub(crate) instead: Option<String>,
}

/// A method call on a value.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) method: String,
}

/// Every use in a workspace.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    pub(crate) items: Vec<Use>,
    pub(crate) modules: Vec<Use>,
    pub(crate) through_root: Vec<ThroughRoot>,
    pub(crate) calls: Vec<Call>,
}

/// Reads every module that is not compiled for tests only.
pub(crate) fn read(modules: &Modules<'_>) -> Uses {
    let mut uses = Uses::default();
    for (at, module) in modules.all.iter().enumerate() {
        if module.is_test {
            continue;
        }
        let mut reader = Reader {
            modules,
            at,
            uses: &mut uses,
        };
        for item in module.items {
            reader.visit_item(item);
        }
    }
    uses
}

struct Reader<'r, 'a> {
    modules: &'r Modules<'a>,
    at: Id,
    uses: &'r mut Uses,
}

impl Reader<'_, '_> {
    /// Notes the file that a path leads to. `is_reexport` is set for a path in a `pub use`.
    fn note(&mut self, path: &[String], line: usize, is_reexport: bool) {
        let from = &self.modules.all[self.at].file;
        for end in self.modules.ends(self.at, path) {
            let is_own = self.modules.is_within(end.module, self.at);
            let to = &self.modules.all[end.module].file;
            if to == from || (is_reexport && is_own) {
                continue;
            }
            let noted = Use {
                from: from.clone(),
                line,
                path: path.join("::"),
                to: to.clone(),
            };
            if end.is_module {
                self.uses.modules.push(noted);
            } else {
                self.uses.items.push(noted);
            }
        }
        self.note_root(path, line);
    }

    /// Notes `use path::*`, which counts as a use of the module's file.
    fn note_all_of(&mut self, path: &[String], line: usize, is_reexport: bool) {
        let before = self.uses.modules.len();
        self.note(path, line, is_reexport);
        let modules = self.uses.modules.drain(before..);
        self.uses.items.extend(modules);
    }

    fn note_root(&mut self, path: &[String], line: usize) {
        let Some(through) = self.modules.through_root(self.at, path) else {
            return;
        };
        let module = &self.modules.all[self.at];
        self.uses.through_root.push(ThroughRoot {
            file: module.file.clone(),
            line,
            path: path.join("::"),
            root: self.modules.all[module.root].file.clone(),
            instead: through.instead,
        });
    }

    /// Notes a path in code. A single name in lower case that is not called counts as a variable.
    fn note_in_code(&mut self, path: &[String], line: usize, is_called: bool) {
        let is_type = |name: &String| name.starts_with(char::is_uppercase);
        if path.len() > 1 || is_called || path.first().is_some_and(is_type) {
            self.note(path, line, false);
        }
    }

    fn note_syntax(&mut self, path: &Path, is_called: bool) {
        if path.leading_colon.is_some() {
            return;
        }
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(0, |part| part.ident.span().start().line);
        self.note_in_code(&names, line, is_called);
    }

    fn note_call(&mut self, method: String, line: usize) {
        self.uses.calls.push(Call {
            file: self.modules.all[self.at].file.clone(),
            line,
            method,
        });
    }
}

impl<'ast> Visit<'ast> for Reader<'_, '_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !is_for_tests(impl_item_attributes(item)) {
            visit::visit_impl_item(self, item);
        }
    }

    /// [`read`] visits every module separately.
    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        let is_reexport = !matches!(import.vis, Visibility::Inherited);
        for leaf in leaves(import) {
            match leaf.name {
                Some(_) => self.note(&leaf.path, leaf.line, is_reexport),
                None => self.note_all_of(&leaf.path, leaf.line, is_reexport),
            }
        }
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(function) = &*call.func {
            self.note_syntax(&function.path, true);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        self.note_call(call.method.to_string(), call.method.span().start().line);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        self.note_syntax(path, false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.note_syntax(&called.path, true);
        let mut found = tokens::Found::default();
        tokens::find(called.tokens.clone(), &mut found);
        for path in found.paths {
            self.note_in_code(&path.path, path.line, path.is_called);
        }
        for (method, line) in found.methods {
            self.note_call(method, line);
        }
    }

    /// The path in `pub(in path)` is not a use.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    /// Nor is a path in an attribute.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}
