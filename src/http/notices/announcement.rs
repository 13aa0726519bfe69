//! The announcement of planned maintenance.

use std::time::SystemTime;

use crate::http::refusal::RefusalsError;

/// The longest text of an announcement, in bytes.
const LONGEST_TEXT: usize = 2048;

/// An announcement of planned maintenance for customers.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_maintenance::http::Announcement;
///
/// let tonight = SystemTime::now() + Duration::from_secs(4 * 3600);
/// let announcement = Announcement::new("Invoices move to a new ledger.")?
///     .starting(tonight)
///     .ending(tonight + Duration::from_secs(3600));
/// # let _ = announcement;
/// # Ok::<(), tower_maintenance::http::RefusalsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an announcement does nothing until `announce` shows it"]
pub struct Announcement {
    pub(super) text: String,
    pub(super) starts: Option<SystemTime>,
    pub(super) ends: Option<SystemTime>,
}

impl Announcement {
    /// Returns an announcement with a text of 1 to 2048 bytes.
    ///
    /// # Errors
    ///
    /// If the text is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, RefusalsError> {
        let text = text.into();
        if text.trim().is_empty() || text.len() > LONGEST_TEXT {
            let length = format!("{} bytes", text.len());
            return Err(RefusalsError::quoting(
                "announcement",
                &length,
                "a text of 1 to 2048 bytes",
            ));
        }
        Ok(Self {
            text,
            starts: None,
            ends: None,
        })
    }

    /// Sets when the maintenance begins. Default: no time is shown.
    pub fn starting(self, at: SystemTime) -> Self {
        Self {
            starts: Some(at),
            ..self
        }
    }

    /// Sets when the maintenance is expected to end. From then on the announcement is not shown.
    /// Default: it is shown until it is withdrawn.
    pub fn ending(self, at: SystemTime) -> Self {
        Self {
            ends: Some(at),
            ..self
        }
    }
}
