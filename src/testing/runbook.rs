//! A check that the committed table of exempt endpoints is that in force.
//!
//! The layer writes the table and people read it. A table that is kept by hand is right only on the
//! day it is written. Here a test compares the two: a change of the exemptions makes it fail, so
//! the new table is committed along with the change, where a reviewer sees it.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use crate::exemptions::ExemptionTable;

/// The line before the table, in a file that has more than the table.
const BEGIN: &str = "<!-- exempt endpoints: begin -->";
/// The line after the table.
const END: &str = "<!-- exempt endpoints: end -->";
/// The environment variable that makes the check rewrite the file.
const UPDATE: &str = "UPDATE_RUNBOOK";

/// Asserts that the Markdown file at `path` shows the exemptions in force.
///
/// The table is that of [`ExemptionTable`]'s `Display`. It may be the whole file, or stand anywhere
/// in a longer one between these two lines. The text around them is yours:
///
/// ```text
/// <!-- exempt endpoints: begin -->
/// <!-- exempt endpoints: end -->
/// ```
///
/// The table shows what is exempt, and not whether there is such a route:
/// `MaintenanceLayer::check_routes` (feature `axum`) checks that, in the same test.
///
/// To create or update the file, run the test once with `UPDATE_RUNBOOK=1`. Line endings and blanks
/// at the end of a line do not matter. A relative `path` starts from the working directory of the
/// test, which under `cargo test` is the root of the package.
///
/// # Panics
///
/// If the file is out of date: the message has the lines that differ. If the file or its markers
/// are missing. If the file cannot be read or written.
///
/// # Examples
///
/// ```
/// use tower_maintenance::{Exemption, MaintenanceLayer, testing::assert_runbook_is_current};
///
/// let layer = MaintenanceLayer::builder("zuora")
///     .exempt(Exemption::call("invoice.read", "customers may always see what they owe"))
///     .build()?
///     .named(|operation: &String| operation.as_str());
/// # let directory = std::env::temp_dir().join(format!("runbook-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let runbook = directory.join("exempt-endpoints.md");
/// # std::fs::write(&runbook, "# Runbook
/// #
/// # <!-- exempt endpoints: begin -->
/// # | placement | endpoint | methods | counted | why |
/// # |---|---|---|---|---|
/// # | around calls | `invoice.read` | all | no | customers may always see what they owe |
/// # <!-- exempt endpoints: end -->
/// # ")?;
/// // In a test; `runbook` is "docs/exempt-endpoints.md", for instance.
/// assert_runbook_is_current(&layer.handle().exemptions(), &runbook);
///
/// // The exemptions change, and the runbook is forgotten:
/// let handle = layer.handle();
/// handle.replace_exemptions([Exemption::call("refund", "promised")], "dev", "ticket 12")?;
/// let table = handle.exemptions();
/// let outdated = std::panic::catch_unwind(|| assert_runbook_is_current(&table, &runbook));
/// # if std::env::var_os("UPDATE_RUNBOOK").is_none() {
/// assert!(outdated.is_err());
/// # }
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn assert_runbook_is_current(table: &ExemptionTable, path: impl AsRef<Path>) {
    let wanted = std::env::var_os(UPDATE).is_some_and(|value| !value.is_empty() && value != "0");
    let outdated = if wanted {
        Outdated::Rewrite
    } else {
        Outdated::Report
    };
    if let Err(fault) = check(table, path.as_ref(), outdated) {
        panic!("{fault}");
    }
}

/// What to do with a file that is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outdated {
    Report,
    Rewrite,
}

