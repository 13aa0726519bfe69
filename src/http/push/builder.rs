//! The settings of a push, and how they are checked.

use std::{fmt, sync::Arc, time::Duration};

use http::request;

use super::{events::Push, options::Options, subscribers::Subscribers};
use crate::{http::setting_error::setting_error, operator::handle::MaintenanceHandle};

impl Push {
    /// With the defaults of [`PushBuilder`]. It keeps no layer alive.
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

    /// For what is to be other than the default.
    pub fn builder(handle: &MaintenanceHandle) -> PushBuilder {
        PushBuilder {
            handle: handle.clone(),
            options: Options::default(),
        }
    }
}

/// Builds a [`Push`]; made by [`Push::builder`].
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
    /// How many streams there may be at a time, at least 1; who comes after gets a 503 with a jittered `Retry-After`. Default: 10 000.
    ///
    /// A stream counts until its server drops it, also after a stuck reader has lost its place: [`PushCounts::streams`].
    ///
    /// Over HTTP/1.1 a subscriber costs a file descriptor and, measured with hyper (`tests/push_many.rs`), some 15 KB of memory with 4 KB of URLs, nearly all of it hyper's. So ten
    /// thousand fit into 150 MB; the system's limit on open files must be higher than this bound.
    pub fn max_subscribers(mut self, max_subscribers: usize) -> Self {
        self.options.max_subscribers = max_subscribers;
        self
    }

    /// How many streams one client may have at a time, at least 1, and who it is; `None` for one that has no name, which the bound on all
    /// holds alone. Beyond it a client gets a 429 with a jittered `Retry-After`, and counts as [`over_share`](PushCounts::over_share). Default: no such bound.
    ///
    /// The name must be one that a client cannot make up: a session that a layer outside has checked, or an address that your own proxy has
    /// set. A browser needs one stream; without Web Locks (plain http) one for each tab; a browser that lost its network may for a while have
    /// an old one besides. So 10 is ample for a session. An address needs as many as browsers may share it: an office, or a mobile network.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, http::Push};
    ///
    /// /// Left in the extensions by the layer that knows the session.
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

    /// How often each subscriber is sent a sign, from 100 ms to 10 min. Default: 20 s, for proxies close connections that
    /// were quiet for a minute (nginx `proxy_read_timeout`, load balancers of AWS), and one lost sign must not matter.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// How long a browser that lost its connection waits before it comes back, from 100 ms to 10 min. Default: 5 s. Each is told another
    /// number, from half of it to three halves, so that not all come in the instant a server is back. The [script](Push#the-script) comes back after three heartbeats at the latest.
    pub fn retry(mut self, retry: Duration) -> Self {
        self.options.retry = retry;
        self
    }

    /// Over how long browsers spread their refetches after a recovery, at most 10 min; 0 is: all at once. Default: 5 s. Ten thousand browsers are
    /// then two thousand refetches of each URL a second, and an open tab is right again after 2.5 s on average.
    pub fn spread(mut self, spread: Duration) -> Self {
        self.options.spread = spread;
        self
    }

    /// What has been set up. It keeps no layer alive.
    ///
    /// # Errors
    ///
    /// If a bound is 0, or a duration is shorter or longer than its setter says. The error says which, and what would be allowed.
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
    /// A push that makes no sense.
    PushError, "The value that it has.", "{} is {}: allowed is {}"
}
