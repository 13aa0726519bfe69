//! Time, text and memory helpers that all other modules use and that know nothing of maintenance.

// First, so that `mutant!` is known in all files below.
#[macro_use]
pub(crate) mod mutant;

#[cfg(feature = "http")]
pub(crate) mod accessors;
pub(crate) mod clock;
#[cfg(feature = "coarse-clock")]
pub(crate) mod clock_coarse;
pub(crate) mod harmless;
pub(crate) mod jitter;
pub(crate) mod loom_or_std;
pub(crate) mod moment;
pub(crate) mod names;
pub(crate) mod one_line;
#[cfg(test)]
pub(crate) mod property_cases;
pub(crate) mod published;
#[cfg(any(feature = "http", feature = "serde"))]
pub(crate) mod rfc3339;
pub(crate) mod setting_error;
pub(crate) mod span;
pub(crate) mod spare;
pub(crate) mod target;
pub(crate) mod thread_number;
