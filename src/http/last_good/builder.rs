//! The settings of the layer, and how they are checked.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use http::{HeaderName, request};

use super::{
    config::{Config, NameUser, Wanted},
    layer::LastGoodLayer,
    request_key::KEYED,
    store::{Good, Limits, Store},
};
use crate::http::{
    calls::answer_prefix::AnswerPrefix,
    routes::path_pattern::{BadPattern, Matcher},
    setting_error::setting_error,
};

impl LastGoodLayer {
    /// Configures a layer. Nothing is opted in until [`path`](LastGoodBuilder::path) or [`only`](LastGoodBuilder::only) says so.
    pub fn builder() -> LastGoodBuilder {
        LastGoodBuilder {
            paths: Vec::new(),
            wanted: None,
            user: None,
            good: None,
            keyed: Vec::new(),
            on_failure: false,
            max_stale: Duration::from_secs(2 * 3600),
            max_entry: 256 * 1024,
            max_total: 32 * 1024 * 1024,
        }
    }
}

/// Configures a [`LastGoodLayer`]; everything is checked by [`build`](Self::build).
///
/// The closures run in the request's own call, [`good_if`](Self::good_if) where its answer is read: a panic in one is the
/// request's.
#[must_use = "a builder does nothing until `build`"]
pub struct LastGoodBuilder {
    paths: Vec<String>,
    wanted: Option<Box<Wanted>>,
    user: Option<Box<NameUser>>,
    good: Option<Arc<Good>>,
    keyed: Vec<String>,
    on_failure: bool,
    max_stale: Duration,
    max_entry: usize,
    max_total: u64,
}

impl LastGoodBuilder {
    /// Opts in the reads of a path, in the router's pattern syntax: `/billing/plans/{id}`. Default: none.
    ///
    /// It is compared with the path as this layer sees it: around calls the partner's, inside `nest` without the prefix.
    /// A path that is [ambiguous](crate::MaintenanceLayer::paths) matches none.
    pub fn path(mut self, pattern: &str) -> Self {
        self.paths.push(pattern.to_owned());
        self
    }

    /// Opts in those requests alone for which `wanted` holds; where paths are given too, both must.
    /// Default: all requests to the paths.
    ///
    /// It is also asked about writes, which drop what is kept for their URI.
    pub fn only(self, wanted: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        Self {
            wanted: Some(Box::new(wanted)),
            ..self
        }
    }

    /// Names the user, or tenant, whose answer it is; `None` for a request that is nobody's, to which the strict rules
    /// apply. Default: nobody is named.
    ///
    /// **What it returns is trusted**: what is kept under a name is served to whoever has that name, `private` or not. So it must come
    /// from what has been verified (a session that a layer outside has checked, and left in the extensions), never from a header as the client
    /// sent it. Around calls whose `Authorization` is always one's own, for data that are the same for all customers, it is a constant.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// /// Left in the extensions by the layer that authenticates.
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

    /// Tells answers apart by one more header of the request, whether their `Vary` names it or not. Default: `Host`, `Forwarded`,
    /// `X-Forwarded-Host`, `X-Forwarded-Proto`, `X-Original-URL` and `X-Rewrite-URL`.
    ///
    /// Against web cache poisoning: many frameworks build links and redirects from these, and say nothing of it in `Vary`. Were
    /// they no part of the key, one request with `X-Forwarded-Host: evil.example` would put the attacker's links before everybody
    /// ([how that is done](https://portswigger.net/web-security/web-cache-poisoning)). Name here all other headers that your answers
    /// show or depend on without saying so: `X-Forwarded-Prefix`, a header by which tests or brands are chosen. One that differs with
    /// each client, such as `X-Forwarded-For`, leaves each client its own answers alone, and so does a proxy that
    /// names the client in `Forwarded`: outside of this layer, take from it what your answers do not need.
    ///
    /// ```
    /// use tower_maintenance::http::LastGoodLayer;
    ///
    /// let last_good = LastGoodLayer::builder().path("/prices").keyed_by_header("x-brand").build()?;
    /// let error = LastGoodLayer::builder().path("/prices").keyed_by_header("x brand").build().unwrap_err();
    /// assert_eq!(error.to_string(), "keyed_by_header is `x brand`: allowed is the name of a header, such as `x-forwarded-prefix`");
    /// # let _ = last_good;
    /// # Ok::<(), tower_maintenance::http::LastGoodError>(())
    /// ```
    pub fn keyed_by_header(mut self, name: impl Into<String>) -> Self {
        self.keyed.push(name.into());
        self
    }