/// An error of the check. Its `Display` says what to do.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(
        "{} does not exist: write it with `{UPDATE}=1 cargo test`, and commit it", .0.display()
    )]
    Missing(PathBuf),
    #[error(
        "{} does not show the exemptions in force (- committed, + in force):\n{diff}\
         bring it up to date with `{UPDATE}=1 cargo test`, and commit it", .path.display()
    )]
    Outdated { path: PathBuf, diff: String },
    #[error("{}: {what}\n    {BEGIN}\n    {END}", .path.display())]
    Markers { path: PathBuf, what: &'static str },
    #[error("{} cannot be {}: {}", .0.display(), .1, .2)]
    Io(PathBuf, &'static str, io::Error),
}

fn check(table: &ExemptionTable, path: &Path, outdated: Outdated) -> Result<(), Fault> {
    let in_force = table.to_markdown();
    let write = |text: String| {
        fs::write(path, text).map_err(|error| Fault::Io(path.into(), "written", error))
    };
    let file = match fs::read_to_string(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match outdated {
                Outdated::Report => Err(Fault::Missing(path.into())),
                // With markers, so that text can be written around the table.
                Outdated::Rewrite => write(format!("{BEGIN}\n{in_force}{END}\n")),
            };
        }
        Err(error) => return Err(Fault::Io(path.into(), "read", error)),
    };
    let (before, committed, after) = split(&file).map_err(|what| Fault::Markers {
        path: path.into(),
        what,
    })?;
    if lines(committed).eq(lines(&in_force)) {
        return Ok(());
    }
    match outdated {
        Outdated::Report => Err(Fault::Outdated {
            path: path.into(),
            diff: diff(committed, &in_force),
        }),
        Outdated::Rewrite => {
            let in_force = if file.contains("\r\n") {
                in_force.replace('\n', "\r\n")
            } else {
                in_force
            };
            let line_break = if before.is_empty() || before.ends_with('\n') {
                ""
            } else {
                "\n" // both markers are on one line
            };
            write(format!("{before}{line_break}{in_force}{after}"))
        }
    }
}

/// Returns the file before the table, the table, and the file after it.
fn split(file: &str) -> Result<(&str, &str, &str), &'static str> {
    let only_one = |marker| {
        let mut found = file.match_indices(marker);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(Some(at)),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err("a marker is in it twice; there must be one pair:"),
        }
    };
    let (begin, end) = match (only_one(BEGIN)?, only_one(END)?) {
        (Some(begin), Some(end)) => (begin + BEGIN.len(), end),
        (None, None) if holds_only_a_table(file) => return Ok(("", file, "")),
        (None, None) => {
            // Not guessed: a wrong guess would overwrite a part of the user's text.
            return Err("it has more than the table; put these two lines around the table:");
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err("one of the two markers is missing; there must be a pair:");
        }
    };
    let Some(between) = file.get(begin..end) else {
        return Err("the markers are in the wrong order; they must be in this one:");
    };
    // The line break after the first marker belongs to the marker.
    let first_line = between.find('\n').map_or(between.len(), |at| at + 1);
    Ok((
        &file[..begin + first_line],
        &between[first_line..],
        &file[end..],
    ))
}

fn holds_only_a_table(file: &str) -> bool {
    lines(file).all(|line| line.is_empty() || line.starts_with('|'))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim().lines().map(str::trim_end)
}

