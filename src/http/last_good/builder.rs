//! The builder, which checks the settings.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use http::{HeaderName, request};

use super::{
    config::{Config, NameUser, Wanted},
    layer::LastGoodLayer,
    request_key::KEYED,
    store::{Good, Limits, Store},
};
use crate::{
    base::setting_error::setting_error,
    http::{
        calls::answer_prefix::AnswerPrefix,
        routes::path_pattern::{BadPattern, Matcher},
    },
    operator::{handle::MaintenanceHandle, weak_handle::WeakHandle},
};

impl LastGoodLayer {
    /// Returns a builder. [`path`](LastGoodBuilder::path) and [`only`](LastGoodBuilder::only) opt
    /// requests in.
    pub fn builder() -> LastGoodBuilder {
        LastGoodBuilder {
            paths: Vec::new(),
            wanted: None,
            user: None,
            good: None,
            keyed: Vec::new(),
            recoveries: None,
            on_failure: false,
            max_stale: Duration::from_secs(2 * 3600),
            max_entry: 256 * 1024,
            max_total: 32 * 1024 * 1024,
        }
    }
}

/// Builds a [`LastGoodLayer`]. [`build`](Self::build) checks all settings.
///
/// The closures run in the call of the request, and [`good_if`](Self::good_if) runs where the body
/// of the answer is polled. A panic in a closure propagates there.
#[must_use = "a builder does nothing until `build`"]
pub struct LastGoodBuilder {
    paths: Vec<String>,
    wanted: Option<Box<Wanted>>,
    user: Option<Box<NameUser>>,
    good: Option<Arc<Good>>,
    keyed: Vec<String>,
    recoveries: Option<WeakHandle>,
    on_failure: bool,
    max_stale: Duration,
    max_entry: usize,
    max_total: u64,
}

impl LastGoodBuilder {
    /// Opts in the reads of a path, in the router's pattern syntax: `/billing/plans/{id}`. Default:
    /// none.
    ///
    /// The pattern is compared with the path that this layer sees: around calls the partner's path,
    /// inside `nest` the path without the prefix. A path that is
    /// [ambiguous](crate::MaintenanceLayer::paths) matches no pattern.
    pub fn path(mut self, pattern: &str) -> Self {
        self.paths.push(pattern.to_owned());
        self
    }

