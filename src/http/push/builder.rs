//! The builder, which checks the settings.

use std::{fmt, sync::Arc, time::Duration};

use http::request;

use super::{events::Push, options::Options, subscribers::Subscribers};
use crate::{base::setting_error::setting_error, operator::handle::MaintenanceHandle};

impl Push {
    /// Builds a push with the defaults of [`PushBuilder`]. It does not keep the layer alive.
    ///
    /// # Panics
    ///
    /// Never: the defaults are allowed.
    #[must_use]
    pub fn new(handle: &MaintenanceHandle) -> Self {
        Self::builder(handle)
            .build()
            .expect("the defaults are allowed")
    }

    /// Returns a builder with the defaults.
    pub fn builder(handle: &MaintenanceHandle) -> PushBuilder {
        PushBuilder {
            handle: handle.clone(),
            options: Options::default(),
        }
    }
}

/// Builds a [`Push`]. [`Push::builder`] makes it.
///
/// ```
/// use std::time::Duration;
/// use tower_maintenance::{MaintenanceLayer, http::Push};
///
/// let handle = MaintenanceLayer::new("zuora").handle();
/// let push = Push::builder(&handle)
///     .max_subscribers(50_000)
///     .spread(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(push.counts().subscribers, 0);
///
/// let error = Push::builder(&handle).heartbeat(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.to_string(), "heartbeat is 0ns: allowed is 100 ms to 10 min");
/// # Ok::<(), tower_maintenance::http::PushError>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing is pushed until `build`"]
pub struct PushBuilder {
    handle: MaintenanceHandle,
    options: Options,
}

impl PushBuilder {
    /// Sets how many streams may exist at a time, at least 1. Default: 10 000.
    ///
    /// Beyond it a client gets a 503 with a jittered `Retry-After`. A stream counts until its
    /// server drops it, also after a stuck reader has lost its place:
    /// [`streams`](super::PushCounts::streams).
    ///
    /// Over HTTP/1.1 a subscriber costs a file descriptor. With hyper and 4 KB of URLs it takes
    /// about 15 KB of memory, nearly all of it hyper's (`tests/push_many.rs`). So ten thousand fit
    /// into 150 MB. The system's limit on open files must be higher than this bound.
    pub fn max_subscribers(mut self, max_subscribers: usize) -> Self {
        self.options.max_subscribers = max_subscribers;
        self
    }

    /// Sets how many streams one client may have at a time, at least 1, and how a client is named.
    /// Default: no such bound.
    ///
    /// Beyond it a client gets a 429 with a jittered `Retry-After`, and counts as
    /// [`over_share`](super::PushCounts::over_share). For a request without a name `client` returns
    /// `None`; only the bound on all streams applies to it.
    ///
    /// A client must not be able to choose its name. Use a session that an outer layer has checked,
    /// or an address that your own proxy has set. A browser needs one stream, and without Web Locks
    /// (plain http) one per tab. A browser that lost its network may have an old stream besides for
    /// a while. So 10 is enough for a session. An address needs one stream for each browser that
    /// may share it, as in an office or in a mobile network.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, http::Push};
    ///
    /// /// Inserted into the extensions by the layer that checks the session.
    /// #[derive(Clone)]
    /// struct Account(u64);
    ///
    /// let handle = MaintenanceLayer::new("zuora").handle();
    /// let push = Push::builder(&handle)
    ///     .max_of_client(10, |request| request.extensions.get().map(|Account(id)| id.to_string()))
    ///     .build()?;
    /// assert_eq!(push.counts().over_share, 0);
    /// # Ok::<(), tower_maintenance::http::PushError>(())
    /// ```
    pub fn max_of_client(
        mut self,
        most: usize,
        client: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.options.max_of_client = most;
        self.options.client = Some(Arc::new(client));
        self
    }

    /// Sets how often each subscriber is sent a `beat`, from 100 ms to 10 min. Default: 20 s.
    ///
    /// Proxies close connections that were quiet for a minute (nginx `proxy_read_timeout`, load
    /// balancers of AWS), and one lost beat must not matter.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// Sets how long a browser that lost its connection waits before it reconnects, from 100 ms to
    /// 10 min. Default: 5 s.
    ///
    /// Each browser is told a random time, from half of this to three halves, so that not all of
    /// them reconnect at once when a server is back. The [script](Push#the-script) reconnects after
    /// three heartbeats at the latest.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.options.retry = retry;
        self
    }

    /// Sets the time over which browsers spread their refetches after a recovery, at most 10 min.
    /// Default: 5 s. With 0 all of them refetch at once.
    ///
    /// With the default, ten thousand browsers make two thousand refetches of each URL per second,
    /// and an open tab is right again after 2.5 s on average.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.options.spread = spread;
        self
    }

    /// Builds the push. It does not keep the layer alive.
    ///
    /// # Errors
    ///
    /// If a bound is 0, or if a duration is outside the range that its setter states. The error
    /// names the setting, its value and the allowed range.
    pub fn build(self) -> Result<Push, PushError> {
        let options = &self.options;
        let bounds = [
            ("max_subscribers", options.max_subscribers),
            ("max_of_client", options.max_of_client),
        ];
        if let Some((field, _)) = bounds.into_iter().find(|(_, most)| *most == 0) {
            return Err(PushError::new(field, "0", "1 or more"));
        }
        let least = Duration::from_millis(100);
        check("heartbeat", options.heartbeat, least)?;
        check("retry", options.retry, least)?;
        check("spread", options.spread, Duration::ZERO)?;
        Ok(Push::over(Subscribers::new(
            self.handle.downgrade(),
            self.options,
        )))
    }
}

impl fmt::Debug for PushBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let max_of_client = options.client.as_ref().map(|_| options.max_of_client);
        f.debug_struct("PushBuilder")
            .field("handle", &self.handle)
            .field("max_subscribers", &options.max_subscribers)
            .field("max_of_client", &max_of_client)
            .field("heartbeat", &options.heartbeat)
            .field("retry", &options.retry)
            .field("spread", &options.spread)
            .finish()
    }
}

fn check(field: &'static str, span: Duration, least: Duration) -> Result<(), PushError> {
    if span < least || span > Duration::from_secs(600) {
        let allowed = if least.is_zero() {
            "0 s to 10 min"
        } else {
            "100 ms to 10 min"
        };
        return Err(PushError::new(field, format!("{span:?}"), allowed));
    }
    Ok(())
}

setting_error! {
    /// A setting of a [`PushBuilder`] is invalid.
    PushError, "Returns the value of the setting.", "{} is {}: allowed is {}"
}
