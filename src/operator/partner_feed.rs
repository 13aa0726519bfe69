//! The connection between a source of the partner's own statements and the layer.

use tokio::sync::watch;

use crate::{
    facts::{partner_word::PartnerStatus, recovery::Bulletin},
    operator::{handle::MaintenanceHandle, subscribe::unless_gone, weak_handle::WeakHandle},
};

/// Receives what a source reads about the partner, and passes it to the layer.
///
/// It does not keep the layer alive.
pub(crate) struct Notes {
    layer: WeakHandle,
    news: watch::Receiver<Bulletin>,
}

impl Notes {
    pub(crate) fn of(handle: &MaintenanceHandle) -> Self {
        Self {
            layer: handle.downgrade(),
            news: handle.shared().subscribe(),
        }
    }

    /// Waits for `future`; `None` once no layer, service or handle is left.
    pub(crate) async fn unless_gone<F: Future>(&mut self, future: F) -> Option<F::Output> {
        unless_gone(future, &mut self.news).await
    }

    /// Records what the source has read, or why it could not be read. Does nothing without a layer.
    pub(crate) fn note(&self, heard: Result<PartnerStatus, String>) {
        let Some(handle) = self.layer.upgrade() else {
            return;
        };
        match heard {
            Ok(says) => handle.report_partner_status(says),
            Err(error) => handle.partner_unreadable(&error),
        }
    }
}
