//! The files of a workspace, read once.

use std::{collections::BTreeMap, fs, io, path::Path};

/// Files by their path from the root, with `/` between folders.
///
/// Only Rust files and manifests keep their text.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, Option<String>>,
}

impl Tree {
    /// Reads every file under `root`, except hidden files and cargo's target folders.
    ///
    /// # Errors
    ///
    /// If a folder or a file cannot be read, or a Rust file is not UTF-8.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (at, path) = (entry.path(), format!("{prefix}{name}"));
            if name.starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                // Cargo puts this tag into every target folder.
                if name != "node_modules" && !at.join("CACHEDIR.TAG").exists() {
                    self.read_folder(&at, &format!("{path}/"))?;
                }
                continue;
            }
            let is_read = name.ends_with(".rs") || name == "Cargo.toml";
            let text = is_read.then(|| fs::read_to_string(&at)).transpose()?;
            self.files.insert(path, text);
        }
        Ok(())
    }

    /// The text of a Rust file or a manifest.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Every Rust file with its text.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(|(path, _)| path.ends_with(".rs"));
        files.filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// The files in `folder` and in those below it, by their path from `folder`.
    pub(crate) fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        let paths = self.files.keys();
        paths.filter_map(move |path| path.strip_prefix(folder)?.strip_prefix('/'))
    }
}

impl<P: Into<String>, T: Into<String>> FromIterator<(P, T)> for Tree {
    fn from_iter<I: IntoIterator<Item = (P, T)>>(files: I) -> Self {
        let files = files.into_iter();
        Self {
            files: (files.map(|(path, text)| (path.into(), Some(text.into())))).collect(),
        }
    }
}

/// The folder that a path stands in; empty for the root.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `path` seen from `folder`, with every `..` taken.
pub(crate) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
