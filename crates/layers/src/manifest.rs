//! The crates of the workspace: each root file that cargo builds from.

use serde::Deserialize;

use crate::{
    broken::Broken,
    tree::{Tree, folder, join},
};

/// A file that cargo builds a crate from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CrateRoot {
    pub(crate) file: String,
    pub(crate) is_lib: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    workspace: Workspace,
    package: Option<toml::Table>,
    lib: Option<Target>,
    bin: Vec<Target>,
    test: Vec<Target>,
    bench: Vec<Target>,
    example: Vec<Target>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workspace {
    members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Target {
    path: Option<String>,
}

/// The crates of the root package and of every member.
pub(crate) fn crate_roots(tree: &Tree) -> Result<Vec<CrateRoot>, Broken> {
    let root = read(tree, "")?;
    let mut roots = Vec::new();
    for member in members(tree, &root.workspace) {
        of_package(tree, &member, &read(tree, &member)?, &mut roots);
    }
    if root.package.is_some() {
        of_package(tree, "", &root, &mut roots);
    }
    Ok(roots)
}

fn read(tree: &Tree, package: &str) -> Result<Manifest, Broken> {
    let path = join(package, "Cargo.toml");
    let text = tree.text(&path);
    let text = text.ok_or_else(|| Broken(format!("{path}: no such file")))?;
    toml::from_str(text).map_err(|error| Broken(format!("{path}: {error}")))
}

fn members(tree: &Tree, workspace: &Workspace) -> Vec<String> {
    let mut found = Vec::new();
    for member in &workspace.members {
        let Some(parent) = member.strip_suffix("/*") else {
            found.push(member.clone());
            continue;
        };
        let manifests = tree
            .under(parent)
            .filter_map(|path| path.strip_suffix("/Cargo.toml"));
        let children = manifests.filter(|name| !name.contains('/'));
        found.extend(children.map(|name| join(parent, name)));
    }
    found
}

fn of_package(tree: &Tree, package: &str, manifest: &Manifest, roots: &mut Vec<CrateRoot>) {
    let mut add = |path: &str, is_lib| {
        let file = join(package, path);
        let root = CrateRoot { file, is_lib };
        if tree.text(&root.file).is_some() && !roots.contains(&root) {
            roots.push(root);
        }
    };
    let lib = manifest.lib.as_ref().and_then(|lib| lib.path.as_deref());
    add(lib.unwrap_or("src/lib.rs"), true);
    add("src/main.rs", false);
    add("build.rs", false);
    let targets = [
        &manifest.bin,
        &manifest.test,
        &manifest.bench,
        &manifest.example,
    ];
    for target in targets.into_iter().flatten() {
        if let Some(path) = &target.path {
            add(path, false);
        }
    }
    for of_targets in ["src/bin", "tests", "benches", "examples"] {
        for name in tree.under(&join(package, of_targets)) {
            // `tests/a.rs` and `tests/a/main.rs`.
            if name.ends_with(".rs") && (!name.contains('/') || is_main(name)) {
                add(&format!("{of_targets}/{name}"), false);
            }
        }
    }
}

fn is_main(name: &str) -> bool {
    name.ends_with("/main.rs") && !folder(name).contains('/')
}
