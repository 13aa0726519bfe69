//! What a user writes for seven tasks, with tower-maintenance and with its peers.
//!
//! ```text
//! cargo run -p user-lines
//! ```
//!
//! A module per crate does each task once, in the way that the crate's documentation shows. The
//! code is compiled. `cargo test -p user-lines` runs the outages. The lines between `// task:` and
//! `// end` are counted, without blank lines and comment lines. Imports, signatures and the SDK are
//! not counted, nor are dependencies and features. rustfmt has formatted all of them.
//!
//! A crate that cannot do a task has `-`, and the reason is printed below the table.
//!
//! Equal lines are not equal results. Of a breaker's own, the axum task refuses with an empty 503
//! and a constant `Retry-After`; ours has a page, a problem document and the time that is left.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the tasks are compiled and counted; those that are not tests are not run"
)]

use std::collections::BTreeMap;

mod failsafe;
mod ours;
mod recloser;
mod sdk;
mod seatbelt;
mod tower_resilience;

const TASKS: [&str; 7] = [
    "guard a reqwest client",
    "guard an SDK call",
    "guard axum routes",
    "read the state",
    "export metrics",
    "load a policy",
    "test an outage",
];

const CRATES: [(&str, &str); 5] = [
    ("tower-maintenance", include_str!("ours.rs")),
    ("tower-resilience", include_str!("tower_resilience.rs")),
    ("seatbelt", include_str!("seatbelt.rs")),
    ("failsafe", include_str!("failsafe.rs")),
    ("recloser", include_str!("recloser.rs")),
];

/// What a source says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task<'s> {
    Lines(usize),
    /// The crate has no such thing. What a user would have to write.
    None(&'s str),
}

fn tasks(source: &str) -> BTreeMap<&str, Task<'_>> {
    let mut tasks = BTreeMap::new();
    let mut open = None;
    for line in source.lines().map(str::trim) {
        if let Some(task) = line.strip_prefix("// task: ") {
            tasks.insert(task, Task::Lines(0));
            open = Some(task);
        } else if let Some(none) = line.strip_prefix("// none: ") {
            let (task, why) = none.split_once(": ").unwrap_or((none, ""));
            tasks.insert(task, Task::None(why));
        } else if line == "// end" {
            open = None;
        } else if let Some(Task::Lines(lines)) = open.and_then(|task| tasks.get_mut(task)) {
            *lines += usize::from(!line.is_empty() && !line.starts_with("//"));
        }
    }
    tasks
}

fn main() {
    let all = CRATES.map(|(name, source)| (name, tasks(source)));
    let names: Vec<_> = CRATES.iter().map(|(name, _)| *name).collect();
    println!("| lines for | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(CRATES.len()));
    for task in TASKS {
        let cell = |tasks: &BTreeMap<_, _>| match tasks.get(task) {
            Some(Task::Lines(lines)) => lines.to_string(),
            Some(Task::None(_)) | None => "-".to_owned(),
        };
        let cells: Vec<_> = all.iter().map(|(_, tasks)| cell(tasks)).collect();
        println!("| {task} | {} |", cells.join(" | "));
    }
    for (name, tasks) in &all {
        for (task, what) in tasks {
            if let Task::None(why) = what {
                println!("- {name}, {task}: {why}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_says_something_of_every_task() {
        for (name, source) in CRATES {
            let tasks = tasks(source);
            let mut expected = TASKS;
            expected.sort_unstable();
            assert_eq!(
                tasks.keys().copied().collect::<Vec<_>>(),
                expected,
                "{name}"
            );
            for (task, what) in tasks {
                assert_ne!(what, Task::Lines(0), "{name}: {task}");
                assert_ne!(what, Task::None(""), "{name}: {task}");
            }
            let ends = source
                .lines()
                .filter(|line| line.trim() == "// end")
                .count();
            let begins = source.matches("// task: ").count();
            assert_eq!(begins, ends, "{name}");
        }
    }

    #[test]
    fn blank_lines_and_comments_are_not_counted() {
        let source = "a\n// task: read the state\n\n    // why\n    one();\n    two();\n// end\nb";
        assert_eq!(tasks(source)["read the state"], Task::Lines(2));
    }
}
