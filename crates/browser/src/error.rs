//! The error of this crate, and the time after which it is returned.

use std::{
    fmt::{self, Debug, Display},
    time::Duration,
};

/// The time that any step may take before it has failed. It is long enough for a busy machine.
pub const CAP: Duration = Duration::from_secs(60);

/// The text of a failure, with which a test fails.
///
/// Its `Debug` is its `Display`, so that `unwrap` can be read.
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<fantoccini::error::CmdError> for Error {
    fn from(error: fantoccini::error::CmdError) -> Self {
        Self(error.to_string())
    }
}
