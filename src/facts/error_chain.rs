//! What an error wraps, and what that wraps in turn.

use std::{error::Error as StdError, io, iter, sync::Arc};

use crate::facts::refused::Refused;

/// How many errors of a chain are looked at: a chain may be a circle.
const MOST: usize = 128;

/// Returns an error and what it wraps, from the outside in.
pub(crate) fn error_chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let next = |&error: &&'e (dyn StdError + 'static)| wrapped(error).or_else(|| error.source());
    iter::successors(Some(error), next).take(MOST)
}

/// Returns what an error wraps whose `source()` lies below that.
fn wrapped<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().map(|inner| inner as _);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn StdError>>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<io::Error>>() {
        return Some(&**shared);
    }
    if let Some(shared) = error.downcast_ref::<Arc<Refused>>() {
        return Some(&**shared);
    }
    if let Some(boxed) = error.downcast_ref::<Box<io::Error>>() {
        return Some(&**boxed);
    }
    if let Some(boxed) = error.downcast_ref::<Box<Refused>>() {
        return Some(&**boxed);
    }
    None
}
