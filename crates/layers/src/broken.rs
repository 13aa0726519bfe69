//! The error of a workspace that cannot be checked.

use std::{error, fmt};

/// A tree or rules that cannot be checked: the text says where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub(crate) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Broken {}
