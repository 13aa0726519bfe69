//! The error of a phase or a script.

use std::fmt;

/// A phase or a script is invalid. The error says where, which field, its value, and what is
/// allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    pub(super) place: Place,
    pub(super) phase: Option<&'static str>,
    pub(super) field: &'static str,
    pub(super) value: String,
    pub(super) allowed: &'static str,
}

/// Where in the user's input the error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Phase { number: usize, of: usize },
    Switch,
    Speed,
}

impl ScriptError {
    /// Returns the number of the invalid phase in its script, counted from 1; `None` if the error
    /// is not in a phase of a script.
    #[must_use]
    pub fn phase_number(&self) -> Option<usize> {
        match self.place {
            Place::Phase { number, .. } => Some(number),
            Place::Switch | Place::Speed => None,
        }
    }

    /// Returns the name of the invalid field, `share` for instance.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }

    /// Returns the value as it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns what is allowed.
    #[must_use]
    pub fn allowed(&self) -> &str {
        self.allowed
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Phase { number, of } => write!(f, "phase {number} of {of}")?,
            Place::Switch => f.write_str("phase to switch to")?,
            Place::Speed => f.write_str("speed")?,
        }
        if let Some(phase) = self.phase {
            write!(f, " ({phase})")?;
        }
        let Self {
            field,
            value,
            allowed,
            ..
        } = self;
        write!(f, ": {field} is {value}, must be {allowed}")
    }
}

impl std::error::Error for ScriptError {}