    /// Keeps those answers alone that `good` calls so; it sees the whole body, and the headers that would be kept.
    /// Default: every answer that comes to its end.
    ///
    /// For partners that fail with a 200, by the same judge as the calls:
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_maintenance::{Outcome, http::{AnswerPrefix, HttpCalls, JsonAnswer, LastGoodLayer}};
    ///
    /// let calls = HttpCalls::new().judged_by_json(JsonAnswer::new().failure_when("/success", false)?);
    /// let judge = calls.clone();
    /// let is_good = move |answer: &AnswerPrefix<'_>| judge.judge(answer).outcome == Outcome::Success;
    /// let failed = br#"{"success": false}"#;
    /// assert!(!is_good(&AnswerPrefix::whole(StatusCode::OK, &HeaderMap::new(), failed)));
    /// let last_good = LastGoodLayer::builder().path("/v1/prices").good_if(is_good).build()?;
    /// # let _ = (last_good, calls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn good_if(self, good: impl Fn(&AnswerPrefix<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            good: Some(Arc::new(good)),
            ..self
        }
    }

    /// Also answers when the partner was asked and failed: with an error, or a 500, 502, 503 or 504 (RFC 5861, 4). The partner's error is
    /// dropped then. Default: only when the layer refuses, so that nobody overlooks the partner's failures.
    pub fn on_failure_too(self) -> Self {
        Self {
            on_failure: true,
            ..self
        }
    }

    /// How long an answer is served past its freshness at most; 0 for fresh ones alone. Default: 2 h, twice the incident
    /// that this crate comes from.
    ///
    /// An answer may ask for less by `stale-if-error`, not for more.
    pub fn max_stale(self, longest: Duration) -> Self {
        Self {
            max_stale: longest,
            ..self
        }
    }

    /// How many bytes one answer may take, its headers and key included: 1 KiB to 256 MiB. Default: 256 KiB, which a price list in JSON seldom
    /// exceeds. So much memory each answer takes while it streams, and up to twice that for a moment.
    pub fn max_entry_bytes(self, most: usize) -> Self {
        Self {
            max_entry: most,
            ..self
        }
    }

    /// How many bytes all answers may take, at least as many as one may. Default: 32 MiB, room for thousands of them.
    /// What nobody has asked for longest makes room, and what is new is always kept.
    ///
    /// Answers that are being put in at this moment come on top, one for each thread at most.
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
    /// assert_eq!(error.to_string(), "path is ``: allowed is at least one path, or `only`: nothing is opted in by itself");
    /// let error = LastGoodLayer::builder().path("prices").build().unwrap_err();
    /// assert_eq!(error.to_string(), "path is `prices`: allowed is a pattern that the router takes: a path pattern begins with `/`");
    /// ```
    ///
    /// # Errors
    ///
    /// If nothing is opted in, a pattern or a header's name is not valid, or a limit is not within its range.
    pub fn build(self) -> Result<LastGoodLayer, LastGoodError> {
        self.check_limits()?;
        let numbered = self.paths.iter().map(|pattern| (0, &**pattern));
        let paths = Matcher::new(numbered).map_err(|BadPattern { pattern, why }| {
            let allowed = format!("a pattern that the router takes: {why}");
            LastGoodError::new("path", pattern, allowed)
        })?;
        let keyed = self.keyed.iter().map(|name| {
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                let allowed = "the name of a header, such as `x-forwarded-prefix`";
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
            let allowed = "at least one path, or `only`: nothing is opted in by itself";
            return error("path", String::new(), allowed);
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
            .field("on_failure_too", &self.on_failure)
            .field("max_stale", &self.max_stale)
            .field("max_entry_bytes", &self.max_entry)
            .field("max_total_bytes", &self.max_total)
            .finish()
    }
}

setting_error! {
    /// A [`LastGoodLayer`] that makes no sense.
    LastGoodError, "The value that it has.", "{} is `{}`: allowed is {}"
}
