//! What all of the tasks share: a payment SDK, and a partner that can be broken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long the peers that run on the system's clock stay open in a test.
pub(crate) const WAIT: Duration = Duration::from_millis(50);

/// Stands for a vendor's SDK: an async function per operation, and an error of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sdk {
    is_down: Arc<AtomicBool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SdkError(pub(crate) &'static str);

impl std::fmt::Display for SdkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for SdkError {}

impl Sdk {
    pub(crate) async fn charge(&self, cents: u32) -> Result<u32, SdkError> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(SdkError("bad gateway"));
        }
        Ok(cents)
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }
}
