//! For whatever reads the partner's word from somewhere, again and again, as long as there is a layer.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::{
    facts::{
        partner_word::{PartnerSays, plain},
        recovery::Bulletin,
    },
    operator::{handle::MaintenanceHandle, subscribe::unless_gone},
    state::root::Root,
};

/// Where a source notes what it reads. It knows the layer weakly and keeps nothing alive.
pub(crate) struct Notes {
    layer: Weak<Root>,
    news: watch::Receiver<Bulletin>,
}

impl Notes {
    pub(crate) fn of(handle: &MaintenanceHandle) -> Self {
        Self {
            layer: Arc::downgrade(handle.shared()),
            news: handle.shared().subscribe(),
        }
    }

    /// Waits for `future`; `None` once no layer, service or handle is left.
    pub(crate) async fn unless_gone<F: Future>(&mut self, future: F) -> Option<F::Output> {
        unless_gone(future, &mut self.news).await
    }

    pub(crate) fn note(&self, heard: Result<PartnerSays, String>) {
        let Some(shared) = self.layer.upgrade() else {
            return;
        };
        match heard {
            Ok(says) => shared.partner_says(says),
            Err(error) => shared.partner_unreadable(plain(&error)),
        }
    }
}
