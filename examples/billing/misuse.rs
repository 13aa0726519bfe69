//! Mistakes on the command line and in the file at start: the program ends with the exit code 2.

use std::fmt;

/// A mistake of the user of the program, with what would be right.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}
