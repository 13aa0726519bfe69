//! The settings of a push.

use std::{sync::Arc, time::Duration};

use http::request;

pub(super) type NameClient = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

/// The settings; [`PushBuilder`](super::PushBuilder) documents each.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) max_subscribers: usize,
    pub(super) max_of_client: usize,
    pub(super) client: Option<Arc<NameClient>>,
    pub(super) heartbeat: Duration,
    pub(super) retry: Duration,
    pub(super) spread: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_subscribers: 10_000,
            max_of_client: usize::MAX,
            client: None,
            heartbeat: Duration::from_secs(20),
            retry: Duration::from_secs(5),
            spread: Duration::from_secs(5),
        }
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