/// Returns the lines of both texts in order, each marked by the text that has it. The lines in both
/// are their longest common subsequence.
fn diff(committed: &str, in_force: &str) -> String {
    let old: Vec<&str> = lines(committed).collect();
    let new: Vec<&str> = lines(in_force).collect();
    // `common[i][j]`: how many lines `old[i..]` and `new[j..]` have in common, in order.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut out = String::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let (mark, line) = if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            (' ', old[i - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        };
        let _ = writeln!(out, "  {mark} {line}"); // writing to a `String` cannot fail
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exemption, MaintenanceLayer};

    const INVOICES: &str =
        "| around calls | `invoice.read` | all | no | customers may see what they owe |";
    const HEAD: &str = "| placement | endpoint | methods | counted | why |\n|---|---|---|---|---|";

    fn table(names: &[&str]) -> ExemptionTable {
        let mut layer = MaintenanceLayer::builder("zuora");
        for name in names {
            layer = layer.exempt(Exemption::call(name, "customers may see what they owe"));
        }
        layer.build().unwrap().handle().exemptions()
    }

    /// A file of the test's own. Its drop removes it.
    struct Runbook(PathBuf);

    impl Runbook {
        fn new(name: &str) -> Self {
            let file = format!("runbook-test-{}-{name}.md", std::process::id());
            Self(std::env::temp_dir().join(file))
        }

        fn with(name: &str, text: &str) -> Self {
            let runbook = Self::new(name);
            fs::write(&runbook.0, text).unwrap();
            runbook
        }

        fn text(&self) -> String {
            fs::read_to_string(&self.0).unwrap()
        }

        fn fault(&self, names: &[&str], outdated: Outdated) -> String {
            let fault = check(&table(names), &self.0, outdated)
                .unwrap_err()
                .to_string();
            fault.replace(&self.0.display().to_string(), "runbook.md")
        }
    }

    impl Drop for Runbook {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_with_the_table_alone_is_current() {
        let runbook = Runbook::with("alone", &format!("{HEAD}\n{INVOICES}\n"));
        check(&table(&["invoice.read"]), &runbook.0, Outdated::Report).unwrap();
    }

    #[test]
    fn a_table_between_the_markers_is_current_whatever_stands_around_it() {
        let text = format!(
            "# Runbook\r\n\r\n{BEGIN}\r\n\r\n{HEAD}\r\n{INVOICES}  \r\n{END}\r\nCall us.\r\n"
        );
        let runbook = Runbook::with(
            "between",
            &text.replace("|---|---|---|---|---|\n", "|---|---|---|---|---|\r\n"),
        );
        check(&table(&["invoice.read"]), &runbook.0, Outdated::Report).unwrap();
    }

    #[test]
    fn a_table_that_is_out_of_date_fails_with_a_diff_and_the_cure() {
        let runbook = Runbook::with("outdated", &format!("{HEAD}\n{INVOICES}\n"));
        assert_eq!(
            runbook.fault(&["price.read"], Outdated::Report),
            "runbook.md does not show the exemptions in force (- committed, + in force):
    | placement | endpoint | methods | counted | why |
    |---|---|---|---|---|
  - | around calls | `invoice.read` | all | no | customers may see what they owe |
  + | around calls | `price.read` | all | no | customers may see what they owe |
bring it up to date with `UPDATE_RUNBOOK=1 cargo test`, and commit it"
        );
        assert!(
            runbook.text().contains("invoice.read"),
            "a report changes nothing"
        );
    }

    #[test]
    fn an_update_replaces_the_table_and_nothing_else() {
        let text = format!("# Runbook\n\n{BEGIN}\nold\n{END}\n\nCall us.\n");
        let runbook = Runbook::with("update", &text);
        let exempt = table(&["invoice.read"]);
        check(&exempt, &runbook.0, Outdated::Rewrite).unwrap();
        assert_eq!(
            runbook.text(),
            format!("# Runbook\n\n{BEGIN}\n{HEAD}\n{INVOICES}\n{END}\n\nCall us.\n")
        );
        check(&exempt, &runbook.0, Outdated::Report).unwrap();
    }

    #[test]
    fn an_update_keeps_the_line_endings() {
        let runbook = Runbook::with("crlf", &format!("# Runbook\r\n{BEGIN}\r\n{END}\r\n"));
        check(&table(&["invoice.read"]), &runbook.0, Outdated::Rewrite).unwrap();
        assert_eq!(
            runbook.text().matches('\n').count(),
            runbook.text().matches("\r\n").count()
        );
        assert!(runbook.text().contains(INVOICES));
    }

    #[test]
    fn a_missing_file_is_an_error_and_an_update_makes_it() {
        let runbook = Runbook::new("missing");
        assert_eq!(
            runbook.fault(&[], Outdated::Report),
            "runbook.md does not exist: write it with `UPDATE_RUNBOOK=1 cargo test`, and commit it"
        );
        let exempt = table(&["invoice.read"]);
        check(&exempt, &runbook.0, Outdated::Rewrite).unwrap();
        check(&exempt, &runbook.0, Outdated::Report).unwrap();
    }

    #[test]
    fn prose_without_a_pair_of_markers_is_never_overwritten() {
        for (name, text, what) in [
            ("prose", "# Runbook\n".into(), "has more than the table"),
            (
                "single",
                format!("{BEGIN}\n"),
                "one of the two markers is missing",
            ),
            ("turned", format!("{END}\n{BEGIN}\n"), "in the wrong order"),
            ("twice", format!("{BEGIN}\n{END}\n{BEGIN}\n"), "in it twice"),
        ] {
            let runbook = Runbook::with(name, &text);
            for outdated in [Outdated::Report, Outdated::Rewrite] {
                let fault = runbook.fault(&["invoice.read"], outdated);
                assert!(fault.contains(what), "{fault}");
                assert!(
                    fault.ends_with(&format!("\n    {BEGIN}\n    {END}")),
                    "{fault}"
                );
            }
            assert_eq!(runbook.text(), text);
        }
    }

    #[test]
    fn a_diff_keeps_what_both_have_in_order() {
        assert_eq!(
            diff("a\nb\nc", "b\nx\nc\nd"),
            "  - a\n    b\n  + x\n    c\n  + d\n"
        );
    }
}
