//! The direction of uses: downward only, not through the face, and from a wing not to the files
//! that the rules hide from wings.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    report::Violation,
    rules::Rules,
    uses::{ThroughRoot, Use, Uses},
};

/// Uses between two files, by those files.
type Pairs<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Use>>;

/// Reports every use in a wrong direction. Returns the number of pairs of files with a use that
/// runs up.
pub(crate) fn check(
    rules: &Rules,
    uses: &Uses,
    files: &BTreeSet<&str>,
    found: &mut Vec<Violation>,
) -> usize {
    let mut pairs = Pairs::new();
    for used in uses.items.iter().chain(&uses.modules) {
        let pair = (used.from.as_str(), used.to.as_str());
        pairs.entry(pair).or_default().push(used);
    }
    let mut upward = 0;
    for (&(from, to), used) in &mut pairs {
        used.sort_by_key(|used| used.line);
        let direction = direction(rules, from, to);
        upward += usize::from(matches!(direction, Direction::Up { .. }));
        if let Some(wrong) = direction.wrong() {
            found.push(violation(used, &wrong, "direction"));
        }
        if rules.is_wing(from) && rules.is_of(&rules.wings_see_no.imports, to) {
            found.push(violation(used, "which no wing may see", "wings"));
        }
    }
    found.extend(unplaced(rules, files));
    found.extend(through_face(rules, &uses.through_root));
    found.extend(calls_of_wings(rules, uses));
    upward
}

enum Direction {
    Fine,
    Up { from: String, to: String },
    Aside { layer: String },
}

impl Direction {
    fn wrong(self) -> Option<String> {
        match self {
            Self::Fine => None,
            Self::Up { from, to } => Some(format!("upward: `{from}` stands below `{to}`")),
            Self::Aside { layer } => Some(format!("aside: what `{layer}` holds stands apart")),
        }
    }
}

fn direction(rules: &Rules, from: &str, to: &str) -> Direction {
    let (Some(lower), Some(upper)) = (rules.place(from), rules.place(to)) else {
        return Direction::Fine;
    };
    if rules.is_face(from) || lower.entry == upper.entry || lower.height < upper.height {
        return Direction::Fine;
    }
    if lower.height > upper.height {
        return Direction::Up {
            from: lower.layer.name.clone(),
            to: upper.layer.name.clone(),
        };
    }
    let mut may = lower.layer.may.iter();
    if !lower.layer.apart || may.any(|[from, to]| from == lower.entry && to == upper.entry) {
        return Direction::Fine;
    }
    Direction::Aside {
        layer: lower.layer.name.clone(),
    }
}

/// The violation by the uses between two files, at the line of the first.
fn violation(used: &[&Use], wrong: &str, rule: &'static str) -> Violation {
    let first = used[0];
    let (path, to) = (&first.path, &first.to);
    let mut what = format!("imports `{path}` of {to}, {wrong}");
    let mut lines: Vec<_> = used.iter().map(|used| used.line).collect();
    lines.dedup();
    if let [_, others @ ..] = lines.as_slice()
        && !others.is_empty()
    {
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        what += &format!("; also in line {}", others.join(", "));
    }
    Violation {
        file: first.from.clone(),
        line: first.line,
        what,
        rule,
    }
}

/// Every file of `src` that no layer holds. No other rule would limit its imports.
fn unplaced<'a>(
    rules: &'a Rules,
    files: &'a BTreeSet<&str>,
) -> impl Iterator<Item = Violation> + 'a {
    let files = files.iter().filter(|file| rules.in_src(file).is_some());
    let unplaced = files.filter(|file| !rules.is_face(file) && rules.place(file).is_none());
    unplaced.map(|file| Violation {
        file: (*file).to_owned(),
        line: 1,
        what: "no layer of the rules file holds this file".to_owned(),
        rule: "direction",
    })
}

fn through_face<'a>(
    rules: &'a Rules,
    through: &'a [ThroughRoot],
) -> impl Iterator<Item = Violation> + 'a {
    let through = through.iter();
    let wrong = through.filter(|path| rules.is_face(&path.root) && !rules.is_face(&path.file));
    wrong.map(|through| {
        let (path, root) = (&through.path, &through.root);
        let instead = match &through.instead {
            Some(instead) => format!("use `{instead}`"),
            None => "use the path of the file that defines it".to_owned(),
        };
        Violation {
            file: through.file.clone(),
            line: through.line,
            what: format!("imports `{path}` through {root}: {instead}"),
            rule: "face",
        }
    })
}

fn calls_of_wings<'a>(rules: &'a Rules, uses: &'a Uses) -> impl Iterator<Item = Violation> + 'a {
    let calls = uses.calls.iter();
    let wrong = calls.filter(|call| {
        rules.is_wing(&call.file) && rules.wings_see_no.calls.contains(&call.method)
    });
    wrong.map(|call| Violation {
        file: call.file.clone(),
        line: call.line,
        what: format!("calls `{}()`, which no wing may call", call.method),
        rule: "wings",
    })
}
