//! The rules file: `.ci/layers.toml` explains each key.

use serde::Deserialize;

use crate::{
    broken::Broken,
    tree::{Tree, join},
};

/// The rules for a workspace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The folder that every entry below stands in.
    pub(crate) src: String,
    pub(crate) entries: usize,
    pub(crate) face: Vec<String>,
    pub(crate) wings: Vec<String>,
    pub(crate) wings_see_no: Sight,
    #[serde(rename = "layer")]
    pub(crate) layers: Vec<Layer>,
    pub(crate) cfg_feature_in: Vec<String>,
    pub(crate) limits: Limits,
}

/// The entries and the methods that wings must not use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sight {
    pub(crate) imports: Vec<String>,
    pub(crate) calls: Vec<String>,
}

/// A layer: entries that stand at the same height.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) holds: Vec<String>,
    /// Whether its entries may import each other only as `may` lists.
    #[serde(default)]
    pub(crate) apart: bool,
    #[serde(default)]
    pub(crate) may: Vec<[String; 2]>,
}

/// The limits, each with the number of places that may exceed it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) function_lines: usize,
    pub(crate) longer_in_core: usize,
    pub(crate) longer_in_wings: usize,
    pub(crate) longer_outside: usize,
    pub(crate) nesting: usize,
    pub(crate) deeper: usize,
    pub(crate) comment_columns: usize,
    pub(crate) wider: usize,
    pub(crate) words: Vec<String>,
    pub(crate) with_words: usize,
}

/// The place of a file among the layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The index of its layer, counted from the top.
    pub(crate) height: usize,
    pub(crate) layer: &'a Layer,
    pub(crate) entry: &'a str,
}

impl Rules {
    /// Reads the rules from the text of a rules file.
    ///
    /// # Errors
    ///
    /// If the text is not TOML, lacks a key, or has a key that is unknown.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        toml::from_str(text).map_err(|error| Broken(format!("the rules: {error}")))
    }

    /// The path of a file from `src`, if the file is in it.
    pub(crate) fn in_src<'a>(&self, file: &'a str) -> Option<&'a str> {
        file.strip_prefix(self.src.as_str())?.strip_prefix('/')
    }

    pub(crate) fn is_face(&self, file: &str) -> bool {
        self.is_of(&self.face, file)
    }

    pub(crate) fn is_wing(&self, file: &str) -> bool {
        self.is_of(&self.wings, file)
    }

    /// Whether one of `entries` holds a file.
    pub(crate) fn is_of(&self, entries: &[String], file: &str) -> bool {
        let of_src = self.in_src(file);
        of_src.is_some_and(|path| entries.iter().any(|entry| holds(entry, path)))
    }

    /// The place of a file, by the longest entry that holds it.
    pub(crate) fn place(&self, file: &str) -> Option<Place<'_>> {
        let path = self.in_src(file)?;
        let places = self.layers.iter().enumerate().flat_map(|(height, layer)| {
            let entries = layer.holds.iter();
            entries.map(move |entry| Place {
                height,
                layer,
                entry,
            })
        });
        places
            .filter(|place| holds(place.entry, path))
            .max_by_key(|place| place.entry.len())
    }

    /// Every entry that matches no file.
    pub(crate) fn stale(&self, tree: &Tree) -> Vec<String> {
        let of_layers = self.layers.iter().flat_map(|layer| {
            let pairs = layer.may.iter().flatten();
            layer.holds.iter().chain(pairs)
        });
        let named = (self.face.iter())
            .chain(&self.wings)
            .chain(&self.wings_see_no.imports)
            .chain(&self.cfg_feature_in)
            .chain(of_layers);
        let mut stale: Vec<_> = named
            .filter(|entry| !tree.under(&self.src).any(|path| holds(entry, path)))
            .map(|entry| join(&self.src, entry))
            .collect();
        stale.sort();
        stale.dedup();
        stale
    }
}

/// Whether an entry holds a file: `a` holds `a.rs` and all under `a/`, `a.rs` holds itself alone.
///
/// A `*` in an entry matches any part of a file name.
fn holds(entry: &str, path: &str) -> bool {
    if let Some((before, after)) = entry.split_once('*') {
        let rest = path.strip_prefix(before);
        let rest = rest.and_then(|rest| rest.strip_suffix(after));
        return rest.is_some_and(|rest| !rest.contains('/'));
    }
    let rest = path.strip_prefix(entry);
    rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}
