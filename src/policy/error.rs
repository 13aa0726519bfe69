//! What is wrong with a policy.

/// A policy that makes no sense.
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

    /// The field that is wrong.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The value that it has.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What would be allowed.
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}
