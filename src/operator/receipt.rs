//! What a command that was carried out says.

use crate::facts::{audit::Action, status::Status};

/// A command that was carried out: what it did here and now, and how far it has reached.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Receipt {
    pub(super) action: Action,
    pub(super) changed: bool,
    pub(super) status: Status,
}

impl Receipt {
    /// Which command it was.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Whether it changed anything.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// The state right after the command.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Waits until the command has reached as far as it can, and says how far that is.
    ///
    /// A layer without a store or a fleet is this process alone: it answers at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the command stands whether or not anybody waits.
    pub async fn settled(&self) -> Reach {
        Reach::Process
    }
}

/// How far a command has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// This process.
    Process,
}
