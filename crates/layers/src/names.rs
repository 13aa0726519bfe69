//! Resolves a path to the module that defines the item.

use std::collections::HashSet;

use crate::modules::{Id, Modules, Name};

/// The end of a path: an item in the module that defines it, or a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) module: Id,
    pub(crate) is_module: bool,
}

impl End {
    fn item(module: Id) -> Self {
        Self {
            module,
            is_module: false,
        }
    }

    fn module(module: Id) -> Self {
        Self {
            module,
            is_module: true,
        }
    }
}

/// The steps taken so far, so that imports of each other do not recurse for ever.
type Seen = HashSet<(Id, String)>;

impl Modules<'_> {
    /// Where a path written in module `from` ends: empty if it leads to another crate.
    pub(crate) fn ends(&self, from: Id, path: &[String]) -> Vec<End> {
        let mut seen = Seen::new();
        if let Some((first, rest)) = path.split_first() {
            for local in self.all[from].local.get(first).into_iter().flatten() {
                let whole: Vec<_> = local.iter().chain(rest).cloned().collect();
                let ends = self.follow_path(from, &whole, &mut seen);
                if !ends.is_empty() {
                    return ends;
                }
            }
        }
        self.follow_path(from, path, &mut seen)
    }

    /// Whether a path names something other than a module through the root of its crate.
    pub(crate) fn through_root(&self, from: Id, path: &[String]) -> Option<ThroughRoot> {
        let (at, rest) = self.start(from, path)?;
        if at == from || self.all[at].parent.is_some() {
            return None;
        }
        let Some((first, rest)) = rest.split_first() else {
            return Some(ThroughRoot { instead: None });
        };
        let named = self.named(at, first, &mut Seen::new());
        if named
            .iter()
            .any(|(_, name)| matches!(name, Name::Module(_)))
        {
            return None;
        }
        let instead = match named.last()? {
            (within, Name::Import(path)) if *within == at => {
                let whole: Vec<_> = path.iter().chain(rest).cloned().collect();
                Some(whole.join("::"))
            }
            _ => None,
        };
        Some(ThroughRoot { instead })
    }

    /// The module that `crate`, `self` and `super` lead to, and the rest of the path.
    fn start<'p>(&self, from: Id, path: &'p [String]) -> Option<(Id, &'p [String])> {
        let mut at = from;
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            at = match first.as_str() {
                "crate" => self.all[at].root,
                "self" => at,
                "super" => self.all[at].parent?,
                _ => break,
            };
            rest = after;
        }
        Some((at, rest))
    }

    fn follow_path(&self, from: Id, path: &[String], seen: &mut Seen) -> Vec<End> {
        let Some((at, rest)) = self.start(from, path) else {
            return Vec::new();
        };
        let (Some(first), true) = (rest.first(), rest.len() == path.len()) else {
            return self.follow_names(at, rest, seen);
        };
        // An unknown first name is the name of another crate.
        let named = self.named(at, first, seen);
        self.follow_named(named, &rest[1..], seen)
    }

    fn follow_names(&self, at: Id, path: &[String], seen: &mut Seen) -> Vec<End> {
        let Some((first, rest)) = path.split_first() else {
            return vec![End::module(at)];
        };
        let named = self.named(at, first, seen);
        if named.is_empty() {
            // A macro defines the item.
            return vec![End::item(at)];
        }
        self.follow_named(named, rest, seen)
    }

    fn follow_named(
        &self,
        mut named: Vec<(Id, Name)>,
        rest: &[String],
        seen: &mut Seen,
    ) -> Vec<End> {
        // Only a module can be followed by another name, not a function of the same name.
        let is_module = |(_, name): &(Id, Name)| matches!(name, Name::Module(_));
        if !rest.is_empty() && named.iter().any(is_module) {
            named.retain(is_module);
        }
        let follow = |(within, name)| match name {
            Name::Module(id) => self.follow_names(id, rest, seen),
            Name::Item => vec![End::item(within)],
            Name::Import(import) => {
                let whole: Vec<_> = import.iter().chain(rest).cloned().collect();
                let mut ends = Vec::new();
                if seen.insert((within, import.join("::"))) {
                    ends = self.follow_path(within, &whole, seen);
                }
                if ends.is_empty() {
                    // The item is another crate's. This module re-exports it.
                    ends.push(End::item(within));
                }
                ends
            }
        };
        named.into_iter().flat_map(follow).collect()
    }

    /// The meanings of `name` in module `at`, each with the module that declares it.
    fn named(&self, at: Id, name: &str, seen: &mut Seen) -> Vec<(Id, Name)> {
        let module = &self.all[at];
        if let Some(names) = module.names.get(name) {
            return names.iter().map(|is| (at, is.clone())).collect();
        }
        if module.globs.is_empty() || !seen.insert((at, format!("{name} by *"))) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for glob in &module.globs {
            for end in self.follow_path(at, glob, seen) {
                if end.is_module {
                    found.extend(self.named(end.module, name, seen));
                }
            }
        }
        found
    }
}

/// A path through the root of its crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThroughRoot {
    /// The path that the root re-exports it from.
    pub(crate) instead: Option<String>,
}
