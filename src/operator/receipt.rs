//! The result of a command that was carried out.

use crate::facts::{audit::Action, status::Status};

/// The result of a command: what it changed, and how far it has reached.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Receipt {
    pub(super) action: Action,
    pub(super) changed: bool,
    pub(super) status: Status,
}

impl Receipt {
    /// Returns the verb of the command.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Returns whether the command changed anything.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// Returns the state right after the command.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Waits until the command has reached as far as it can.
    ///
    /// Returns how far that is.
    ///
    /// A layer without a store and a fleet consists of this process only, so it returns at once.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: the command stays in force without this call.
    pub async fn settled(&self) -> Reach {
        Reach::Process
    }
}

/// How far a command has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// The command is in force in this process.
    Process,
}
