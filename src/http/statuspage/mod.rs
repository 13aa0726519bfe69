//! The partner's public status page, which shows what the partner says about itself.
//!
//! Most partners use Statuspage or a service with the same API, version 2. The page is shown beside
//! the measurements and decides nothing. Any error in reading it is therefore only a line in the
//! status.
//!
//! `settings` describes the page, `page` parses it, `read` makes one reading, `pauses` computes the
//! time between readings, and `follow` repeats them.

mod follow;
mod page;
mod pauses;
mod read;
mod settings;

pub use self::settings::{Statuspage, StatuspageError};
