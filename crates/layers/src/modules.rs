//! The module tree of every crate, and the names in each module.

use std::collections::{BTreeSet, HashMap};

use syn::{
    Item, ItemMod, ItemUse,
    visit::{self, Visit},
};

use crate::{
    broken::Broken,
    manifest::CrateRoot,
    syntax::{Leaf, is_for_tests, item_name, leaves, path_attribute},
    tree::{Tree, folder, join},
};

/// The parsed Rust files of a workspace, by their path.
pub(crate) type Sources = HashMap<String, syn::File>;

/// Parses every Rust file.
pub(crate) fn parse(tree: &Tree) -> Result<Sources, Broken> {
    let files = tree.rust().map(|(path, text)| {
        let parsed = syn::parse_file(text).map_err(|error| {
            let line = error.span().start().line;
            Broken(format!("{path}:{line}: cannot be parsed: {error}"))
        })?;
        Ok((path.to_owned(), parsed))
    });
    files.collect()
}

/// The index of a module among all.
pub(crate) type Id = usize;

/// Every module of the workspace.
#[derive(Default)]
pub(crate) struct Modules<'a> {
    pub(crate) all: Vec<Module<'a>>,
}

/// A module: a file, or the braces of `mod name { }`.
pub(crate) struct Module<'a> {
    pub(crate) parent: Option<Id>,
    pub(crate) root: Id,
    pub(crate) file: String,
    pub(crate) items: &'a [Item],
    /// Whether it is compiled for tests only.
    pub(crate) is_test: bool,
    pub(crate) names: HashMap<String, Vec<Name>>,
    /// The paths of `use path::*`.
    pub(crate) globs: Vec<Vec<String>>,
    /// The names that a `use` within a function brings. Other modules do not see them.
    pub(crate) local: HashMap<String, Vec<Vec<String>>>,
}

/// The meaning of a name.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    Item,
    Module(Id),
    Import(Vec<String>),
}

/// The place that a module is read from.
struct Site {
    parent: Option<Id>,
    file: String,
    /// The folder of its children's files.
    children: String,
    /// The folder that a child's `#[path]` starts from.
    paths: String,
    is_test: bool,
}

impl<'a> Modules<'a> {
    /// Follows every `mod` from the crates' roots.
    pub(crate) fn follow(roots: &[CrateRoot], sources: &'a Sources) -> Result<Self, Broken> {
        let mut modules = Self::default();
        for root in roots {
            let site = Site {
                parent: None,
                file: root.file.clone(),
                children: folder(&root.file).to_owned(),
                paths: folder(&root.file).to_owned(),
                is_test: false,
            };
            modules.add(&site, &sources[&root.file].items, sources)?;
        }
        Ok(modules)
    }

    fn add(&mut self, site: &Site, items: &'a [Item], sources: &'a Sources) -> Result<Id, Broken> {
        let id = self.all.len();
        self.all.push(Module {
            parent: site.parent,
            root: site.parent.map_or(id, |parent| self.all[parent].root),
            file: site.file.clone(),
            items,
            is_test: site.is_test,
            names: HashMap::new(),
            globs: Vec::new(),
            local: HashMap::new(),
        });
        for item in items {
            if let Item::Mod(child) = item {
                let (site, items) = site.of_child(id, child, sources)?;
                let child_id = self.add(&site, items, sources)?;
                self.all[id].name(child.ident.to_string(), Name::Module(child_id));
            } else {
                self.all[id].declare(item);
            }
        }
        Ok(id)
    }

    /// Every file that belongs to a crate.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.all.iter().map(|module| module.file.as_str()).collect()
    }

    /// Whether a file is compiled for tests only.
    pub(crate) fn is_test(&self, file: &str) -> bool {
        let mut of_file = self.all.iter().filter(|module| module.file == file);
        let inline = |module: &Module<'_>| {
            let parent = module.parent.map(|parent| &self.all[parent]);
            parent.is_some_and(|parent| parent.file == file)
        };
        of_file.all(|module| module.is_test || inline(module))
    }

    /// Whether `below` is `above`, or stands in it at whatever depth.
    pub(crate) fn is_within(&self, below: Id, above: Id) -> bool {
        let mut at = Some(below);
        while let Some(id) = at {
            if id == above {
                return true;
            }
            at = self.all[id].parent;
        }
        false
    }
}

impl Site {
    /// The place that a child is read from, and its items.
    fn of_child<'a>(
        &self,
        parent: Id,
        child: &'a ItemMod,
        sources: &'a Sources,
    ) -> Result<(Self, &'a [Item]), Broken> {
        let below = join(&self.children, &child.ident.to_string());
        let is_test = self.is_test || is_for_tests(&child.attrs);
        if let Some((_, items)) = &child.content {
            let site = Self {
                parent: Some(parent),
                file: self.file.clone(),
                children: below.clone(),
                paths: below,
                is_test,
            };
            return Ok((site, items));
        }
        let (file, children) = self.file_of_child(child, below, sources)?;
        let items = &sources[&file].items;
        let site = Self {
            parent: Some(parent),
            paths: folder(&file).to_owned(),
            file,
            children,
            is_test,
        };
        Ok((site, items))
    }

    /// The file of a child, and the folder of the child's own children.
    fn file_of_child(
        &self,
        child: &ItemMod,
        below: String,
        sources: &Sources,
    ) -> Result<(String, String), Broken> {
        let given = path_attribute(&child.attrs).map(|path| join(&self.paths, &path));
        let [beside, within] = [format!("{below}.rs"), format!("{below}/mod.rs")];
        let (file, children) = match given {
            Some(given) => (given.clone(), folder(&given).to_owned()),
            None if sources.contains_key(&within) => (within, below),
            None => (beside, below),
        };
        if sources.contains_key(&file) {
            return Ok((file, children));
        }
        let line = child.ident.span().start().line;
        let (at, name) = (&self.file, &child.ident);
        Err(Broken(format!("{at}:{line}: module `{name}` has no file")))
    }
}

impl Module<'_> {
    fn name(&mut self, name: String, is: Name) {
        self.names.entry(name).or_default().push(is);
    }

    fn declare(&mut self, item: &Item) {
        if let Item::Use(import) = item {
            for leaf in leaves(import) {
                match leaf.name {
                    Some(name) => self.name(name, Name::Import(leaf.path)),
                    None => self.globs.push(leaf.path),
                }
            }
            return;
        }
        if let Some(name) = item_name(item) {
            self.name(name, Name::Item);
        }
        let mut uses = LocalUses::default();
        visit::visit_item(&mut uses, item);
        for leaf in uses.leaves {
            if let Some(name) = leaf.name {
                self.local.entry(name).or_default().push(leaf.path);
            }
        }
    }
}

/// Every `use` within functions.
#[derive(Default)]
struct LocalUses {
    leaves: Vec<Leaf>,
}

impl<'ast> Visit<'ast> for LocalUses {
    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        self.leaves.extend(leaves(import));
    }
}
