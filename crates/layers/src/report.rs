//! The result of a check.

use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, by its path from the root.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The fault.
    pub what: String,
    /// The name of the rule.
    pub rule: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            what,
            rule,
        } = self;
        write!(f, "{file}:{line}: {what} [{rule}]")
    }
}

/// The numbers that a check counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files and folders at the top of `src`.
    pub entries: usize,
    /// Pairs of files of which the lower imports from the upper.
    pub upward: usize,
    /// Circles of files.
    pub circles: usize,
    /// The number of files in the largest circle.
    pub largest_circle: usize,
    /// Functions of the core that are too long.
    pub longer_in_core: usize,
    /// Functions of the wings that are too long.
    pub longer_in_wings: usize,
    /// Functions outside `src` and in tests that are too long.
    pub longer_outside: usize,
    /// Functions that are nested too deep.
    pub deeper: usize,
    /// Lines with a comment that are too wide.
    pub wider: usize,
    /// Comment lines with a word to avoid.
    pub with_words: usize,
}

/// The violations and the numbers of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// Every violation by file and line, those of imports before those of limits.
    pub violations: Vec<Violation>,
    /// The numbers.
    pub counts: Counts,
}
