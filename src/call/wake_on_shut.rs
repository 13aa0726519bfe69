//! Wakes callers that wait for the inner service's readiness when the gate shuts (R3).

use std::{fmt, future::Future, pin::Pin, task::Context};

use tokio::sync::futures::OwnedNotified;

use crate::state::Shared;

/// A caller's place among the callers that are woken when the era ends.
///
/// Boxed: it must not move, and the waiting path may allocate.
#[derive(Default)]
pub(crate) struct Parked(Option<Pin<Box<OwnedNotified>>>);

impl Parked {
    /// Gives up the place.
    #[inline]
    pub(crate) fn leave(&mut self) {
        if self.0.is_some() {
            self.0 = None;
        }
    }

    /// Registers the caller to be woken when the era ends, if `admitted` holds. Returns whether it
    /// holds.
    pub(crate) fn while_admitted(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
        admitted: impl Fn() -> bool,
    ) -> bool {
        loop {
            let era_ends = self.0.get_or_insert_with(|| Box::pin(shared.era_ends()));
            // The caller is registered before `admitted` is asked, so no era ends unseen between.
            let woken = era_ends.as_mut().poll(cx).is_ready();
            if !admitted() {
                self.0 = None;
                return false;
            }
            if !woken || mutant!("a caller that was woken once is never woken again") {
                return true;
            }
            // An era ended, but the caller is still admitted (a reset while serving): it waits for
            // the end of the next era.
            self.0 = None;
        }
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parked").field(&self.0.is_some()).finish()
    }
}