    /// Opts in only requests for which `wanted` returns `true`. Default: all requests to the paths.
    ///
    /// If paths are given too, both must match. It is also called for writes, which drop the stored
    /// answers to their URI. If this is called again, all closures must return `true`.
    pub fn only(self, wanted: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Some(match self.wanted {
                None => Box::new(wanted),
                Some(before) => Box::new(move |parts| before(parts) && wanted(parts)),
            }),
            ..self
        }
    }

    /// Sets how the user or tenant of a request is named. Default: no user is named. Called again,
    /// the last closure counts.
    ///
    /// For a request without a user `user` returns `None`; the strict rules apply to it.
    ///
    /// **The name is trusted**: answers that are stored under a name are served to every request
    /// with that name, even if they are `private`. So the name must come from verified data, such
    /// as a session that an outer layer has checked and inserted into the extensions. It must never
    /// come from a header as the client sent it. Around calls that always use your own
    /// `Authorization`, for data that is the same for all customers, the name is a constant.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// /// Inserted into the extensions by the layer that authenticates.
    /// #[derive(Clone)]
    /// struct Account(u64);
    ///
    /// let last_good = LastGoodLayer::builder()
    ///     .path("/billing/invoices")
    ///     .keyed_by(|request| request.extensions.get().map(|Account(id)| id.to_string()))
    ///     .build()?;
    /// # assert_eq!(last_good.counts().stored, 0);
    /// # Ok::<(), tower_maintenance::http::LastGoodError>(())
    /// ```
    pub fn keyed_by(
        self,
        user: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            user: Some(Box::new(user)),
            ..self
        }
    }

    /// Adds a header of the request to the key, whether the answer's `Vary` names it or not.
    ///
    /// Default: `Host`, `Forwarded`, `X-Forwarded-Host`, `X-Forwarded-Proto`, `X-Original-URL` and
    /// `X-Rewrite-URL`.
    ///
    /// This prevents [web cache poisoning]. Many frameworks build links and redirects from these
    /// headers, and do not name them in `Vary`. If they were not a part of the key, one request
    /// with `X-Forwarded-Host: evil.example` would show the attacker's links to all customers. Name
    /// here all other headers that your answers show or depend on without `Vary`:
    /// `X-Forwarded-Prefix`, or a header that selects an experiment or a brand.
    ///
    /// With a header that differs for each client, such as `X-Forwarded-For`, each client gets only
    /// its own answers. The same happens behind a proxy that names the client in `Forwarded`.
    /// Outside of this layer, remove the parts of such a header that your answers do not need.
    ///
    /// [web cache poisoning]: https://portswigger.net/web-security/web-cache-poisoning
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// let builder = || LastGoodLayer::builder().path("/prices");
    /// let last_good = builder().keyed_by_header("x-brand").build()?;
    /// assert_eq!(
    ///     builder().keyed_by_header("x brand").build().unwrap_err().to_string(),
    ///     "keyed_by_header is `x brand`: allowed is a header name such as `x-forwarded-prefix`"
    /// );
    /// # let _ = last_good;
    /// # Ok::<(), tower_maintenance::http::LastGoodError>(())
    /// ```
    pub fn keyed_by_header(mut self, name: impl Into<String>) -> Self {
        self.keyed.push(name.into());
        self
    }

    /// Stores only answers for which `good` returns `true`. Default: every answer that comes to its
    /// end. If this is called again, all closures must return `true`.
    ///
    /// `good` gets the whole body, and the headers that would be stored. For a partner that fails
    /// with a 200, it can use the same judge as the calls:
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_maintenance::Outcome;
    /// use tower_maintenance::http::{AnswerPrefix, HttpCalls, JsonAnswer, LastGoodLayer};
    ///
    /// let answer = JsonAnswer::new().failure_when("/success", false)?;
    /// let calls = HttpCalls::new().judged_by_json(answer);
    /// let judge = calls.clone();
    /// let is_good =
    ///     move |answer: &AnswerPrefix<'_>| judge.judge(answer).outcome == Outcome::Success;
    /// let failed = br#"{"success": false}"#;
    /// assert!(!is_good(&AnswerPrefix::whole(StatusCode::OK, &HeaderMap::new(), failed)));
    /// let last_good = LastGoodLayer::builder().path("/v1/prices").good_if(is_good).build()?;
    /// # let _ = (last_good, calls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn good_if(self, good: impl Fn(&AnswerPrefix<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            good: Some(match self.good {
                None => Arc::new(good),
                Some(before) => Arc::new(move |answer| before(answer) && good(answer)),
            }),
            ..self
        }
    }

    /// After a recovery of this layer, does not store an answer to a request from before it.
    /// Default: such an answer is stored, unless the store was
    /// [cleared](LastGoodLayer::clear) meanwhile.
    ///
    /// An answer that was under way when the partner recovered may be one of the answers that the
    /// recovery made wrong. It is not stored, but reaches its caller. The layer is usually the one
    /// that this one stands around. It is not kept alive.
    ///
    /// ```
    /// use tower_maintenance::{MaintenanceLayer, http::LastGoodLayer};
    ///
    /// let layer = MaintenanceLayer::new("zuora");
    /// let last_good = LastGoodLayer::builder()
    ///     .path("/prices")
    ///     .recoveries_of(&layer.handle())
    ///     .build()?;
    /// # let _ = last_good;
    /// # Ok::<(), tower_maintenance::http::LastGoodError>(())
    /// ```
    pub fn recoveries_of(self, handle: &MaintenanceHandle) -> Self {
        Self {
            recoveries: Some(handle.downgrade()),
            ..self
        }
    }

    /// Answers from the store also if the partner was asked and failed. Default: only if the layer
    /// refuses, so that the partner's failures stay visible.
    ///
    /// A failure is an error, or a 500, 502, 503 or 504 (RFC 5861, 4). The partner's error is
    /// dropped.
    pub fn on_failure_too(self) -> Self {
        Self {
            on_failure: true,
            ..self
        }
    }

    /// Sets how long an answer may be served past its freshness. Default: 2 h.
    ///
    /// The default is twice the duration of the incident that led to this crate. With 0 only fresh
    /// answers are served. An answer may lower the limit by `stale-if-error`, but not raise it.
    pub fn max_stale(self, longest: Duration) -> Self {
        Self {
            max_stale: longest,
            ..self
        }
    }

    /// Sets how many bytes one answer may take, including its headers and key: 1 KiB to 256 MiB.
    /// Default: 256 KiB.
    ///
    /// A price list in JSON rarely exceeds the default. Each answer takes up to this much memory
    /// while it streams, and up to twice as much for a moment. All of them together are within
    /// [`max_total_bytes`](Self::max_total_bytes).
    pub fn max_entry_bytes(self, most: usize) -> Self {
        Self {
            max_entry: most,
            ..self
        }
    }

    /// Sets how many bytes all answers together may take, at least
    /// [`max_entry_bytes`](Self::max_entry_bytes). Default: 32 MiB, which holds thousands of
    /// answers.
    ///
    /// The answers that were not asked for longest are evicted, and a new answer is always stored
    /// if it could be copied.
    ///
    /// Answers that are being copied while they stream count too. Together they may take a quarter
    /// of the bytes, or those of one answer of the largest size if that is more. An answer beyond
    /// that passes without being copied, and is not stored. So many bodies that never end, as of a
    /// partner that hangs, evict no more than that quarter of what is stored. Answers that are
    /// being stored at this moment come on top, at most one per thread.
    pub fn max_total_bytes(self, most: u64) -> Self {
        Self {
            max_total: most,
            ..self
        }
    }

    /// Builds the layer.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// let error = LastGoodLayer::builder().build().unwrap_err();
    /// assert_eq!(error.to_string(), "path is ``: allowed is at least one path, or `only`");
    /// let error = LastGoodLayer::builder().path("prices").build().unwrap_err();
    /// assert_eq!((error.field(), error.value()), ("path", "prices"));
    /// ```
    ///
    /// # Errors
    ///
    /// If nothing is opted in, if a pattern or a header name is invalid, or if a limit is outside
    /// its range. The error names the setting, its value and what is allowed.
    pub fn build(self) -> Result<LastGoodLayer, LastGoodError> {
        self.check_limits()?;
        let numbered = self.paths.iter().map(|pattern| (0, &**pattern));
        let paths = Matcher::new(numbered).map_err(|BadPattern { pattern, why }| {
            let allowed = format!("a pattern in the router's syntax: {why}");
            LastGoodError::new("path", pattern, allowed)
        })?;
        let keyed = self.keyed.iter().map(|name| {
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                let allowed = "a header name such as `x-forwarded-prefix`";
                LastGoodError::new("keyed_by_header", name, allowed)
            })
        });
        let keyed = KEYED.into_iter().map(Ok).chain(keyed);
        let limits = Limits {
            keyed: keyed.collect::<Result<_, _>>()?,
            max_stale: self.max_stale,
            max_entry: self.max_entry,
            max_total: self.max_total,
            good: self.good,
            recoveries: self.recoveries,
        };
        Ok(LastGoodLayer::over(Config {
            paths: (!self.paths.is_empty()).then_some(paths),
            wanted: self.wanted,
            user: self.user,
            on_failure: self.on_failure,
            store: Arc::new(Store::new(limits)),
        }))
    }

    fn check_limits(&self) -> Result<(), LastGoodError> {
        const ENTRY: RangeInclusive<usize> = 1024..=256 * 1024 * 1024;
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let error =
            |field, value: String, allowed: &str| Err(LastGoodError::new(field, value, allowed));
        if self.paths.is_empty() && self.wanted.is_none() {
            return error("path", String::new(), "at least one path, or `only`");
        }
        if !ENTRY.contains(&self.max_entry) {
            let allowed = "1024 to 268435456 bytes";
            return error("max_entry_bytes", self.max_entry.to_string(), allowed);
        }
        if self.max_total < self.max_entry as u64 {
            let allowed = format!("at least max_entry_bytes, {} bytes", self.max_entry);
            return error("max_total_bytes", self.max_total.to_string(), &allowed);
        }
        if self.max_stale > YEAR {
            let value = format!("{} s", self.max_stale.as_secs());
            return error("max_stale", value, "0 s to 31536000 s, a year");
        }
        Ok(())
    }
}

impl fmt::Debug for LastGoodBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodBuilder")
            .field("paths", &self.paths)
            .field("only", &self.wanted.is_some())
            .field("keyed", &self.user.is_some())
            .field("keyed_by_header", &self.keyed)
            .field("good_if", &self.good.is_some())
            .field("recoveries_of", &self.recoveries.is_some())
            .field("on_failure_too", &self.on_failure)
            .field("max_stale", &self.max_stale)
            .field("max_entry_bytes", &self.max_entry)
            .field("max_total_bytes", &self.max_total)
            .finish()
    }
}

setting_error! {
    /// A setting of a [`LastGoodBuilder`] is invalid.
    LastGoodError, "Returns the value of the setting.", "{} is `{}`: allowed is {}"
}
