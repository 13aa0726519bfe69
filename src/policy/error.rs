//! The error of an invalid policy.

/// An invalid policy: the field that is wrong, its value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}: allowed is {allowed}")]
pub struct PolicyError {
    field: &'static str,
    value: String,
    allowed: String,
}

impl PolicyError {
    pub(crate) fn new(field: &'static str, value: String, allowed: impl Into<String>) -> Self {
        Self {
            field,
            value,
            allowed: allowed.into(),
        }
    }

    /// Returns the field that is wrong: `min_calls`, for instance.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the value of that field.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns what is allowed.
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}
