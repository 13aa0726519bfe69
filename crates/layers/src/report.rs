//! What a check says.

use std::fmt;

/// A place where a rule is not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, by its path from the root.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
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

/// What is counted of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files and folders at the top of `src`.
    pub entries: usize,
    /// Pairs of files of which the lower imports the upper.
    pub upward: usize,
    /// Circles of files.
    pub circles: usize,
    /// The files of the largest circle.
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
    /// Lines of comments with a word that is to be avoided.
    pub with_words: usize,
}

/// Everything that a check says.
#[derive(Debug, Default)]
pub struct Report {
    /// Every place where a rule is not kept, by file and line: imports first, then limits.
    pub violations: Vec<Violation>,
    /// What was counted.
    pub counts: Counts,
}
