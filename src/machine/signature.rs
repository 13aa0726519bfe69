//! The actor of a change and the reason for it.

use std::sync::Arc;

use crate::error::CommandError;

/// The largest actor and the largest reason in bytes. They bound the memory of the audit trail.
const LONGEST_ACTOR: usize = 256;
const LONGEST_REASON: usize = 2048;

/// The actor of the trips that the rules decide.
const AUTOMATIC: &str = "tower-maintenance";

/// The actor of a change and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) actor: Arc<str>,
    pub(crate) reason: Arc<str>,
}

impl Signature {
    /// Checks and builds the signature of an operator.
    pub(crate) fn new(
        actor: impl Into<Arc<str>>,
        reason: impl Into<Arc<str>>,
    ) -> Result<Self, CommandError> {
        let (actor, reason) = (actor.into(), reason.into());
        check_text("actor", &actor, LONGEST_ACTOR)?;
        check_text("reason", &reason, LONGEST_REASON)?;
        Ok(Self { actor, reason })
    }

    /// Builds the signature of a trip that a rule decided.
    pub(super) fn automatic(reason: String) -> Self {
        Self {
            actor: AUTOMATIC.into(),
            reason: reason.into(),
        }
    }
}

/// Checks that `text` is not blank and has at most `most` bytes.
pub(crate) fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), CommandError> {
    let length = if text.trim().is_empty() {
        0
    } else {
        text.len()
    };
    if (1..=most).contains(&length) || mutant!("a command needs neither actor nor reason") {
        return Ok(());
    }
    Err(CommandError::Text {
        field,
        length,
        most,
    })
}
