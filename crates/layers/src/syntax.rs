//! Reads facts from syntax for several checks.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, Expr, ExprLit, ImplItem, Item, ItemUse, Lit, Meta, TraitItem, UseTree};

/// A name that a `use` brings.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) path: Vec<String>,
    /// The name it has here; `None` for a `*`.
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
}

/// Every name that a `use` brings.
pub(crate) fn leaves(import: &ItemUse) -> Vec<Leaf> {
    let mut found = Vec::new();
    if import.leading_colon.is_none() {
        leaves_of(&import.tree, &mut Vec::new(), &mut found);
    }
    found
}

fn leaves_of(tree: &UseTree, above: &mut Vec<String>, found: &mut Vec<Leaf>) {
    match tree {
        UseTree::Path(path) => {
            above.push(path.ident.to_string());
            leaves_of(&path.tree, above, found);
            above.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves_of(tree, above, found);
            }
        }
        UseTree::Name(leaf) => found.push(named_leaf(above, &leaf.ident, &leaf.ident)),
        UseTree::Rename(leaf) => found.push(named_leaf(above, &leaf.ident, &leaf.rename)),
        UseTree::Glob(glob) => found.push(Leaf {
            path: above.clone(),
            name: None,
            line: glob.star_token.spans[0].start().line,
        }),
    }
}

fn named_leaf(above: &[String], ident: &syn::Ident, here: &syn::Ident) -> Leaf {
    let mut path = above.to_vec();
    let mut name = here.to_string();
    if ident != "self" {
        path.push(ident.to_string());
    } else if name == "self" {
        name = above.last().cloned().unwrap_or(name);
    }
    Leaf {
        path,
        name: Some(name),
        line: ident.span().start().line,
    }
}

/// The value of `#[path = "..."]`.
pub(crate) fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        let Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) = &pair.value
        else {
            return None;
        };
        pair.path.is_ident("path").then(|| text.value())
    })
}

/// Whether an item with these attributes is compiled for tests only.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    let mut conditions = attributes.iter().filter_map(condition);
    conditions.any(|condition| needs_test(condition.clone()))
}

/// The condition of a `#[cfg(...)]`.
fn condition(attribute: &Attribute) -> Option<&TokenStream> {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => Some(&list.tokens),
        Meta::Path(_) | Meta::List(_) | Meta::NameValue(_) => None,
    }
}

/// Whether a condition is `test`, `doctest`, or `all` of several of which one is.
fn needs_test(condition: TokenStream) -> bool {
    let tokens: Vec<_> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name)] => name == "test" || name == "doctest",
        [TokenTree::Ident(name), TokenTree::Group(group)] if name == "all" => {
            let inner: Vec<_> = group.stream().into_iter().collect();
            let mut parts = inner.split(is_comma);
            parts.any(|part| needs_test(part.iter().cloned().collect()))
        }
        _ => false,
    }
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')
}

/// Whether an attribute is a `cfg` or a `cfg_attr` that tests a feature.
pub(crate) fn tests_feature(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("cfg_attr") => {
            names_feature(list.tokens.clone())
        }
        Meta::Path(_) | Meta::List(_) | Meta::NameValue(_) => false,
    }
}

/// Whether `feature = ` stands among the tokens.
pub(crate) fn names_feature(tokens: TokenStream) -> bool {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let stands_here = tokens.windows(2).any(|pair| match pair {
        [TokenTree::Ident(name), TokenTree::Punct(punct)] => {
            name == "feature" && punct.as_char() == '='
        }
        _ => false,
    });
    stands_here
        || tokens.into_iter().any(|token| match token {
            TokenTree::Group(group) => names_feature(group.stream()),
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
}

/// Whether a token opens braces.
pub(crate) fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The attributes of an item.
pub(crate) fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item in an `impl`.
pub(crate) fn impl_item_attributes(item: &ImplItem) -> &[Attribute] {
    match item {
        ImplItem::Const(item) => &item.attrs,
        ImplItem::Fn(item) => &item.attrs,
        ImplItem::Type(item) => &item.attrs,
        ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// The attributes of an item in a trait.
pub(crate) fn trait_item_attributes(item: &TraitItem) -> &[Attribute] {
    match item {
        TraitItem::Const(item) => &item.attrs,
        TraitItem::Fn(item) => &item.attrs,
        TraitItem::Type(item) => &item.attrs,
        TraitItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item has in its module.
pub(crate) fn item_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
