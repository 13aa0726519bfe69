//! Circles of files: each uses the next, and the last the first.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry};

use crate::{report::Violation, uses::Use};

/// The first use of each file by each.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a Use>>;

/// The files that one file reaches, each with the last use on a shortest way to it.
type Reached<'a> = BTreeMap<&'a str, &'a Use>;

/// Reports every set of files that reach each other. Returns the number of files in each.
pub(crate) fn check(uses: &[Use], found: &mut Vec<Violation>) -> Vec<usize> {
    let mut graph = Graph::new();
    for used in uses {
        let files = graph.entry(&used.from).or_default();
        let first = files.entry(&used.to).or_insert(used);
        if used.line < first.line {
            *first = used;
        }
    }
    let from_each: BTreeMap<_, _> = (graph.keys())
        .map(|&file| (file, reached(&graph, file)))
        .collect();
    let circles = circles(&from_each);
    let shortest = circles.iter().filter_map(|files| {
        let ways = files.iter().map(|file| way_back(&from_each[file], file));
        let way = ways.min_by_key(Vec::len)?;
        Some(violation(&way, files.len()))
    });
    found.extend(shortest);
    circles.iter().map(BTreeSet::len).collect()
}

fn reached<'a>(graph: &Graph<'a>, from: &'a str) -> Reached<'a> {
    let mut reached = Reached::new();
    let mut next = VecDeque::from([from]);
    while let Some(file) = next.pop_front() {
        for (&to, &used) in graph.get(file).into_iter().flatten() {
            if let Entry::Vacant(unknown) = reached.entry(to) {
                unknown.insert(used);
                next.push_back(to);
            }
        }
    }
    reached
}

fn circles<'a>(from_each: &BTreeMap<&'a str, Reached<'a>>) -> Vec<BTreeSet<&'a str>> {
    let reaches = |from: &str, to: &str| {
        let reached = from_each.get(from);
        reached.is_some_and(|reached| reached.contains_key(to))
    };
    let mut circles = Vec::new();
    let mut known = BTreeSet::new();
    for (&file, reached) in from_each {
        if known.contains(file) || !reached.contains_key(file) {
            continue;
        }
        let circle: BTreeSet<_> = (reached.keys().copied())
            .filter(|other| reaches(other, file))
            .collect();
        known.extend(circle.iter().copied());
        circles.push(circle);
    }
    circles
}

/// A shortest way from `file` to itself.
fn way_back<'a>(reached: &Reached<'a>, file: &str) -> Vec<&'a Use> {
    let mut way = vec![reached[file]];
    while let [.., first] = way.as_slice()
        && first.from != file
    {
        way.push(reached[first.from.as_str()]);
    }
    way.reverse();
    way
}

fn violation(way: &[&Use], files: usize) -> Violation {
    let first = way[0];
    let mut what = format!("circle of {files} files: {}", first.from);
    for used in way {
        what += &format!(" -> {} (`{}`, line {})", used.to, used.path, used.line);
    }
    Violation {
        file: first.from.clone(),
        line: first.line,
        what,
        rule: "circle",
    }
}
