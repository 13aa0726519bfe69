//! The partner's public status page, read as what the partner says of itself.
//!
//! Most partners have theirs from Statuspage, or speak its dialect, version 2. The page is shown beside
//! what was measured and decides nothing; so whatever goes wrong with it is a line in the status.

mod follow;
mod page;
mod pauses;
mod read;
mod settings;

pub use self::settings::{Statuspage, StatuspageError};
