//! Checks a workspace against its rules: which file may use which, that no files use each other in
//! a circle, where a cargo feature may be tested, and the limits on length, nesting and comments.
//!
//! `.ci/layers.toml` holds the rules and explains them. `.ci/layers` runs the check.

mod broken;
mod circles;
mod comments;
mod direction;
mod features;
mod functions;
mod limits;
mod manifest;
mod modules;
mod names;
mod report;
mod rules;
mod syntax;
mod tokens;
mod tree;
mod uses;

#[cfg(test)]
mod tests;

pub use crate::{
    broken::Broken,
    report::{Counts, Report, Violation},
    rules::Rules,
    tree::Tree,
};

use std::collections::BTreeSet;

use crate::modules::Modules;

/// Checks a workspace.
///
/// # Errors
///
/// If a file cannot be parsed, a module has no file, or a manifest is invalid.
pub fn check(tree: &Tree, rules: &Rules) -> Result<Report, Broken> {
    let sources = modules::parse(tree)?;
    let roots = manifest::crate_roots(tree)?;
    let modules = Modules::follow(&roots, &sources)?;
    let uses = uses::read(&modules);

    let files = modules.files();
    let mut report = Report::default();
    let counts = &mut report.counts;
    let mut imports = Vec::new();
    imports.extend(stale(rules, tree));
    imports.extend(unreached(rules, tree, &files));
    counts.upward = direction::check(rules, &uses, &files, &mut imports);
    let circles = circles::check(&uses.items, &mut imports);
    counts.circles = circles.len();
    counts.largest_circle = circles.into_iter().max().unwrap_or(0);
    features::check(rules, &sources, &mut imports);
    let mut lengths = Vec::new();
    limits::check(rules, tree, &modules, &sources, counts, &mut lengths);
    for mut violations in [imports, lengths] {
        violations.sort();
        violations.dedup();
        report.violations.extend(violations);
    }
    Ok(report)
}

/// Every entry of the rules file that no file matches.
fn stale(rules: &Rules, tree: &Tree) -> impl Iterator<Item = Violation> {
    let stale = rules.stale(tree).into_iter();
    stale.map(|entry| Violation {
        what: format!("the rules file names {entry}, which does not exist"),
        file: rules.src.clone(),
        line: 1,
        rule: "rules",
    })
}

/// Every file in `src` that belongs to no crate: the other checks do not see it.
fn unreached<'a>(
    rules: &'a Rules,
    tree: &'a Tree,
    files: &'a BTreeSet<&str>,
) -> impl Iterator<Item = Violation> + 'a {
    let of_src = tree.rust().map(|(file, _)| file);
    let unreached = of_src.filter(|file| rules.in_src(file).is_some() && !files.contains(file));
    unreached.map(|file| Violation {
        file: file.to_owned(),
        line: 1,
        what: "no `mod` names this file".to_owned(),
        rule: "rules",
    })
}
