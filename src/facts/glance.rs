//! What a look shows that takes no lock.

use std::{fmt, sync::Arc, time::SystemTime};

use crate::facts::{
    mode::{Cause, Mode},
    refused::Notice,
};

/// The state of a layer as it was last published: what code asks often.
///
/// [`MaintenanceHandle::glance`](crate::MaintenanceHandle::glance) returns it, and says what it
/// costs. A [`Status`](crate::Status) tells more, and takes the layer's lock for it.
///
/// A glance is one consistent state. It stays what it was while the layer goes on.
///
/// ```
/// use tower_maintenance::{Cause, Hold, MaintenanceLayer, Mode};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// assert_eq!(handle.glance().mode(), Mode::Serving);
///
/// handle.engage(Hold::new("on-call", "ticket 4711").with_message("Back at noon."))?;
/// let glance = handle.glance();
/// assert_eq!(glance.mode(), Mode::Maintenance);
/// assert_eq!(glance.causes(), [Cause::Operator]);
/// assert_eq!(glance.message(), Some("Back at noon."));
/// # Ok::<(), tower_maintenance::CommandError>(())
/// ```
#[derive(Clone)]
pub struct Glance(Arc<Notice>);

impl Glance {
    pub(crate) fn new(notice: Arc<Notice>) -> Self {
        Self(notice)
    }

    /// Returns the name that the layer was given for its partner.
    #[must_use]
    pub fn partner(&self) -> &str {
        &self.0.partner
    }

    /// Returns the mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Returns the causes of maintenance. The first one determines the mode, unless bypass is on.
    #[must_use]
    pub fn causes(&self) -> &[Cause] {
        &self.0.causes
    }

    /// Returns when the episode under way began; when the mode began, if there is none.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.0.since
    }

    /// Returns until when the gate stays shut at least; `None` if that is not known. A hold without
    /// expiry has no known end, and neither has `Probing`.
    #[must_use]
    pub fn until(&self) -> Option<SystemTime> {
        self.0.until_wall
    }

    /// Returns when maintenance ends, if that is known: at the expiry of a hold without a trip
    /// beneath it.
    #[must_use]
    pub fn promised_end(&self) -> Option<SystemTime> {
        self.until().filter(|_| self.0.is_promised)
    }

    /// Returns whether reads pass although the mode is `Maintenance`.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// Returns the message for customers that the operator's hold carries.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// Returns the generation of what callers may have cached.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Returns the number of the episode under way; `None` in `Serving`.
    #[must_use]
    pub fn episode(&self) -> Option<u64> {
        self.0.episode
    }

    /// Returns what the layer's wall clock reads now.
    #[cfg(feature = "http")]
    pub(crate) fn wall_now(&self) -> SystemTime {
        let (reading, wall) = self.0.published;
        let since = reading.map_or(0, |then| self.0.clock.read().nanos_since(then));
        let since = std::time::Duration::from_nanos(since);
        wall.checked_add(since).unwrap_or(wall)
    }
}

impl fmt::Debug for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glance")
            .field("partner", &self.partner())
            .field("mode", &self.mode())
            .field("causes", &self.causes())
            .field("since", &self.since())
            .field("until", &self.until())
            .field("generation", &self.generation())
            .field("episode", &self.episode())
            .finish_non_exhaustive()
    }
}
