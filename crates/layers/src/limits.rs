//! The limits on entries, functions and comments.

use crate::{
    comments::{comment_lines, has_word},
    functions::measure,
    modules::{Modules, Sources},
    report::{Counts, Violation},
    rules::Rules,
    tree::Tree,
};

/// Counts, and reports every place of a kind that exceeds its limit.
pub(crate) fn check(
    rules: &Rules,
    tree: &Tree,
    modules: &Modules<'_>,
    sources: &Sources,
    counts: &mut Counts,
    found: &mut Vec<Violation>,
) {
    entries(rules, tree, counts, found);
    functions(rules, modules, sources, counts, found);
    comments(rules, tree, counts, found);
}

fn entries(rules: &Rules, tree: &Tree, counts: &mut Counts, found: &mut Vec<Violation>) {
    let mut names: Vec<_> = tree
        .under(&rules.src)
        .filter_map(|path| path.split('/').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    counts.entries = names.len();
    if names.len() > rules.entries {
        found.push(Violation {
            file: rules.src.clone(),
            line: 1,
            what: format!("has {} entries: allowed are {}", names.len(), rules.entries),
            rule: "entries",
        });
    }
}

fn functions(
    rules: &Rules,
    modules: &Modules<'_>,
    sources: &Sources,
    counts: &mut Counts,
    found: &mut Vec<Violation>,
) {
    let limits = &rules.limits;
    let (mut core, mut wings, mut outside) = (Vec::new(), Vec::new(), Vec::new());
    let mut deep = Vec::new();
    for (file, parsed) in sources {
        let is_product = rules.in_src(file).is_some() && !modules.is_test(file);
        for function in measure(parsed) {
            let name = &function.name;
            let says = |line, what, rule| violation(file, line, what, rule);
            if function.lines > limits.function_lines {
                let what = format!("`{name}` has {} lines", function.lines);
                let longer = if !is_product || function.is_test {
                    &mut outside
                } else if rules.is_wing(file) {
                    &mut wings
                } else {
                    &mut core
                };
                longer.push(says(function.line, what, "function_lines"));
            }
            if function.depth > limits.nesting {
                let what = format!("`{name}` is nested {} deep here", function.depth);
                deep.push(says(function.deepest, what, "nesting"));
            }
        }
    }
    counts.longer_in_core = core.len();
    counts.longer_in_wings = wings.len();
    counts.longer_outside = outside.len();
    counts.deeper = deep.len();
    keep(core, limits.longer_in_core, found);
    keep(wings, limits.longer_in_wings, found);
    keep(outside, limits.longer_outside, found);
    keep(deep, limits.deeper, found);
}

fn comments(rules: &Rules, tree: &Tree, counts: &mut Counts, found: &mut Vec<Violation>) {
    let limits = &rules.limits;
    let (mut wide, mut with_words) = (Vec::new(), Vec::new());
    for (file, text) in tree.rust() {
        for comment in comment_lines(text) {
            let says = |what, rule| violation(file, comment.line, what, rule);
            if comment.columns > limits.comment_columns {
                let what = format!("a comment in a line of {} columns", comment.columns);
                wide.push(says(what, "comment_columns"));
            }
            if has_word(comment.text, &limits.words) {
                let what = format!("a word to avoid: {}", comment.text.trim());
                with_words.push(says(what, "words"));
            }
        }
    }
    wide.dedup_by(|one, other| one.file == other.file && one.line == other.line);
    with_words.dedup_by(|one, other| one.file == other.file && one.line == other.line);
    counts.wider = wide.len();
    counts.with_words = with_words.len();
    keep(wide, limits.wider, found);
    keep(with_words, limits.with_words, found);
}

fn violation(file: &str, line: usize, what: String, rule: &'static str) -> Violation {
    Violation {
        file: file.to_owned(),
        line,
        what,
        rule,
    }
}

/// Reports every place if there are more than allowed.
fn keep(places: Vec<Violation>, allowed: usize, found: &mut Vec<Violation>) {
    let total = places.len();
    if total > allowed {
        found.extend(places.into_iter().map(|place| Violation {
            what: format!(
                "{}; of these there are {total}, allowed are {allowed}",
                place.what
            ),
            ..place
        }));
    }
}
